"""Plain text tables, for terminals and for Markdown alike."""

from __future__ import annotations

import math
from collections.abc import Sequence


def text_table(head: Sequence[str], rows: Sequence[Sequence[str | float | int]], digits: int = 3) -> str:
    """Rows under a head, as a Markdown table whose columns are aligned; floats get `digits` decimals."""
    cells = [[_cell(value, digits) for value in row] for row in (head, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(head))]
    lines = [
        "| " + " | ".join(_pad(v, w, i) for i, (v, w) in enumerate(zip(r, widths, strict=True))) + " |" for r in cells
    ]
    rule = "|" + "|".join("-" * (w + 1) + ("-" if i == 0 else ":") for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _cell(value: str | float | int, digits: int) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.{digits}f}"
    return str(value)


def _pad(value: str, width: int, column: int) -> str:
    return value.ljust(width) if column == 0 else value.rjust(width)
