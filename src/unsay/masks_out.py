"""A segmentation as a file: a picture to look at, a label image, or annotations that other tools read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np

from unsay.errors import BadInput, UnsayError
from unsay.results import Mask, Pixels, Segmentation

SUFFIXES = {"overlay": ".overlay.jpg", "labels": ".labels.png", "coco": ".coco.json", "labelme": ".labelme.json"}
"""What the default output's name ends with, by format."""
ALLOWED = {
    "overlay": (".jpg", ".jpeg", ".png", ".webp"),
    "labels": (".png",),
    "coco": (".json",),
    "labelme": (".json",),
}
"""What an output's name may end with, by format."""
OPACITY = 0.45
_LONGEST_SIDES = {".jpg": 65500, ".jpeg": 65500, ".webp": 16383}


def check_format(kind: str, suffix: str) -> None:
    """Raise `BadInput` unless `kind` is a format and a file ending in `suffix` can hold it."""
    if kind not in ALLOWED:
        raise BadInput(f"no format {kind!r}: use one of {', '.join(ALLOWED)}")
    if suffix.lower() not in ALLOWED[kind]:
        raise BadInput(f"{kind} cannot be written as {suffix!r}: use {' or '.join(ALLOWED[kind])}")


def encoded(kind: str, rgb: Pixels, segmentation: Segmentation, *, name: str, suffix: str) -> bytes:
    """The file of format `kind` ("overlay", "labels", "coco", "labelme") as bytes.

    `name`: the photo's file name, which annotations refer to; `suffix`: the output's, which says how an overlay is
    coded. Raises `BadInput` for another format or suffix.
    """
    check_format(kind, suffix)
    writers: dict[str, Callable[[], bytes]] = {
        "overlay": lambda: _picture(suffix, overlay(rgb, segmentation)[..., ::-1]),
        "labels": lambda: _picture(suffix, label_image(segmentation)),
        "coco": lambda: _json(coco(segmentation, name)),
        "labelme": lambda: _json(labelme(segmentation, name)),
    }
    return writers[kind]()


def overlay(rgb: Pixels, segmentation: Segmentation) -> Pixels:
    """`rgb` [H, W, 3] uint8 with every found word tinted and outlined in its own colour, and a legend."""
    out = rgb.copy()
    for index in range(1, len(segmentation.words) + 1):
        _tint(out, segmentation.labels == index, colour_of(index))
    _draw_legend(out, segmentation, lambda word: colour_of(segmentation.words.index(word) + 1))
    return out


def preview(rgb: Pixels, hole: Mask, segmentation: Segmentation, *, suffix: str) -> bytes:
    """What would be erased, as a picture in the format of `suffix`: the hole [H, W] tinted and outlined.

    Raises `BadInput` for a suffix that is none of an overlay's.
    """
    check_format("overlay", suffix)
    out = rgb.copy()
    _tint(out, hole, colour_of(1))
    out[~hole] = rgb[~hole]  # the outline is a few pixels wide: only what would change is coloured
    _draw_legend(out, segmentation, lambda _: colour_of(1))
    return _picture(suffix, out[..., ::-1])


def label_image(segmentation: Segmentation) -> np.ndarray[Any, Any]:
    """`labels` [H, W] as uint8, or as uint16 where there are more than 255 words; the values are exactly the same."""
    return segmentation.labels.astype(np.uint8 if len(segmentation.words) < 256 else np.uint16)


def coco(segmentation: Segmentation, name: str) -> dict[str, Any]:
    """COCO's instances format: one annotation for each connected piece, as uncompressed run lengths (exact)."""
    height, width = segmentation.labels.shape
    annotations = [
        {
            "id": number,
            "image_id": 1,
            "category_id": index,
            "bbox": [left, top, piece.shape[1], piece.shape[0]],
            "area": int(piece.sum()),
            "iscrowd": 0,
            "segmentation": {"size": [height, width], "counts": _runs(piece, left, top, (height, width))},
            "score": round(segmentation.scores[segmentation.words[index - 1]], 4),
        }
        for number, (index, piece, left, top) in enumerate(_pieces(segmentation), 1)
    ]
    return {
        "info": {"description": "made with Unsay"},
        "images": [{"id": 1, "file_name": name, "width": width, "height": height}],
        "categories": [{"id": index, "name": word} for index, word in enumerate(segmentation.words, 1)],
        "annotations": annotations,
    }


