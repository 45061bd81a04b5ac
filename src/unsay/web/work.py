"""What a job's process does: every function takes a photo's folder (see `kept`) and gives plain data back."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
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
from unsay.photo.read import block_other_loaders
from unsay.results import Mask, Segmentation
from unsay.segmentation.pipeline import Seen, find, see
from unsay.segmentation.sizes import enlarge
from unsay.web.kept import PHOTO, drop_after, load_patches, load_seen, save_patches, save_seen

P = ParamSpec("P")
R = TypeVar("R")
Report = dict[str, Any]
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
    cv2.setNumThreads(threads)
    block_other_loaders()
    _SETUP.update(bundle=load_bundle(bundle, threads=threads), max_megapixels=max_megapixels)


def job(function: Callable[P, R]) -> Callable[P, R | Refusal]:
    """A function whose errors come back as a `Refusal`: exceptions with fields of their own do not travel well."""

    @functools.wraps(function)
    def answered(*args: P.args, **kwargs: P.kwargs) -> R | Refusal:
        try:
            return function(*args, **kwargs)
        except NotFound as error:
            return Refusal(422, str(error), {"scores": error.scores, "nearest": error.nearest})
        except TooLarge as error:
            limit = _limit()
            return Refusal(
                413, f"the photo has {error.megapixels:.3g} megapixels; at most {limit:g} are taken: use a smaller copy"
            )
        except BadInput as error:
            return Refusal(422, _plain(error))
        except UnsayError as error:
            return Refusal(500, _plain(error))
        except MemoryError:
            return Refusal(413, "the photo needs more memory than a job is given: use a smaller copy")

    return answered


@job
def ready() -> bool:
    """True, once this process can do jobs: `segment` and `inpaint` with this bundle."""
    for verb in ("segment", "inpaint"):
        _bundle().section(verb)
    return True


@job
def open_photo(folder: Path) -> Report:
    """Read the photo that was put into `folder` and look at it: its format, size, and words that it seems to show."""
    photo = _photo(folder, 0)
    seen = see(photo.rgb, _bundle())
    save_seen(folder, 0, seen)
    return {"format": photo.format, "width": photo.width, "height": photo.height, "nearest": list(seen.nearest)}


@job
def find_words(folder: Path, step: int, words: list[str], options: SegmentOptions) -> Report:
    """Where the words are in the photo after `step` edits; `labels` is a PNG, i = the i-th word."""
    found = find(_seen(folder, step), words, _bundle(), options)
    return _about(found) | {"labels": _png(label_image(found))}


@job
def regions(folder: Path, step: int) -> bytes:
    """The regions of the photo after `step` edits before any was named, as a grey PNG of its size: 1, 2, ..."""
    seen = _seen(folder, step)
    return _png(enlarge(seen.groups, seen.shape).astype(np.uint8) + np.uint8(1))


@job
def erase_mask(folder: Path, step: int, mask: bytes, options: InpaintOptions) -> Report:
    """Fill what `mask` (a picture) covers of the photo after `step` edits: the edit `step + 1`, later ones dropped."""
    photo = _photo(folder, step)
    numbers = settled(options, (photo.height, photo.width))
    hole = grown_hole(_mask(mask, photo), numbers)
    patches = fill_hole(photo.rgb, hole, _bundle(), replace(numbers, grow=0))
    drop_after(folder, step)
    save_patches(folder, step + 1, patches)
    return {"step": step + 1, "steps": step + 1, "hole_share": round(float(hole.mean()), 6)}


@job
def picture(folder: Path, step: int) -> bytes:
    """The photo after `step` edits as a JPEG to look at: full size, sRGB, the way up that it is displayed."""
    rgb = _photo(folder, step).rgb
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, DISPLAY_QUALITY])
    if not done:
        raise BadInput(f"a picture of {rgb.shape[1]} x {rgb.shape[0]} pixels cannot be shown: use a smaller copy")
    return data.tobytes()


@job
def photo_file(folder: Path, step: int, suffix: str | None) -> bytes:
    """The photo after `step` edits as a file, in its own format or that of `suffix`."""
    return _photo(folder, step).encode(suffix)


@job
def cut_out(folder: Path, step: int, mask: bytes) -> bytes:
    """What `mask` covers of the photo after `step` edits, transparent elsewhere, as a PNG."""
    photo = _photo(folder, step)
    return cut_out_photo(photo, _mask(mask, photo))


@job
def mask_file(folder: Path, kind: str, name: str, words: list[str], scores: dict[str, float], labels: bytes) -> bytes:
    """Masks drawn on the photo as "labels", "coco" or "labelme"; `labels` is a PNG, i = the i-th word."""
    shape = _seen(folder, 0).shape
    drawn = cv2.imdecode(np.frombuffer(labels, np.uint8), cv2.IMREAD_UNCHANGED)
    if drawn is None or drawn.shape != shape or drawn.max(initial=0) > len(words):
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
    photo = _photo(folder, 0)
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


def _photo(folder: Path, step: int) -> Photo:
    photo = Photo.open((folder / PHOTO).read_bytes(), max_megapixels=_limit())
    for number in range(1, step + 1):
        photo = photo.with_patches(load_patches(folder, number))
    return photo


def _seen(folder: Path, step: int) -> Seen:
    """What the networks saw of the photo after `step` edits; they look once."""
    seen = load_seen(folder, step)
    if seen is None:
        seen = see(_photo(folder, step).rgb, _bundle())
        save_seen(folder, step, seen)
    return seen


def _mask(data: bytes, photo: Photo) -> Mask:
    return read_mask(data, (photo.width, photo.height))


def _png(labels: npt.NDArray[Any]) -> bytes:
    return bytes(cv2.imencode(".png", labels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1])


def _plain(error: BaseException) -> str:
    """The error's message on one line."""
    return " ".join(str(error).split())
