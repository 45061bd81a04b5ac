"""Composed scenes: photographic cut-outs laid on photos, with exact masks, true backgrounds, nouns and a sentence.

A folder of scenes holds `scenes.jsonl`, one JSON object a scene (see `Scene`), and the pictures that it names:

    images/NNNN.png       the photo, [H, W, 3]
    backgrounds/NNNN.png  the same photo without the things; equal to the image wherever the mask is 0
    masks/NNNN.png        one channel: 0 = background, i = the i-th thing (everywhere its alpha is above 0)
    alphas/NNNN.png       one channel: the alpha with which the things were laid on
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from unsay.errors import BadInput
from unsay.results import Mask, Pixels
from unsay.training.cutouts import Background, Cutout, list_backgrounds, list_cutouts, read_cutout

INDEX = "scenes.jsonl"
AREA = (0.05, 0.35)
"""Share of the scene that one thing covers."""
MAX_ENLARGE = 2.2
"""Cut-outs are small; enlarged more than this they no longer look like photographs."""
MARGIN = 10
"""Pixels kept free between two things and along the scene's border."""
TRIES = 40


@dataclass(frozen=True)
class Thing:
    """One thing in a scene: its value in the mask, the word for it, where it is (x, y, width, height) and its share."""

    index: int
    word: str
    phrase: str
    source: str
    box: tuple[int, int, int, int]
    area: float


@dataclass(frozen=True)
class Scene:
    """One line of `scenes.jsonl`; file names are relative to the folder of scenes. Words differ from each other."""

    name: str
    image: str
    background: str
    mask: str
    alpha: str
    things: tuple[Thing, ...]
    words: tuple[str, ...]
    sentence: str
    background_source: str
    split: str


@dataclass(frozen=True)
class Composed:
    """A scene in memory: `image`, `background` [H, W, 3] uint8; `mask`, `alpha` [H, W] uint8."""

    image: Pixels
    background: Pixels
    mask: npt.NDArray[np.uint8]
    alpha: npt.NDArray[np.uint8]
    laid: tuple[tuple[Cutout, tuple[int, int, int, int]], ...]


@dataclass(frozen=True)
class Look:
    """How things are fitted into the photo (ours): shares of the way towards the background's lightness and colour.

    `shadow` darkens the ground under a thing. It is outside the mask, so an erased thing leaves its shadow: off
    unless that is what is studied.
    """

    lightness: float = 0.3
    colour: float = 0.15
    sharpen: float = 0.6
    shadow: bool = False


