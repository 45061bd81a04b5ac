"""A batch from end to end, in one process: what is done, what is left, what a second run does."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from batch.stand_ins import Cut, Here, by_photo, png, tree
from unsay import erase
from unsay.batch import How, Job, Progress, run_batch
from unsay.batch.journal import MANIFEST
from unsay.errors import BadInput, UnsayError
from unsay.options import EraseOptions, InpaintOptions
from unsay.results import Pixels

pytestmark = pytest.mark.usefixtures("colour_words")


def records(folder: Path) -> dict[str, dict[str, Any]]:
    return by_photo(json.loads(line) for line in (folder / MANIFEST).read_text().splitlines())


def run(
    photos: Path, out: Path, tiny: str, how: How | None = None, words: tuple[str, ...] = ("red",), **own: Any
) -> Progress:
    return run_batch(Job("erase", words, bundle=tiny, **own), str(photos), str(out), how or How())


def test_every_photo_is_done_as_the_verb_alone_does_it(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    out = tmp_path / "out"
    progress = run(photos, out, tiny)
    assert set(tree(out)) == {"a.png", "b.png", "deep/er/c.png", MANIFEST}
    for name in ("a.png", "deep/er/c.png"):
        erase(photos / name, "red", bundle=tiny, output=tmp_path / "alone.png")
        assert (out / name).read_bytes() == (tmp_path / "alone.png").read_bytes()
    assert (progress.photos, progress.unchanged, progress.by_status) == (5, 0, {0: 3, 2: 1, 3: 1})


def test_the_manifest_says_what_came_of_each(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    out = tmp_path / "out"
    run(photos, out, tiny)
    known = records(out)
    assert list(known) == ["a.png", "b.png", "broken.jpg", "deep/er/c.png", "grey.png"]
    assert known["a.png"]["found"] == ["red"]
    assert known["a.png"]["bytes"] == (out / "a.png").stat().st_size
    assert known["broken.jpg"]["status"] == 2
    assert "is not a photo" in known["broken.jpg"]["error"] or "damaged" in known["broken.jpg"]["error"]
    assert known["grey.png"]["status"] == 3
    assert known["grey.png"]["nearest"] == ["grey"]


def test_a_second_run_does_nothing(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    out = tmp_path / "out"
    run(photos, out, tiny)
    before, times = tree(out), (out / "a.png").stat().st_mtime_ns
    here.done.clear()
    progress = run(photos, out, tiny)
    assert here.done == []
    assert (progress.photos, progress.unchanged, progress.handled) == (5, 5, 0)
    assert tree(out) == before
    assert (out / "a.png").stat().st_mtime_ns == times


@pytest.mark.parametrize(
    "change", ["photo", "new photo", "result gone", "result cut", "words", "options", "bundle", "again", "stamp alone"]
)
def test_a_second_run_does_what_is_missing_or_changed(
    photos: Path, tmp_path: Path, here: Here, tiny: str, change: str, make_spotted: Callable[..., Pixels]
) -> None:
    out = tmp_path / "out"
    run(photos, out, tiny)
    here.done.clear()
    how, own, words = How(), {}, ("red",)
    everything = {"a.png", "b.png", "broken.jpg", "deep/er/c.png", "grey.png"}
    if change == "photo":
        (photos / "b.png").write_bytes(png(make_spotted(64, 64)))
        expected = {"b.png"}
    elif change == "new photo":
        (photos / "new.png").write_bytes(png(make_spotted(64, 64)))
        expected = {"new.png"}
    elif change == "result gone":
        (out / "a.png").unlink()
        expected = {"a.png"}
    elif change == "result cut":
        (out / "a.png").write_bytes(b"")
        expected = {"a.png"}
    elif change == "words":
        words, expected = ("red", "blue"), everything
    elif change == "options":
        own, expected = {"options": EraseOptions(inpaint=InpaintOptions(grow=3))}, everything
    elif change == "bundle":
        manifest = Path(tiny) / "bundle.json"
        other = tmp_path / "other"
        other.mkdir()
        for file in Path(tiny).iterdir():
            (other / file.name).write_bytes(file.read_bytes())
        (other / "bundle.json").write_text(manifest.read_text().replace('"max_side": 128', '"max_side": 96'))
        tiny, expected = str(other), everything
    elif change == "again":
        how, expected = How(again=True), {"broken.jpg", "grey.png"}
    else:
        os.utime(photos / "a.png", (1, 1))
        expected = set()
    progress = run(photos, out, tiny, how, words, **own)
    assert set(here.done) == expected
    assert progress.unchanged == progress.photos - len(expected)
    fresh = tmp_path / "fresh"
    run(photos, fresh, tiny, words=words, **own)
    assert tree(out) == tree(fresh)


def test_verify_reads_photos_whose_listing_has_not_changed(
    photos: Path, tmp_path: Path, here: Here, tiny: str, make_spotted: Callable[..., Pixels]
) -> None:
    """The same size and time, other content: only --verify sees it."""
    out, photo = tmp_path / "out", photos / "a.png"
    bmp = cv2.imencode(".tiff", make_spotted()[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes()
    photo = photos / "a.tiff"
    photo.write_bytes(bmp)
    run(photos, out, tiny)
    times = photo.stat().st_atime_ns, photo.stat().st_mtime_ns
    photo.write_bytes(
        cv2.imencode(".tiff", make_spotted()[:, ::-1, ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes()
    )
    os.utime(photo, ns=times)
    here.done.clear()
    run(photos, out, tiny)
    assert here.done == []
    run(photos, out, tiny, How(verify=True))
    assert here.done == ["a.tiff"]


def test_a_photo_that_shows_nothing_any_more_leaves_no_old_result(
    photos: Path, tmp_path: Path, here: Here, tiny: str, make_rgb: Callable[..., Pixels]
) -> None:
    out = tmp_path / "out"
    run(photos, out, tiny)
    (photos / "a.png").write_bytes(png(make_rgb(50, 50)))
    (photos / "b.png").write_bytes(png(make_rgb(51, 50)))
    (out / "b.png").write_bytes((out / "b.png").read_bytes()[:-1] + b"!")  # somebody's own work
    run(photos, out, tiny)
    assert not (out / "a.png").exists()
    assert (out / "b.png").exists()


def test_the_order_of_the_workers_does_not_matter(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    run(photos, tmp_path / "one", tiny)
    here.order = lambda items: random.Random(3).sample(items, len(items))
    run(photos, tmp_path / "two", tiny)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


@pytest.mark.parametrize("after", range(6))
def test_a_run_that_was_cut_off_ends_as_one_that_was_not(
    photos: Path, tmp_path: Path, here: Here, tiny: str, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unsay.batch.journal.PART_SECONDS", 0.0)
    run(photos, tmp_path / "whole", tiny)
    here.done.clear()
    here.dies_before = after
    if after < 5:
        with pytest.raises(Cut):
            run(photos, tmp_path / "cut", tiny)
        assert not (tmp_path / "cut" / MANIFEST).exists()
    here.dies_before = None
    run(photos, tmp_path / "cut", tiny)
    assert sorted(here.done) == ["a.png", "b.png", "broken.jpg", "deep/er/c.png", "grey.png"]  # none of them twice
    assert tree(tmp_path / "cut") == tree(tmp_path / "whole")


def test_a_damaged_journal_costs_its_photos_only(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    out = tmp_path / "out"
    run(photos, out, tiny)
    before = tree(out)
    lines = (out / MANIFEST).read_text().splitlines(keepends=True)
    (out / MANIFEST).write_text(lines[0][:40] + "\n" + '{"photo": 3}\n[]\n' + "".join(lines[1:]))
    here.done.clear()
    run(photos, out, tiny)
    assert here.done == ["a.png"]
    assert tree(out) == before


def test_a_full_disk_ends_the_run_and_says_so(
    photos: Path, tmp_path: Path, here: Here, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from unsay.batch.places import Place

    put, left = Place.put, [3]  # the probe, the first result, its journal

    def full(self: Place, name: str, data: bytes) -> None:
        if name.endswith(".png"):
            left[0] -= 1
            if left[0] < 2:
                raise OSError(errno.ENOSPC, "No space left on device")
        put(self, name, data)

    monkeypatch.setattr(Place, "put", full)
    with pytest.raises(UnsayError, match=r"takes no more.*make room"):
        run(photos, tmp_path / "out", tiny)
    assert here.done == ["a.png", "b.png"]
    monkeypatch.setattr(Place, "put", put)
    here.done.clear()
    run(photos, tmp_path / "out", tiny)
    assert "a.png" not in here.done
    run(photos, tmp_path / "fresh", tiny)
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_results_may_lie_within_the_source(photos: Path, here: Here, tiny: str) -> None:
    run(photos, photos / "out", tiny)
    here.done.clear()
    assert run(photos, photos / "out", tiny).photos == 5
    assert here.done == []


def test_segment_and_cutout_name_their_results(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    run_batch(Job("segment", ("red",), kind="coco", bundle=tiny), str(photos), str(tmp_path / "s"))
    assert {"a.coco.json", "deep/er/c.coco.json"} < set(tree(tmp_path / "s"))
    assert json.loads((tmp_path / "s" / "a.coco.json").read_text())["images"][0]["file_name"] == "a.png"
    run_batch(Job("cutout", ("red",), crop=True, bundle=tiny), str(photos), str(tmp_path / "c"))
    assert {"a.cutout.png", "b.cutout.png"} < set(tree(tmp_path / "c"))


def test_two_photos_with_one_result_are_told(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    (photos / "a.webp").write_bytes((photos / "a.png").read_bytes())
    run_batch(Job("cutout", ("red",), bundle=tiny), str(photos), str(tmp_path / "c"))
    known = records(tmp_path / "c")
    assert known["a.png"]["status"] == 0
    assert known["a.webp"]["status"] == 2
    assert "a.cutout.png is that of a.png too" in known["a.webp"]["error"]


def test_inpaint_takes_each_photo_with_its_mask(
    photos: Path, tmp_path: Path, here: Here, tiny: str, make_spotted: Callable[..., Pixels]
) -> None:
    masks = tmp_path / "masks"
    (masks / "deep" / "er").mkdir(parents=True)
    white = (make_spotted()[..., :1] > 220).repeat(3, 2).astype("uint8") * 255
    for name in ("a.png", "deep/er/c.png"):
        (masks / name).write_bytes(png(white))
    job = Job("inpaint", bundle=tiny)
    run_batch(job, str(photos), str(tmp_path / "out"), masks=str(masks))
    known = records(tmp_path / "out")
    assert {name: record["status"] for name, record in known.items()} == {
        "a.png": 0,
        "deep/er/c.png": 0,
        "b.png": 2,
        "grey.png": 2,
        "broken.jpg": 2,
    }
    assert "it has no mask: expected b.png" in known["b.png"]["error"]
    here.done.clear()
    (masks / "a.png").write_bytes(png(255 - white))
    run_batch(job, str(photos), str(tmp_path / "out"), masks=str(masks))
    assert here.done == ["a.png"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_gives_photos_words_and_names(photos: Path, tmp_path: Path, here: Here, tiny: str, suffix: str) -> None:
    rows = [
        {"photo": "photos/a.png", "words": "red, blue", "output": "a.png"},
        {"photo": str(photos / "b.png"), "words": None, "output": None},
        {"photo": "photos/gone.png", "words": "red", "output": None},
        {"photo": "photos/a.png", "words": "blue", "output": "only-blue.png"},
        {"photo": "photos/a.png", "words": "blue", "output": "../out-of-it.png"},
        {"photo": "photos/a.png", "words": "blue", "output": "a.jpg"},
        {"photo": "", "words": "blue", "output": None},
    ]
    table = tmp_path / f"table{suffix}"
    if suffix == ".csv":
        import csv

        with open(table, "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, ["photo", "words", "output"])
            writer.writeheader()
            writer.writerows(rows)
    else:
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(rows), table)
    out = tmp_path / "out"
    run_batch(Job("erase", ("red",), bundle=tiny), str(table), str(out))
    inside = str(photos / "b.png").lstrip("/")
    assert set(tree(out)) == {"a.png", inside, "only-blue.png", MANIFEST}
    told = [json.loads(line) for line in (out / MANIFEST).read_text().splitlines()]
    assert {record["result"]: record["found"] for record in told if record["status"] == 0} == {
        "a.png": ["red", "blue"],
        inside: ["red"],
        "only-blue.png": ["blue"],
    }
    errors = " | ".join(record["error"] for record in told if record["status"])
    assert "is not there" in errors
    assert "within the destination" in errors
    assert "must end in .png" in errors
    assert "names no photo" in errors
    here.done.clear()
    run_batch(Job("erase", ("red",), bundle=tiny), str(table), str(out))
    assert here.done == ["photos/gone.png"]  # it may have come meanwhile


@pytest.mark.parametrize(
    ("source", "destination", "job", "how", "message"),
    [
        ("nowhere", "out", {}, {}, "is not there: give a folder, a glob"),
        ("photos/a.png", "out", {}, {}, "is a file"),
        ("photos", "photos", {}, {}, "is where the photos are"),
        ("photos", "photos/a.png/out", {}, {}, "nothing can be written"),
        ("gone.csv", "out", {}, {}, "no table"),
        ("photos/notes.csv", "out", {}, {}, "no column photo; it has thing, other"),
        ("quatsch://x/y", "out", {}, {}, "cannot be opened|needs a library"),
        ("photos", "out", {"verb": "paint"}, {}, "no verb 'paint'"),
        ("photos", "out", {"verb": "segment", "kind": "svg"}, {}, "no format 'svg'"),
        ("photos", "out", {"words": ("",)}, {}, "word"),
        ("photos", "out", {}, {"workers": 0}, "workers is 0"),
        ("photos", "out", {}, {"threads": 0}, "threads is 0"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_is_written(
    photos: Path,
    tmp_path: Path,
    here: Here,
    tiny: str,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    destination: str,
    job: dict[str, Any],
    how: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (photos / "notes.csv").write_text("thing,other\n1,2\n")
    before = tree(tmp_path)
    given = {"verb": "erase", "words": ("red",), "bundle": tiny, **job}
    with pytest.raises(BadInput, match=message):
        run_batch(Job(**given), source, destination, How(**how))
    assert tree(tmp_path) == before


def test_globs_pick_photos(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    run_batch(Job("erase", ("red",), bundle=tiny), f"{photos}/**/*.png", str(tmp_path / "all"))
    assert sorted(here.done) == ["a.png", "b.png", "deep/er/c.png", "grey.png"]
    here.done.clear()
    run_batch(Job("erase", ("red",), bundle=tiny), f"{photos}/[ab].png", str(tmp_path / "two"))
    assert sorted(here.done) == ["a.png", "b.png"]


def test_photos_without_words_are_told(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    """At once for a folder; for a table, whose rows may have some, by photo."""
    with pytest.raises(BadInput, match="no word says what to look for"):
        run_batch(Job("erase", (), bundle=tiny), str(photos), str(tmp_path / "out"))
    with pytest.raises(BadInput, match="no masks: give --masks"):
        run_batch(Job("inpaint", (), bundle=tiny), str(photos), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    (photos / "t.csv").write_text("photo,words\na.png,red\nb.png,\n")
    run_batch(Job("erase", (), bundle=tiny), str(photos / "t.csv"), str(tmp_path / "out"))
    assert here.done == ["a.png"]
    assert "no word says" in records(tmp_path / "out")["b.png"]["error"]


def test_two_batches_do_not_write_into_one_folder(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    from unsay.batch.places import alone, open_place

    with alone(open_place(str(tmp_path / "out"))), pytest.raises(UnsayError, match="another batch is writing"):
        run(photos, tmp_path / "out", tiny)


def test_names_that_are_no_text_are_gone_through(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    name = os.fsdecode(b"\xff\n odd.png")
    (photos / name).write_bytes((photos / "a.png").read_bytes())
    out = tmp_path / "out"
    run(photos, out, tiny)
    assert (out / name).read_bytes() == (out / "a.png").read_bytes()
    here.done.clear()
    run(photos, out, tiny)
    assert here.done == []


def test_relative_paths_mean_the_same_wherever_a_worker_stands(
    photos: Path, tmp_path: Path, here: Here, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    at_home = here.records

    def elsewhere(*given: Any) -> Any:
        os.chdir("/")
        return at_home(*given)

    monkeypatch.setattr("unsay.batch.running.records", elsewhere)
    (tmp_path / "table.csv").write_text("photo\nphotos/a.png\n")
    relative = os.path.relpath(tiny, tmp_path)
    run_batch(Job("erase", ("red",), bundle=relative), "photos", "out")
    os.chdir(tmp_path)
    run_batch(Job("erase", ("red",), bundle=relative), "table.csv", "out-of-table")
    assert {"a.png", "deep/er/c.png"} < set(tree(tmp_path / "out"))
    assert set(tree(tmp_path / "out-of-table")) == {"photos/a.png", MANIFEST}
