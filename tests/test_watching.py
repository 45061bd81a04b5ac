from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from unsay import cli, watching
from unsay.bundle import Bundle
from unsay.commands.watching import tell
from unsay.errors import BadInput, BundleError, UnsayError
from unsay.options import EraseOptions, InpaintOptions, SegmentOptions
from unsay.results import Pixels
from unsay.watching import Handled, Waiting, Watch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("colour_words", "quick"),
]  # slow: it waits for files to be whole
LONG = 30.0


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SETTLED", 0.15)
    monkeypatch.setattr(watching, "PATIENCE", 0.6)
    monkeypatch.setattr(watching, "_TICK_MS", 40)


@pytest.fixture
def photo(make_spotted: Callable[..., Pixels]) -> bytes:
    """A photo's bytes, with a red square in it."""
    return bytes(cv2.imencode(".png", make_spotted()[..., ::-1])[1])


@pytest.fixture
def grey(make_rgb: Callable[..., Pixels]) -> bytes:
    return bytes(cv2.imencode(".png", make_rgb(60, 60)[..., ::-1])[1])


class Running:
    """A watch in a thread of its own; `next` gives what it did, in order."""

    def __init__(self, watch: Watch, existing: bool = True) -> None:
        self.done: queue.Queue[Handled | Exception] = queue.Queue()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(watch, existing))
        self.thread.start()

    def _run(self, watch: Watch, existing: bool) -> None:
        try:
            for one in watch.run(existing=existing, stop=self.stop):
                self.done.put(one)
        except Exception as error:
            self.done.put(error)

    def next(self) -> Any:
        return self.done.get(timeout=LONG)

    def nothing_more(self, seconds: float = 0.5) -> bool:
        time.sleep(seconds)
        return self.done.empty()

    def end(self) -> None:
        self.stop.set()
        self.thread.join(LONG)


Start = Callable[..., Running]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def start(folder: Path, tiny_bundle: Bundle, grey: bytes) -> Iterator[Start]:
    """`start(existing=True, **for the watch)`: a watch of the folder, ended with the test."""
    running: list[Running] = []

    def begin(existing: bool = True, wait: bool = True, **given: Any) -> Running:
        job = Watch(folder, ["red"], EraseOptions(), tiny_bundle, **given)
        running.append(Running(job, existing))
        if wait:
            until_it_watches(running[-1], put(folder, "zero.png", grey))
        return running[-1]

    yield begin
    for one in running:
        one.end()


def until_it_watches(running: Running, photo: Path) -> None:
    """What was there as it began may be left out: so touch the photo until it is seen."""
    for _ in range(100):
        os.utime(photo)
        time.sleep(0.4)
        if not running.done.empty():
            break
    assert running.next().photo == photo


def put(folder: Path, name: str, data: bytes) -> Path:
    """Move a whole file into the folder."""
    outside = folder.parent / f"moving {name}"
    outside.write_bytes(data)
    return outside.rename(folder / name)


def test_a_photo_that_is_moved_in(start: Start, folder: Path, photo: bytes, tiny_bundle: Bundle) -> None:
    running = start()
    source = put(folder, "a.png", photo)
    done = running.next()
    assert (done.photo, done.output, done.status) == (source, folder / "unsaid" / "a.png", 0)
    assert done.details["found"] == ["red"]
    assert source.read_bytes() == photo
    assert cv2.imread(str(done.output))[30, 40, 2] < 200
    assert running.nothing_more()


