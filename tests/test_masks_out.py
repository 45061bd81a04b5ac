from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unsay.errors import BadInput
from unsay.masks_out import check_format, coco, colour_of, encoded, label_image, labelme, overlay, preview
from unsay.results import Segmentation


def segmentation(labels: np.ndarray, words: tuple[str, ...]) -> Segmentation:
    found = tuple(word for index, word in enumerate(words, 1) if (labels == index).any())
    scores = {word: 0.9 if word in found else 0.1 for word in words}
    return Segmentation(words, labels.astype(np.int32), scores, np.zeros(labels.shape, np.int32), found)


@pytest.fixture
def two_dogs_and_a_cat() -> Segmentation:
    labels = np.zeros((60, 80), int)
    labels[5:15, 5:20] = labels[30:50, 10:30] = 1
    labels[35:40, 15:20] = 0
    labels[20:55, 50:75] = 2
    return segmentation(labels, ("dog", "cat", "horse"))


def from_runs(counts: list[int], size: list[int]) -> np.ndarray:
    flat = np.repeat(np.arange(len(counts)) % 2, counts)
    return flat.reshape(size[1], size[0]).T.astype(bool)


@given(labels=arrays(int, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 2)))
def test_coco_annotations_add_up_to_the_labels(labels: np.ndarray) -> None:
    written = coco(segmentation(labels, ("dog", "cat")), "a.jpg")
    again = np.zeros(labels.shape, int)
    for one in written["annotations"]:
        mask = from_runs(one["segmentation"]["counts"], one["segmentation"]["size"])
        left, top, width, height = one["bbox"]
        assert mask.sum() == one["area"] == mask[top : top + height, left : left + width].sum()
        assert not again[mask].any()
        again[mask] = one["category_id"]
    np.testing.assert_array_equal(again, labels)


def test_coco_names_photo_and_words(two_dogs_and_a_cat: Segmentation) -> None:
    written = json.loads(json.dumps(coco(two_dogs_and_a_cat, "a.jpg")))
    assert written["images"] == [{"id": 1, "file_name": "a.jpg", "width": 80, "height": 60}]
    assert [one["name"] for one in written["categories"]] == ["dog", "cat", "horse"]
    assert [one["category_id"] for one in written["annotations"]] == [1, 1, 2]
    assert [one["id"] for one in written["annotations"]] == [1, 2, 3]


def test_labelme_polygons_cover_the_pieces(two_dogs_and_a_cat: Segmentation) -> None:
    written = json.loads(json.dumps(labelme(two_dogs_and_a_cat, "a.jpg")))
    assert (written["imagePath"], written["imageHeight"], written["imageWidth"]) == ("a.jpg", 60, 80)
    assert [shape["label"] for shape in written["shapes"]] == ["dog", "dog", "cat"]
    canvas = np.zeros((60, 80), np.uint8)
    cv2.fillPoly(canvas, [np.array(written["shapes"][2]["points"], np.int32)], 1)
    np.testing.assert_array_equal(canvas > 0, two_dogs_and_a_cat.mask("cat"))


def test_labelme_gives_every_piece_three_corners() -> None:
    labels = np.zeros((9, 9), int)
    labels[2, 3] = labels[5, 1:8] = 1
    assert all(len(shape["points"]) >= 3 for shape in labelme(segmentation(labels, ("dog",)), "a.jpg")["shapes"])


def test_labels_have_exactly_these_values(two_dogs_and_a_cat: Segmentation) -> None:
    data = encoded("labels", np.zeros((60, 80, 3), np.uint8), two_dogs_and_a_cat, name="a.jpg", suffix=".png")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, two_dogs_and_a_cat.labels)


def test_many_words_take_two_bytes() -> None:
    labels = np.arange(300).reshape(10, 30)
    words = tuple(f"word {i}" for i in range(1, 300))
    image = cv2.imdecode(
        np.frombuffer(
            encoded("labels", np.zeros((10, 30, 3), np.uint8), segmentation(labels, words), name="a", suffix=".png"),
            np.uint8,
        ),
        cv2.IMREAD_UNCHANGED,
    )
    assert label_image(segmentation(labels, words)).dtype == np.uint16
    np.testing.assert_array_equal(image, labels)


def test_overlay_tints_each_word_in_its_colour(two_dogs_and_a_cat: Segmentation) -> None:
    rgb = np.full((60, 80, 3), 128, np.uint8)
    out = overlay(rgb, two_dogs_and_a_cat)
    assert len({colour_of(index) for index in range(1, 30)}) == 29
    for x, y, index in ((25, 45, 1), (60, 50, 2)):
        np.testing.assert_allclose(out[y, x], 128 * 0.55 + np.array(colour_of(index)) * 0.45, atol=1)
    assert tuple(out[58, 40]) == (128, 128, 128)
    assert rgb.min() == rgb.max() == 128


def test_a_preview_colours_the_hole_to_the_pixel() -> None:
    """In a photo so large that the outline is several pixels wide."""
    rgb, hole = np.full((1200, 1200, 3), 100, np.uint8), np.zeros((1200, 1200), bool)
    hole[300:700, 400:900] = True
    found = segmentation(np.where(hole, 1, 0), ("dog",))
    out = cv2.imdecode(np.frombuffer(preview(rgb, hole, found, suffix=".png"), np.uint8), 1)[..., ::-1]
    np.testing.assert_array_equal((out != 100).any(axis=2)[100:], hole[100:])
    assert tuple(out[300, 600]) == colour_of(1)
    assert tuple(out[500, 600]) == tuple(np.rint(55 + 0.45 * np.array(colour_of(1))))
    with pytest.raises(BadInput, match="overlay cannot be written as"):
        preview(rgb, hole, found, suffix=".tif")


def test_overlay_of_words_in_other_scripts() -> None:
    labels = np.ones((20, 30), int)
    assert overlay(np.zeros((20, 30, 3), np.uint8), segmentation(labels, ("собака",))).any()


@pytest.mark.parametrize(("suffix", "limit"), [(".jpg", 65500), (".webp", 16383)])
def test_an_overlay_that_its_format_cannot_hold(suffix: str, limit: int, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither an empty file nor a line from the coder."""
    labels, rgb = np.ones((limit + 1, 16), int), np.zeros((limit + 1, 16, 3), np.uint8)
    with pytest.raises(BadInput, match=f"at most {limit}"):
        encoded("overlay", rgb, segmentation(labels, ("a",)), name="p", suffix=suffix)
    data = encoded("overlay", rgb[1:], segmentation(labels[1:], ("a",)), name="p", suffix=suffix)
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (limit, 16, 3)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("kind", "suffix", "message"),
    [
        ("mask", ".png", "no format 'mask': use one of overlay, labels, coco, labelme"),
        ("labels", ".jpg", "labels cannot be written as '.jpg': use .png"),
        ("overlay", ".json", "overlay cannot be written as '.json': use .jpg or"),
        ("coco", "", "coco cannot be written as '': use .json"),
    ],
)
def test_formats_that_cannot_be(kind: str, suffix: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        check_format(kind, suffix)
    assert message in str(caught.value)
