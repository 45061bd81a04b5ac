"""Prepared shards: what is in them, how they are made, and training that streams them."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
import struct
import sys
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from unsay.batch.places import STATE, open_place
from unsay.errors import BadInput, UnsayError
from unsay.training.nouns import NounConfig
from unsay.training.pairs_readers import DataConfig, decode_photo
from unsay.training.segment import train_segment
from unsay.training.segment_batches import Batch, collate
from unsay.training.segment_config import SegmentConfig
from unsay.training.segment_features import View
from unsay.training.segment_loss import LossConfig
from unsay.training.shards import preparing
from unsay.training.shards.contents import LONGEST, Prepared, Skipped, read_prepared, read_raw, write_prepared
from unsay.training.shards.preparing import Preparer, Totals, prepare_pairs, prepare_shard, recipe_of, write_index
from unsay.training.shards.streaming import StreamData
from unsay.training.shards.told import INDEX

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
    index: dict[str, Any] = json.loads((place / INDEX).read_text())
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


# --- what means harm --------------------------------------------------------------------------------------------------

DEEP = b"[" * 200_000 + b"]" * 200_000


def png(width: int, height: int) -> bytes:
    """A black PNG of one bit a pixel: a few kilobytes for any size."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes((1 + -(-width // 8)) * min(height, 10_000)))),
        (b"IEND", b""),
    ]
    coded = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(coded)