def prepare_scenes(
    cutouts: list[Path],
    backgrounds: list[Path],
    out: Path,
    split: str,
    count: int,
    *,
    size: tuple[int, int] = (768, 576),
    seed: int = 0,
    look: Look | None = None,
) -> None:
    """Compose `count` scenes of `size` (width, height) from folders of cut-outs and photos into the folder `out`.

    `split`: "train", "test" or "all", by the names of both cut-outs and photos. The same arguments give the same
    bytes. Raises `BadInput` for an unknown split, an empty folder, a bad count or size.
    """
    width, height = size
    if count < 1 or min(size) < 64:
        raise BadInput(f"{count} scenes of {width}x{height}: ask for at least 1 scene of at least 64x64 pixels")
    photos = list_backgrounds(backgrounds, split)
    usable = [c for c in list_cutouts(cutouts, split) if any(b.suits(c) for b in photos) and _large_enough(c, size)]
    if not usable:
        raise BadInput(f"none of the cut-outs suits the photos at {width}x{height}: take smaller scenes or more photos")
    for folder in ("images", "backgrounds", "masks", "alphas"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(seed).permutation(len(usable))
    lines = []
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        first = usable[int(order[i % len(usable)])]
        suited = [b for b in photos if b.suits(first)]
        background = suited[int(rng.integers(len(suited)))]
        things = [first, *_companions(first, usable, background, int(rng.integers(0, 3)), rng)]
        scene = compose(things, background, size, rng, look or Look())
        lines.append({"split": split, **_write(out, f"{i:04d}", scene, background)})
    scratch = out / (INDEX + ".part")
    scratch.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    os.replace(scratch, out / INDEX)


def read_scenes(data: Path) -> list[Scene]:
    """The scenes of a folder. Raises `BadInput` if it holds none or its index is damaged."""
    path = data / INDEX
    if not path.is_file():
        raise BadInput(f"{data} is not a folder of scenes: it has no {INDEX}; make one with unsay prepare scenes")
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        scenes = [_scene(line) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is damaged ({error}): make the scenes again") from error
    if not scenes:
        raise BadInput(f"{path} is empty: make the scenes again")
    return scenes


def compose(
    things: list[Cutout], background: Background, size: tuple[int, int], rng: np.random.Generator, look: Look
) -> Composed:
    """Lay as many of the things as find a place on a random crop of the background; the first always does."""
    backdrop, ground = _crop(background, size, rng)
    image = backdrop.copy()
    mask = np.zeros(backdrop.shape[:2], np.uint8)
    alpha = np.zeros_like(mask)
    laid: list[tuple[Cutout, tuple[int, int, int, int]]] = []
    for cutout in things:
        limit = AREA[1] if not laid else AREA[1] / 2
        placed = _place(cutout, mask > 0, ground, rng, limit)
        if placed is None:
            continue
        rgba, x, y = placed
        h, w = rgba.shape[:2]
        window = (slice(y, y + h), slice(x, x + w))
        if look.shadow and cutout.place == "ground":
            _shade(image, x, y + h, w)
        image[window] = _blend(image[window], _fitted(rgba, backdrop[window], look), rgba[..., 3])
        mask[window][rgba[..., 3] > 0] = len(laid) + 1
        alpha[window] = np.maximum(alpha[window], rgba[..., 3])
        laid.append((cutout, (x, y, w, h)))
    if not laid:
        raise BadInput(f"{things[0].path} finds no place in a scene of {size[0]}x{size[1]}: leave it out")
    return Composed(image, backdrop, mask, alpha, tuple(laid))


def _write(out: Path, name: str, scene: Composed, background: Background) -> dict[str, Any]:
    """Write the scene's pictures; return its line of the index."""
    pictures = {"images": scene.image, "backgrounds": scene.background, "masks": scene.mask, "alphas": scene.alpha}
    for folder, pixels in pictures.items():
        stored = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        if not cv2.imwrite(str(out / folder / f"{name}.png"), stored):
            raise BadInput(f"cannot write {out / folder / name}.png: check that the folder is writable and not full")
    line: dict[str, Any] = {"name": name, "sentence": _sentence(scene, background)}
    line |= {"image": f"images/{name}.png", "background": f"backgrounds/{name}.png"}
    line |= {"mask": f"masks/{name}.png", "alpha": f"alphas/{name}.png", "background_source": background.name}
    line["words"] = [cutout.noun for cutout, _ in scene.laid]
    line["things"] = [
        {
            "index": k + 1,
            "word": cutout.noun,
            "phrase": cutout.phrase,
            "source": cutout.path.name,
            "box": list(box),
            "area": round(float((scene.mask == k + 1).mean()), 5),
        }
        for k, (cutout, box) in enumerate(scene.laid)
    ]
    return line


def _scene(line: dict[str, Any]) -> Scene:
    things = tuple(Thing(**{**thing, "box": tuple(thing["box"])}) for thing in line["things"])
    return Scene(**{**line, "things": things, "words": tuple(line["words"])})


def _companions(
    first: Cutout, usable: list[Cutout], background: Background, count: int, rng: np.random.Generator
) -> list[Cutout]:
    """Other things of about the same size in the world, no two of them called alike."""
    pool = [c for c in usable if background.suits(c) and c.noun != first.noun]
    pool = [c for c in pool if not (c.size and first.size) or c.size == first.size]
    chosen: list[Cutout] = []
    for k in rng.permutation(len(pool)):
        if len(chosen) < count and pool[int(k)].noun not in [c.noun for c in chosen]:
            chosen.append(pool[int(k)])
    return chosen


def _sentence(scene: Composed, background: Background) -> str:
    phrases = [cutout.phrase for cutout, _ in scene.laid]
    listed = phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]
    return f"a photo of {listed}" + (f" {background.phrase}" if background.phrase else "")


def _large_enough(cutout: Cutout, size: tuple[int, int]) -> bool:
    """Whether the cut-out can cover the smallest share without being enlarged too much or leaving the scene."""
    rgba = read_cutout(cutout.path)
    low, high = _scales(rgba, size)
    return low <= high


def _scales(rgba: npt.NDArray[np.uint8], size: tuple[int, int], limit: float = AREA[1]) -> tuple[float, float]:
    """Least and largest enlargement of a cut-out; the first exceeds the second where none will do."""
    opaque = float(np.count_nonzero(rgba[..., 3]))
    total = size[0] * size[1]
    fits = min((size[0] - 2 * MARGIN) / rgba.shape[1], (size[1] - 2 * MARGIN) / rgba.shape[0])
    low = float(np.sqrt(1.02 * AREA[0] * total / opaque))
    return low, min(MAX_ENLARGE, fits, float(np.sqrt(limit * total / opaque)))


def _crop(background: Background, size: tuple[int, int], rng: np.random.Generator) -> tuple[Pixels, float]:
    """A window of the photo in the scene's proportions, at least half as large as fits, resized to the scene.

    It takes in at least half of the ground. Beside it: the share of its height at which the ground begins.
    """
    stored = cv2.imread(str(background.path), cv2.IMREAD_COLOR)
    if stored is None:
        raise BadInput(f"{background.path} cannot be read as a photo: leave it out")
    photo = cv2.cvtColor(stored, cv2.COLOR_BGR2RGB)
    height, width = photo.shape[:2]
    full = min(width / size[0], height / size[1])
    scale = max(min(1.0, full), full * float(rng.uniform(0.5, 1.0)))
    w, h = min(width, round(size[0] * scale)), min(height, round(size[1] * scale))
    lowest = height - h
    highest = min(lowest, max(0, round((1 + background.ground) / 2 * height) - h))
    x, y = int(rng.integers(width - w + 1)), int(rng.integers(highest, lowest + 1))
    method = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    piece = np.asarray(cv2.resize(photo[y : y + h, x : x + w], size, interpolation=method), np.uint8)
    return piece, (background.ground * height - y) / h


def _place(
    cutout: Cutout, taken: Mask, ground: float, rng: np.random.Generator, limit: float
) -> tuple[npt.NDArray[np.uint8], int, int] | None:
    """The cut-out at its size in the scene, [h, w, 4], and its left upper corner; None where it finds no room."""
    height, width = taken.shape
    source = read_cutout(cutout.path)
    if cutout.path.parts and "animals" in cutout.path.parts and rng.random() < 0.5:
        source = np.ascontiguousarray(source[:, ::-1])
    low, high = _scales(source, (width, height), limit)
    if low > high:
        return None
    near = cv2.dilate(taken.astype(np.uint8), np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8)) > 0
    scale = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    for _ in range(TRIES):
        rgba = _resized(source, scale)
        h, w = rgba.shape[:2]
        x = int(rng.integers(MARGIN, max(width - w - MARGIN, MARGIN) + 1))
        y = _top_of(cutout.place, h, height, ground, rng)
        if not (near[y : y + h, x : x + w] & (rgba[..., 3] > 0)).any():
            return rgba, x, y
        scale = max(low, scale * 0.93)
    return None


