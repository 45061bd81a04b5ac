"""The public verbs: a photo of any kind in, the same kind out.

`erase`, `segment`, `inpaint`, `cutout` are for people; `run_erase`, `run_segment`, `run_inpaint`, `run_cutout` do the
same work, take the options as one object, and report what was done: the command line, the page and the batch runner
call those.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from unsay.adapt import beside, open_photo, read_mask
from unsay.bundle import Bundle, load_bundle
from unsay.cutting import cut_out, cutout_target, feather_of, give_cut, kept_box
from unsay.delivery import check_mask_target, check_places, edited_target, is_path, piped, preview_target, protect, put
from unsay.erasing import Erased, erase_pixels, found_pixels
from unsay.errors import BadInput
from unsay.inpainting import fill_hole, grown_hole, settled
from unsay.inpainting.hole import grow_mask
from unsay.masks_out import SUFFIXES, check_format, encoded, preview
from unsay.options import MAX_MEGAPIXELS, EraseOptions, InpaintOptions, SegmentOptions
from unsay.photo import Photo
from unsay.photo.write import write_atomically
from unsay.results import Mask, Report, Segmentation
from unsay.segmentation import segment_pixels
from unsay.segmentation.asking import read_constants

AnyBundle = str | os.PathLike[str] | Bundle
Words = str | Iterable[str]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a verb did. `value`: the photo as the kind it was given as, or the path written; None after a dry run."""

    value: Any
    report: Report
    hole: Mask | None = None
    segmentation: Segmentation | None = None