def test_a_photo_that_is_copied_in_slowly(
    start: Start, folder: Path, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces with pauses longer than what an ordinary file gets: nothing is said of the parts."""
    running = start()
    monkeypatch.setattr(watching, "PATIENCE", LONG)
    with open(folder / "slow.png", "wb") as stream:
        for piece in (photo[:100], photo[100:5000], photo[5000:]):
            stream.write(piece)
            stream.flush()
            time.sleep(0.3)
    assert running.next().status == 0
    assert running.nothing_more(1.0)


def test_a_photo_that_is_replaced_is_edited_again(start: Start, folder: Path, photo: bytes, grey: bytes) -> None:
    running = start()
    put(folder, "a.png", photo)
    first = running.next().output.read_bytes()
    put(folder, "a.png", bytes(cv2.imencode(".png", cv2.imdecode(np.frombuffer(photo, np.uint8), 1)[:, ::-1])[1]))
    done = running.next()
    assert done.status == 0
    assert done.output.read_bytes() != first
    (folder / "a.png").chmod(0o600)
    assert running.nothing_more(), "new permissions are no new photo"
    put(folder, "a.png", grey)
    assert running.next().status == 3


def test_a_photo_that_is_taken_out_and_put_back_is_edited_again(start: Start, folder: Path, photo: bytes) -> None:
    running = start()
    source = put(folder, "a.png", photo)
    done = running.next()
    outside = source.rename(folder.parent / "a.png")
    done.output.unlink()
    assert running.nothing_more()
    outside.rename(source)
    assert running.next().output.exists()


def test_what_lies_there_is_done_first_if_its_result_is_missing(
    start: Start, folder: Path, photo: bytes, grey: bytes
) -> None:
    (folder / "unsaid").mkdir()
    (folder / "unsaid" / "b.png").write_bytes(b"kept")
    for name in ("c.png", "b.png", "a.png"):
        (folder / name).write_bytes(photo)
    running = start(wait=False)
    assert [running.next().photo.name for _ in range(2)] == ["a.png", "c.png"]
    assert running.nothing_more()
    assert (folder / "unsaid" / "b.png").read_bytes() == b"kept"


def test_what_lies_there_may_be_left_out(start: Start, folder: Path, photo: bytes) -> None:
    (folder / "a.png").write_bytes(photo)
    running = start(existing=False)
    put(folder, "b.png", photo)
    assert running.next().photo.name == "b.png"
    assert running.nothing_more()
    put(folder, "a.png", photo)
    assert running.next().photo.name == "a.png"


def test_one_bad_photo_does_not_stop_it(
    start: Start, folder: Path, photo: bytes, grey: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    put(folder, "cut.png", photo[:900])
    put(folder, "none.png", grey)
    seen = {(done := running.next()).photo.name: done for _ in range(2)}
    assert (seen["cut.png"].status, seen["none.png"].status) == (2, 3)
    assert "cut short" in seen["cut.png"].error
    assert seen["none.png"].details["scores"] == {"red": 0.1}
    (folder / "empty.png").touch()
    assert "empty (0 bytes)" in running.next().error
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    with monkeypatch.context() as patched:
        patched.setattr(watching, "run_erase", lambda *_, **__: 1 / 0)
        put(folder, "odd.png", photo)
        assert running.next().error == "ZeroDivisionError: division by zero"
    put(folder, "good.png", photo)
    assert running.next().status == 0
    assert sorted(os.listdir(folder / "unsaid")) == ["good.png"]


def test_other_files_are_left_alone(start: Start, folder: Path, photo: bytes) -> None:
    running = start()
    for name in ("notes.txt", ".hidden.png", "a.gif", "noend"):
        put(folder, name, photo)
    (folder / "unsaid" / "inner.png").write_bytes(photo)
    (folder / "deeper").mkdir()
    (folder / "deeper" / "a.png").write_bytes(photo)
    assert running.nothing_more()
    put(folder, "IMAGE.PNG", photo)
    assert running.next().output == folder / "unsaid" / "IMAGE.PNG"


def test_results_in_the_watched_folder_are_not_picked_up(start: Start, folder: Path, photo: bytes) -> None:
    (folder / "link").symlink_to(folder)
    running = start(results=folder / "link")
    put(folder, "a.png", photo)
    assert running.next().output == folder / "a.unsaid.png"
    assert running.nothing_more()
    assert sorted(os.listdir(folder)) == ["a.png", "a.unsaid.png", "link", "zero.png"]


def test_a_folder_for_results_is_made_and_made_again(start: Start, folder: Path, photo: bytes) -> None:
    place = folder.parent / "far" / "away"
    running = start(results=place)
    place.rmdir()
    put(folder, "a.png", photo)
    assert running.next().output == place / "a.png"
    assert not (folder / "unsaid").exists()


def test_a_folder_that_goes_away_ends_it(start: Start, folder: Path) -> None:
    running = start()
    folder.rename(folder.with_name("elsewhere"))
    error = running.next()
    assert isinstance(error, UnsayError)
    assert "can no longer be watched" in str(error)


def test_a_bundle_that_cannot_be_used_ends_it(
    start: Start, folder: Path, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise BundleError("damaged")

    running = start()
    monkeypatch.setattr(watching, "run_erase", refuse)
    put(folder, "a.png", photo)
    assert isinstance(running.next(), BundleError)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"folder": Path("nowhere")}, "is no folder"),
        ({"words": []}, "no word was given"),
        ({"options": EraseOptions(SegmentOptions(threshold=2))}, "must lie between 0 and 1"),
        ({"options": EraseOptions(inpaint=InpaintOptions(grow=-1))}, "grow is -1"),
        ({"results": Path("/dev/null/x")}, "cannot be made"),
    ],
)
def test_what_cannot_be_used_is_said_at_once(
    folder: Path, tiny_bundle: Bundle, given: dict[str, Any], said: str
) -> None:
    usual: dict[str, Any] = {"folder": folder, "words": ["red"], "options": EraseOptions(), "bundle": tiny_bundle}
    with pytest.raises(BadInput, match=said):
        Watch(**{**usual, **given})


def test_waiting_for_a_file_to_become_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    file, waiting = tmp_path / "a.png", Waiting()

    def at(seconds: float) -> list[Path]:
        clock[0] = seconds
        return list(waiting.whole())

    waiting.add(file)
    assert at(0) == []
    file.write_bytes(b"1")
    waiting.add(file)
    assert (at(1), at(1.1)) == ([], [])
    file.write_bytes(b"12")
    assert (at(1.2), at(1.3)) == ([], [])
    assert (at(1.36), at(1.6)) == ([file], [])
    assert waiting.again(file)
    assert (at(1.7), at(1.81)) == ([], [file])
    assert not waiting.again(file)
    waiting.add(file)
    assert (at(2), at(3)) == ([], [])
    file.write_bytes(b"123")
    waiting.add(file)
    assert (at(4), at(4.2)) == ([], [file])


# --- the command ------------------------------------------------------------------------------------------------------


def test_lines_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    details = {"scores": {"dog": 0.91, "cat": 0.1}, "found": ["dog"], "not_found": ["cat"]}
    told = [
        Handled(Path("in/a.jpg"), Path("in/unsaid/a.jpg"), 0, None, details),
        Handled(Path("in/\x1bb.jpg"), None, 3, "not found: dog (0.10)", {"scores": {"dog": 0.1}, "nearest": []}),
        Handled(Path("in/c.jpg"), None, 2, "c.jpg is\nempty"),
    ]
    for one in told:
        tell(one, False)
    assert capsys.readouterr().out.splitlines() == [
        "a.jpg: found: dog (0.91); not found: cat (0.10); in/unsaid/a.jpg",
        "?b.jpg: not found: dog (0.10)",
        "c.jpg: error: c.jpg is empty",
    ]
    for one in told:
        tell(one, True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == {"verb": "watch", "photo": "in/a.jpg", "output": "in/unsaid/a.jpg", "status": 0, **details}
    assert lines[1] == {
        "verb": "watch", "photo": "in/\x1bb.jpg", "output": None, "status": 3,
        "error": "not found: dog (0.10)", "scores": {"dog": 0.1}, "nearest": [],
    }  # fmt: skip
    assert lines[2] == {"verb": "watch", "photo": "in/c.jpg", "output": None, "status": 2, "error": "c.jpg is empty"}


def test_the_command_ends_in_a_sentence(
    folder: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []

    def run(job: Watch, existing: bool) -> Iterator[Handled]:
        seen.append((job, existing))
        yield Handled(folder / "a.jpg", None, 2, "odd")
        raise KeyboardInterrupt

    monkeypatch.setattr(Watch, "run", run)
    given = ["--no-existing", "--grow", "4", "--threshold", "0.3", "--no-texture", "--max-megapixels", "7"]
    place = folder.parent / "out"
    arguments = ["watch", str(folder), "red", "blue", "-o", str(place), "--bundle", str(tiny_bundle.path), *given]
    assert cli.main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.out == "a.jpg: error: odd\n"
    assert captured.err.splitlines() == [
        f"watching {folder}, results go to {place}; Ctrl-C ends it",
        "unsay: no longer watching; no file is half-written",
    ]
    job, existing = seen[0]
    assert (job.words, job.results, job.max_megapixels, existing) == (["red", "blue"], place, 7.0, False)
    assert job.options == EraseOptions(SegmentOptions(0.3), InpaintOptions(4, None, texture=False))
    assert cli.main(["watch", str(folder / "no"), "red", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["verb"] == "watch"


@pytest.mark.skipif(os.name != "posix", reason="signals of a POSIX system")
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_signals_end_the_process_with_status_zero(folder: Path, tiny_bundle: Bundle, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "unsay", "watch", str(folder), "red", "--json", "--bundle", str(tiny_bundle.path)]
    (folder / "a.png").write_bytes(b"no photo")
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert (told["photo"], told["status"]) == (str(folder / "a.png"), 2)
        process.send_signal(number)
        out, err = process.communicate(timeout=LONG)
    assert (process.returncode, out, err) == (0, "", "unsay: no longer watching; no file is half-written\n")