def _top_of(place: str, h: int, height: int, ground: float, rng: np.random.Generator) -> int:
    """The row of a thing's upper edge: with its foot on the ground or in the water, high up in the air, or anywhere."""
    top, bottom = MARGIN, max(height - h - MARGIN, MARGIN)
    if place in ("ground", "water"):
        return int(rng.integers(min(max(round(ground * height) - h, top), bottom), bottom + 1))
    if place == "air":
        return int(rng.integers(top, max(min(bottom, round(0.3 * height)), top) + 1))
    return int(rng.integers(top, bottom + 1))


def _resized(rgba: npt.NDArray[np.uint8], scale: float) -> npt.NDArray[np.uint8]:
    """Resize with premultiplied alpha, so that what is transparent lends the rim no colour."""
    h, w = rgba.shape[:2]
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    alpha = rgba[..., 3:].astype(np.float32) / 255
    layers = np.concatenate([rgba[..., :3].astype(np.float32) * alpha, alpha], 2)
    layers = cv2.resize(layers, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    alpha = np.clip(layers[..., 3:], 0, 1)
    colour = layers[..., :3] / np.maximum(layers[..., 3:], 1 / 255)
    out = np.concatenate([np.clip(colour, 0, 255), alpha * 255], 2)
    out[alpha[..., 0] < 0.02] = 0
    return np.asarray(np.rint(out), np.uint8)


def _fitted(rgba: npt.NDArray[np.uint8], behind: Pixels, look: Look) -> Pixels:
    """The cut-out's colours [h, w, 3], moved a little towards those behind it, and sharpened where it was enlarged."""
    colour: Pixels = np.ascontiguousarray(rgba[..., :3])
    if look.sharpen:
        soft = cv2.GaussianBlur(colour, (0, 0), 1.5)
        colour = np.asarray(cv2.addWeighted(colour, 1 + look.sharpen, soft, -look.sharpen, 0), np.uint8)
    lab, ground = (np.asarray(cv2.cvtColor(p.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)) for p in (colour, behind))
    inside = rgba[..., 3] > 127
    if inside.any():
        step = ground.reshape(-1, 3).mean(0) - lab[inside].mean(0)
        lab += step * np.array([look.lightness, look.colour, look.colour], np.float32)
    lab[..., 0] = np.clip(lab[..., 0], 0, 100)
    return np.asarray(np.rint(np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1) * 255), np.uint8)


def _blend(below: Pixels, above: Pixels, alpha: npt.NDArray[np.uint8]) -> Pixels:
    share = alpha[..., None].astype(np.float32) / 255
    return np.asarray(np.rint(above * share + below * (1 - share)), np.uint8)


def _shade(image: Pixels, x: int, foot: int, w: int) -> None:
    """Darken, in place, a soft ellipse on the ground below a thing of width `w` whose foot is at row `foot`."""
    shade = np.zeros(image.shape[:2], np.float32)
    cv2.ellipse(shade, (x + w // 2, foot - 2), (max(1, w // 2), max(2, w // 12)), 0, 0, 360, 1.0, -1)
    soft = np.asarray(cv2.GaussianBlur(shade, (0, 0), max(1.0, w / 30)))
    image[:] = np.rint(image * (1 - 0.45 * soft[..., None])).astype(np.uint8)
