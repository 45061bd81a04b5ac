"""Prepared shards: what is in them, how they are made, and training that streams them."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from unsay.batch.places import open_place
from unsay.errors import BadInput, UnsayError
from unsay.training.nouns import NounConfig
from unsay.training.pairs_readers import DataConfig
from unsay.training.segment import train_segment
from unsay.training.segment_batches import Batch
from unsay.training.segment_config import SegmentConfig
from unsay.training.segment_features import View
from unsay.training.segment_loss import LossConfig
from unsay.training.shards import preparing
from unsay.training.shards.contents import Prepared, Skipped, read_prepared, read_raw, write_prepared
from unsay.training.shards.preparing import Preparer, prepare_shard, recipe_of, write_index
from unsay.training.shards.streaming import StreamData

spec = importlib.util.spec_from_file_location("segment_doubles", Path(__file__).parents[1] / "test_segment_training.py")
assert spec is not None
assert spec.loader is not None
sys.modules["segment_doubles"] = doubles = importlib.util.module_from_spec(spec)
spec.loader.exec_module(doubles)

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns about its own dependencies
KINDS = doubles.KINDS


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def photo(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(60, 120, (16, 16, 3), np.uint8)
    pixels[:8] = doubles.COLOURS[number % 4]
    return bytes(cv2.imencode(".png", pixels[..., ::-1])[1])


@pytest.fixture
def downloaded(tmp_path: Path) -> Path:
    """Four shards of eight pairs; in the first a pair lacks its sentence, one its photo, one photo is none."""
    folder = tmp_path / "downloaded"
    folder.mkdir()
    for shard in range(4):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as archive:
            for number in range(8 * shard, 8 * shard + 8):
                key, sentence = f"{number:09d}", f"The {KINDS[number % 4]} is here .".encode()
                add(archive, f"{key}.png", b"no photo" if number == 3 else photo(number))
                if number == 1:
                    add(archive, f"{key}.json", json.dumps({"caption": sentence.decode()}).encode())
                elif number != 2:
                    add(archive, f"{key}.txt", sentence)
            if shard == 0:
                add(archive, "000000100.txt", b"Words alone .")
    return folder


def config_of(folder: Path, out: Path, **changes: Any) -> SegmentConfig:
    base = doubles.tiny(folder, out)
    data = DataConfig(kind="shards", path=str(folder), mixed=2)
    return dataclasses.replace(base, data=data, cache=str(out / "cache"), **changes)


def prepare(downloaded: Path, place: Path, config: SegmentConfig) -> dict[str, Any]:
    """What the workers and the driver do, in this process."""
    source, destination = open_place(str(downloaded)), open_place(str(place))
    networks = doubles.doubles()
    recipe, preparer = recipe_of(config, networks), Preparer(config, networks)
    shards = [entry for entry in source.walk() if entry.name.endswith(".tar")]
    for entry in shards:
        prepare_shard(preparing._item(entry), source, destination, preparer, recipe)
    write_index(destination, shards, recipe, len(shards), {})
    index: dict[str, Any] = json.loads((place / "index.json").read_text())
    return index


@pytest.fixture
def prepared(downloaded: Path, tmp_path: Path) -> Path:
    prepare(downloaded, tmp_path / "prepared", config_of(tmp_path / "prepared", tmp_path / "out"))
    return tmp_path / "prepared"


def test_a_pair_comes_back_as_it_was_written() -> None:
    rng = np.random.default_rng(0)
    view = View(rng.integers(0, 5, (4, 6)).astype(np.int8), rng.random((3, 2, 2)).astype(np.float16))
    vectors = rng.random((2, 8)).astype(np.float16)
    pairs = [
        Prepared("a/1", ("One .", "Two ."), {"dog": 2, "tennis ball": 1}, view, view, b"", "jpg", vectors),
        Prepared("a/2", ("Thrée .",), {}, View(view.groups, None), None, b"\xff\xd8bytes", "webp"),
    ]
    streams = [io.BytesIO(), io.BytesIO()]
    for stream in streams:
        write_prepared(stream, pairs)
    assert streams[0].getvalue() == streams[1].getvalue()
    skipped = Skipped()
    for ours, theirs in zip(read_prepared(io.BytesIO(streams[0].getvalue()), "x", skipped), pairs, strict=True):
        assert (ours.key, ours.sentences, ours.nouns, ours.photo) == (
            theirs.key,
            theirs.sentences,
            theirs.nouns,
            theirs.photo,
        )
        assert np.array_equal(ours.view.groups, theirs.view.groups)
        for mine, other in ((ours.view.patches, theirs.view.patches), (ours.vectors, theirs.vectors)):
            assert (mine is None) == (other is None)
            assert mine is None or np.array_equal(mine, other)
        assert (ours.mirrored is None) == (theirs.mirrored is None)
    assert skipped.total == 0


@pytest.mark.parametrize("keep", [0.05, 0.35, 0.5, 0.6])
def test_a_shard_that_is_cut_off_gives_what_is_whole(downloaded: Path, keep: float) -> None:
    whole = (downloaded / "00001.tar").read_bytes()
    cut = whole[: int(len(whole) * keep)]
    skipped = Skipped()
    pairs = list(read_raw(io.BytesIO(cut), "cut", skipped))
    everything = list(read_raw(io.BytesIO(whole), "whole", Skipped()))
    assert pairs == everything[: len(pairs)]
    assert len(pairs) < 8
    assert skipped.by_reason["shard cut off"] == 1


def test_corrupt_pairs_are_passed_over_and_counted(downloaded: Path, tmp_path: Path) -> None:
    index = prepare(downloaded, tmp_path / "prepared", config_of(tmp_path / "prepared", tmp_path / "out"))
    assert index["pairs"] == 30
    assert index["skipped"] == {"no photo": 1, "no sentence": 1, "photo cannot be decoded": 1}
    assert index["nouns"] == {"boat": 7, "car": 8, "dog": 8, "tree": 7}
    assert [count for _, count in index["pieces"]] == [6, 8, 8, 8]


def test_large_shards_become_several(downloaded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "PIECE", 3)
    index = prepare(downloaded, tmp_path / "prepared", config_of(tmp_path / "prepared", tmp_path / "out"))
    assert index["pieces"][:5] == [
        [f"{name}.tar", pairs]
        for name, pairs in [
            ("00000-0000", 3),
            ("00000-0001", 3),
            ("00001-0000", 3),
            ("00001-0001", 3),
            ("00001-0002", 2),
        ]
    ]


def batches(config: SegmentConfig, steps: int, first: int = 0, **where: Any) -> list[Batch]:
    data = StreamData(config, doubles.doubles())
    return list(data._stream(where.pop("rank", 0), steps, first, where.pop("positions", None)))


def equal(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(flat(one), flat(other), strict=True))


def flat(batch: Batch) -> list[torch.Tensor]:
    return [batch.inputs, batch.groups, *batch.nouns, *batch.sentences]


def test_batches_hold_what_the_pairs_say(prepared: Path, tmp_path: Path) -> None:
    config = config_of(prepared, tmp_path / "out", loss=LossConfig(sentence=0.5))
    with pytest.raises(BadInput, match="prepared with other networks"):
        batches(config, 1)
    batch = batches(config_of(prepared, tmp_path / "out"), 1)[0]
    words = StreamData(config_of(prepared, tmp_path / "out"), doubles.doubles()).words
    assert words == ["car", "dog", "boat", "tree"]
    colours = [
        int(np.abs(p.reshape(4, 16, 3)[0, :8].mean(0) * 255 - doubles.COLOURS).sum(1).argmin())
        for p in batch.inputs.numpy()
    ]
    assert [KINDS[colour] for colour in colours] == [words[noun] for noun in batch.nouns.noun.tolist()]


def test_every_process_draws_its_own(prepared: Path, tmp_path: Path) -> None:
    config = config_of(prepared, tmp_path / "out")
    ours, theirs = (batches(config, 3, rank=rank) for rank in (0, 1))
    assert not any(equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert all(equal(a, b) for a, b in zip(ours, batches(config, 3), strict=True))


@pytest.mark.parametrize("stop", [1, 2, 3, 5, 8])
def test_a_stream_goes_on_where_it_was(prepared: Path, tmp_path: Path, stop: int) -> None:
    config = config_of(prepared, tmp_path / "out")
    whole = batches(config, 10)
    position = whole[stop - 1].position
    assert position is not None
    rest = batches(config, 10, stop, positions={0: (position.draw, position.taken)})
    assert len(rest) == 10 - stop
    assert all(equal(a, b) for a, b in zip(rest, whole[stop:], strict=True))


def test_what_is_lost_since_is_passed_over_and_counted(prepared: Path, tmp_path: Path) -> None:
    """A shard that is gone, one that is cut off: the others go on."""
    config = config_of(prepared, tmp_path / "out")
    (prepared / "00001-0000.tar").unlink()
    cut = prepared / "00002-0000.tar"
    cut.write_bytes(cut.read_bytes()[:6000])
    found = batches(config, 12)
    assert all(len(batch.inputs) == 8 for batch in found)
    assert sum(batch.position.skipped for batch in found if batch.position) > 0


def test_nothing_left_ends_the_run(prepared: Path, tmp_path: Path) -> None:
    config = config_of(prepared, tmp_path / "out")
    for shard in prepared.glob("*.tar"):
        shard.unlink()
    with pytest.raises(UnsayError, match=r"20 draws of shards of .* gave no pair"):
        batches(config, 1)


def test_a_run_on_shards_learns_and_goes_on_bit_for_bit(prepared: Path, tmp_path: Path) -> None:
    networks = doubles.doubles()
    runs = []
    for name, stages in (
        ("whole", [{}]),
        ("parts", [{"max_minutes": 0}, {"max_minutes": 0, "resume": True}, {"resume": True}]),
    ):
        config = config_of(prepared, tmp_path / name, epochs=6)
        for how in stages:
            last = train_segment(config, networks=networks, **how)
        runs.append(torch.load(last, weights_only=True))
    assert runs[0]["global_step"] == runs[1]["global_step"] == 18
    assert doubles.equal_runs(*runs)
    assert runs[0]["StreamData"]["streams"] == runs[1]["StreamData"]["streams"]


def test_other_reading_processes_cannot_go_on(prepared: Path, tmp_path: Path) -> None:
    networks = doubles.doubles()
    config = config_of(prepared, tmp_path / "run")
    train_segment(config, networks=networks, max_minutes=0)
    more = dataclasses.replace(config, machine=dataclasses.replace(config.machine, workers=2))
    with pytest.raises(BadInput, match="read by 1 processes each, not 2"):
        train_segment(more, networks=networks, resume=True)


@pytest.mark.slow
def test_reading_processes_share_the_streams(prepared: Path, tmp_path: Path) -> None:
    """Two of them: the same numbers with and without a stop, whichever was next."""
    networks, runs = doubles.doubles(), []
    for name, stages in (("whole", [{}]), ("parts", [{"max_minutes": 0}, {"resume": True}])):
        config = config_of(prepared, tmp_path / name, epochs=2)
        config = dataclasses.replace(config, machine=dataclasses.replace(config.machine, workers=2))
        for how in stages:
            last = train_segment(config, networks=networks, **how)
        runs.append(torch.load(last, weights_only=True))
    assert doubles.equal_runs(*runs)


def test_nouns_are_those_of_the_indexed_way(downloaded: Path, prepared: Path, tmp_path: Path) -> None:
    """The same shards read with an index and prepared: the same words in the same order, the same counts."""
    from unsay.training.segment_data import SegmentData

    indexed = dataclasses.replace(
        config_of(prepared, tmp_path / "indexed"),
        data=DataConfig(kind="webdataset", path=str(downloaded)),
        nouns=NounConfig(least_photos=1),
    )
    data = SegmentData(indexed, doubles.doubles())
    data.prepare_data()
    data.setup()
    streamed = StreamData(config_of(prepared, tmp_path / "out"), doubles.doubles())
    assert data.frequency() == streamed.frequency()


def test_what_was_not_prepared_is_said(tmp_path: Path, downloaded: Path) -> None:
    with pytest.raises(BadInput, match="holds no prepared shards: make them with `unsay prepare pairs`"):
        StreamData(config_of(downloaded, tmp_path / "out"), doubles.doubles())
