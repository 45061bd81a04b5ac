from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import unsay
from unsay import cli, verbs
from unsay.bundle import Bundle
from unsay.commands import console
from unsay.errors import BadInput
from unsay.results import Pixels

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def photo(tmp_path: Path, make_spotted: Callable[..., Pixels], monkeypatch: pytest.MonkeyPatch) -> Path:
    """`photo.png` in the working directory, with a red square and a blue bar."""
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("photo.png", make_spotted()[..., ::-1])
    return tmp_path / "photo.png"


@pytest.fixture
def run(tiny_bundle: Bundle, colour_words: None, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("erase", ...)`: status, standard output and standard error of the command with the tiny bundle."""

    def call(*arguments: Any) -> tuple[int, str, str]:
        status = cli.main([*map(str, arguments), "--bundle", str(tiny_bundle.path)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_erase_says_where_the_result_is(run: Run, photo: Path) -> None:
    status, out, err = run("erase", "photo.png", "red", "green")
    assert (status, out) == (0, "photo.unsaid.png\n")
    assert err.splitlines()[:2] == ["found: red (0.90)", "not found: green (0.10)"]
    assert err.splitlines()[2].startswith("filled ")
    assert sorted(os.listdir()) == ["photo.png", "photo.unsaid.png"]


def test_erase_as_json(run: Run, photo: Path) -> None:
    status, out, err = run("erase", "photo.png", "red", "green", "--json", "-o", "out.png", "--grow", 2)
    told = json.loads(out)
    assert (status, err, out.count("\n")) == (0, "", 1)
    assert {"verb": "erase", "output": "out.png", "found": ["red"], "not_found": ["green"]}.items() <= told.items()
    assert told["constants"]["grow"] == 2
    assert Path("out.png").is_file()


def test_a_point_alone_erases_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sea, out, mask = Path(__file__).parents[1] / "examples" / "sea.jpg", tmp_path / "out.png", tmp_path / "mask.png"
    told = cli.main(["erase", str(sea), "--point", "115,210", "-o", str(out), "--mask-out", str(mask)])
    assert (told, capsys.readouterr().err.splitlines()[0]) == (0, "found: what is at 115,210 (1.00)")
    hole = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE) > 0
    assert hole[190:230, 95:135].all()  # the moon
    assert hole.mean() < 0.1
    assert cli.main(["erase", str(sea), "-o", str(out)]) == 2
    assert "no word was given" in capsys.readouterr().err


def test_not_found_is_status_three(run: Run, photo: Path) -> None:
    status, out, err = run("erase", "photo.png", "green")
    assert (status, out) == (3, "")
    assert (
        err
        == "unsay: not found: green (0.10); the photo seems to show: grey; or give a point on it in place of the word\n"
    )
    status, out, _ = run("segment", "photo.png", "green", "--json")
    assert status == 3
    assert {"status": 3, "scores": {"green": 0.1}, "nearest": ["grey"], "output": None}.items() <= json.loads(
        out
    ).items()
    assert os.listdir() == ["photo.png"]


def test_options_reach_the_verb(run: Run, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def catch(source: Any, words: Any, options: Any, **rest: Any) -> Any:
        seen.update(rest, source=source, words=words, options=options)
        raise BadInput("caught")

    monkeypatch.setattr(verbs, "run_erase", catch)
    given = "--threshold 0.3 --grow 4 --box 1,2,3,4 --point 5,6 --in-place --mask-out m.png --max-megapixels 7"
    assert run("erase", "photo.png", "red", "blue", *given.split())[0] == 2
    options = seen["options"]
    assert (options.segment.threshold, options.segment.box, options.segment.point) == (0.3, (1, 2, 3, 4), (5, 6))
    assert (options.inpaint.grow, options.inpaint.feather) == (4, None)
    assert (seen["source"], seen["words"], seen["in_place"]) == ("photo.png", ["red", "blue"], True)
    assert (seen["mask_out"], seen["max_megapixels"], seen["dry_run"]) == ("m.png", 7.0, False)


@pytest.mark.parametrize("value", ["1,2,3", "a,b,c,d", "1,2,3,4,5", "", "1.5,2,3,4"])
def test_a_box_that_is_none(run: Run, photo: Path, value: str) -> None:
    status, _, err = run("erase", "photo.png", "red", "--box", value)
    assert status == 2
    assert err == f"unsay: --box {value!r} is not X,Y,W,H: give 4 whole numbers with commas between them\n"


def test_dry_run_tells_and_writes_nothing(run: Run, photo: Path) -> None:
    status, out, err = run("erase", "photo.png", "red", "--dry-run")
    assert (status, out) == (0, "")
    assert "would fill" in err
    assert json.loads(run("erase", "photo.png", "red", "--dry-run", "--json")[1])["dry_run"] is True
    assert os.listdir() == ["photo.png"]


def test_in_place_and_mask_out(run: Run, photo: Path, make_spotted: Callable[..., Pixels]) -> None:
    assert run("erase", "photo.png", "red", "--in-place", "--mask-out", "m.png")[:2] == (0, "photo.png\n")
    hole = cv2.imread("m.png", cv2.IMREAD_UNCHANGED) > 0
    after = cv2.imread("photo.png")[..., ::-1]
    assert hole[30, 40]
    np.testing.assert_array_equal(after[~hole], make_spotted()[~hole])


@pytest.mark.parametrize("kind", ["overlay", "labels", "coco", "labelme"])
def test_segment_formats(run: Run, photo: Path, kind: str) -> None:
    status, out, _ = run("segment", "photo.png", "red", "blue", "--format", kind)
    assert status == 0
    assert Path(out.strip()).is_file()


def test_inpaint(run: Run, photo: Path) -> None:
    mask = np.zeros((90, 120), np.uint8)
    mask[5:20, 5:20] = 1
    cv2.imwrite("mask.png", mask)
    status, out, _ = run("inpaint", "photo.png", "mask.png", "-o", "out.tif")
    assert (status, out) == (0, "out.tif\n")
    changed = np.any(cv2.imread("out.tif") != cv2.imread("photo.png"), axis=2)
    assert not changed[mask == 0].any()
    assert changed.any()


def test_cutout(run: Run, photo: Path) -> None:
    status, out, err = run("cutout", "photo.png", "red", "green", "--crop", "--grow", 3)
    assert (status, out) == (0, "photo.cutout.png\n")
    assert err.splitlines()[:2] == ["found: red (0.90)", "not found: green (0.10)"]
    assert err.splitlines()[2].startswith("kept ")
    told = json.loads(run("cutout", "photo.png", "red", "--json", "-o", "out.tif")[1])
    assert {"verb": "cutout", "output": "out.tif", "found": ["red"], "crop": False}.items() <= told.items()
    assert cv2.imread("photo.cutout.png", cv2.IMREAD_UNCHANGED).shape[:2] != (90, 120)
    assert cv2.imread("out.tif", cv2.IMREAD_UNCHANGED).shape == (90, 120, 4)
    assert run("cutout", "photo.png", "green")[0] == 3
    status, _, err = run("cutout", "photo.png", "red", "-o", "out.jpg")
    assert (status, err) == (
        2, "unsay: out.jpg cannot hold a cut-out and its transparency: use .png, .webp, .tif, .tiff\n"
    )  # fmt: skip


def test_a_dry_run_to_a_file_is_a_picture_of_the_hole(run: Run, photo: Path) -> None:
    assert run("erase", "photo.png", "red", "-o", "out.png", "--mask-out", "m.png")[0] == 0
    status, out, err = run("erase", "photo.png", "red", "--dry-run", "-o", "look.png")
    assert (status, out) == (0, "look.png\n")
    assert "would fill" in err
    hole, before, after = cv2.imread("m.png", 0) > 0, cv2.imread("photo.png"), cv2.imread("look.png")
    tinted = np.any(before != after, axis=2)
    np.testing.assert_array_equal(tinted[20:], hole[20:])  # above it are the words
    told = json.loads(run("erase", "photo.png", "red", "--dry-run", "-o", "look.jpg", "--json")[1])
    assert (told["output"], told["dry_run"]) == ("look.jpg", True)
    assert sorted(os.listdir()) == ["look.jpg", "look.png", "m.png", "out.png", "photo.png"]


def test_where_a_dry_runs_picture_does_not_go(run: Run, photo: Path) -> None:
    kept = photo.read_bytes()
    for given, said in (
        (("-o", "photo.png"), "would replace photo.png"),
        (("-o", "a.tif"), "overlay cannot be written as '.tif'"),
        (("-o", "a.png", "--in-place"), "in place or to a.png? give only one"),
        (("-o", "a.png", "--mask-out", "m.png"), "a dry run writes nothing but a preview"),
        (("-o", "no/a.png"), "its folder does not exist"),
    ):
        status, out, err = run("erase", "photo.png", "red", "--dry-run", *given)
        assert (status, out) == (2, "")
        assert said in err
    assert (os.listdir(), photo.read_bytes()) == (["photo.png"], kept)


def test_a_word_may_begin_with_a_dash(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["erase", "photo.png", "--bundle", "none", "--", "-red"]) == 2
    assert capsys.readouterr().err.startswith("unsay: no bundle 'none'")


# --- pipes ------------------------------------------------------------------------------------------------------------


class Pipe(io.TextIOWrapper):
    """Standard input or output as bytes; a terminal if told so."""

    def __init__(self, data: bytes = b"", terminal: bool = False) -> None:
        super().__init__(io.BytesIO(data))
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def test_pipes_in_and_out(run: Run, photo: Path, monkeypatch: pytest.MonkeyPatch, tiny_bundle: Bundle) -> None:
    expected = unsay.erase(photo.read_bytes(), "red", bundle=tiny_bundle)
    for arguments in (["-", "red"], ["-", "red", "-o", "-"], ["photo.png", "red", "-o", "-"]):
        out = Pipe()
        monkeypatch.setattr(sys, "stdin", Pipe(photo.read_bytes()))
        monkeypatch.setattr(sys, "stdout", out)
        assert cli.main(["erase", *arguments, "--bundle", str(tiny_bundle.path)]) == 0
        assert out.buffer.getvalue() == expected
    assert os.listdir() == ["photo.png"]


def test_cut_outs_and_previews_through_pipes(
    run: Run, photo: Path, monkeypatch: pytest.MonkeyPatch, tiny_bundle: Bundle
) -> None:
    expected = unsay.cutout(photo.read_bytes(), "red", bundle=tiny_bundle)
    for arguments, begins in (
        (["cutout", "-", "red"], expected),
        (["cutout", "photo.png", "red", "-o", "-"], expected),
        (["erase", "-", "red", "--dry-run", "-o", "-"], b"\xff\xd8\xff"),
    ):
        out = Pipe()
        monkeypatch.setattr(sys, "stdin", Pipe(photo.read_bytes()))
        monkeypatch.setattr(sys, "stdout", out)
        assert cli.main([*arguments, "--bundle", str(tiny_bundle.path)]) == 0
        assert out.buffer.getvalue().startswith(begins)
    assert os.listdir() == ["photo.png"]


def test_a_mask_from_a_pipe(run: Run, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = cv2.imencode(".png", np.eye(90, 120, dtype=np.uint8))[1].tobytes()
    monkeypatch.setattr(sys, "stdin", Pipe(mask))
    assert run("inpaint", "photo.png", "-")[0] == 0
    status, _, err = run("inpaint", "-", "-")
    assert status == 2
    assert "cannot both come from standard input" in err


def test_what_does_not_go_through_a_pipe(run: Run, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cannot both go to standard output" in run("erase", "photo.png", "red", "-o", "-", "--json")[2]
    monkeypatch.setattr(sys, "stdin", Pipe(terminal=True))
    assert "standard input is a terminal" in run("erase", "-", "red", "-o", "a.png")[2]
    monkeypatch.setattr(sys, "stdout", Pipe(terminal=True))
    assert cli.main(["erase", "photo.png", "red", "-o", "-"]) == 2


# --- errors -----------------------------------------------------------------------------------------------------------


def test_usage_errors_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["erase"], "unsay: Missing argument 'PHOTO'; see unsay erase --help\n"),
        (["nonesuch"], "unsay: No such command 'nonesuch'; see unsay --help\n"),
        (["erase", "a.jpg", "dog", "--no-such"], "unsay: No such option: --no-such"),
        (["erase", "a.jpg", "dog", "--grow", "x"], "unsay: Invalid value for '--grow'"),
    ):
        assert cli.main(arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith(message)
        assert captured.err.count("\n") == 1


def test_a_usage_error_is_json_where_that_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, verb, message in (
        (["erase", "--json"], "erase", "Missing argument 'PHOTO'"),
        (["cutout", "a.jpg", "dog", "--json", "--no-such"], "cutout", "No such option: --no-such"),
        (["erase", "a.jpg", "dog", "--grow", "x", "--json"], "erase", "Invalid value for '--grow'"),
        (["nonesuch", "--json"], None, "No such command 'nonesuch'"),
    ):
        assert cli.main(arguments) == 2
        captured = capsys.readouterr()
        told = json.loads(captured.out)
        assert (told["verb"], told["output"], told["status"]) == (verb, None, 2)
        assert told["error"].startswith(message)
        assert captured.err.startswith(f"unsay: {message}")
    for arguments in (["evaluate", "segment", "--json", "x.json"], ["erase", "--no-such", "--", "--json"]):
        assert cli.main(arguments) == 2
        assert capsys.readouterr().out == ""


def test_a_bundle_that_is_none_is_bad_input(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["erase", "photo.png", "dog", "--bundle", "nope", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["status"] == 2
    Path("damaged").mkdir()
    Path("damaged/bundle.json").write_text("{")
    assert cli.main(["erase", "photo.png", "dog", "--bundle", "damaged"]) == 1


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main([])
    captured = capsys.readouterr()
    assert "Usage: unsay" in captured.out + captured.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"unsay {unsay.__version__}\n"


@pytest.mark.parametrize("debug", ["", "1"])
def test_the_unexpected_is_one_line_and_a_hint(
    run: Run, photo: Path, monkeypatch: pytest.MonkeyPatch, debug: str
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr(verbs, "run_erase", fail)
    monkeypatch.setenv("UNSAY_DEBUG", debug)
    status, out, err = run("erase", "photo.png", "red")
    assert (status, out) == (1, "")
    assert ("Traceback" in err) == bool(debug)
    last = err.splitlines()[-1]
    assert last == "unsay: ZeroDivisionError: division by zero" + ("" if debug else " (UNSAY_DEBUG=1 shows where)")


def test_ctrl_c(run: Run, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("unsay.erasing.fill_hole", interrupt)
    status, out, err = run("erase", "photo.png", "red", "--mask-out", "m.png")
    assert (status, out, err.strip()) == (130, "", "unsay: interrupted; no file is half-written")
    assert os.listdir() == ["photo.png"]


def test_the_learning_half_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("unsay.training.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "c.yaml").write_text("steps: 1\n")
    for arguments in (
        ["train", "inpaint", "--config", str(tmp_path / "c.yaml")],
        ["export", str(tmp_path / "c.yaml"), "-o", str(tmp_path / "out")],
    ):
        assert cli.main(arguments) == 1
        assert capsys.readouterr().err == "unsay: this command needs torch: pip install 'unsay[train]'\n"


def test_bundles_lists_what_is_packaged(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bundles", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in told["bundles"]] == unsay.bundle.packaged_bundles()
    assert cli.main(["bundles"]) == 0


def test_progress_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with console.working("working"):
        pass
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with console.working("erasing [/bold] \x1b[31m"):
        pass
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "\x1b[31m" not in captured.err
    with console.working("working", quiet=True):
        pass
    assert capsys.readouterr() == ("", "")


# --- the process itself -----------------------------------------------------------------------------------------------


def test_as_a_process_with_pipes(photo: Path, tiny_bundle: Bundle) -> None:
    mask = np.zeros((90, 120), np.uint8)
    mask[5:20, 5:20] = 255
    cv2.imwrite("mask.png", mask)
    command = [sys.executable, "-m", "unsay.cli", "inpaint", "-", "mask.png", "--bundle", str(tiny_bundle.path)]
    done = subprocess.run(command, input=photo.read_bytes(), capture_output=True, check=True)
    after = cv2.imdecode(np.frombuffer(done.stdout, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(after[mask == 0], cv2.imread("photo.png")[mask == 0])
    assert done.stderr.decode().startswith("filled 2.1% of the photo in ")


def test_a_reader_that_goes_away(photo: Path, tiny_bundle: Bundle) -> None:
    """As in `unsay erase ... -o - | head -c 1`: no traceback, and not status 0."""
    cv2.imwrite("mask.png", np.eye(90, 120, dtype=np.uint8))
    command = [sys.executable, "-m", "unsay.cli", "inpaint", "photo.png", "mask.png", "-o", "-", "--bundle"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*command, str(tiny_bundle.path)], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="file names that are not text exist on POSIX alone")
@pytest.mark.parametrize("encoding", ["ascii", "utf-8:strict"])
def test_names_that_standard_output_cannot_hold(photo: Path, tiny_bundle: Bundle, encoding: str) -> None:
    name = os.fsencode("f\u00f6to") + b"\xff.png"
    os.rename(os.fsencode(photo), name)
    cv2.imwrite("mask.png", np.eye(90, 120, dtype=np.uint8))
    command = [sys.executable, "-m", "unsay.cli", "inpaint", name, "mask.png", "--bundle", str(tiny_bundle.path)]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    told = subprocess.run([*command, "--json"], capture_output=True, check=True, env=environment).stdout
    assert os.fsencode(json.loads(told.decode())["output"]) == name.replace(b".png", b".unsaid.png")
    said = subprocess.run(command, capture_output=True, check=True, env=environment).stdout
    assert said == name.replace(b".png", b".unsaid.png") + b"\n"


def test_a_word_that_is_no_text(run: Run, photo: Path) -> None:
    status, out, err = run("erase", "photo.png", "x\udcff")
    assert (status, out) == (2, "")
    assert err == "unsay: the word 'x\\udcff' is not text in UTF-8: type it again\n"


@pytest.mark.skipif(os.name != "posix", reason="closes streams as a POSIX shell does")
@pytest.mark.parametrize(
    ("closed", "arguments", "status", "said"),
    [
        ("<&-", "- mask.png -o out.png", 2, "standard input is closed"),
        (">&-", "photo.png mask.png -o -", 2, "standard output is closed"),
        (">&-", "photo.png mask.png", 0, "filled"),
        ("2>&-", "photo.png mask.png -o -", 0, ""),
        ("2>&-", "photo.png missing.png", 2, ""),
    ],
)
def test_closed_streams(photo: Path, tiny_bundle: Bundle, closed: str, arguments: str, status: int, said: str) -> None:
    cv2.imwrite("mask.png", np.eye(90, 120, dtype=np.uint8))
    command = f"'{sys.executable}' -m unsay.cli inpaint {arguments} --bundle '{tiny_bundle.path}' {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=False)
    assert done.returncode == status
    assert said in done.stderr.decode()
    assert done.stdout == b"" or cv2.imdecode(np.frombuffer(done.stdout, np.uint8), cv2.IMREAD_COLOR) is not None
    assert sorted(os.listdir()) == sorted(
        ["mask.png", "photo.png"] + ["photo.unsaid.png"] * (closed == ">&-" and not status)
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_pipe_that_is_full(photo: Path, tiny_bundle: Bundle) -> None:
    cv2.imwrite("mask.png", np.eye(90, 120, dtype=np.uint8))
    command = [sys.executable, "-m", "unsay.cli", "inpaint", "photo.png", "mask.png", "-o", "-", "--bundle"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*command, str(tiny_bundle.path)], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"unsay: the output stream takes no more (No space left on device)")
    assert done.stderr.count(b"\n") == 1
