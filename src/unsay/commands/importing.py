"""`unsay import`: open weights that the user has -> a bundle. Needs the `[train]` extra."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unsay.commands.console import note, working
from unsay.commands.learning import Folder, learning_half

TEMPLATE = "a photo of a {}."
ODD = 20.0
"""Mean of 0..255 from which known pixels of the test picture come back so changed that a setting is probably wrong."""

Licence = Annotated[
    str, typer.Option("--licence", metavar="TEXT", help="The weights' licence, for the bundle's manifest.")
]
Half = Annotated[bool, typer.Option("--half", help="Store weights in 16 bits: half the size, slightly other results.")]
Range = Annotated[
    str | None, typer.Option("--range", metavar="0..1|0..255|-1..1|imagenet", help="Range of the image's values; 0..1.")
]


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
    licence: Licence = "unknown",
    half: Half = False,
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


def madf(
    weights: Annotated[Path, typer.Argument(metavar="FILE", help="The checkpoint that MADF's authors published.")],
    output: Folder,
    licence: Licence = "unknown",
    half: Half = False,
    max_side: Annotated[
        int, typer.Option("--max-side", metavar="PX", help="The largest side at which the network is used.")
    ] = 512,
) -> None:
    """Make published MADF weights the inpaint part of a bundle. A segment part already in DIR stays."""
    with learning_half(), working(f"importing {weights.name}"):
        from unsay.training.import_madf import import_madf

        published = import_madf(weights, output, licence=licence, half=half, max_side=max_side)
    if published.unused:
        note(f"{len(published.unused)} tensors of the file are not part of the network; the manifest lists them")
    print(output)


def onnx(
    network: Annotated[
        Path, typer.Argument(metavar="FILE", help="An ONNX file that makes an image of image and mask.")
    ],
    output: Folder,
    like: Annotated[
        str | None,
        typer.Option("--like", metavar="lama|migan", help="The settings of a known file; others prevail."),
    ] = None,
    value_range: Range = None,
    output_range: Annotated[
        str | None,
        typer.Option("--output-range", metavar="RANGE", help="Range of the result's values; that of the image."),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option("--mask", metavar="fill|keep|HOLE,KNOWN", help="fill: 1 in the hole, 0 elsewhere (the default)."),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", metavar="NAME=PARTS", help="What an input holds: image, mask, or image+mask; repeatable."
        ),
    ] = None,
    result: Annotated[
        str | None, typer.Option("--result", metavar="NAME", help="The output that is the image, of several.")
    ] = None,
    size: Annotated[int | None, typer.Option("--size", metavar="PX", help="The only side that it takes.")] = None,
    multiple: Annotated[
        int | None, typer.Option("--multiple", metavar="PX", help="What sides must divide by; 8.")
    ] = None,
    max_side: Annotated[
        int | None, typer.Option("--max-side", metavar="PX", help="The largest side in use; 512.")
    ] = None,
    layout: Annotated[
        str | None, typer.Option("--layout", metavar="NCHW|NHWC", help="Order of its axes; NCHW.")
    ] = None,
    colours: Annotated[
        str | None, typer.Option("--colours", metavar="rgb|bgr", help="Order of its colours; rgb.")
    ] = None,
    pad: Annotated[
        str | None, typer.Option("--pad", metavar="hole|mirror", help="What lies beyond a photo's border; mirror.")
    ] = None,
    grow: Annotated[
        int | None, typer.Option("--grow", metavar="PX", help="Show the hole that much larger to the network; 0.")
    ] = None,
    licence: Licence = "unknown",
) -> None:
    """Make another filling network, such as LaMa or MI-GAN, the inpaint part of a bundle; a segment part in DIR stays.

    Names, channels, number types and a fixed size are read off the file.
    """
    with learning_half(), working(f"importing {network.name}"):
        from unsay.training.import_onnx import OnnxImport, import_onnx

        options = OnnxImport(
            like=like,
            range=value_range,
            output_range=output_range,
            mask=mask,
            inputs=tuple(inputs) if inputs else None,
            result=result,
            size=size,
            multiple=multiple,
            max_side=max_side,
            layout=layout,
            colours=colours,
            pad=pad,
            grow=grow,
        )
        miss = import_onnx(network, output, options, licence=licence)
    doubt = "; are --range, --output-range, --mask and --colours right?" if miss > ODD else ""
    note(f"known pixels of a test picture come back {miss:.1f} of 255 away{doubt}")
    print(output)
