"""Temporary files beside those that are being written, and private folders: none is left, unless the process is killed.

What a killed process left is deleted by a later one, once it is surely nobody's.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

OLD_SECONDS = 24 * 3600
"""A temporary file as old as this belongs to no process that is still writing."""
_NAME = re.compile(r"\.unsay-[0-9a-f]{16}\.tmp")
_swept: set[str] = set()
_open: set[Path] = set()


@contextlib.contextmanager
def temporary_beside(target: Path) -> Iterator[Path]:
    """A new name beside `target`, for a file that is renamed to it in the end; whatever happens, none stays there."""
    temporary = target.with_name(f".unsay-{secrets.token_hex(8)}.tmp")
    _open.add(temporary)
    try:
        yield temporary
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        _open.discard(temporary)


def drop_open() -> None:
    """Delete the files that are being written: for a process that ends at once."""
    for temporary in tuple(_open):
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Delete the old temporary files of ours in `folder`; once in a process, as folders of photos are large.

    Only ordinary files with exactly our names; one that cannot be deleted stays.
    """
    if str(folder) in _swept:
        return
    _swept.add(str(folder))
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                _delete_if_old(entry)


def _delete_if_old(entry: os.DirEntry[str]) -> None:
    with contextlib.suppress(OSError):
        if time.time() - entry.stat(follow_symlinks=False).st_mtime > OLD_SECONDS:
            os.unlink(entry.path)


def private_folder(prefix: str, parent: str | None = None) -> Path:
    """A new folder that this user alone can read, `PREFIXprocess-random` in `parent` (by default where the system has
    its temporary files); whoever asks for it deletes it. Those of processes that were killed are deleted first.
    """
    place = parent or tempfile.gettempdir()
    sweep_dead(prefix, place)
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=place))


def sweep_dead(prefix: str, place: str) -> None:
    """Delete this user's private folders of that prefix whose process lives no more."""
    if os.name != "posix":  # elsewhere there is no harmless way to ask whether a process lives
        return
    named = re.compile(rf"{re.escape(prefix)}(\d+)-\w+")
    for path in Path(place).glob(f"{prefix}*"):
        found = named.fullmatch(path.name)
        with contextlib.suppress(OSError, OverflowError):
            own = not path.is_symlink() and (not hasattr(os, "getuid") or path.stat().st_uid == os.getuid())
            if found and own and not _alive(int(found[1])):
                shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