@pytest.mark.parametrize("size", [(60_000, 60_000), (10_001, 10_000)])
def test_a_photo_that_claims_too_much_is_not_decoded(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(BadInput, match=r"the photo x has .* megapixels, over 100"):
        decode_photo(png(*size), "x")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_photo_of_each_format_is_decoded(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(cv2.imencode(suffix, np.full((20, 30, 3), 90, np.uint8))[1])
    assert decode_photo(data, "x").shape == (20, 30, 3)
    monkeypatch.setattr("unsay.training.pairs_readers.MOST_MEGAPIXELS", 0.0005)
    with pytest.raises(BadInput, match="megapixels"):
        decode_photo(data, "x")


def test_what_opencv_refuses_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise cv2.error("too large")

    data = photo(0)
    monkeypatch.setattr(cv2, "imdecode", refuse)
    with pytest.raises(BadInput, match="cannot be decoded"):
        decode_photo(data, "x")


def test_other_formats_are_not_decoded() -> None:
    bitmap = bytes(cv2.imencode(".bmp", np.zeros((4, 4, 3), np.uint8))[1])
    for data in (b"", bitmap):
        with pytest.raises(BadInput, match="cannot be decoded"):
            decode_photo(data, "x")


def test_one_pair_that_means_harm_loses_itself_alone(tmp_path: Path) -> None:
    folder = tmp_path / "downloaded"
    folder.mkdir()
    with tarfile.open(folder / "00000.tar", "w") as archive:
        for key, image, suffix, words in [
            ("1", photo(0), "txt", b"The dog is here ."),
            ("2", png(60_000, 60_000), "txt", b"The dog is here ."),
            ("3", photo(0), "json", b'{"caption": ' + DEEP + b"}"),
            ("4", photo(0), "json", b'{"caption": "half a \\ud800 character"}'),
            ("5", photo(0), "txt", b"dog " * (LONGEST // 4 + 1)),
            ("6", photo(1), "txt", b"The car is here ."),
        ]:
            add(archive, f"{key}.png", image)
            add(archive, f"{key}.{suffix}", words)
    index = prepare(folder, tmp_path / "prepared", config_of(tmp_path / "prepared", tmp_path / "out"))
    assert index["pairs"] == 2
    assert index["skipped"] == {"photo cannot be decoded": 1, "no sentence": 2, "sentence too long": 1}


def npy(array: Any, **how: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **how)
    return stream.getvalue()


def archive_of(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def header(shape: tuple[int, ...], dtype: type) -> bytes:
    stream = io.BytesIO()
    told = {"shape": shape, "fortran_order": False, "descr": np.lib.format.dtype_to_descr(np.dtype(dtype))}
    np.lib.format.write_array_header_1_0(stream, told)
    return stream.getvalue() + bytes(100)


def filled(shape: tuple[int, ...], value: float, dtype: type = np.float16) -> bytes:
    array: Any = np.zeros(shape, dtype)
    array.flat[-1] = value
    return npy(array)


def rewrite(path: Path, members: dict[str, bytes], every: bool = False) -> None:
    """Put other members in the place of those of the shard's first pair, or of all."""
    with tarfile.open(path) as archive:
        old = [(member.name, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]
    first = old[0][0].split(".")[0]
    with tarfile.open(path, "w") as archive:
        for name, content in old:
            key, suffix = name.split(".", 1)
            add(archive, name, members.get(suffix, content) if every or key == first else content)


GROUPS, PATCHES, NOUNS, VECTORS = "groups.npy", "patches.npy", "nouns.json", "vectors.npy"


@pytest.mark.parametrize(
    ("member", "content"),
    [
        (GROUPS, npy(np.zeros((5, 4), np.int8))),
        (GROUPS, npy(np.zeros((4, 4, 1), np.int8))),
        (GROUPS, npy(np.zeros((4, 4), np.int16))),
        (GROUPS, npy(np.zeros((0, 4), np.int8))),
        (GROUPS, filled((4, 4), 127, np.int8)),
        (GROUPS, filled((4, 4), 2, np.int8)),
        (GROUPS, filled((4, 4), -1, np.int8)),
        (GROUPS, archive_of(groups=np.zeros((4, 4), np.int8))),
        (GROUPS, npy(np.array([[{}]], object), allow_pickle=True)),
        (GROUPS, header((10**12, 10**12), np.int8)),
        (GROUPS, header((10**11, 1), np.int8)),
        (GROUPS, b"\x93NUMPY\x01\x00\xff\xff" + DEEP[:65_535]),
        (GROUPS, b"\x93NUMPY\x02\x00\xff\xff\x00\x00" + DEEP[:65_535]),
        (PATCHES, npy(np.zeros((16, 11), np.float16))),
        (PATCHES, npy(np.zeros((1, 16, 12), np.float16))),
        (PATCHES, filled((16, 12), np.nan)),
        (PATCHES, filled((16, 12), np.inf)),
        (NOUNS, b'{"dog": 100000000000000000000000}'),
        (NOUNS, b'{"dog": true}'),
        (NOUNS, b'{"dog": 0}'),
        (NOUNS, b'{"dog": 2}'),
        (NOUNS, b'{"dog": NaN}'),
        (NOUNS, b"[1]"),
        (NOUNS, DEEP),
        ("txt", b""),
        ("txt", b"\xff\xff"),
        (VECTORS, filled((1, 8), np.nan)),
        (VECTORS, filled((1, 8), -np.inf)),
        (VECTORS, npy(np.zeros((1, 9), np.float16))),
        (VECTORS, npy(np.zeros((2, 8), np.float16))),
        (VECTORS, npy(np.zeros((8,), np.float16))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_damaged_pair_is_passed_over_and_counted(
    downloaded: Path, tmp_path: Path, member: str, content: bytes
) -> None:
    place = tmp_path / "prepared"
    config = config_of(place, tmp_path / "out", loss=LossConfig(sentence=0.5))
    prepare(downloaded, place, config)
    rewrite(place / "00001-0000.tar", {member: content})
    stream, skipped = StreamData(config, doubles.doubles())._stream(0, 1), Skipped()
    pairs = read_prepared(io.BytesIO((place / "00001-0000.tar").read_bytes()), "x", skipped)
    found = [stream._sample(pair, (0, 0, 0), skipped) for pair in pairs]
    samples = [sample for sample in found if sample is not None]
    assert len(samples) == 7
    assert skipped.total == 1
    assert list(skipped.by_reason) in (["damaged"], ["cannot be used"])
    assert all(torch.isfinite(tensor).all() for tensor in flat(collate(samples)))


def test_a_batch_counts_the_pair_that_is_passed_over(prepared: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(
        config_of(prepared, tmp_path / "out"), data=DataConfig("shards", str(prepared), mixed=1)
    )
    for shard in prepared.glob("*.tar"):
        rewrite(shard, {GROUPS: filled((4, 4), 2, np.int8)})
    found = batches(config, 8)
    assert all(batch.groups.max() < 2 for batch in found)
    assert sum(batch.position.skipped for batch in found if batch.position) >= 7


def test_pairs_of_which_none_can_be_used_end_the_run(prepared: Path, tmp_path: Path) -> None:
    for shard in prepared.glob("*.tar"):
        rewrite(shard, {GROUPS: filled((4, 4), 2, np.int8)}, every=True)
    with pytest.raises(UnsayError, match=r"20 draws of shards of .* gave no pair"):
        batches(config_of(prepared, tmp_path / "out"), 1)


def test_more_pairs_than_were_told_are_none_less(prepared: Path, tmp_path: Path) -> None:
    """A piece that somebody replaced by a larger one."""
    config = config_of(prepared, tmp_path / "out")
    (prepared / "00000-0000.tar").write_bytes((prepared / "00001-0000.tar").read_bytes())
    stream, skipped = StreamData(config, doubles.doubles())._stream(0, 1), Skipped()
    stream.names = ["00000-0000.tar"]
    assert len(stream._drawn(open_place(str(prepared)), 0, 0, skipped)) == 16
    assert skipped.total == 0


# --- preparing again --------------------------------------------------------------------------------------------------


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """`prepare_pairs` without Ray, with the doubles' networks."""

    @contextmanager
    def workers(*_: Any) -> Iterator[None]:
        yield

    def records(items: list[Any], task: preparing.ShardTask, _: None) -> Iterator[Any]:
        yield from map(dataclasses.replace(task, build=lambda _: doubles.doubles()).prepare(), items)

    for name, stand_in in (
        ("workers", workers),
        ("records", records),
        ("check_installed", lambda: None),
        ("build_networks", lambda _: doubles.doubles()),
    ):
        monkeypatch.setattr(preparing, name, stand_in)


def prepare_all(downloaded: Path, place: Path) -> Totals:
    data = DataConfig(kind="webdataset", path=str(downloaded))
    return prepare_pairs(dataclasses.replace(config_of(place, place.parent / "out"), data=data), str(place))


def contents_of(place: Path) -> dict[str, bytes]:
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("in_this_process")
def test_lost_and_cut_pieces_are_made_again(downloaded: Path, tmp_path: Path) -> None:
    place = tmp_path / "prepared"
    assert prepare_all(downloaded, place).unchanged == 0
    before = contents_of(place)
    assert prepare_all(downloaded, place).unchanged == 4
    (place / "00001-0000.tar").unlink()
    (place / "00002-0000.tar").write_bytes(before["00002-0000.tar"][:-1])
    assert prepare_all(downloaded, place).unchanged == 2
    assert contents_of(place) == before


@pytest.mark.usefixtures("in_this_process")
def test_what_a_killed_run_left_half_written_is_gone(downloaded: Path, tmp_path: Path) -> None:
    left = tmp_path / "prepared" / STATE / "0123.part"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    prepare_all(downloaded, tmp_path / "prepared")
    assert not left.parent.exists()


@pytest.mark.usefixtures("in_this_process")
def test_shards_may_have_any_name_but_the_indexs(downloaded: Path, tmp_path: Path) -> None:
    (downloaded / "00003.tar").rename(downloaded / "index.tar")
    assert prepare_all(downloaded, tmp_path / "prepared").pairs == 30
    assert prepare_all(downloaded, tmp_path / "prepared").unchanged == 4
    assert StreamData(config_of(tmp_path / "prepared", tmp_path / "out"), doubles.doubles()).photos == 30
    (downloaded / "index.tar").rename(downloaded / "unsay-pairs.tar")
    with pytest.raises(BadInput, match="give it another name"):
        prepare_all(downloaded, tmp_path / "prepared")


GARBAGE = [
    {"pieces": 5},
    {"pieces": [5]},
    {"pieces": [["00000-0000.tar"]]},
    {"pieces": [["00000-0000.tar", True, True]]},
    {"pieces": [["../00000-0000.tar", 6, 10240], ["00000-0001.tar", 6, 10240]]},
    {"nouns": None},
    {"nouns": [["dog", 1]]},
    {"nouns": {"dog": -1}},
    {"nouns": {"dog": float("nan")}},
    {"nouns": {"\ud800": 1}},
    {"skipped": {"no photo": -1}},
    {"skipped": 7},
    {"shapes": None},
    {"shapes": {}},
    {"shapes": {"groups": [4]}},
    {"shapes": {"groups": ["4", "4"]}},
    {"shapes": {"groups": [4, 4], "others": [1]}},
]
INDEX_GARBAGE = [
    *GARBAGE,
    {"pairs": -30},
    {"pairs": float("nan")},
    {"pairs": 31},
    {"pairs": 0, "pieces": []},
    {"pairs": 10**23, "pieces": [["00000-0000.tar", 10**23]]},
    {"pairs": 30, "pieces": [["../00000-0000.tar", 30]]},
    {"pairs": 30, "pieces": [["/00000-0000.tar", 30]]},
    {"pairs": 30, "pieces": [["a/../../00000-0000.tar", 30]]},
    {"pairs": 30, "pieces": [["a.tar", 15], ["a.tar", 15]]},
    {"nouns": {"dog": 31}},
    {"shapes": {"groups": [4, 4]}},
]


@pytest.mark.parametrize("changes", INDEX_GARBAGE, ids=str)
def test_an_index_that_was_edited_is_refused(prepared: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    path = prepared / INDEX
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(BadInput, match=f"{INDEX} of .* is damaged: run `unsay prepare pairs` again"):
        StreamData(config_of(prepared, tmp_path / "out"), doubles.doubles())


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", DEEP], ids=["", "list", "empty", "bytes", "deep"])
@pytest.mark.usefixtures("in_this_process")
def test_jsons_that_are_none_are_refused(downloaded: Path, tmp_path: Path, content: bytes) -> None:
    place = tmp_path / "prepared"
    prepare_all(downloaded, place)
    before = contents_of(place)
    for name in (INDEX, "00001.json"):
        (place / name).write_bytes(content)
    with pytest.raises(BadInput, match="is damaged"):
        StreamData(config_of(place, tmp_path / "out"), doubles.doubles())
    assert prepare_all(downloaded, place).unchanged == 3
    assert contents_of(place) == before


@pytest.mark.parametrize("changes", [*GARBAGE, {"stamp": 3}, {"recipe": []}], ids=str)
@pytest.mark.usefixtures("in_this_process")
def test_a_shards_json_that_was_edited_is_made_again(downloaded: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    place = tmp_path / "prepared"
    prepare_all(downloaded, place)
    before = contents_of(place)
    told = place / "00000.json"
    told.write_text(json.dumps(json.loads(told.read_text()) | changes))
    assert prepare_all(downloaded, place).unchanged == 3
    assert contents_of(place) == before
