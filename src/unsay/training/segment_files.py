"""Files that are whole or not there: what a training run keeps between one start and the next."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Give `write` a scratch file beside `path` and rename it when it is complete; makes the folder.

    The scratch file lies in the same folder, because only a rename inside one file system is atomic.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(scratch, "wb") as stream:
            write(stream)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def fingerprint(*settings: Any) -> str:
    """Twelve hexadecimal digits that stand for `settings` (anything that JSON can hold) in the name of a kept file."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
