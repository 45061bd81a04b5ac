from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import pyvips
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

import unsay
from unsay.bundle import Bundle
from unsay.errors import BadInput, NotFound
from unsay.options import EraseOptions, InpaintOptions, SegmentOptions
from unsay.results import Pixels
from unsay.verbs import run_erase, run_inpaint, run_segment

pytestmark = pytest.mark.usefixtures("colour_words")
Make = Callable[..., Pixels]
GROW_NOTHING = EraseOptions(inpaint=InpaintOptions(grow=0, feather=None))


@pytest.fixture
def photo(tmp_path: Path, make_spotted: Make) -> Path:
    """A PNG in a folder of its own."""
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), make_spotted()[..., ::-1])
    return path


def read(data: bytes | Path) -> np.ndarray:
    data = data.read_bytes() if isinstance(data, Path) else data
    return np.asarray(pyvips.Image.new_from_buffer(data, "").numpy())


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- the same kind out ----------------------------------------------------------------------------------------------


def test_array_in_array_out(tiny_bundle: Bundle, make_spotted: Make) -> None:
    rgb = make_spotted()
    before = rgb.copy()
    out = unsay.erase(rgb, "red", bundle=tiny_bundle)
    assert isinstance(out, np.ndarray)
    assert (out.shape, out.dtype) == (rgb.shape, np.uint8)
    np.testing.assert_array_equal(rgb, before)
    assert not np.array_equal(out, rgb)
    assert out[30, 40, 0] < 200


def test_path_in_path_out(tiny_bundle: Bundle, photo: Path) -> None:
    before = photo.read_bytes()
    out = unsay.erase(str(photo), "red", bundle=tiny_bundle)
    assert out == photo.with_name("photo.unsaid.png")
    assert photo.read_bytes() == before
    assert sorted(os.listdir(photo.parent)) == ["photo.png", "photo.unsaid.png"]


def test_bytes_in_bytes_out(tiny_bundle: Bundle, photo: Path) -> None:
    out = unsay.erase(photo.read_bytes(), "red", bundle=tiny_bundle)
    assert isinstance(out, bytes)
    np.testing.assert_array_equal(read(out), read(Path(unsay.erase(photo, "red", bundle=tiny_bundle))))


def test_pil_in_pil_out(tiny_bundle: Bundle, photo: Path) -> None:
    with Image.open(photo) as image:
        out = unsay.erase(image, "red", bundle=tiny_bundle)
    assert isinstance(out, Image.Image)
    np.testing.assert_array_equal(np.array(out), unsay.erase(read(photo), "red", bundle=tiny_bundle))


def test_a_stream_takes_the_output(tiny_bundle: Bundle, photo: Path) -> None:
    stream = io.BytesIO()
    assert unsay.erase(photo, "red", bundle=tiny_bundle, output=stream) is None
    assert stream.getvalue() == unsay.erase(photo.read_bytes(), "red", bundle=tiny_bundle)
    assert os.listdir(photo.parent) == ["photo.png"]


class Trickle(io.RawIOBase):
    """A stream that takes a few bytes at a time, as an unbuffered pipe may."""

    def __init__(self) -> None:
        self.taken = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.taken += bytes(data)[:1000]
        return min(len(data), 1000)


def test_a_stream_that_takes_a_little_at_a_time_gets_everything(tiny_bundle: Bundle, photo: Path) -> None:
    trickle = Trickle()
    unsay.erase(photo, "red", bundle=tiny_bundle, output=trickle)
    assert bytes(trickle.taken) == unsay.erase(photo.read_bytes(), "red", bundle=tiny_bundle)


def test_a_file_that_is_open_is_not_replaced(tiny_bundle: Bundle, photo: Path, tmp_path: Path) -> None:
    kept = photo.read_bytes()
    mask = tmp_path / "mask.png"
    cv2.imwrite(str(mask), np.eye(90, 120, dtype=np.uint8) * 255)
    with open(photo, "rb") as stream, pytest.raises(BadInput, match="would replace"):
        unsay.erase(stream, "red", bundle=tiny_bundle, output=photo)
    with Image.open(photo) as image, pytest.raises(BadInput, match="would replace"):
        unsay.erase(image, "red", bundle=tiny_bundle, output=photo)
    with open(mask, "rb") as stream, pytest.raises(BadInput, match="would replace"):
        unsay.inpaint(photo, stream, bundle=tiny_bundle, output=mask)
    assert photo.read_bytes() == kept


