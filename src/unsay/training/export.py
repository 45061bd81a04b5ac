"""`unsay export`: a checkpoint of either system -> its half of a bundle."""

from __future__ import annotations

from pathlib import Path

import torch

from unsay.errors import BadInput


def export_checkpoint(checkpoint: Path, folder: Path, *, text: str = "") -> Path:
    """Export `checkpoint` into the bundle `folder`, beside the other half if that is there; returns the folder.

    `text`: the segment half's sentence encoder, see `export_segment`. The checkpoint is read without executing anything
    in it. Raises `BadInput` for a file that is no checkpoint of ours.
    """
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        kind = state.get("kind", "segment" if "head" in state else None)
    except Exception as error:  # torch raises whatever the file's first bytes provoke
        raise BadInput(f"{checkpoint} is not a checkpoint of `unsay train`: {error}".split("\n")[0]) from error
    if kind == "inpaint":
        from unsay.training.inpaint_export import export_inpaint

        return export_inpaint(checkpoint, folder)
    if kind == "segment":
        from unsay.training.segment_bundle import export_segment

        export_segment(checkpoint, folder, text=text)
        return folder
    raise BadInput(f"{checkpoint} is a checkpoint of kind {kind!r}; known: inpaint, segment")
