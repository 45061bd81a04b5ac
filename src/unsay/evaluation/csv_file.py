"""A table of numbers as a CSV file, for spreadsheets and statistics."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unsay.errors import BadInput


def write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write `rows`, all with the keys of the first, under a line of those keys; the file is whole or not there.

    Raises `BadInput` where it cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    scratch = path.with_name(path.name + ".part")
    try:
        scratch.write_text(text.getvalue(), encoding="utf-8", newline="")
        os.replace(scratch, path)
    except OSError as error:
        raise BadInput(f"cannot write the table to {path}: {error.strerror}") from error
