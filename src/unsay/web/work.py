"""What a job's process does: every function takes a photo's folder (see `kept`) and gives plain data back."""

from __future__ import annotations

import errno
import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from unsay import verbs
from unsay.adapt import read_mask
from unsay.bundle import Bundle, load_bundle
from unsay.cutting import cut_out as cut_out_photo
from unsay.erasing import erase_pixels
from unsay.errors import BadInput, NotFound, TooLarge, UnsayError
from unsay.inpainting import fill_hole, grown_hole, settled
from unsay.masks_out import SUFFIXES, encoded, label_image
from unsay.options import EraseOptions, InpaintOptions, SegmentOptions
from unsay.photo import Photo
from unsay.processes import make_ready
from unsay.results import Mask, Segmentation
from unsay.segmentation.pipeline import Seen, find, see
from unsay.segmentation.sizes import enlarge
from unsay.web.kept import PHOTO, load_patches, load_seen, save_patches, save_seen

P = ParamSpec("P")
R = TypeVar("R")
Report = dict[str, Any]
Edits = Sequence[str]
"""The names of the edits that were made upon the photo, in order; none: the photo as it came."""
FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_SENTENCE = "the server's disk is full: make room on it, or close other photos"
DROPPED = "this step was dropped by another edit meanwhile: ask for the photo's steps again"
LONGEST_SIDE = 30_000
"""Pixels in a row: about what browsers show of a picture."""
PNG_START = b"\x89PNG\r\n\x1a\n"
DISPLAY_QUALITY = 92
_SETUP: dict[str, Any] = {}


@dataclass(frozen=True)
class Refusal:
    """A job that could not be done as asked: the HTTP status and a sentence."""

    status: int
    message: str
    details: dict[str, Any] = field(default_factory=dict)


def set_up(bundle: str, threads: int, max_megapixels: float, job_bytes: int) -> None:
    """Make this process ready for jobs: its networks opened, its threads and memory bounded."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (job_bytes, job_bytes))
    make_ready(threads)
    _SETUP.update(bundle=load_bundle(bundle, threads=threads), max_megapixels=max_megapixels)


def job(function: Callable[P, R]) -> Callable[P, R | Refusal]:
    """A function whose errors come back as a `Refusal`: exceptions with fields of their own do not travel well."""

    @functools.wraps(function)
    def answered(*args: P.args, **kwargs: P.kwargs) -> R | Refusal:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            refusal = _refusal(error)
            if refusal is None:
                raise
            return refusal

    return answered


def _refusal(error: Exception) -> Refusal | None:
    """What an error means for the one who asked; None for one of our own making."""
    return next((meant(error) for kind, meant in MEANINGS if isinstance(error, kind)), None)


def _too_large(error: TooLarge) -> Refusal:
    taken = f"at most {_limit():g} are taken: use a smaller copy"
    return Refusal(413, f"the photo has {error.megapixels:.3g} megapixels; {taken}")


def _not_kept(error: OSError) -> Refusal | None:
    return Refusal(507, FULL_SENTENCE) if error.errno in FULL else None


MEANINGS: tuple[tuple[type[Exception], Callable[[Any], Refusal | None]], ...] = (
    (NotFound, lambda error: Refusal(422, str(error), {"scores": error.scores, "nearest": error.nearest})),
    (TooLarge, _too_large),
    (BadInput, lambda error: Refusal(422, _plain(error))),
    (UnsayError, lambda error: Refusal(500, _plain(error))),
    (MemoryError, lambda _: Refusal(413, "the photo needs more memory than a job is given: use a smaller copy")),
    (FileNotFoundError, lambda _: Refusal(409, DROPPED)),
    (OSError, _not_kept),
    (cv2.error, lambda error: Refusal(422, f"the picture cannot be used ({_plain(error)[:120]}): use another copy")),
)
"""Kinds of errors and their refusals; the first that fits counts."""


@job
def ready() -> bool:
    """True, once this process can do jobs: `segment` and `inpaint` with this bundle."""
    for verb in ("segment", "inpaint"):
        _bundle().section(verb)
    return True


@job
def open_photo(folder: Path) -> Report:
    """Read the photo that was put into `folder` and look at it: its format, size, and words that it seems to show."""
    photo = _photo(folder, ())
    if max(photo.width, photo.height) > LONGEST_SIDE:
        size = f"{photo.width} x {photo.height}"
        raise BadInput(f"the photo is {size}; the page takes {LONGEST_SIDE} pixels in a row: use the command line")
    seen = see(photo.rgb, _bundle())
    save_seen(folder, (), seen)
    return {"format": photo.format, "width": photo.width, "height": photo.height, "nearest": list(seen.nearest)}


@job
def find_words(folder: Path, edits: Edits, words: list[str], options: SegmentOptions) -> Report:
    """Where the words are in the photo after `edits`; `labels` is a PNG, i = the i-th word."""
    found = find(_seen(folder, edits), words, _bundle(), options)
    return _about(found) | {"labels": _png(label_image(found))}


@job
def regions(folder: Path, edits: Edits) -> bytes:
    """The regions of the photo after `edits` before any was named, as a grey PNG of its size: 1, 2, ..."""
    seen = _seen(folder, edits)
    return _png(enlarge(seen.groups, seen.shape).astype(np.uint8) + np.uint8(1))


@job
def erase_mask(folder: Path, edits: Edits, name: str, mask: Path, options: InpaintOptions) -> float:
    """Fill what the picture `mask` covers of the photo after `edits`: a new edit `name`; gives the hole's share."""
    photo = _photo(folder, edits)
    numbers = settled(options, (photo.height, photo.width))
    hole = grown_hole(_mask(mask, photo), numbers)
    save_patches(folder, name, fill_hole(photo.rgb, hole, _bundle(), replace(numbers, grow=0)))
    return round(float(hole.mean()), 6)