def test_segment_gives_labels_in_the_words_order(tiny_bundle: Bundle, photo: Path) -> None:
    found = unsay.segment(photo, ["blue", "green", "red"], bundle=tiny_bundle)
    assert found.words == ("blue", "green", "red")
    assert sorted(np.unique(found.labels)) == [0, 1, 3]
    assert not found.mask("green").any()
    assert unsay.segment(photo, "red", bundle=tiny_bundle).found == ("red",)


def test_inpaint_takes_masks_of_every_kind(tiny_bundle: Bundle, make_spotted: Make, tmp_path: Path) -> None:
    rgb = make_spotted()
    mask = np.zeros(rgb.shape[:2], bool)
    mask[10:30, 20:60] = True
    cv2.imwrite(str(tmp_path / "mask.png"), mask.astype(np.uint8) * 255)
    outs = [
        unsay.inpaint(rgb, given, bundle=tiny_bundle)
        for given in (mask, mask.astype(np.uint8), tmp_path / "mask.png", (tmp_path / "mask.png").read_bytes())
    ]
    with Image.open(tmp_path / "mask.png") as image:
        outs.append(unsay.inpaint(rgb, image, bundle=tiny_bundle))
    for out in outs:
        np.testing.assert_array_equal(out, outs[0])
        np.testing.assert_array_equal(out[~mask], rgb[~mask])
    assert np.any(outs[0][mask] != rgb[mask])


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("red", "blue"), (["red", "blue"],), (("red",), "blue"), (iter(["red", "blue"]),)])
def test_words_in_any_form(tiny_bundle: Bundle, make_spotted: Make, words: Any) -> None:
    out = unsay.erase(make_spotted(), *words, bundle=tiny_bundle)
    assert not unsay.segment(out, ["red", "blue"], bundle=tiny_bundle).found


def test_some_found_is_enough(tiny_bundle: Bundle, make_spotted: Make) -> None:
    outcome = run_erase(make_spotted(), ["red", "green"], EraseOptions(), bundle=tiny_bundle)
    assert outcome.report.details["found"] == ["red"]
    assert outcome.report.details["not_found"] == ["green"]
    np.testing.assert_array_equal(outcome.value, unsay.erase(make_spotted(), "red", bundle=tiny_bundle))


def test_none_found_writes_nothing(tiny_bundle: Bundle, photo: Path) -> None:
    before = listing(photo.parent)
    for call in (
        lambda: unsay.erase(photo, "green", bundle=tiny_bundle),
        lambda: run_segment(photo, ["green"], SegmentOptions(), bundle=tiny_bundle),
    ):
        with pytest.raises(NotFound):
            call()
    assert not unsay.segment(photo, "green", bundle=tiny_bundle).found
    assert listing(photo.parent) == before


# --- what is never overwritten ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["itself", "relative", "symlink", "hardlink", "default is a link"])
def test_the_source_is_never_replaced(tiny_bundle: Bundle, photo: Path, way: str, monkeypatch: Any) -> None:
    monkeypatch.chdir(photo.parent)
    output: Any = photo.parent / "other.png"
    if way == "itself":
        output = photo
    elif way == "relative":
        output = f"../{photo.parent.name}/photo.png"
    elif way == "symlink":
        output.symlink_to(photo)
    elif way == "hardlink":
        output.hardlink_to(photo)
    else:
        (photo.parent / "photo.unsaid.png").symlink_to(photo)
        output = None
    before = photo.read_bytes()
    with pytest.raises(BadInput, match="would replace"):
        unsay.erase(photo, "red", bundle=tiny_bundle, output=output)
    with pytest.raises(BadInput, match="would replace"):
        unsay.inpaint(photo, np.zeros((90, 120), bool), bundle=tiny_bundle, output=output)
    assert photo.read_bytes() == before


def test_in_place_replaces_it(tiny_bundle: Bundle, photo: Path) -> None:
    expected = unsay.erase(photo.read_bytes(), "red", bundle=tiny_bundle)
    assert unsay.erase(photo, "red", bundle=tiny_bundle, in_place=True) == photo
    assert photo.read_bytes() == expected
    assert os.listdir(photo.parent) == ["photo.png"]


@pytest.mark.parametrize("name", ["photo", "photo.jpg", "photo.backup"])
def test_a_name_that_tells_nothing_keeps_the_photos_own_format(tiny_bundle: Bundle, photo: Path, name: str) -> None:
    renamed = photo.rename(photo.with_name(name))
    out = unsay.erase(renamed, "red", bundle=tiny_bundle)
    assert out.read_bytes().startswith(b"\x89PNG")
    assert (
        unsay.erase(renamed, "red", bundle=tiny_bundle, output=photo.with_name("out")).read_bytes() == out.read_bytes()
    )
    assert unsay.erase(renamed, "red", bundle=tiny_bundle, in_place=True).read_bytes() == out.read_bytes()


