"""What ablations share: figures over seeds, and the file that keeps them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unsay.errors import BadInput
from unsay.training.segment_files import write_atomically


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean of a figure over the seeds, its spread (largest less smallest), the values; NaN becomes None, for JSON."""
    if any(math.isnan(value) for value in values):
        return {"mean": None, "spread": None, "values": [None if math.isnan(v) else v for v in values]}
    return {"mean": float(np.mean(values)), "spread": max(values) - min(values), "values": list(values)}


def spread_cell(measure: dict[str, Any] | None, digits: int = 3) -> str:
    """ "0.512 (0.013)", mean and spread; no brackets where all seeds agree, "-" where there is no figure."""
    if measure is None or measure["mean"] is None:
        return "-"
    brackets = f" ({measure['spread']:.{digits}f})" if measure["spread"] else ""
    return f"{measure['mean']:.{digits}f}{brackets}"


def keep_figures(result: dict[str, Any], path: Path) -> None:
    """Write the figures as JSON. Raises `BadInput` where the file cannot be written."""
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    try:
        write_atomically(path, lambda stream: stream.write(text.encode()))
    except OSError as error:
        raise BadInput(f"cannot write the numbers to {path}: {error.strerror}") from error
