"""What goes in comes out: the matrix of `fidelity_cases` through the verbs, judged by other decoders than ours."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import numpy as np
import pillow_heif
import pytest
import pyvips
from PIL import Image

from fidelity_cases import ARTIST, CASES, THING, Case, scene
from unsay.bundle import Bundle
from unsay.errors import BadInput
from unsay.options import EraseOptions, InpaintOptions, SegmentOptions
from unsay.photo.jpeg import read_blocks, read_jpeg
from unsay.photo.native import displayed
from unsay.results import Mask
from unsay.verbs import Outcome, run_erase, run_inpaint, run_segment

SPREAD = 17
"""Every so many-th case is run by default, the others by the slow tests."""
GREY = ("grey", "bilevel", "big-endian", "palette 1 bits", "palette 2 bits")
VERBS = ("erase", "inpaint", "segment")
ALL = [
    pytest.param(name, verb, id=f"{verb} {name}", marks=[] if i % SPREAD == k else [pytest.mark.slow])
    for i, name in enumerate(CASES)
    for k, verb in enumerate(VERBS)
    if verb == "inpaint" or not any(word in name for word in GREY)  # the words of these tests are colours
]


def samples(data: bytes) -> np.ndarray:
    """The samples [H, W, bands] as libvips or pillow-heif reads them, in stored orientation."""
    if data[4:8] == b"ftyp" and b"avif" not in data[:40]:
        pixels = np.asarray(pillow_heif.open_heif(data, convert_hdr_to_8bit=False))
    else:
        pixels = pyvips.Image.new_from_buffer(data, "").numpy()
    return pixels if pixels.ndim == 3 else pixels[..., None]


def stored(mask: Mask, orientation: int) -> Mask:
    """A mask in displayed orientation, turned to the stored one."""
    shape = mask.shape if orientation < 5 else mask.shape[::-1]
    turned = np.zeros(shape, bool)
    displayed(turned, orientation)[:] = mask
    return turned


def thing() -> Mask:
    mask = np.zeros(scene(1, "uint8").shape[:2], bool)
    mask[THING] = True
    return mask


def has_alpha(data: bytes) -> bool:
    if data[4:8] == b"ftyp":
        return samples(data).shape[2] == 4
    return bool(pyvips.Image.new_from_buffer(data, "").hasalpha())


def run(verb: str, data: bytes, case: Case, bundle: Bundle) -> Outcome:
    if verb == "erase":
        return run_erase(data, ["red"], EraseOptions(), bundle=bundle)
    if verb == "segment":
        return run_segment(data, ["red"], SegmentOptions(), kind="labels", bundle=bundle)
    mask = np.ascontiguousarray(displayed(thing(), case.orientation))
    return run_inpaint(data, mask, InpaintOptions(2, None), bundle=bundle)


def check_exact(before: bytes, after: bytes, hole: Mask) -> None:
    old, new = samples(before), samples(after)
    assert new.dtype == old.dtype
    assert new.shape == old.shape
    np.testing.assert_array_equal(new[~hole], old[~hole])
    if has_alpha(before):
        np.testing.assert_array_equal(new[..., -1], old[..., -1])


def check_blocks(before: bytes, after: bytes, hole: Mask) -> None:
    old, new = read_jpeg(before), read_jpeg(after)
    assert new.frame == old.frame
    h, v = old.most
    for component, was, now in zip(old.components, read_blocks(old), read_blocks(new), strict=True):
        rows, columns = 8 * v // component.v, 8 * h // component.h
        for r, c in np.argwhere((was != now).any(axis=2)):
            assert hole[r * rows : (r + 1) * rows, c * columns : (c + 1) * columns].any()


def check_close(before: bytes, after: bytes, hole: Mask) -> None:
    old, new = samples(before), samples(after)
    assert new.dtype == old.dtype
    assert new.shape == old.shape
    colours = old.shape[2] - has_alpha(before)
    parts = [slice(colours), slice(colours, None)] if has_alpha(before) else [slice(colours)]
    for part in parts:
        step = (old[~hole].astype(float) - new[~hole])[:, part]
        assert np.square(step).mean() <= np.iinfo(old.dtype).max ** 2 / 10**4.5


def beside(data: bytes, name: str) -> dict[str, Any]:
    """What other readers find beside the pixels: orientation, artist, profile."""
    exif = Image.Exif()
    if name.startswith("heic"):
        info: Any = pillow_heif.open_heif(data).info
        exif.load(info.get("exif") or b"")
        return {"turn": exif.get(274, 1), "artist": exif.get(315), "icc": info.get("icc_profile")}
    if name.startswith("tiff"):  # Pillow does not open all of them
        fields = pyvips.Image.new_from_buffer(data, "")
        known = fields.get_fields()
        icc = fields.get("icc-profile-data") if "icc-profile-data" in known else None
        return {"turn": fields.get("orientation"), "artist": ARTIST.encode() in data, "icc": icc}
    opened = Image.open(io.BytesIO(data))
    exif = opened.getexif()
    return {"turn": exif.get(274, 1), "artist": exif.get(315), "icc": opened.info.get("icc_profile")}


def check_what_is_beside(before: bytes, after: bytes, case: Case, name: str) -> None:
    old, new = beside(before, name), beside(after, name)
    assert new == old
    assert new["turn"] == case.orientation
    assert (new["icc"] is not None) == case.icc
    if case.metadata and not name.startswith("tiff"):
        assert new["artist"] == ARTIST
    assert (b"<x:xmpmeta" in before) == (b"<x:xmpmeta" in after)
    assert (b"a comment" in before) == (b"a comment" in after)


CHECKS = {"exact": check_exact, "blocks": check_blocks, "close": check_close}


@pytest.mark.parametrize(("name", "verb"), ALL)
@pytest.mark.usefixtures("colour_words")
def test_what_the_verb_promises_is_kept(name: str, verb: str, tiny_bundle: Bundle) -> None:
    case = CASES[name]
    before = case.make()
    kept = bytes(before)
    if case.promise == "refused":
        with pytest.raises(BadInput):
            run(verb, before, case, tiny_bundle)
        return
    outcome = run(verb, before, case, tiny_bundle)
    assert before == kept
    if verb == "segment":
        labels = np.array(Image.open(io.BytesIO(outcome.value)))
        assert labels.shape == displayed(thing(), case.orientation).shape
        assert (stored(labels == 1, case.orientation) & thing()).sum() > 0.9 * thing().sum()
        return
    hole = stored(outcome.hole, case.orientation)
    assert hole.sum() < 0.6 * hole.size
    CHECKS[case.promise](before, outcome.value, hole)
    check_what_is_beside(before, outcome.value, case, name)
    if "palette" not in name and "bilevel" not in name:  # they become plain samples: a fill has other colours
        assert len(outcome.value) <= 1.5 * len(before) + 2000
    gone = samples(outcome.value)[THING].astype(float) - samples(before)[THING]
    assert np.abs(gone).mean() > 0.02 * np.iinfo(samples(before).dtype).max


def test_the_matrix_holds_every_format() -> None:
    count = Counter(name.split(",")[0].split()[0] for name, case in CASES.items() if case.promise != "refused")
    assert set(count) == {"jpeg", "png", "tiff", "webp", "avif", "heic"}
    assert sum(count.values()) > 1000
    assert {case.orientation for case in CASES.values()} == set(range(1, 9))