def test_contradictions(tiny_bundle: Bundle, photo: Path, make_spotted: Make) -> None:
    mask = photo.parent / "mask.png"
    cv2.imwrite(str(mask), np.zeros((90, 120), np.uint8))
    before = listing(photo.parent)

    def run(**given: Any) -> Any:
        return run_erase(photo, ["red"], EraseOptions(), bundle=tiny_bundle, **given)

    with pytest.raises(BadInput, match="give only one of the two"):
        unsay.erase(photo, "red", bundle=tiny_bundle, output="b.png", in_place=True)
    with pytest.raises(BadInput, match="only a photo given as a path"):
        unsay.erase(make_spotted(), "red", bundle=tiny_bundle, in_place=True)
    with pytest.raises(BadInput, match=r"mask.* must end in \.png"):
        run(mask_out=photo.parent / "hole.jpg")
    with pytest.raises(BadInput, match="would replace"):
        run(mask_out=photo)
    with pytest.raises(BadInput, match="would both be written"):
        run(mask_out=photo.parent / "same.png", output=photo.parent / "same.png")
    with pytest.raises(BadInput, match="a dry run writes nothing"):
        run(mask_out=photo.parent / "hole.png", dry_run=True)
    with pytest.raises(BadInput, match="would replace"):
        unsay.inpaint(photo, mask, bundle=tiny_bundle, output=mask)
    with pytest.raises(BadInput):
        unsay.erase(photo, "red", bundle=tiny_bundle, output=photo.parent / "a.xyz")
    assert listing(photo.parent) == before


# --- reports ----------------------------------------------------------------------------------------------------------


