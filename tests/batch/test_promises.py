"""What a batch promises, against those who would break it: nothing is replaced, nothing passed over, nothing stale."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch.stand_ins import Cut, Here, by_photo, png, tree
from unsay.batch import How, Job, Progress, run_batch
from unsay.batch.journal import MANIFEST, drop_state
from unsay.batch.places import STATE, alone, open_place
from unsay.errors import BadInput, UnsayError
from unsay.results import Pixels

pytestmark = pytest.mark.usefixtures("colour_words")


def records(folder: Path) -> dict[str, dict[str, Any]]:
    return by_photo(json.loads(line) for line in (folder / MANIFEST).read_text().splitlines())


def run(source: Path | str, out: Path | str, tiny: str, *words: str, how: How | None = None, **more: Any) -> Progress:
    return run_batch(Job("erase", words or ("red",), bundle=tiny), str(source), str(out), how or How(), **more)


# --- photos and masks are never replaced ------------------------------------------------------------------------------


def test_a_table_beside_its_photos_does_not_replace_them(photos: Path, here: Here, tiny: str) -> None:
    (photos / "t.csv").write_text("photo,output\na.png,\nb.png,new.png\ngrey.png,b.png\n")
    before = tree(photos)
    run(photos / "t.csv", photos, tiny)
    after = tree(photos)
    assert {name: after[name] for name in before} == before
    assert sorted(after.keys() - before.keys()) == ["new.png", MANIFEST]
    told = [r for r in records(photos).values() if r["status"] == 2]
    assert [r["photo"] for r in told] == ["a.png", "grey.png"]
    assert all("would replace a photo or a mask" in r["error"] for r in told)


def test_a_link_to_the_photos_is_no_other_folder(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    (tmp_path / "link").symlink_to(photos)
    before = tree(photos)
    for source, out in ((photos, tmp_path / "link"), (tmp_path / "link", photos)):
        with pytest.raises(BadInput, match="is where the photos are"):
            run(source, out, tiny)
    assert tree(photos) == before


def test_photos_within_the_destination_are_not_replaced(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    shutil.copytree(photos / "deep", photos / "photos" / "deep")
    (photos / "photos" / "a.png").write_bytes((photos / "a.png").read_bytes())
    before = tree(photos)
    run(photos, tmp_path, tiny)  # the result of photos/a.png would lie in photos/, where a.png is
    assert tree(photos) == before
    assert records(tmp_path)["photos/a.png"]["status"] == 2
    assert (tmp_path / "a.png").exists()


def test_masks_are_not_replaced(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in ("a.png", "b.png"):
        (masks / name).write_bytes(png(np.full((90, 120, 3), 255, np.uint8)))
    before = tree(masks)
    run_batch(Job("inpaint", bundle=tiny), str(photos), str(masks), masks=str(masks))
    after = tree(masks)
    assert {name: after[name] for name in before} == before


def test_links_in_the_destination_are_not_followed(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    elsewhere.mkdir()
    out.mkdir()
    (out / "deep").symlink_to(elsewhere)
    run(photos, out, tiny)
    assert list(elsewhere.iterdir()) == []
    assert "is a link that leads out of" in records(out)["deep/er/c.png"]["error"]


@pytest.mark.parametrize("what", ["state", "lock"])
def test_links_in_the_state_folder_are_refused(photos: Path, tmp_path: Path, here: Here, tiny: str, what: str) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "elsewhere").mkdir()
    state = tmp_path / "out" / STATE
    if what == "state":
        state.parent.mkdir()
        state.symlink_to(tmp_path / "elsewhere")
    else:
        state.mkdir(parents=True)
        (state / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises((BadInput, OSError)):
        run(photos, tmp_path / "out", tiny)
    assert (tmp_path / "precious").read_text() == "precious"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_stale_result_goes_alone_whatever_its_name(
    make_spotted: Callable[..., Pixels], here: Here, tiny: str
) -> None:
    """In a bucket, where names may hold what other functions of its library read as a pattern."""
    import fsspec

    files = fsspec.filesystem("memory")
    names = ("a[1].png", "a1.png", "*.png")
    for name in names:
        files.pipe_file(f"/src/{name}", png(make_spotted()))
    run("memory://src", "memory://dst", tiny)
    assert sorted(files.ls("/dst", detail=False)) == sorted([*(f"/dst/{name}" for name in names), f"/dst/{MANIFEST}"])
    for name in ("a[1].png", "*.png"):
        files.pipe_file(f"/src/{name}", png(np.full((60, 60, 3), 90, np.uint8)))
    run("memory://src", "memory://dst", tiny, how=How(verify=True))
    assert sorted(files.ls("/dst", detail=False)) == ["/dst/a1.png", f"/dst/{MANIFEST}"]


# --- nothing is passed over -------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_listed_is_told(
    photos: Path, tmp_path: Path, here: Here, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def locked(path: Any) -> Any:
        if str(path).endswith("/deep/er"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(BadInput, match=r"cannot list .*/deep/er: Permission denied"):
        run(photos, tmp_path / "out", tiny)


def test_a_folder_may_be_called_as_a_pattern_is(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    photos.rename(tmp_path / "photos [2024]")
    run(tmp_path / "photos [2024]", tmp_path / "out [1]", tiny)
    assert len(here.done) == 5
    assert not (tmp_path / "out [1]" / STATE).exists()


@pytest.mark.parametrize("what", ["photos/*.gif", "empty", "empty.csv"])
def test_nothing_to_go_through_is_no_success(
    photos: Path, tmp_path: Path, here: Here, tiny: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.csv").write_text("photo\n")
    with pytest.raises(BadInput, match="holds no photo"):
        run(what, "out", tiny)


def test_masks_are_in_a_folder(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    with pytest.raises(BadInput, match=r"masks.* is not there: give the folder that the masks are in"):
        run_batch(Job("inpaint", bundle=tiny), str(photos), str(tmp_path / "out"), masks=str(tmp_path / "masks*"))


def test_links_are_what_they_lead_to(
    photos: Path, tmp_path: Path, here: Here, tiny: str, make_spotted: Callable[..., Pixels]
) -> None:
    (tmp_path / "real.png").write_bytes(png(make_spotted()))
    (photos / "link.png").symlink_to(tmp_path / "real.png")
    (photos / "nowhere.png").symlink_to(tmp_path / "no.png")
    run(photos, tmp_path / "out", tiny)
    here.done.clear()
    pixels = png(make_spotted()[::-1].copy())
    (tmp_path / "real.png").write_bytes(pixels)
    os.utime(tmp_path / "real.png", (1, 1))
    run(photos, tmp_path / "out", tiny)
    assert here.done == ["link.png"]
    assert "nowhere.png" not in records(tmp_path / "out")


def test_what_is_no_file_is_passed_over(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    os.mkfifo(photos / "pipe.png")
    (photos / "t.csv").write_text("photo\npipe.png\na.png\n")
    run(photos, tmp_path / "out", tiny)
    assert "pipe.png" not in here.done
    run(photos / "t.csv", tmp_path / "table", tiny)
    assert records(tmp_path / "table")["pipe.png"]["error"] == "pipe.png is no file"


# --- what is there is what the manifest says --------------------------------------------------------------------------


def test_a_result_of_other_words_is_not_taken_for_ones_own(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    """Killed between a result of the same size and its record: the next run does it again."""
    out = tmp_path / "out"
    run(photos, out, tiny, "red")
    red = tree(out)
    here.dies_before = len(here.done) + 1
    with pytest.raises(Cut):
        run(photos, out, tiny, "blue")
    assert (out / "a.png").read_bytes() != red["a.png"]
    here.dies_before = None
    run(photos, out, tiny, "red")
    assert tree(out) == red


def test_what_a_killed_run_left_does_not_stay_where_nothing_is_found(
    photos: Path, tmp_path: Path, here: Here, tiny: str
) -> None:
    out = tmp_path / "out"
    run(photos, tmp_path / "whole", tiny, "green")
    here.dies_before = len(here.done) + 2
    with pytest.raises(Cut):
        run(photos, out, tiny, "red")
    assert (out / "a.png").exists()
    here.dies_before = None
    run(photos, out, tiny, "green")
    assert tree(out) == tree(tmp_path / "whole")


def test_somebody_elses_file_stays_where_nothing_is_found(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "grey.png").write_bytes(b"somebody's")
    here.dies_before = 4
    with pytest.raises(Cut):
        run(photos, out, tiny)
    here.dies_before = None
    run(photos, out, tiny)
    assert (out / "grey.png").read_bytes() == b"somebody's"


def test_a_stale_result_goes_even_after_failures(
    photos: Path, tmp_path: Path, here: Here, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run(photos, out, tiny, "red")

    def broken(*_: Any) -> Any:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("unsay.batch.job.run_erase", broken)
        run(photos, out, tiny, "blue")
    assert (out / "a.png").exists(), "what failed may be done the next time"
    run(photos, out, tiny, "green")
    assert not (out / "a.png").exists()
    assert "left" not in records(out)["a.png"]


def test_verify_reads_results_too(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    out = tmp_path / "out"
    run(photos, out, tiny)
    before = tree(out)
    (out / "a.png").write_bytes(bytes(len(before["a.png"])))
    run(photos, out, tiny)
    assert tree(out) != before, "the size is the same"
    run(photos, out, tiny, how=How(verify=True))
    assert tree(out) == before


def test_a_photo_of_another_ending_is_another_photo(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    job, out = Job("segment", ("red",), kind="coco", bundle=tiny), tmp_path / "out"
    run_batch(job, str(photos), str(out))
    (photos / "a.png").rename(photos / "a.PNG")
    run_batch(job, str(photos), str(out))
    assert json.loads((out / "a.coco.json").read_text())["images"][0]["file_name"] == "a.PNG"
    assert json.loads((out / "deep/er/c.coco.json").read_text())["images"][0]["file_name"] == "deep/er/c.png"


def test_failures_of_an_earlier_run_are_told_again(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    first = run(photos, tmp_path / "out", tiny)
    again = run(photos, tmp_path / "out", tiny)
    assert (first.failed, first.not_found) == (again.failed, again.not_found) == (1, 1)
    assert again.unchanged == 5


# --- damaged and hostile state ----------------------------------------------------------------------------------------

GOOD = {"photo": "a.png", "result": "a.png", "status": 0, "recipe": "x", "stamp": "1:1", "mask_stamp": None}
GOOD |= {"error": None, "input": "0", "mask": None, "bytes": 3, "sha256": "0"}


@pytest.mark.parametrize(
    "line",
    [
        json.dumps(GOOD | {"bytes": float("nan")}),
        "[" * 100_000,
        json.dumps(GOOD | {"result": "\ud800"}),
        json.dumps({name: value for name, value in GOOD.items() if name != "bytes"}),
        json.dumps({name: value for name, value in GOOD.items() if name != "sha256"}),
        json.dumps(GOOD | {"sha256": None}),
        json.dumps(GOOD | {"status": 9}),
        json.dumps(GOOD | {"status": True}),
        json.dumps(GOOD | {"photo": 3}),
        json.dumps(GOOD | {"stop": "the end"}),
        json.dumps(GOOD | {"unchanged": True}),
    ],
)
def test_a_manifest_of_anybody_ends_no_run(photos: Path, tmp_path: Path, here: Here, tiny: str, line: str) -> None:
    out = tmp_path / "out"
    run(photos, out, tiny)
    before = tree(out)
    rest = (out / MANIFEST).read_text().splitlines(keepends=True)[1:]
    (out / MANIFEST).write_text("".join([f"{line}\n", *rest]))
    run(photos, out, tiny)
    assert tree(out) == before


def test_a_lock_is_of_one_alone(tmp_path: Path) -> None:
    """Also where the one before has cleared the state folder, and another waits with the old file open."""
    place = open_place(str(tmp_path))
    with alone(place):
        drop_state(place)
        with pytest.raises(UnsayError, match="another batch is writing"), alone(place):
            pass
    with alone(place), pytest.raises(UnsayError, match="another batch is writing"), alone(place):
        pass
    assert not (tmp_path / STATE).exists()


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("words", [1, 2], "its words are"),
        ("words", [True, False], "its words are"),
        ("words", [b"red", b"blue"], "its words are"),
        ("mask", [1.5, 2.5], "its mask is '1.5': give text"),
        ("output", [1, 2], "its output is '1': give text"),
        ("photo", [1, 2], "its photo is '1': give text"),
        ("words", [float("nan"), float("nan")], None),
        ("output", [float("nan"), float("nan")], None),
    ],
)
def test_cells_of_any_kind(
    photos: Path, tmp_path: Path, here: Here, tiny: str, column: str, values: list[Any], message: str | None
) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table = {"photo": ["a.png", "b.png"]} | {column: values}
    parquet.write_table(pa.table(table), photos / "t.parquet")
    run(photos / "t.parquet", tmp_path / "out", tiny)
    errors = [record["error"] for record in records(tmp_path / "out").values()]
    assert len(errors) == 2
    assert errors == [None, None] if message is None else any(message in error for error in errors)


def test_errors_hold_no_path_of_the_machine(photos: Path, tmp_path: Path, here: Here, tiny: str) -> None:
    (photos / "t.csv").write_text("photo,mask\nno.png,\na.png,none.png\n")
    (tmp_path / "masks").mkdir()
    job = Job("inpaint", bundle=tiny)
    run_batch(job, str(photos / "t.csv"), str(tmp_path / "one"))
    run_batch(job, str(photos), str(tmp_path / "two"), masks=str(tmp_path / "masks"))
    assert records(tmp_path / "one")["a.png"]["error"] == "the mask is not there"
    for out in ("one", "two"):
        assert str(tmp_path) not in (tmp_path / out / MANIFEST).read_text()


def test_a_killed_run_leaves_its_temporary_folders_to_the_next(tmp_path: Path) -> None:
    from unsay.leftovers import private_folder

    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / f"unsay-batch-{dead.pid}-abc").mkdir()
    ours = private_folder("unsay-batch-", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [ours.name]