def erase(
    photo: Any,
    *words: Words,
    bundle: AnyBundle = "starter",
    output: Any = None,
    in_place: bool = False,
    threshold: float | None = None,
    grow: int | None = None,
    box: tuple[int, int, int, int] | None = None,
    point: tuple[int, int] | None = None,
    texture: bool = True,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Any:
    """Erase what the words name, as if it had never been there.

    `photo`: a path, bytes, a PIL image, or an array [H, W, 3] uint8 RGB; the same kind comes back, for a path the path
    of the written file: `output`, or `photo.unsaid.jpg` beside it, or with `in_place` the photo itself. `output` may
    be a path or a binary stream. `words`: several strings or lists of them; those not found are left out.
    Without any, `point` names the thing.
    `threshold` in [0, 1] from which a word counts as found, `grow` in pixels (None: the bundle's and the photo's own);
    `box` (x, y, width, height) or `point` (x, y), in displayed pixels, pick one of several things. `texture`: fine
    detail is copied into the fill from places that look alike; False keeps it soft.
    Raises `NotFound` if none of the words was found, `BadInput` for what cannot be used as given; nothing is written.
    """
    options = EraseOptions(SegmentOptions(threshold, box, point), InpaintOptions(grow, None, texture=texture))
    return run_erase(
        photo,
        flat(words),
        options,
        bundle=bundle,
        output=output,
        in_place=in_place,
        max_megapixels=max_megapixels,
    ).value


def segment(
    photo: Any,
    words: Words = (),
    *,
    bundle: AnyBundle = "starter",
    threshold: float | None = None,
    box: tuple[int, int, int, int] | None = None,
    point: tuple[int, int] | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Segmentation:
    """Where each word is in the photo (see `Segmentation`); a word that is not found has an empty mask.

    `photo` and the options as for `erase`. Masks are in displayed orientation.
    Raises `BadInput` for a photo, word or option that cannot be used as given.
    """
    opened, _ = open_photo(photo, max_megapixels=max_megapixels)
    return segment_pixels(opened.rgb, flat([words]), load_bundle(bundle), SegmentOptions(threshold, box, point))


def inpaint(
    photo: Any,
    mask: Any,
    *,
    bundle: AnyBundle = "starter",
    output: Any = None,
    in_place: bool = False,
    grow: int = 0,
    texture: bool = True,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Any:
    """Fill the masked area from what surrounds it.

    `mask`: a path, bytes, a PIL image or an array [H, W] bool or uint8, of the photo's displayed size; True or
    non-zero = fill. It is grown by `grow` pixels. `texture`, `photo`, `output`, `in_place` and what comes back: as for
    `erase`.
    Raises `BadInput` for what cannot be used as given, a mask that covers everything among it; nothing is written.
    """
    options = InpaintOptions(grow, None, texture=texture)
    return run_inpaint(
        photo, mask, options, bundle=bundle, output=output, in_place=in_place, max_megapixels=max_megapixels
    ).value


def cutout(
    photo: Any,
    *words: Words,
    bundle: AnyBundle = "starter",
    output: Any = None,
    crop: bool = False,
    threshold: float | None = None,
    grow: int = 0,
    box: tuple[int, int, int, int] | None = None,
    point: tuple[int, int] | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Any:
    """Keep what the words name, transparent elsewhere.

    `photo`: a path, and what comes back is the path of the written file: `output` (.png, .webp, .tiff), or
    `photo.cutout.png` beside it; bytes, and a PNG's bytes come back; a PIL image, and one with alpha does; an array
    [H, W, 3] uint8, and [H, W, 4] does. `crop`: only the box around the thing. What is kept is grown by `grow` pixels.
    `words` and the other options as for `erase`.
    Raises `NotFound` if none of the words was found, `BadInput` for what cannot be used as given; nothing is written.
    """
    options = EraseOptions(SegmentOptions(threshold, box, point), InpaintOptions(grow))
    return run_cutout(
        photo, flat(words), options, bundle=bundle, output=output, crop=crop, max_megapixels=max_megapixels
    ).value


def run_erase(
    photo: Any,
    words: Sequence[str],
    options: EraseOptions,
    *,
    bundle: AnyBundle = "starter",
    output: Any = None,
    in_place: bool = False,
    mask_out: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Outcome:
    """`erase`, with a report. `mask_out`: also write the hole as a PNG.

    `dry_run`: find the hole, write nothing; to an `output` a picture of the photo with the hole tinted.
    """
    start = time.perf_counter()
    if dry_run and mask_out is not None:
        raise BadInput("a dry run writes nothing but a preview, no mask either: leave one of the two out")
    target = preview_target(photo, output, in_place) if dry_run else edited_target(photo, output, in_place)
    check_mask_target(mask_out, photo, target)
    network = load_bundle(bundle)
    opened, give = open_photo(photo, max_megapixels=max_megapixels)
    check_places(target, mask_out)
    erased = erase_pixels(opened.rgb, words, network, options, dry_run=dry_run)
    mask = None if mask_out is None else (mask_out, erased.hole)
    if not dry_run:
        value = _deliver(opened.with_patches(erased.patches), give, target, output is not None, mask)
    else:
        value = None if target is None else put(_preview(opened, erased, target), target)
    details = {
        **_about_words(erased.segmentation),
        "size": [opened.width, opened.height],
        "hole_share": round(float(erased.hole.mean()), 6),
        "dry_run": dry_run,
        "mask_out": None if mask_out is None else str(mask_out),
        "constants": _segment_constants(network, options.segment) | _hole_constants(options.inpaint, opened),
        "bundle": _bundle_name(network),
        "seconds": round(time.perf_counter() - start, 3),
    }
    report = Report("erase", _named(value, target), details)
    return Outcome(value, report, erased.hole, erased.segmentation)


def run_segment(
    photo: Any,
    words: Sequence[str],
    options: SegmentOptions,
    *,
    kind: str = "overlay",
    bundle: AnyBundle = "starter",
    output: Any = None,
    name: str | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Outcome:
    """Find the words and write their masks as `kind`: "overlay", "labels", "coco" or "labelme".

    Without an `output`, beside a photo given as a path, and as bytes for any other. `name`: what annotations call the
    photo, if not as its path does. Raises `NotFound` if none of the words was found.
    """
    start = time.perf_counter()
    target, suffix = _mask_file(photo, kind, output)
    network = load_bundle(bundle)
    opened, _ = open_photo(photo, max_megapixels=max_megapixels)
    check_places(target)
    found = found_pixels(opened.rgb, words, network, options)
    called = name or (Path(photo).name if is_path(photo) else "photo")
    value = put(encoded(kind, opened.rgb, found, name=called, suffix=suffix), target)
    details = {
        **_about_words(found),
        "format": kind,
        "size": [opened.width, opened.height],
        "shares": {word: round(float(found.mask(word).mean()), 6) for word in found.found},
        "constants": _segment_constants(network, options),
        "bundle": _bundle_name(network),
        "seconds": round(time.perf_counter() - start, 3),
    }
    return Outcome(value, Report("segment", _named(value, target), details), None, found)


def run_inpaint(
    photo: Any,
    mask: Any,
    options: InpaintOptions,
    *,
    bundle: AnyBundle = "starter",
    output: Any = None,
    in_place: bool = False,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Outcome:
    """`inpaint`, with a report."""
    start = time.perf_counter()
    target = edited_target(photo, output, in_place)
    protect(target, mask)
    network = load_bundle(bundle)
    opened, give = open_photo(photo, max_megapixels=max_megapixels)
    given = read_mask(mask, (opened.width, opened.height))
    check_places(target)
    numbers = settled(options, given.shape)
    hole = grown_hole(given, numbers)
    patches = fill_hole(opened.rgb, hole, network, replace(numbers, grow=0))
    value = _deliver(opened.with_patches(patches), give, target, output is not None)
    details = {
        "size": [opened.width, opened.height],
        "hole_share": round(float(hole.mean()), 6),
        "constants": _hole_constants(options, opened),
        "bundle": _bundle_name(network),
        "seconds": round(time.perf_counter() - start, 3),
    }
    return Outcome(value, Report("inpaint", _named(value, target), details), hole)


def run_cutout(
    photo: Any,
    words: Sequence[str],
    options: EraseOptions,
    *,
    bundle: AnyBundle = "starter",
    output: Any = None,
    crop: bool = False,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Outcome:
    """`cutout`, with a report; of `options.inpaint` only `grow` counts. The outcome's `hole` is what was kept."""
    start = time.perf_counter()
    target, suffix = cutout_target(photo, output)
    network = load_bundle(bundle)
    opened, _ = open_photo(photo, max_megapixels=max_megapixels)
    check_places(target)
    found = found_pixels(opened.rgb, words, network, options.segment)
    grow = settled(options.inpaint, (opened.height, opened.width)).grow or 0
    kept = grow_mask(np.asarray(found.labels > 0), grow)
    if target is None:
        value = give_cut(photo, opened, kept, crop=crop)
    else:
        value = put(cut_out(opened, kept, suffix=suffix, crop=crop), target)
    around = kept_box(opened, kept)
    details = {
        **_about_words(found),
        "size": [opened.width, opened.height],
        "kept_share": round(float(kept.mean()), 6),
        "kept_box": [around.x0, around.y0, around.x1 - around.x0, around.y1 - around.y0],
        "crop": crop,
        "constants": _segment_constants(network, options.segment) | {"grow": grow, "feather": feather_of(opened)},
        "bundle": _bundle_name(network),
        "seconds": round(time.perf_counter() - start, 3),
    }
    return Outcome(value, Report("cutout", _named(value, target), details), kept, found)


def flat(words: Iterable[Words]) -> list[str]:
    """Strings and lists of strings as one list. Raises `BadInput` for anything else."""
    given: list[Any] = list(words)
    for one in given:
        if isinstance(one, bytes) or not isinstance(one, Iterable):
            raise BadInput(f"a word must be text, not {type(one).__name__}: {one!r}")
    return [word for one in given for word in ([one] if isinstance(one, str) else one)]


def _preview(photo: Photo, erased: Erased, target: Any) -> bytes:
    suffix = ".jpg" if piped(target) else Path(target).suffix
    return preview(photo.rgb, erased.hole, erased.segmentation, suffix=suffix)


def _mask_file(photo: Any, kind: str, output: Any) -> tuple[Any, str]:
    """Where masks go and the suffix that says how they are written. Raises `BadInput`."""
    own = SUFFIXES.get(kind, "")
    target = output
    if output is None and is_path(photo):
        target = beside(photo, lambda path: path.stem + own)
    suffix = Path(f"masks{own}" if target is None or piped(target) else target).suffix
    check_format(kind, suffix)
    protect(target, photo)
    return target, suffix


def _deliver(
    photo: Photo, give: Any, target: Any, chosen: bool, mask: tuple[str | os.PathLike[str], Mask] | None = None
) -> Any:
    """Hand the photo back, or write it: where the caller chose the name its suffix says how, else as the source was.

    `mask`: where to write the hole, and the hole; only once the photo is coded, as one that cannot be leaves no mask.
    """
    suffix = Path(target).suffix or None if chosen and not piped(target) else None
    done = give(photo) if target is None else photo.encode(suffix)
    if mask is not None:
        path, hole = mask
        write_atomically(path, bytes(cv2.imencode(".png", hole.view(np.uint8) * np.uint8(255))[1]))
    return done if target is None else put(done, target)


def _named(value: Any, target: Any) -> str | None:
    """The output as a report names it: its path, "-" for a stream, None for a value that was handed back."""
    if piped(target):
        return "-"
    return str(value) if isinstance(value, Path) else None


def _about_words(found: Segmentation) -> dict[str, Any]:
    return {
        "words": list(found.words),
        "found": list(found.found),
        "not_found": [word for word in found.words if word not in found.found],
        "scores": {word: round(float(score), 4) for word, score in found.scores.items()},
        "nearest": list(found.nearest),
    }


def _segment_constants(bundle: Bundle, options: SegmentOptions) -> dict[str, Any]:
    own = read_constants(bundle).threshold
    return {
        "threshold": own if options.threshold is None else options.threshold,
        "box": options.box,
        "point": options.point,
    }


def _hole_constants(options: InpaintOptions, photo: Photo) -> dict[str, Any]:
    numbers = settled(options, (photo.height, photo.width))
    return {"grow": numbers.grow, "feather": numbers.feather}


def _bundle_name(bundle: Bundle) -> str:
    return f"{bundle.name} {bundle.manifest.get('version', '')}".strip()
