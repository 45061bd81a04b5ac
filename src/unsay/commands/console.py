"""What the commands share: reading pipes, printing results, progress on a terminal."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, BinaryIO

from unsay.entry import INTERRUPTED, INTERRUPTION
from unsay.errors import BadInput, NotFound, UnsayError
from unsay.leftovers import drop_open

PIPE = "-"
WATCHED = "unsay: no longer watching; no file is half-written"
_AT_ONCE = ("erase", "segment", "inpaint", "cutout", "bundles")
_SHOW_CURSOR = "\x1b[?25h"


def source(argument: str) -> str | BinaryIO:
    """The photo that an argument names: a path, or for `-` standard input."""
    if argument != PIPE:
        return argument
    if sys.stdin is None:
        raise BadInput("standard input is closed: pipe a photo in, or give its path instead of -")
    if sys.stdin.isatty():
        raise BadInput("standard input is a terminal: pipe a photo in, or give its path instead of -")
    return sys.stdin.buffer


def target(output: str | None, photo: str, *, as_json: bool) -> Any:
    """Where the result goes: a path, None for the default beside the photo, or for `-` standard output.

    A photo from a pipe goes to a pipe. Raises `BadInput` where standard output cannot take it.
    """
    if output is None and photo != PIPE:
        return None
    if output not in (None, PIPE):
        return output
    if as_json:
        raise BadInput("--json and the photo cannot both go to standard output: give -o FILE")
    if sys.stdout is None:
        raise BadInput("standard output is closed: give -o FILE")
    if sys.stdout.isatty():
        raise BadInput("a photo is not written to a terminal: give -o FILE, or pipe standard output on")
    return sys.stdout.buffer


@contextmanager
def interruptible(command: list[str], own_process: bool, sigint: Any = None) -> Iterator[None]:
    """Ctrl-C ends a command of a moment at once, with status 130, wherever it comes.

    As an exception it could come inside a library, which would swallow it, print a traceback or fail otherwise. Only
    in a process of its own; longer commands (training) end their work in their own way, by the handler `sigint` that
    was there before the program began. Once the command is done, Ctrl-C no longer changes how it ended.
    """
    watching = command == ["watch"]
    if not own_process or not (watching or (command and command[0] in _AT_ONCE)):
        if sigint is not None:
            signal.signal(signal.SIGINT, sigint)
        yield
        return
    end = partial(_end_at_once, *((0, WATCHED) if watching else (INTERRUPTED, INTERRUPTION)))
    signal.signal(signal.SIGINT, end)
    if watching:  # which is ended by nothing else: neither is a failure, and both leave nothing behind
        signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_at_once(status: int, sentence: str, *_: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    drop_open()
    if sys.stderr is not None:
        cursor = _SHOW_CURSOR if sys.stderr.isatty() else ""
        with suppress(OSError):
            os.write(sys.stderr.fileno(), f"{cursor}{sentence}\n".encode())
    os._exit(status)


@contextmanager
def answering(as_json: bool, verb: str) -> Iterator[None]:
    """With `--json`, an error of ours is one JSON object on standard output too, before it ends the command."""
    try:
        yield
    except UnsayError as error:
        if as_json:
            found = {"scores": error.scores, "nearest": error.nearest} if isinstance(error, NotFound) else {}
            print_json({"verb": verb, "output": None, "error": one_line(error), "status": error.exit_status, **found})
        raise
    except Exception as error:
        if as_json:
            print_json({"verb": verb, "output": None, "error": one_line(error), "status": 1})
        raise


@contextmanager
def working(text: str, *, quiet: bool = False) -> Iterator[None]:
    """A moving sign of life on standard error while the block runs, if that is a terminal."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(_plain(text))):
        yield


def note(text: str) -> None:
    """A line for the person, on standard error: standard output is for results. Words cannot steer the terminal."""
    if sys.stderr is not None:  # else print would take standard output
        print(_plain(text), file=sys.stderr)


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def print_json(value: dict[str, Any]) -> None:
    """One JSON object, on one line of standard output; escaped where that cannot hold all characters."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:  # an ASCII or a Windows pipe, or a file name with a stray byte
        text = json.dumps(value, allow_nan=False)
    print(text, flush=True)


def print_path(path: str) -> None:
    """A written file's path, byte for byte where standard output's own encoding lacks a character of it."""
    try:
        print(path, flush=True)
    except UnicodeEncodeError:
        sys.stdout.buffer.write(os.fsencode(path) + b"\n")
        sys.stdout.flush()


def print_line(text: str) -> None:
    """A line on standard output, at once; names and words in it cannot steer the terminal."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(_plain(text).encode(encoding, "replace").decode(encoding), flush=True)


def one_line(error: BaseException) -> str:
    """The error's message with its line breaks taken out."""
    return " ".join(str(error).split()) or type(error).__name__


def numbers(text: str | None, option: str, names: str) -> tuple[int, ...] | None:
    """Whole numbers from an option such as `--box 10,20,300,200`; `names` is how the help writes it, `X,Y,W,H`."""
    if text is None:
        return None
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError:
        values = ()
    wanted = len(names.split(","))
    if len(values) != wanted:
        raise BadInput(f"{option} {text!r} is not {names}: give {wanted} whole numbers with commas between them")
    return values
