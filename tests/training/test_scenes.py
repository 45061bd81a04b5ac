import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from unsay.errors import BadInput
from unsay.training.cutouts import in_split
from unsay.training.scenes import AREA, INDEX, Look, prepare_scenes, read_scenes

SIZE = (160, 120)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Twelve soft-edged discs of different colours with a line each, and eight noisy photos."""
    cutouts, photos = tmp_path_factory.mktemp("cutouts"), tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(12):
        image = np.zeros((50, 44, 4), np.uint8)
        image[..., :3] = rng.integers(0, 255, 3)
        disc = cv2.circle(np.zeros((50, 44), np.uint8), (22, 25), 18, 255, -1)
        image[..., 3] = cv2.GaussianBlur(disc, (0, 0), 1.2)
        cv2.imwrite(str(cutouts / f"thing{i}.png"), image)
        (cutouts / f"thing{i}.txt").write_text(f"A thing{i}.\n", encoding="utf-8")
    for i in range(12):
        photo = rng.integers(0, 255, (15, 20, 3), np.uint8)
        cv2.imwrite(str(photos / f"photo{i}.png"), cv2.resize(photo, (200, 150), interpolation=cv2.INTER_CUBIC))
    return cutouts, photos


@pytest.fixture(scope="module")
def scenes(sources: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scenes")
    prepare_scenes([sources[0]], [sources[1]], out, "train", 12, size=SIZE)
    return out


def read(path: Path) -> np.ndarray:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))


def test_the_image_is_the_background_wherever_there_is_no_mask(scenes: Path) -> None:
    for scene in read_scenes(scenes):
        image, background, mask, alpha = (
            read(scenes / name) for name in (scene.image, scene.background, scene.mask, scene.alpha)
        )
        assert image.shape == background.shape == (SIZE[1], SIZE[0], 3)
        assert mask.shape == alpha.shape == (SIZE[1], SIZE[0])
        assert np.array_equal(mask > 0, alpha > 0)
        assert np.array_equal(image[mask == 0], background[mask == 0])
        assert (image[alpha == 255] != background[alpha == 255]).any()


def test_the_index_says_what_the_mask_shows(scenes: Path) -> None:
    for scene in read_scenes(scenes):
        mask = read(scenes / scene.mask)
        assert set(np.unique(mask)) == {0, *(t.index for t in scene.things)}
        assert 1 <= len(scene.things) <= 3
        assert scene.words == tuple(t.word for t in scene.things)
        assert len(set(scene.words)) == len(scene.words)
        assert all(word in scene.sentence for word in scene.words)
        for thing in scene.things:
            x, y, w, h = thing.box
            here = mask == thing.index
            assert here[y : y + h, x : x + w].sum() == here.sum()
            assert here.mean() == pytest.approx(thing.area, abs=1e-5)
            assert 0.95 * AREA[0] < thing.area < 1.2 * AREA[1]


def test_things_keep_apart(scenes: Path) -> None:
    for scene in read_scenes(scenes):
        mask = read(scenes / scene.mask)
        for thing in scene.things:
            near = cv2.dilate((mask == thing.index).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
            assert set(np.unique(mask[near])) <= {0, thing.index}


def test_both_halves_are_split_by_name(sources: tuple[Path, Path], scenes: Path, tmp_path: Path) -> None:
    prepare_scenes([sources[0]], [sources[1]], tmp_path, "test", 4, size=SIZE)
    for folder, split in ((scenes, "train"), (tmp_path, "test")):
        for scene in read_scenes(folder):
            assert scene.split == split
            assert in_split(scene.background_source, split)
            assert all(in_split(thing.source, split) for thing in scene.things)


def test_the_same_seed_gives_the_same_bytes(sources: tuple[Path, Path], scenes: Path, tmp_path: Path) -> None:
    prepare_scenes([sources[0]], [sources[1]], tmp_path / "same", "train", 3, size=SIZE)
    prepare_scenes([sources[0]], [sources[1]], tmp_path / "other", "train", 3, size=SIZE, seed=1)
    for name in ("images/0000.png", "masks/0002.png", "backgrounds/0001.png"):
        assert (tmp_path / "same" / name).read_bytes() == (scenes / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != (scenes / name).read_bytes()


def test_a_shadow_is_cast_only_when_asked_for(sources: tuple[Path, Path], tmp_path: Path) -> None:
    cutouts = tmp_path / "animals" / "birds"
    cutouts.mkdir(parents=True)
    for suffix in (".png", ".txt"):
        (cutouts / f"crow{suffix}").write_bytes((sources[0] / f"thing0{suffix}").read_bytes())
    look = Look(shadow=True)
    prepare_scenes([tmp_path / "animals"], [sources[1]], tmp_path / "out", "train", 2, size=SIZE, look=look)
    (scene, _) = read_scenes(tmp_path / "out")
    image, background, mask = (
        read(tmp_path / "out" / name).astype(int) for name in (scene.image, scene.background, scene.mask)
    )
    outside = (image - background)[mask == 0]
    assert outside.min() < -10
    assert outside.max() <= 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 0}, "0 scenes of 160x120: ask for at least 1 scene"),
        ({"size": (20, 20)}, "1 scenes of 20x20"),
        ({"split": "val"}, "unknown split 'val'"),
        ({"size": (2000, 1500)}, "none of the cut-outs suits the photos at 2000x1500"),
    ],
)
def test_what_cannot_be_made_is_said(
    sources: tuple[Path, Path], tmp_path: Path, change: dict[str, object], message: str
) -> None:
    arguments = {"split": "train", "count": 1, "size": SIZE, **change}
    with pytest.raises(BadInput, match=message):
        prepare_scenes([sources[0]], [sources[1]], tmp_path, **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / INDEX).exists()


def test_a_folder_without_scenes_and_a_damaged_index_are_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not a folder of scenes"):
        read_scenes(tmp_path)
    (tmp_path / INDEX).write_text(json.dumps({"name": "0000"}) + "\n", encoding="utf-8")
    with pytest.raises(BadInput, match="is damaged"):
        read_scenes(tmp_path)
    (tmp_path / INDEX).write_text("", encoding="utf-8")
    with pytest.raises(BadInput, match="is empty"):
        read_scenes(tmp_path)
