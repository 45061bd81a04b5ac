import hashlib
import json
import subprocess
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from unsay.errors import BadInput
from unsay.training.pack import (
    SHORT_SIDE,
    join_weights,
    make_packs,
    read_pack,
    read_photos,
    split_weights,
    train_from_packs,
    tree_bytes,
)

MIB = 1 << 20


def write_photo(path: Path, height: int = 40, width: int = 50, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    cv2.imwrite(str(path), noise)
    return path


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git checkout with 3,000 bytes tracked, 500 untracked, and a large ignored file."""
    folder = tmp_path_factory.mktemp("checkout")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / "tracked.bin").write_bytes(bytes(3000 - len("/large\n")))
    (folder / ".gitignore").write_text("/large\n", encoding="utf-8")
    (folder / "large").write_bytes(bytes(100_000))
    subprocess.run(["git", "-C", str(folder), "add", "."], check=True)
    (folder / "sub").mkdir()
    (folder / "sub" / "untracked.bin").write_bytes(bytes(500))
    return folder


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A captioned source with a photo that is not for training, one with a train folder, one with photos alone."""
    root = tmp_path_factory.mktemp("sources")
    lines = ["image\tcaption"]
    for i in range(12):
        write_photo(root / "captioned/images" / f"c{i:02d}.jpg", seed=i)
        lines += [f"c{i:02d}.jpg\tA thing {i} .", f'c{i:02d}.jpg\tIt is "{i}" .'] if i else []
    (root / "captioned/captions-train.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for i in range(4):
        write_photo(root / "divided/images/train" / f"d{i}.png", 300, 400, seed=i)
    write_photo(root / "divided/images/test/held-back.jpg")
    for name in ("a.jpg", "a.png", "deep/a.jpg"):
        write_photo(root / "plain" / name)
    return [root / "captioned", root / "divided", root / "plain"]


@pytest.fixture
def packs(sources: list[Path], checkout: Path, tmp_path: Path) -> list[Path]:
    return make_packs(sources, tmp_path / "packs", tree=checkout)


def test_the_tree_is_what_git_would_take_along(checkout: Path) -> None:
    assert tree_bytes(checkout) == tree_bytes(checkout / "sub") == 3500


def test_a_tree_that_is_no_checkout_is_said(tmp_path: Path, sources: list[Path]) -> None:
    with pytest.raises(BadInput, match="cannot be measured as a git checkout"):
        make_packs(sources, tmp_path / "packs", tree=tmp_path)


def test_a_pack_gives_back_photos_and_sentences(packs: list[Path], sources: list[Path]) -> None:
    (pack,) = packs
    samples = {(s.group, s.name): s for s in read_pack(pack)}
    assert sum(group == "captioned" for group, _ in samples) == 11
    assert ("captioned", "c00.jpg") not in samples
    one = samples["captioned", "c07.jpg"]
    assert one.captions == ("A thing 7 .", 'It is "7" .')
    assert one.data == (sources[0] / "images/c07.jpg").read_bytes()
    assert {name for group, name in samples if group == "divided"} == {f"d{i}.png.jpg" for i in range(4)}
    assert {name for group, name in samples if group == "plain"} == {"a.jpg", "a.png.jpg", "deep+a.jpg"}
    shrunk = cv2.imdecode(np.frombuffer(samples["divided", "d0.png.jpg"].data, np.uint8), cv2.IMREAD_COLOR)
    assert shrunk.shape[:2] == (SHORT_SIDE, round(400 * SHORT_SIDE / 300))
    with zipfile.ZipFile(pack) as opened:
        assert all(m.compress_type == zipfile.ZIP_STORED for m in opened.infolist())
        manifest = json.loads(opened.read("manifest.json"))
    assert manifest["groups"]["captioned"] == {"photos": 11, "captions": 22}
    assert (manifest["pack"], manifest["packs"]) == (0, 1)


def test_every_pack_fits_with_the_tree_and_holds_its_share(sources: list[Path], checkout: Path, tmp_path: Path) -> None:
    whole = sum(p.stat().st_size for p in make_packs(sources, tmp_path / "one", tree=checkout))
    limit = 3500 + MIB + 0.45 * whole + MIB  # the reserve, and room to spare of the same size
    packs = make_packs(sources, tmp_path / "some", limit / MIB, tree=checkout, carried=MIB)
    assert len(packs) in (3, 4)
    names: list[str] = []
    for pack in packs:
        assert pack.stat().st_size + 3500 + MIB < limit
        samples = list(read_pack(pack))
        assert {s.group for s in samples} >= {"captioned", "divided"}  # of the third there are three photos in all
        names += [f"{s.group}/{s.name}" for s in samples]
    assert len(names) == len(set(names)) == 11 + 4 + 3


def test_too_little_room_is_said(sources: list[Path], checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"the tree takes 1.0 of 2 MiB: too little is left"):
        make_packs(sources, tmp_path, 2, tree=checkout, carried=MIB)


def test_the_same_photos_give_the_same_bytes_and_old_packs_go(
    packs: list[Path], sources: list[Path], checkout: Path
) -> None:
    digest = hashlib.sha256(packs[0].read_bytes()).hexdigest()
    (packs[0].parent / "pack-07.zip").write_bytes(b"old")
    again = make_packs(sources, packs[0].parent, tree=checkout)
    assert hashlib.sha256(again[0].read_bytes()).hexdigest() == digest
    assert [p.name for p in packs[0].parent.iterdir()] == ["pack-00.zip"]


def test_photos_to_train_from(packs: list[Path]) -> None:
    photos = read_photos(packs[0].parent)
    assert [len(g) for g in photos.groups] == [11, 4, 3]
    assert photos.weights == pytest.approx([11 / 18, 4 / 18, 3 / 18])
    assert read_photos(packs[0], (2, 1, 1)).weights == (0.5, 0.25, 0.25)
    assert photos.crop(np.random.default_rng(0), 16).shape == (16, 16, 3)


def test_sources_called_alike_stay_apart(tmp_path: Path, checkout: Path) -> None:
    folders = [tmp_path / "x/photos", tmp_path / "y/photos"]
    for folder in folders:
        write_photo(folder / "same.jpg")
    (pack,) = make_packs(folders, tmp_path / "packs", tree=checkout)
    assert [(s.group, s.name) for s in read_pack(pack)] == [("photos", "same.jpg"), ("photos.2", "same.jpg")]


def test_what_is_no_pack_is_said(tmp_path: Path, checkout: Path) -> None:
    bad = tmp_path / "pack-00.zip"
    bad.write_bytes(b"PK nothing")
    with pytest.raises(BadInput, match="cannot be read as a pack"):
        list(read_pack(bad))
    for members, message in (({}, "has no manifest"), ({"manifest.json": '{"format": 9}'}, "of format 9; this")):
        with zipfile.ZipFile(bad, "w") as opened:
            for name, text in members.items():
                opened.writestr(name, text)
        with pytest.raises(BadInput, match=message):
            list(read_pack(bad))
    (tmp_path / "none").mkdir()
    with pytest.raises(BadInput, match="no packs in"):
        read_photos(tmp_path / "none")
    with pytest.raises(BadInput, match="no photos under"):
        make_packs([tmp_path / "none"], tmp_path, tree=checkout)


def checkpoint(path: Path, **weights: torch.Tensor) -> Path:
    state = {f"average.{name}": value for name, value in weights.items()} | {"network.w": torch.ones(9)}
    torch.save({"kind": "inpaint", "config": {"seed": 1}, "global_step": 7, "state_dict": state, "optimizer": 1}, path)
    return path


def test_weights_are_split_into_files_and_joined_again(tmp_path: Path) -> None:
    weights = {"a": torch.rand(40, 50), "b": torch.rand(40, 50), "var": torch.full((8,), 1e6), "n": torch.tensor(3)}
    files = split_weights(checkpoint(tmp_path / "last.ckpt", **weights), tmp_path / "out", limit=5000)
    assert [f.name for f in files] == ["weights-00.pt", "weights-01.pt"]
    joined = torch.load(join_weights(files[::-1], tmp_path / "joined.ckpt"), weights_only=True)
    assert (joined["kind"], joined["config"], joined["global_step"]) == ("inpaint", {"seed": 1}, 7)
    assert set(joined["state_dict"]) == {f"average.{name}" for name in weights}
    assert joined["state_dict"]["average.a"].dtype == torch.float16
    for name, value in weights.items():
        torch.testing.assert_close(joined["state_dict"][f"average.{name}"].to(value.dtype), value, rtol=1e-3, atol=1e-4)


def test_half_a_set_of_weights_is_refused(tmp_path: Path) -> None:
    last = checkpoint(tmp_path / "last.ckpt", a=torch.rand(40, 50), b=torch.rand(40, 50))
    files = split_weights(last, tmp_path / "out", limit=5000)
    with pytest.raises(BadInput, match="not one whole set"):
        join_weights(files[1:], tmp_path / "joined.ckpt")
    with pytest.raises(BadInput, match=r"average.a alone has 4000 bytes; a file may have 3000"):
        split_weights(last, tmp_path / "out", limit=3000)


def test_parts_and_times_that_cannot_be_trained_are_said(packs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="packs cannot train 'segment'"):
        train_from_packs(packs[0], 1, tmp_path, "segment")
    with pytest.raises(BadInput, match="0 minutes is no time to train"):
        train_from_packs(packs[0], 0, tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning warns about its own dependencies
def test_training_from_packs_leaves_weights_that_run(packs: list[Path], tmp_path: Path) -> None:
    from unsay.models.madf import MADFConfig
    from unsay.training.inpaint_config import InpaintConfig
    from unsay.training.inpaint_export import load_network
    from unsay.training.machine import MachineConfig

    machine = MachineConfig(accelerator="cpu", threads=1)
    network = MADFConfig(width=0.05, levels=5, refinements=1)
    config = InpaintConfig(network=network, crop=32, batch=2, steps=10_000, machine=machine, save_every=20)
    run = tmp_path / "run"
    files = train_from_packs(packs[0].parent, 0.05, tmp_path / "out", config=config, run=run)
    assert all(f.stat().st_size < 16_000_000 for f in files)
    steps = torch.load(files[0], weights_only=True)["global_step"]
    assert 0 < steps < 10_000
    with torch.no_grad():
        outputs = load_network(files[0], network)(torch.zeros(1, 3, 32, 32), torch.ones(1, 1, 32, 32))
    assert torch.isfinite(outputs[-1]).all()
    files = train_from_packs(packs[0].parent, 0.1, tmp_path / "out", config=config, run=run, resume=True)
    assert torch.load(files[0], weights_only=True)["global_step"] > steps
