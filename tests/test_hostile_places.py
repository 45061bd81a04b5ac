"""Paths, devices, disks and environments that go wrong: one clear line, nothing half-written, the source untouched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from fuzz import seeds

from unsay import cli, verbs
from unsay.bundle import Bundle
from unsay.errors import BadInput, UnsayError
from unsay.photo import Photo
from unsay.photo.write import check_writable, write_atomically

pytestmark = pytest.mark.skipif(os.name != "posix", reason="devices, links and limits of a POSIX system")
PHOTO, MASK = seeds.photos("png")[2], seeds.masks()[0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes(PHOTO)
    (tmp_path / "mask.png").write_bytes(MASK)
    return tmp_path


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(folder: Path, tiny_bundle: Bundle) -> Run:
    """`run("photo.png", ...)`: `unsay inpaint` in a process of its own; nothing but one line may be said."""

    def start(*arguments: str, before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        code = f"import sys\n{before}\nfrom unsay.cli import main\nsys.exit(main())"
        command = [sys.executable, "-c", code, "inpaint", *arguments, "--bundle", str(tiny_bundle.path)]
        given = {**os.environ, **environment}
        kept = {name: value for name, value in given.items() if value != "unset"}
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=kept, timeout=60)
        assert done.stderr.count("\n") == 1, done.stderr
        assert (folder / "photo.png").read_bytes() == PHOTO
        return done

    return start


def only(folder: Path, *more: str) -> None:
    assert sorted(os.listdir(folder)) == sorted(["photo.png", "mask.png", *more])


# --- names ------------------------------------------------------------------------------------------------------------

NAMES = [
    "a\nb.png",
    "\t.png",
    " .png",
    "\x1b[31mred\x1b[0m.png",
    "\U0001f415.png",
    "\u202egnp.exe.png",
    "-o.png",
    "--in-place.png",
    "%s%n.png",
    "$(touch x).png",
    "'\".png",
    "x" * 240 + ".png",
    b"stray \xff byte.png".decode("utf-8", "surrogateescape"),
    "...png",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_photo_of_any_name_is_edited_and_its_name_kept_on_one_line(
    name: str, folder: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(name).write_bytes(PHOTO)
    before = Path(name).read_bytes()
    options = ["mask.png", "-o", "out.png", "--bundle", str(tiny_bundle.path)]
    assert cli.main(["inpaint", *options[1:], "--", name, options[0]]) == 0
    assert Path(name).read_bytes() == before
    capsys.readouterr()
    Path(name).write_bytes(b"no photo")
    assert cli.main(["inpaint", *options[1:], "--", name, options[0]]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "\x1b" not in said
    assert "\u202e" not in said


@pytest.mark.parametrize("name", ["", ".", "..", "/", "nul\0byte.png", "a/" * 2000 + "p.png", "x" * 4096])
def test_names_that_no_photo_has(name: str, folder: Path, tiny_bundle: Bundle) -> None:
    for call in (
        lambda: Photo.open(name),
        lambda: verbs.inpaint(name, MASK, bundle=tiny_bundle),
        lambda: verbs.inpaint(PHOTO, MASK, bundle=tiny_bundle, output=name),
        lambda: verbs.inpaint(PHOTO, name, bundle=tiny_bundle),
    ):
        with pytest.raises(UnsayError) as caught:
            call()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400
    only(folder)


# --- what is no ordinary file -----------------------------------------------------------------------------------------


def test_links_in_a_circle_and_to_nowhere(folder: Path, tiny_bundle: Bundle) -> None:
    Path("loop.png").symlink_to("loop.png")
    Path("nowhere.png").symlink_to("missing/photo.png")
    for name in ("loop.png", "nowhere.png"):
        with pytest.raises(BadInput, match=name):
            verbs.inpaint(name, MASK, bundle=tiny_bundle)
        with pytest.raises(BadInput, match=name):
            verbs.inpaint("photo.png", MASK, bundle=tiny_bundle, output=name)
    only(folder, "loop.png", "nowhere.png")


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/full", "/dev/null", "/dev/urandom"])
def test_devices_are_neither_photos_nor_outputs(device: str, folder: Path, tiny_bundle: Bundle) -> None:
    Path("link.png").symlink_to(device)
    for name in (device, "link.png"):
        started = time.perf_counter()
        with pytest.raises(BadInput, match=r"not a photo|empty"):
            Photo.open(name)
        with pytest.raises(UnsayError, match=r"ordinary file|not a photo|empty|cannot write"):
            verbs.inpaint("photo.png", MASK, bundle=tiny_bundle, output=name)
        assert time.perf_counter() - started < 5
    assert Path("link.png").is_symlink()


def test_files_that_the_system_makes_up(folder: Path) -> None:
    """Their size is given as 0, whatever they hold."""
    for name in ("/proc/self/maps", "/proc/self/mem", "/proc/self/environ", "/proc/cpuinfo", "/sys/kernel/notes"):
        if os.path.exists(name):
            with pytest.raises(BadInput):
                Photo.open(name)


def test_a_named_pipe_that_gives_a_photo_is_read_and_one_that_gives_half_is_refused(folder: Path) -> None:
    """A pipe nobody writes to is waited for, as every program does; Ctrl-C ends that."""
    os.mkfifo("pipe")
    for data, whole in ((PHOTO, True), (PHOTO[:200], False)):
        writer = threading.Thread(target=Path("pipe").write_bytes, args=(data,))
        writer.start()
        if whole:
            assert Photo.open("pipe").width == seeds.WIDTH
        else:
            with pytest.raises(BadInput, match="cut short"):
                Photo.open("pipe")
        writer.join()


def test_ctrl_c_ends_the_wait_for_a_pipe(folder: Path, tiny_bundle: Bundle) -> None:
    os.mkfifo("pipe")
    command = "import sys; from unsay.cli import main; import unsay.verbs; print('begun', flush=True); sys.exit(main())"
    given = ["inpaint", "pipe", "mask.png", "-o", "out.png", "--bundle", str(tiny_bundle.path)]
    process = subprocess.Popen([sys.executable, "-c", command, *given], stdout=-1, stderr=-1)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(2)
    assert process.wait(10) == 130
    process.communicate()


# --- folders and disks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [13, 1, 30, 28, 122, 27, 5])
def test_whatever_the_system_says_while_writing(
    number: int, folder: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permissions, a read-only disk, a full one, a quota, a file too large, a broken disk."""

    def refuse(*_: Any) -> Any:
        raise OSError(number, os.strerror(number))

    Path("out.png").write_bytes(b"old")
    for call in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, refuse)
            with pytest.raises(UnsayError, match=r"out\.png cannot be written") as caught:
                verbs.inpaint("photo.png", MASK, bundle=tiny_bundle, output="out.png")
        assert "\n" not in str(caught.value)
        assert Path("out.png").read_bytes() == b"old"
        only(folder, "out.png")


