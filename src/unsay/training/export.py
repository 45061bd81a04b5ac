"""`unsay export`: any checkpoint of ours -> its half of a bundle."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from unsay.errors import BadInput


def export_checkpoint(checkpoint: Path, folder: Path) -> Path:
    """Export a checkpoint of `train_segment` or `train_inpaint` into the bundle `folder`; gives the folder.

    Nothing in the checkpoint is executed. Raises `BadInput` for a file that is none.
    """
    state = _read(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    if state.get("kind") == "inpaint":
        from unsay.training.inpaint_export import export_inpaint

        return export_inpaint(checkpoint, folder)
    if "head" in state and "config" in state:
        from unsay.training.segment_bundle import export_segment

        export_segment(checkpoint, folder)
        return folder
    raise BadInput(f"{checkpoint} is no checkpoint of unsay train: its keys are {', '.join(sorted(state)[:8])}")


def _read(checkpoint: Path) -> dict[str, Any]:
    import torch

    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise BadInput(f"{checkpoint} does not exist: give a checkpoint of unsay train") from error
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise BadInput(f"{checkpoint} cannot be read as a checkpoint: give one of unsay train") from error
    if not isinstance(state, dict):
        raise BadInput(f"{checkpoint} is no checkpoint of unsay train: it holds a {type(state).__name__}")
    return state