def test_report_and_mask(tiny_bundle: Bundle, photo: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    where = tmp_path_factory.mktemp("out") / "hole.png"
    outcome = run_erase(photo, ["red", "green"], EraseOptions(), bundle=tiny_bundle, mask_out=where)
    details = json.loads(json.dumps(outcome.report.details))
    assert outcome.report.verb == "erase"
    assert outcome.report.output == str(photo.with_name("photo.unsaid.png"))
    assert details["constants"] == {"threshold": 0.5, "box": None, "point": None, "grow": 3, "feather": 1}
    assert details["size"] == [120, 90]
    assert details["bundle"] == "tiny 0.1.0"
    assert details["hole_share"] == pytest.approx(outcome.hole.mean(), abs=1e-5)
    np.testing.assert_array_equal(read(where)[..., 0] if read(where).ndim == 3 else read(where), outcome.hole * 255)


def test_a_dry_run_writes_and_fills_nothing(tiny_bundle: Bundle, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("unsay.erasing.fill_hole")
    outcome = run_erase(photo, ["red"], EraseOptions(), bundle=tiny_bundle, dry_run=True)
    assert outcome.value is outcome.report.output is None
    assert outcome.report.details["hole_share"] > 0
    assert os.listdir(photo.parent) == ["photo.png"]


@pytest.mark.parametrize("kind", ["overlay", "labels", "coco", "labelme"])
def test_segment_writes_every_format(tiny_bundle: Bundle, photo: Path, kind: str) -> None:
    outcome = run_segment(photo, ["red", "blue"], SegmentOptions(), kind=kind, bundle=tiny_bundle)
    assert outcome.value.is_file()
    assert outcome.value.name.startswith(f"photo.{kind}.")
    in_memory = run_segment(read(photo), ["red", "blue"], SegmentOptions(), kind=kind, bundle=tiny_bundle).value
    assert in_memory == outcome.value.read_bytes().replace(b'"photo.png"', b'"photo"')


def test_an_empty_mask_gives_the_photo_back(tiny_bundle: Bundle, photo: Path, make_spotted: Make) -> None:
    outcome = run_inpaint(photo, np.zeros((90, 120), bool), InpaintOptions(), bundle=tiny_bundle)
    assert outcome.value.read_bytes() == photo.read_bytes()
    assert outcome.report.details["hole_share"] == 0
    np.testing.assert_array_equal(
        unsay.inpaint(make_spotted(), np.zeros((90, 120), np.uint8), bundle=tiny_bundle), make_spotted()
    )


def test_the_same_input_gives_the_same_bytes(tiny_bundle: Bundle, photo: Path) -> None:
    data = photo.read_bytes()
    assert unsay.erase(data, "red", bundle=tiny_bundle) == unsay.erase(data, "red", bundle=tiny_bundle)


# --- promise 1: outside the hole nothing changes ----------------------------------------------------------------------

ENCODERS = {
    "png": lambda image: image.pngsave_buffer(),
    "png16": lambda image: (
        image.cast("ushort").linear(257, 13).cast("ushort").copy(interpretation="rgb16").pngsave_buffer()
    ),
    "tiff": lambda image: image.tiffsave_buffer(compression="lzw"),
    "webp": lambda image: image.webpsave_buffer(lossless=True),
    "grey png": lambda image: image.extract_band(1).copy(interpretation="b-w").pngsave_buffer(),
    "rgba png": lambda image: image.bandjoin(image.extract_band(0)).pngsave_buffer(),
}


@pytest.mark.parametrize("form", ENCODERS)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    size=st.tuples(st.integers(1, 140), st.integers(1, 140)),
    corner=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    hole_size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    grow=st.integers(0, 4),
)
def test_outside_the_hole_every_sample_is_the_same(
    tiny_bundle: Bundle, make_rgb: Make, form: str, **drawn: Any
) -> None:
    (height, width), corner, hole_size = drawn["size"], drawn["corner"], drawn["hole_size"]
    mask = np.zeros((height, width), bool)
    y, x = int(corner[0] * (height - 1)), int(corner[1] * (width - 1))
    mask[y : y + hole_size[0], x : x + hole_size[1]] = True
    options = InpaintOptions(grow=min(drawn["grow"], max(height, width)), feather=None)
    data = ENCODERS[form](pyvips.Image.new_from_array(make_rgb(height, width)).copy(interpretation="srgb"))
    try:
        outcome = run_inpaint(data, mask, options, bundle=tiny_bundle)
    except BadInput as error:
        assume("covers the whole photo" not in str(error))
        raise
    before, after = read(data), read(outcome.value)
    assert before.dtype == after.dtype
    np.testing.assert_array_equal(after[~outcome.hole], before[~outcome.hole])
    if after.ndim == 3 and after.shape[2] == 4:
        np.testing.assert_array_equal(after[..., 3], before[..., 3])


@pytest.mark.parametrize("output", ["missing/out.png", ".", "clear.jpg"])
def test_a_photo_that_cannot_be_written_leaves_no_mask(
    tiny_bundle: Bundle, make_spotted: Make, tmp_path: Path, output: str
) -> None:
    """A folder that is not there, a folder, a JPEG that would lose the photo's transparency."""
    alpha = np.full((*make_spotted().shape[:2], 1), 90, np.uint8)
    Image.fromarray(np.dstack([make_spotted(), alpha])).save(tmp_path / "photo.png")
    with pytest.raises(BadInput):
        run_erase(
            tmp_path / "photo.png",
            ["red"],
            EraseOptions(),
            bundle=tiny_bundle,
            output=tmp_path / output,
            mask_out=tmp_path / "mask.png",
        )
    assert os.listdir(tmp_path) == ["photo.png"]


def test_a_place_that_cannot_be_written_is_told_before_the_work(
    tiny_bundle: Bundle, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unsay.verbs.erase_pixels", lambda *_, **__: pytest.fail("worked"))
    with pytest.raises(BadInput, match="its folder does not exist"):
        run_erase(photo, ["red"], EraseOptions(), bundle=tiny_bundle, output=photo.parent / "no" / "out.png")


@pytest.mark.parametrize("name", [".", "/", ""])
def test_a_folder_without_a_name_is_no_photo(tiny_bundle: Bundle, name: str) -> None:
    for call in (
        lambda: unsay.erase(name, "red", bundle=tiny_bundle),
        lambda: run_segment(name, ["red"], SegmentOptions()),
    ):
        with pytest.raises(BadInput, match="is a folder, not a photo"):
            call()


@pytest.mark.parametrize("word", [5, None, b"dog"])
def test_what_is_no_word(tiny_bundle: Bundle, make_spotted: Make, word: Any) -> None:
    with pytest.raises(BadInput, match="a word must be text"):
        unsay.erase(make_spotted(), word, bundle=tiny_bundle)


def test_a_path_with_a_zero_byte(tiny_bundle: Bundle) -> None:
    with pytest.raises(BadInput, match="zero byte"):
        unsay.erase("a\0.jpg", "red", bundle=tiny_bundle)


@pytest.mark.parametrize("grow", [2.5, "2"])
def test_growing_by_no_whole_number(tiny_bundle: Bundle, make_spotted: Make, grow: Any) -> None:
    with pytest.raises(BadInput, match="give a whole number of pixels"):
        unsay.inpaint(make_spotted(), np.eye(*make_spotted().shape[:2], dtype=bool), bundle=tiny_bundle, grow=grow)
