"""Sliding-window scoring as the published families do it: each window grouped and recognised, overlaps averaged.

Legend: `h`, `w` pixels of the resized photo or of a window, `K` its groups, `Q` names (synonyms count each), `C` the
classes that have names, `E` text channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from unsay.bundle import Bundle
from unsay.evaluation.datasets import DataSet, read_templates
from unsay.evaluation.protocols import Protocol, Windows
from unsay.results import Pixels
from unsay.segmentation.grouping import Labels
from unsay.segmentation.regions import look
from unsay.segmentation.sizes import at_size
from unsay.segmentation.text import sentence_vectors
from unsay.segmentation.vision import Array

Index = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Names:
    """`vectors` [Q, E] of unit length, one a name; those of a class lie together, from `starts` [C] on.

    `first`: the index of the first class that has names: 1 where the background is what nothing else claims.
    """

    vectors: Array
    starts: Index
    first: int


def text_vectors(names: Sequence[Sequence[str]], templates: Sequence[str], bundle: Bundle) -> tuple[Array, Index]:
    """Every name of every class in every template, by the bundle's text encoder: [Q, E] of unit length, starts [C].

    A name's vector is the mean of its sentences' unit vectors, of unit length again (Radford et al. 2021, 3.1.4).
    """
    flat = [name for synonyms in names for name in synonyms]
    vectors = sentence_vectors([[template.format(name) for template in templates] for name in flat], bundle)
    starts = np.cumsum([0, *(len(synonyms) for synonyms in names)])[:-1]
    return vectors, starts.astype(np.int64)


def region_cosines(rgb: Pixels, vectors: Array, bundle: Bundle) -> tuple[Labels, Array]:
    """A window [h, w, 3] -> its groups [h, w], 0..K-1, and the cosine of each with every name [K, Q]."""
    scene = look(rgb, bundle)
    return at_size(scene.groups, rgb), np.asarray(scene.regions.embeddings[:-1] @ vectors.T, np.float32)


def encode_names(protocol: Protocol, windows: Windows, dataset: DataSet, bundle: Bundle) -> Names:
    """The names of the set's classes as the protocol words them, in the templates of `windows`."""
    classes = dataset.class_names(protocol.family)
    first = int(dataset.background and not protocol.background_words)
    vectors, starts = text_vectors(classes[first:], read_templates(windows.templates), bundle)
    return Names(vectors, starts, first)


def predict(rgb: Pixels, names: Names, windows: Windows, bundle: Bundle) -> npt.NDArray[np.uint8]:
    """The class index of each pixel [H, W] of a photo [H, W, 3]."""
    maps = class_maps(resized(rgb, windows), names, windows, bundle)
    return best_class(maps, (rgb.shape[0], rgb.shape[1]), names.first, windows.threshold)


def class_maps(rgb: Pixels, names: Names, windows: Windows, bundle: Bundle) -> Array:
    """The probability of each class at each pixel of the resized photo [h, w, 3]: [h, w, C] fp32."""
    early = windows.average == "probabilities"
    channels = len(names.starts) if early else len(names.vectors)
    height, width = rgb.shape[:2]
    total = np.zeros((height, width, channels), np.float32)
    count = np.zeros((height, width, 1), np.float32)
    for rows, columns in window_slices(height, width, windows):
        groups, cosines = region_cosines(np.ascontiguousarray(rgb[rows, columns]), names.vectors, bundle)
        values = class_probabilities(cosines, names.starts, windows.temperature) if early else cosines
        total[rows, columns] += values[groups]
        count[rows, columns] += 1
    total /= count
    return total if early else class_probabilities(total, names.starts, windows.temperature)


def class_probabilities(cosines: Array, starts: Index, temperature: float) -> Array:
    """Softmax over all names [..., Q], then the best name of each class [..., C]: synonyms rival one another."""
    scores = cosines / np.float32(temperature)
    scores -= scores.max(-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(-1, keepdims=True)
    return np.asarray(np.maximum.reduceat(scores, starts, axis=-1), np.float32)


def best_class(maps: Array, size: tuple[int, int], first: int, threshold: float | None) -> npt.NDArray[np.uint8]:
    """Maps [h, w, C] -> the most probable class of each pixel [H, W], the classes counted from `first`.

    Under the threshold it is class 0. The maps are enlarged one at a time, bilinearly, so that memory stays bounded.
    """
    best = np.full(size, -1, np.float32)
    labels = np.zeros(size, np.uint8)
    for index in range(maps.shape[2]):
        plane = np.ascontiguousarray(maps[..., index])
        large = cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR)
        wins = large > best
        labels[wins] = index + first
        np.copyto(best, large, where=wins)
    if threshold is not None:
        labels[best < threshold] = 0
    return labels


def window_slices(height: int, width: int, windows: Windows) -> Iterator[tuple[slice, slice]]:
    """Windows row by row; the last of each row and column ends at the border, a photo smaller than one is one."""
    for top in _starts(height, windows):
        for left in _starts(width, windows):
            yield slice(top, top + windows.window), slice(left, left + windows.window)


def resized(rgb: Pixels, windows: Windows) -> Pixels:
    """The photo at the protocol's size: short side `short_side`, long side `long_side` at most, bilinear."""
    height, width = rgb.shape[:2]
    scale = min(windows.short_side / min(height, width), windows.long_side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _starts(length: int, windows: Windows) -> list[int]:
    last = max(length - windows.window, 0)
    return [min(start, last) for start in range(0, last + windows.stride, windows.stride)]