@pytest.fixture
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """`mounted(options)`: a small file system in memory, with such options, where this system lets us."""
    places: list[Path] = []

    def mount(options: str) -> Path:
        where = tmp_path_factory.mktemp("disk")
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", str(where)], capture_output=True, check=False
        )
        if done.returncode:
            return where  # the limits that these tests need are then put on the process instead
        places.append(where)
        return where

    yield mount
    for place in places:
        subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_full(mounted: Callable[[str], Path], run: Run, folder: Path) -> None:
    disk = mounted("size=16k")
    if not os.path.ismount(disk):
        limits = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))"
    else:
        limits = ""
        (disk / "filler").write_bytes(bytes(4096))
    big = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    import cv2

    cv2.imwrite("big.png", big)
    cv2.imwrite("hole.png", np.eye(90, 120, dtype=np.uint8) * 255)
    done = run("big.png", "hole.png", "-o", str(disk / "out.png"), before=limits)
    assert done.returncode == 1
    assert "out.png cannot be written (" in done.stderr
    assert [name for name in os.listdir(disk) if name != "filler"] == []


def test_a_limit_on_file_sizes(run: Run, folder: Path) -> None:
    """The system sends SIGXFSZ, which Python ignores, and says EFBIG."""
    limits = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))"
    done = run("photo.png", "mask.png", "-o", "out.png", before=limits)
    assert done.returncode == 1
    assert "out.png cannot be written (File too large)" in done.stderr
    only(folder)


