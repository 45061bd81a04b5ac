"""Where a result may go: never onto the photo or the mask it came from, unless that was asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeGuard

from unsay.adapt import default_output
from unsay.errors import BadInput, UnsayError
from unsay.masks_out import check_format
from unsay.photo.write import check_writable, format_of, write_atomically


def is_path(source: Any) -> TypeGuard[str | os.PathLike[str]]:
    """Whether a photo was given as a path."""
    return isinstance(source, (str, os.PathLike))


def piped(target: Any) -> bool:
    """Whether a result goes into a binary stream."""
    return hasattr(target, "write")


def edited_target(photo: Any, output: Any, in_place: bool) -> Any:
    """Where an edited photo goes: a path, a binary stream, or None to hand it back as it came.

    Raises `BadInput` for contradictions, a suffix that no writer knows, and an output that is the photo itself,
    be it through a link.
    """
    if in_place:
        if output is not None:
            where = "a stream" if piped(output) else output
            raise BadInput(f"in place or to {where}? give only one of the two")
        if not is_path(photo):
            raise BadInput("only a photo given as a path can be replaced in place")
        return Path(photo)
    if output is None and not is_path(photo):
        return None
    if piped(output):
        return output
    if "\0" in os.fsdecode(photo if is_path(photo) else ""):
        raise BadInput(f"{photo!r} holds a zero byte, which no path can: check the path")
    target = default_output(photo) if output is None else output
    if output is not None and (suffix := Path(output).suffix):
        format_of(suffix)
    protect(target, photo, hint="; in_place (--in-place) replaces it")
    return Path(target)


def preview_target(photo: Any, output: Any, in_place: bool) -> Any:
    """Where a dry run's picture goes: `output`, or None for no picture. Raises `BadInput` as `edited_target` does."""
    if output is None or piped(output):
        return output
    if in_place:
        raise BadInput(f"in place or to {output}? give only one of the two")
    check_format("overlay", Path(output).suffix)
    protect(output, photo)
    return Path(output)


def check_mask_target(mask_out: Any, photo: Any, target: Any) -> None:
    """Raise `BadInput` where a mask cannot be written: not a PNG, or onto the photo or the result."""
    if mask_out is None:
        return
    if Path(mask_out).suffix.lower() != ".png":
        raise BadInput(f"the mask {mask_out} must end in .png")
    protect(mask_out, photo)
    if is_path(target) and _same(mask_out, target):
        raise BadInput(f"the mask and the photo would both be written to {mask_out}: give two names")


def check_places(*targets: Any) -> None:
    """Raise `BadInput` for a path among `targets` that nothing can be written to; streams and None are passed over."""
    for target in targets:
        if is_path(target):
            check_writable(target)


def protect(target: Any, source: Any, *, hint: str = "") -> None:
    """Raise `BadInput` if writing to `target` would replace the file `source`, or one that is open as `source`."""
    name = source if is_path(source) else _file_behind(source)
    if is_path(target) and is_path(name) and _same(target, name):
        raise BadInput(f"{target} would replace {name}: give another output{hint}")


def put(data: bytes, target: Any) -> Any:
    """Write `data` to a path, which comes back, or into a stream: then None does; without a target `data` itself."""
    if target is None:
        return data
    if piped(target):
        _pour(data, target)
        return None
    write_atomically(target, data)
    return Path(target)


def _pour(data: bytes, stream: Any) -> None:
    """All of `data` into the stream, flushed, so that a failure is told here and not at exit. Raises `UnsayError`."""
    try:
        rest = memoryview(data)
        while rest:
            written = stream.write(rest)
            if written is None or not 0 < written < len(rest):  # some streams do not tell
                break
            rest = rest[written:]  # an unbuffered pipe or file takes what it has room for
        if hasattr(stream, "flush"):
            stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UnsayError(
            f"the output stream takes no more ({error.strerror or error}): give a file to write"
        ) from error


def _file_behind(source: Any) -> Any:
    """The path of the file that a stream or PIL image was opened from; None where it says none."""
    name = getattr(source, "filename", None) or getattr(source, "name", None)
    return name if is_path(name) and name else None


def _same(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):  # at least one does not exist yet: then only their places can be the same
        return os.path.realpath(os.fspath(one)) == os.path.realpath(os.fspath(other))