def labelme(segmentation: Segmentation, name: str) -> dict[str, Any]:
    """Labelme's format: one polygon for each connected piece. Polygons have no holes: `coco` and `labels` keep them."""
    shapes: list[dict[str, Any]] = [
        {
            "label": segmentation.words[index - 1],
            "points": _outline(piece, left, top),
            "group_id": None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
        }
        for index, piece, left, top in _pieces(segmentation)
    ]
    height, width = segmentation.labels.shape
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": name,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def colour_of(index: int) -> tuple[int, int, int]:
    """The colour of the word with this label (1, 2, ...): hues a golden section apart."""
    hue = round(179 * ((index - 1) * 0.618 % 1))
    r, g, b = cv2.cvtColor(np.array([[[hue, 215, 255]]], np.uint8), cv2.COLOR_HSV2RGB)[0, 0]
    return int(r), int(g), int(b)


def _pieces(segmentation: Segmentation) -> Iterator[tuple[int, Mask, int, int]]:
    """(label, mask of the piece within its box, left, top) for every connected piece of every word."""
    for index in range(1, len(segmentation.words) + 1):
        mask = segmentation.labels == index
        if not mask.any():
            continue
        count, pieces, boxes, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
        for number in range(1, count):
            left, top, width, height = (int(value) for value in boxes[number][:4])
            yield index, pieces[top : top + height, left : left + width] == number, left, top


def _runs(piece: Mask, left: int, top: int, shape: tuple[int, int]) -> list[int]:
    """COCO's run lengths, column by column, beginning with a run of zeros (which may be empty)."""
    columns, rows = np.nonzero(piece.T)
    places = (columns + left) * shape[0] + rows + top
    breaks = np.flatnonzero(np.diff(places) > 1)
    starts, ends = places[np.r_[0, breaks + 1]], places[np.r_[breaks, len(places) - 1]] + 1
    edges = np.r_[0, np.stack([starts, ends], 1).ravel(), shape[0] * shape[1]]
    runs = np.diff(edges)
    return [int(run) for run in (runs if runs[-1] else runs[:-1])]


def _outline(piece: Mask, left: int, top: int) -> list[list[float]]:
    contours, _ = cv2.findContours(piece.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    line = cv2.approxPolyDP(max(contours, key=len), 1.0, True)[:, 0]
    if len(line) < 3:  # a piece one pixel wide: its box, since a polygon has at least three corners
        height, width = piece.shape
        line = np.array([[0, 0], [width, 0], [width, height], [0, height]])
    return [[float(x + left), float(y + top)] for x, y in line]


def _tint(out: Pixels, mask: Mask, colour: tuple[int, int, int]) -> None:
    if mask.any():
        out[mask] = np.rint(out[mask] * (1 - OPACITY) + np.array(colour) * OPACITY).astype(np.uint8)
        contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(out, contours, -1, colour, max(1, round(min(out.shape[:2]) / 300)))


def _draw_legend(out: Pixels, segmentation: Segmentation, colour: Callable[[str], tuple[int, int, int]]) -> None:
    """Dark lines at the top left, each with a word's colour, the word and its score; as many as fit."""
    size = max(0.4, min(out.shape[:2]) / 700)
    step, thick = round(30 * size), max(1, round(1.5 * size))
    for place, word in enumerate(segmentation.found[: out.shape[0] // step]):
        text = f"{word} {segmentation.scores[word]:.2f}".encode("ascii", "replace").decode()
        width = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thick)[0][0] + 2 * step
        line = out[place * step : (place + 1) * step, :width]
        line[:] = line // 4
        line[step // 4 : -(step // 4), step // 4 : step] = colour(word)
        foot = (round(1.4 * step), place * step + round(0.72 * step))
        cv2.putText(out, text, foot, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), thick, cv2.LINE_AA)


def _picture(suffix: str, image: np.ndarray[Any, Any]) -> bytes:
    longest, limit = max(image.shape[:2]), _LONGEST_SIDES.get(suffix.lower(), 10**6)
    if longest > limit:
        raise BadInput(f"{suffix} cannot hold {longest} pixels in a row (at most {limit}): write the overlay as .png")
    done, data = cv2.imencode(suffix.lower(), np.ascontiguousarray(image))
    if not done:
        raise UnsayError(f"the masks cannot be written as {suffix}: try .png")
    return bytes(data)


def _json(value: dict[str, Any]) -> bytes:
    text = json.dumps(value, ensure_ascii=False) + "\n"
    return text.encode(errors="backslashreplace")  # a file name's stray byte, "\udcff": JSON's own escape for it
