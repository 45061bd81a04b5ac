"""What an evaluation would also use if it were installed: said in the result, never a crash."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Absent:
    """A peer or a measure that is left out, why, and what to do about it."""

    name: str
    reason: str


def import_optional(name: str, module: str, package: str) -> Any:
    """The imported `module`, or the `Absent` called `name` that says to install `package`."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        own = missing.partition(".")[0] == module.partition(".")[0]
        needed = package if own else f"{package} with {missing}"
        return Absent(name, f"not installed: pip install {needed}")
    except (ImportError, RuntimeError, OSError) as error:  # a library that does not fit what is installed beside it
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Absent(name, f"{package} cannot be imported ({first}): install versions that fit together")