def test_a_limit_on_file_sizes_and_a_jpeg(run: Run, folder: Path) -> None:
    """Its blocks are read through a file in memory, which counts too."""
    pyvips.Image.new_from_file("photo.png").jpegsave("photo.jpg")
    limits = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))"
    done = run("photo.jpg", "mask.png", "-o", "out.jpg", before=limits)
    assert done.returncode == 1
    assert "no temporary space (File too large)" in done.stderr
    assert not Path("out.jpg").exists()


def test_a_read_only_disk(mounted: Callable[[str], Path], run: Run, folder: Path) -> None:
    disk = mounted("size=64k")
    shutil.copy("photo.png", disk / "inside.png")
    if os.path.ismount(disk):
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    else:
        disk.chmod(0o555)
    done = run(str(disk / "inside.png"), "mask.png")
    if os.path.ismount(disk) or os.geteuid() != 0:
        assert done.returncode == 2
        assert "read-only" in done.stderr
    assert (disk / "inside.png").read_bytes() == PHOTO


def test_a_full_disk_is_told_by_the_old_file_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that stops in the middle: half of the bytes, then no space."""
    Path("out.png").write_bytes(b"old")
    real = os.fsync

    def full(descriptor: int) -> None:
        os.ftruncate(descriptor, 10)
        real(descriptor)
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnsayError, match="No space left"):
        write_atomically("out.png", PHOTO)
    assert Path("out.png").read_bytes() == b"old"
    only(folder, "out.png")


def test_a_folder_that_goes_away(folder: Path) -> None:
    with pytest.raises(BadInput, match="folder"):
        check_writable("no/such/out.png")
    with pytest.raises(BadInput, match="folder"):
        write_atomically("photo.png/out.png", b"x")
    only(folder)


# --- the environment --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "environment",
    [
        {"TMPDIR": "/nonexistent", "TEMP": "/nonexistent", "TMP": "/nonexistent"},
        {"HOME": "unset", "USER": "unset", "LOGNAME": "unset", "XDG_CACHE_HOME": "unset"},
        pytest.param({"HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent"}, marks=pytest.mark.slow),
        pytest.param({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, marks=pytest.mark.slow),
        pytest.param({"LC_ALL": "xx_XX.nonsense"}, marks=pytest.mark.slow),
        pytest.param({"PATH": ""}, marks=pytest.mark.slow),
        pytest.param({"VIPS_CONCURRENCY": "nonsense"}, marks=pytest.mark.slow),
        pytest.param({"TERM": "dumb", "COLUMNS": "1"}, marks=pytest.mark.slow),
    ],
    ids="-".join,
)
def test_odd_environments(environment: dict[str, str], run: Run, folder: Path) -> None:
    """None of them is needed: a photo is read, filled and written in the folder that it is in."""
    done = run("photo.png", "mask.png", "-o", "out.png", **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "out.png\n"
    only(folder, "out.png")


def test_no_room_for_temporary_files_and_a_jpeg(run: Run, folder: Path) -> None:
    """A JPEG is coded anew through files of its own."""
    Path("photo.jpg").write_bytes(seeds.photos("jpeg")[3])
    nowhere = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), "/nonexistent")
    before = "import tempfile; tempfile.tempdir = '/nonexistent'"
    done = run("photo.jpg", "mask.png", "-o", "out.jpg", before=before, **nowhere)
    assert done.returncode in (0, 1)
    only(folder, "photo.jpg", *["out.jpg"] * (done.returncode == 0))
