"""What the verbs give back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from unsay.errors import BadInput

Pixels = npt.NDArray[np.uint8]
"""[H, W, 3] uint8, RGB in sRGB, displayed orientation."""
Mask = npt.NDArray[np.bool_]
"""[H, W] bool, True = the thing, the hole, what is filled."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Where each word is in a photo.

    `labels` [H, W] int32: 0 = none of the words, i = the i-th word given. `scores` maps each word to its score in
    [0, 1]. `groups` [H, W] int32: the regions before they were named, by number; one may be in pieces where
    its outline was drawn at full size. `found`: the words with a region.
    `nearest`: words of the bundle's own list that the photo does contain, best first.
    """

    words: tuple[str, ...]
    labels: npt.NDArray[np.int32]
    scores: dict[str, float]
    groups: npt.NDArray[np.int32]
    found: tuple[str, ...]
    nearest: tuple[str, ...] = ()

    def mask(self, word: str) -> Mask:
        """[H, W] bool, True where `word` is. Raises `BadInput` for a word that was not asked for."""
        if word not in self.words:
            raise BadInput(f"the word {word!r} was not asked for; asked for: {', '.join(self.words)}")
        return np.asarray(self.labels == self.words.index(word) + 1)


@dataclass(frozen=True, eq=False)
class Patch:
    """A rectangle of new pixels to lay over a photo, in displayed orientation.

    `x`, `y`: its top left corner in the photo. `pixels` [h, w, 3] uint8 sRGB. `weight` [h, w] float32 in [0, 1]:
    0 leaves the photo's own sample untouched, 1 replaces it, between them the two are blended.
    """

    x: int
    y: int
    pixels: Pixels
    weight: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Report:
    """What a verb did, as `--json` prints it."""

    verb: str
    output: str | None
    details: dict[str, Any] = field(default_factory=dict)
