"""The same pairs, whichever way they are stored."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from unsay.errors import BadInput
from unsay.training.pairs_readers import DataConfig, PairReader, decode, open_pairs
from unsay.training.pairs_shards import open_shards

Members = list[tuple[str, bytes]]


def photo(shade: int) -> bytes:
    return cv2.imencode(".png", np.full((4, 6, 3), shade, np.uint8))[1].tobytes()


def write_tsv(folder: Path) -> DataConfig:
    (folder / "captions.tsv").write_text('image\tcaption\na.png\tA "dog" .\nb.png\tGrass .\na.png\tIt runs .\n')
    return DataConfig("tsv", str(folder), "captions.tsv")


def write_coco(folder: Path) -> DataConfig:
    names = {7: "a.png", 3: "b.png", 5: "unnamed.png"}
    said = [(7, 'A "dog" .'), (3, "Grass ."), (7, "It runs .\n")]
    stored = {
        "images": [{"id": i, "file_name": n} for i, n in names.items()],
        "annotations": [{"image_id": i, "caption": c, "id": n} for n, (i, c) in enumerate(said)],
    }
    (folder / "annotations").mkdir()
    (folder / "annotations" / "captions_val.json").write_text(json.dumps(stored))
    return DataConfig("coco", str(folder), "annotations/captions_val.json")


def write_shard(path: Path, members: Members) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def sample(key: str, shade: int, sentence: str) -> Members:
    record = json.dumps({"caption": sentence, "key": key, "status": "success"})
    return [(f"{key}.jpg", photo(shade)), (f"{key}.json", record.encode()), (f"{key}.txt", sentence.encode())]


def write_shards(folder: Path) -> DataConfig:
    write_shard(folder / "00000.tar", sample("000000000", 10, "A dög .") + sample("000000003", 20, "Grass ."))
    without_text = [m for m in sample("000010001", 30, "A boat .") if not m[0].endswith(".txt")]
    write_shard(folder / "00001.tar", [("./" + name, content) for name, content in without_text])
    return DataConfig("webdataset", str(folder))


@pytest.mark.parametrize("write", [write_tsv, write_coco])
def test_photos_of_a_folder(tmp_path: Path, write: object) -> None:
    (tmp_path / "images").mkdir()
    for name, shade in (("a.png", 10), ("b.png", 20)):
        (tmp_path / "images" / name).write_bytes(photo(shade))
    pairs: PairReader = open_pairs(write(tmp_path), tmp_path / "cache")  # type: ignore[operator]
    assert [pairs.name(i) for i in range(len(pairs))] == ["a.png", "b.png"]
    assert [list(pairs.sentences(i)) for i in range(2)] == [['A "dog" .', "It runs ."], ["Grass ."]]
    assert [int(decode(pairs, i).mean()) for i in range(2)] == [10, 20]
    (tmp_path / "images" / "b.png").unlink()
    with pytest.raises(BadInput, match=r"cannot read the photo .*b\.png"):
        pairs.photo(1)


def test_shards_are_read_from_their_index(tmp_path: Path) -> None:
    config = write_shards(tmp_path)
    for _ in range(2):  # the second time from the kept index
        pairs = open_pairs(config, tmp_path / "cache")
        names = [pairs.name(i) for i in range(len(pairs))]
        assert names == ["00000.tar/000000000", "00000.tar/000000003", "00001.tar/000010001"]
        assert [pairs.sentences(i)[0] for i in range(3)] == ["A dög .", "Grass .", "A boat ."]
        assert [decode(pairs, i).mean() for i in range(3)] == [10, 20, 30]
    assert len(list((tmp_path / "cache").iterdir())) == 1
    write_shard(tmp_path / "00002.tar", sample("000020000", 40, "Rain ."))
    assert len(open_pairs(config, tmp_path / "cache")) == 4


def test_damaged_samples_are_skipped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    members = sample("0", 10, "A dog .")
    members += sample("1", 20, "Grass .")[1:]  # no photo
    members += [("2.jpg", b""), ("2.txt", b"An empty photo .")]
    members += [("3.jpg", photo(30)), ("3.txt", b"\xff\xfe")]
    members += [("4.jpg", photo(30)), ("4.json", b'{"caption": null}')]
    members += sample("5", 50, "Rain .")
    write_shard(tmp_path / "00000.tar", members)
    write_shard(tmp_path / "00001.tar", sample("6", 60, "Snow .") + sample("7", 70, "Ice ."))
    whole = (tmp_path / "00001.tar").read_bytes()
    (tmp_path / "00001.tar").write_bytes(whole[: whole.index(b"7.jpg") + 530])
    with caplog.at_level(logging.INFO):
        pairs = open_shards(tmp_path, tmp_path / "cache")
    assert [pairs.name(i) for i in range(len(pairs))] == ["00000.tar/0", "00000.tar/5", "00001.tar/6"]
    assert "3 pairs in 2 shards; 5 skipped" in caplog.text
    assert "00001.tar is damaged" in caplog.text


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DataConfig("lmdb"), "tsv, coco, webdataset"),
        (DataConfig("tsv", captions="none.tsv"), "image and caption"),
        (DataConfig("tsv", captions="wrong.tsv"), "image and caption"),
        (DataConfig("tsv", captions="captions.tsv"), "is no folder"),
        (DataConfig("coco", captions="captions.tsv"), "as COCO captions"),
        (DataConfig("coco", captions="odd.json"), "as COCO captions"),
        (DataConfig("coco", captions="empty.json"), "holds no sentence"),
        (DataConfig("webdataset"), "has no pairs"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, config: DataConfig, message: str) -> None:
    write_tsv(tmp_path)
    (tmp_path / "wrong.tsv").write_text("photo\ttext\na\tb\n")
    (tmp_path / "odd.json").write_text('{"images": [], "annotations": [{"image_id": 1, "caption": "x"}]}')
    (tmp_path / "empty.json").write_text('{"images": [], "annotations": []}')
    with pytest.raises(BadInput, match=message):
        open_pairs(DataConfig(config.kind, str(tmp_path), config.captions), tmp_path / "cache")


def write_scenes(folder: Path, split: str = "train") -> None:
    thing = {"index": 1, "word": "dog", "phrase": "a wet dog", "source": "dog.png", "box": [0, 0, 2, 2], "area": 0.2}
    other = {**thing, "index": 2, "word": "cat", "phrase": "a cat"}
    line = {
        "split": split,
        "name": "0000",
        "sentence": "a photo of a wet dog and a cat by the sea",
        **{key: f"{key}s/0000.png" for key in ("image", "background", "mask", "alpha")},
        "background_source": "Sea",
        "words": ["dog", "cat"],
        "things": [thing, other],
    }
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "0000.png").write_bytes(photo(77))
    (folder / "scenes.jsonl").write_text(json.dumps(line) + "\n")


def test_composed_scenes_follow_the_photos(tmp_path: Path) -> None:
    config = write_tsv(tmp_path)
    (tmp_path / "images").mkdir()
    write_scenes(tmp_path / "scenes")
    pairs = open_pairs(dataclasses.replace(config, scenes=(str(tmp_path / "scenes"),)), tmp_path / "cache")
    assert [pairs.name(i) for i in range(len(pairs))] == ["a.png", "b.png", f"{tmp_path}/scenes/images/0000.png"]
    assert pairs.sentences(0) == ['A "dog" .', "It runs ."]
    assert pairs.sentences(2) == [
        "a photo of a wet dog and a cat by the sea",
        "a photo of a wet dog",
        "a photo of a cat",
    ]
    assert (decode(pairs, 2) == 77).all()


def test_scenes_to_judge_by_are_not_learned_from(tmp_path: Path) -> None:
    config = write_tsv(tmp_path)
    (tmp_path / "images").mkdir()
    write_scenes(tmp_path / "scenes", "test")
    with pytest.raises(BadInput, match="another split than train"):
        open_pairs(dataclasses.replace(config, scenes=(str(tmp_path / "scenes"),)), tmp_path / "cache")
