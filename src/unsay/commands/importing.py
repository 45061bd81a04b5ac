"""`unsay import`: open weights that the user has -> a bundle. Needs the `[train]` extra."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unsay.commands.console import working
from unsay.commands.learning import Folder, learning_half

TEMPLATE = "a photo of a {}."


def clip(
    weights: Annotated[
        str, typer.Argument(metavar="CLIP_DIR", help="A folder with CLIP in transformers format, tokenizer included.")
    ],
    group_features: Annotated[
        str, typer.Option("--group-features", metavar="DINO_DIR", help="A folder with DINO or DINOv2, likewise.")
    ],
    output: Folder,
    start: Annotated[
        int | None, typer.Option("--start", metavar="L0", help="Layer from which regions are masked; the middle one.")
    ] = None,
    side: Annotated[int, typer.Option("--side", metavar="PX", help="Long side of photos for CLIP.")] = 336,
    group_side: Annotated[int, typer.Option("--group-side", metavar="PX", help="Long side of photos for DINO.")] = 448,
    feature: Annotated[
        str, typer.Option("--feature", metavar="token|key", help="What of DINO's last layer is grouped.")
    ] = "token",
    group_method: Annotated[
        str,
        typer.Option("--group-method", metavar="agglomerative|normalised-cut|k-means", help="How groups are made."),
    ] = "agglomerative",
    template: Annotated[
        list[str] | None,
        typer.Option(
            "--template", metavar="TEXT", help=f"A sentence with {{}} for the word; repeatable. Default: {TEMPLATE!r}."
        ),
    ] = None,
    licence: Annotated[
        str, typer.Option("--licence", metavar="TEXT", help="The weights' licence, for the bundle's manifest.")
    ] = "unknown",
    half: Annotated[
        bool, typer.Option("--half", help="Store weights in 16 bits: half the size, slightly other results.")
    ] = False,
    download: Annotated[
        bool, typer.Option("--download", help="Take names that are no folders from the Hugging Face hub.")
    ] = False,
) -> None:
    """Make a bundle of CLIP and DINO weights; no scores are known for it. An inpaint part already in DIR stays."""
    with learning_half(), working(f"importing {Path(weights).name}"):
        from unsay.training.import_clip import ClipImport, import_clip

        options = ClipImport(
            weights,
            group_features,
            start=start,
            side=side,
            group_side=group_side,
            feature=feature,
            group_method=group_method,
            templates=tuple(template or [TEMPLATE]),
            licence=licence,
            half=half,
            download=download,
        )
        written = import_clip(options, output)
    print(written)