@job
def picture(folder: Path, edits: Edits) -> bytes:
    """The photo after `edits` as a JPEG to look at: full size, sRGB, the way up that it is displayed."""
    rgb = _photo(folder, edits).rgb
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, DISPLAY_QUALITY])
    if not done:
        raise BadInput(f"a picture of {rgb.shape[1]} x {rgb.shape[0]} pixels cannot be shown: use a smaller copy")
    return data.tobytes()


@job
def photo_file(folder: Path, edits: Edits, suffix: str | None) -> bytes:
    """The photo after `edits` as a file, in its own format or that of `suffix`."""
    return _photo(folder, edits).encode(suffix)


@job
def cut_out(folder: Path, edits: Edits, mask: Path) -> bytes:
    """What `mask` covers of the photo after `edits`, transparent elsewhere, as a PNG."""
    photo = _photo(folder, edits)
    return cut_out_photo(photo, _mask(mask, photo))


@job
def mask_file(
    shape: tuple[int, int], kind: str, name: str, words: list[str], scores: dict[str, float], labels: bytes
) -> bytes:
    """Masks drawn on a photo of `shape` (H, W) as "labels", "coco" or "labelme"; `labels`: a PNG, i = the i-th word."""
    drawn = _labels(labels, shape)
    if drawn is None or drawn.max(initial=0) > len(words):
        raise BadInput(
            f"labels must be a grey PNG of the photo's {shape[1]} x {shape[0]} pixels with values up to {len(words)}"
        )
    numbers = drawn.astype(np.int32)
    present = tuple(word for i, word in enumerate(words, 1) if (numbers == i).any())
    known = {word: min(1.0, max(0.0, float(scores.get(word, 1.0)))) for word in words}
    result = Segmentation(tuple(words), numbers, known, np.zeros_like(numbers), present)
    blank = np.zeros((*shape, 3), np.uint8)
    return encoded(kind, blank, result, name=name, suffix=Path(SUFFIXES[kind]).suffix)


