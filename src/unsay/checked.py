"""Values out of a manifest, which may hold anything that JSON can: of the right type and within limits, or refused.

Each returns the value, or raises `ValueError` with a message that names `what` it is, the value and the limit.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

MOST_SIDE = 4096
"""Pixels: the longest side at which any network sees a photo."""
MOST_TEXT = 1000
LARGEST = 1e6


def whole(value: Any, what: str, least: int, most: int) -> int:
    """An integer from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{what} {_shown(value)}; give a whole number from {least} to {most}")
    return value


def number(value: Any, what: str, least: float = -LARGEST, most: float = LARGEST) -> float:
    """A finite number from `least` to `most`."""
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most
    if not fits or not isfinite(value):
        raise ValueError(f"{what} {_shown(value)}; give a number from {least:g} to {most:g}")
    return float(value)


def colour(value: Any, what: str, least: float = -LARGEST) -> tuple[float, float, float]:
    """Three numbers, one a colour."""
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        raise ValueError(f"{what} {_shown(value)}; give three numbers")
    red, green, blue = (number(v, what, least) for v in value)
    return red, green, blue


def text(value: Any, what: str) -> str:
    """A string of 1 to `MOST_TEXT` characters."""
    if not isinstance(value, str) or not 0 < len(value) <= MOST_TEXT:
        raise ValueError(f"{what} {_shown(value)}; give a text of 1 to {MOST_TEXT} characters")
    return value


def texts(value: Any, what: str, most: int = 1000) -> tuple[str, ...]:
    """Up to `most` such strings."""
    if not isinstance(value, (list, tuple)) or len(value) > most:
        raise ValueError(f"{what} {_shown(value)}; give a list of at most {most} texts")
    return tuple(text(v, what) for v in value)


def table(value: Any, what: str) -> dict[str, Any]:
    """An object of at most 1000 entries."""
    if not isinstance(value, dict) or len(value) > 1000:
        raise ValueError(f"{what} {_shown(value)}; settings by name belong there")
    return value


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