@job
def erase_words(folder: Path, words: list[str], options: EraseOptions, suffix: str | None) -> tuple[bytes, Report]:
    """`unsay.erase` on the photo in `folder`: the file, and what was found."""
    photo = _photo(folder, ())
    erased = erase_pixels(photo.rgb, words, _bundle(), options)
    share = round(float(erased.hole.mean()), 6)
    report = _about(erased.segmentation) | {"hole_share": share, "format": photo.format}
    return photo.with_patches(erased.patches).encode(suffix), report


@job
def segment_words(folder: Path, words: list[str], options: SegmentOptions, kind: str) -> tuple[bytes, Report]:
    """`unsay segment` on the photo in `folder`: the file of that kind, and what was found."""
    outcome = verbs.run_segment(
        (folder / PHOTO).read_bytes(), words, options, kind=kind, bundle=_bundle(), max_megapixels=_limit()
    )
    return outcome.value, _about(_found(outcome))


@job
def cut_out_words(folder: Path, words: list[str], options: EraseOptions) -> tuple[bytes, Report]:
    """`unsay cutout` on the photo in `folder`: the PNG, and what was found."""
    outcome = verbs.run_cutout((folder / PHOTO).read_bytes(), words, options, bundle=_bundle(), max_megapixels=_limit())
    return outcome.value, _about(_found(outcome))


def _bundle() -> Bundle:
    bundle: Bundle = _SETUP["bundle"]
    return bundle


def _limit() -> float:
    limit: float = _SETUP["max_megapixels"]
    return limit


def _found(outcome: verbs.Outcome) -> Segmentation:
    if outcome.segmentation is None:
        raise TypeError(f"{outcome.report.verb} told nothing of its words")
    return outcome.segmentation


def _about(found: Segmentation) -> Report:
    missing = [word for word in found.words if word not in found.found]
    return {
        "words": list(found.words),
        "found": list(found.found),
        "not_found": missing,
        "scores": found.scores,
        "nearest": list(found.nearest),
    }


def _photo(folder: Path, edits: Edits) -> Photo:
    photo = Photo.open((folder / PHOTO).read_bytes(), max_megapixels=_limit())
    for edit in edits:
        photo = photo.with_patches(load_patches(folder, edit))
    return photo


def _seen(folder: Path, edits: Edits) -> Seen:
    """What the networks saw of the photo after `edits`; they look once."""
    seen = load_seen(folder, edits)
    if seen is None:
        seen = see(_photo(folder, edits).rgb, _bundle())
        save_seen(folder, edits, seen)
    return seen


def _mask(path: Path, photo: Photo) -> Mask:
    try:
        return read_mask(path.read_bytes(), (photo.width, photo.height))
    except TooLarge as error:
        size = f"{photo.width} x {photo.height}"
        raise BadInput(
            f"the mask has {error.megapixels:.3g} megapixels: give one of the photo's {size} pixels"
        ) from None


def _labels(data: bytes, shape: tuple[int, int]) -> npt.NDArray[np.uint8] | None:
    """The values of a grey PNG; None for another file or size, told from its head before it is decoded."""
    head = PNG_START + b"\0\0\0\rIHDR" + shape[1].to_bytes(4, "big") + shape[0].to_bytes(4, "big")
    if not data.startswith(head):
        return None
    drawn = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return np.asarray(drawn) if drawn is not None and drawn.dtype == np.uint8 and drawn.shape == shape else None


def _png(labels: npt.NDArray[Any]) -> bytes:
    return bytes(cv2.imencode(".png", labels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1])


def _plain(error: BaseException) -> str:
    """The error's message on one line; what came as bytes was a file to the one who sent it."""
    return (
        " ".join(str(error).split())
        .replace("the photo given as bytes", "this file")
        .replace("the mask given as bytes", "the mask")
    )
