"""`unsay erase`, `unsay segment`, `unsay inpaint`, `unsay cutout`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from unsay.commands.console import PIPE, answering, note, numbers, print_json, print_path, source, target, working
from unsay.errors import BadInput
from unsay.options import MAX_MEGAPIXELS, EraseOptions, InpaintOptions, SegmentOptions

if TYPE_CHECKING:
    from unsay.results import Report

MOSTLY = 0.5
"""Share of the photo from which a fill is remarked upon."""

Photo = Annotated[str, typer.Argument(metavar="PHOTO", help="The photo's path; - reads it from standard input.")]
Words = Annotated[list[str], typer.Argument(metavar="WORD", help="What to look for, one or more words.")]
WordsOrPoint = Annotated[
    list[str] | None,
    typer.Argument(metavar="WORD", help="What to look for, one or more words; none: what is at --point."),
]
Output = Annotated[str | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write; - for a pipe.")]
InPlace = Annotated[bool, typer.Option("--in-place", help="Replace the photo itself.")]
Grow = Annotated[
    int | None, typer.Option("--grow", metavar="PX", help="Pixels to erase around the thing; default: by size.")
]
Threshold = Annotated[
    float | None, typer.Option("--threshold", metavar="T", help="Score from 0 to 1 from which a word counts as found.")
]
BoxOption = Annotated[
    str | None,
    typer.Option(
        "--box", metavar="X,Y,W,H", help="Only things whose centre lies in this box; if none does, what lies inside it."
    ),
]
PointOption = Annotated[
    str | None,
    typer.Option("--point", metavar="X,Y", help="Only the thing at this pixel; without words whatever is there."),
]
BundleOption = Annotated[str, typer.Option("--bundle", metavar="NAME|DIR", help="The networks to use.")]
Precision = Annotated[
    str, typer.Option("--precision", metavar="fp32|bf16", help="bf16 fills large holes faster; needs unsay[bf16].")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object about what was done.")]
NoTexture = Annotated[bool, typer.Option("--no-texture", help="Leave the fill soft: copy no detail from alike places.")]
Limit = Annotated[float, typer.Option("--max-megapixels", metavar="N", help="Refuse photos with more pixels.")]


def erase(
    photo: Photo,
    words: WordsOrPoint = None,
    output: Output = None,
    in_place: InPlace = False,
    mask_out: Annotated[
        str | None, typer.Option("--mask-out", metavar="FILE", help="Also write the filled area, white on black.")
    ] = None,
    grow: Grow = None,
    threshold: Threshold = None,
    box: BoxOption = None,
    point: PointOption = None,
    no_texture: NoTexture = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be erased, write nothing; with -o FILE a picture of it.")
    ] = False,
    bundle: BundleOption = "starter",
    precision: Precision = "fp32",
    as_json: Json = False,
    max_megapixels: Limit = MAX_MEGAPIXELS,
) -> None:
    """Erase what the words name, as if it had never been there."""
    with answering(as_json, "erase"):
        options = EraseOptions(
            _segment_options(threshold, box, point), InpaintOptions(grow, None, texture=not no_texture)
        )
        where = None if dry_run and output is None else target(output, photo, as_json=as_json)
        with working(f"erasing {_named(words, point)}", quiet=as_json):
            from unsay import load_bundle, verbs

            outcome = verbs.run_erase(
                source(photo),
                words or [],
                options,
                bundle=load_bundle(bundle, precision=precision),
                output=where,
                in_place=in_place,
                mask_out=mask_out,
                dry_run=dry_run,
                max_megapixels=max_megapixels,
            )
    _tell(outcome.report, as_json)


def segment(
    photo: Photo,
    words: WordsOrPoint = None,
    output: Output = None,
    kind: Annotated[
        str, typer.Option("--format", metavar="overlay|labels|coco|labelme", help="What to write.")
    ] = "overlay",
    threshold: Threshold = None,
    box: BoxOption = None,
    point: PointOption = None,
    bundle: BundleOption = "starter",
    as_json: Json = False,
    max_megapixels: Limit = MAX_MEGAPIXELS,
) -> None:
    """Show where the words are, or write their masks."""
    with answering(as_json, "segment"):
        where = target(output, photo, as_json=as_json)
        with working(f"looking for {_named(words, point)}", quiet=as_json):
            from unsay import verbs

            outcome = verbs.run_segment(
                source(photo),
                words or [],
                _segment_options(threshold, box, point),
                kind=kind,
                bundle=bundle,
                output=where,
                max_megapixels=max_megapixels,
            )
    _tell(outcome.report, as_json)


def inpaint(
    photo: Photo,
    mask: Annotated[
        str, typer.Argument(metavar="MASK", help="A picture of the photo's size: white (non-zero) is filled.")
    ],
    output: Output = None,
    in_place: InPlace = False,
    grow: Annotated[int, typer.Option("--grow", metavar="PX", help="Pixels to fill around the mask.")] = 0,
    no_texture: NoTexture = False,
    bundle: BundleOption = "starter",
    precision: Precision = "fp32",
    as_json: Json = False,
    max_megapixels: Limit = MAX_MEGAPIXELS,
) -> None:
    """Fill the white area of a mask from what surrounds it."""
    with answering(as_json, "inpaint"):
        if photo == mask == PIPE:
            raise BadInput("photo and mask cannot both come from standard input: give a path for one of them")
        where = target(output, photo, as_json=as_json)
        with working("filling", quiet=as_json):
            from unsay import load_bundle, verbs

            outcome = verbs.run_inpaint(
                source(photo),
                source(mask),
                InpaintOptions(grow, None, texture=not no_texture),
                bundle=load_bundle(bundle, precision=precision),
                output=where,
                in_place=in_place,
                max_megapixels=max_megapixels,
            )
    _tell(outcome.report, as_json)


def cutout(
    photo: Photo,
    words: WordsOrPoint = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write, .png, .webp or .tiff; - for a pipe."),
    ] = None,
    crop: Annotated[bool, typer.Option("--crop", help="Write only the box around the thing.")] = False,
    grow: Annotated[int, typer.Option("--grow", metavar="PX", help="Pixels to keep around the thing.")] = 0,
    threshold: Threshold = None,
    box: BoxOption = None,
    point: PointOption = None,
    bundle: BundleOption = "starter",
    as_json: Json = False,
    max_megapixels: Limit = MAX_MEGAPIXELS,
) -> None:
    """Keep what the words name, transparent elsewhere."""
    with answering(as_json, "cutout"):
        options = EraseOptions(_segment_options(threshold, box, point), InpaintOptions(grow))
        where = target(output, photo, as_json=as_json)
        with working(f"cutting out {_named(words, point)}", quiet=as_json):
            from unsay import verbs

            outcome = verbs.run_cutout(
                source(photo),
                words or [],
                options,
                bundle=bundle,
                output=where,
                crop=crop,
                max_megapixels=max_megapixels,
            )
    _tell(outcome.report, as_json)


def _named(words: list[str] | None, point: str | None) -> str:
    """What is looked for, as progress shows it."""
    return ", ".join(words or [f"what is at {point}"])[:60]


def _segment_options(threshold: float | None, box: str | None, point: str | None) -> SegmentOptions:
    rectangle: Any = numbers(box, "--box", "X,Y,W,H")
    pixel: Any = numbers(point, "--point", "X,Y")
    return SegmentOptions(threshold=threshold, box=rectangle, point=pixel)


def _tell(report: Report, as_json: bool) -> None:
    """The result for a script, or for a person: the written file on standard output, the rest on standard error."""
    details = report.details
    if as_json:
        print_json({"verb": report.verb, "output": report.output, **details})
        return
    scores = details.get("scores", {})
    if found := details.get("found"):
        note(f"found: {', '.join(f'{word} ({scores[word]:.2f})' for word in found)}")
    if missing := details.get("not_found"):
        note(f"not found: {', '.join(f'{word} ({scores[word]:.2f})' for word in missing)}")
    if "hole_share" in details:
        done = "would fill" if details.get("dry_run") else "filled"
        note(f"{done} {details['hole_share']:.1%} of the photo in {details['seconds']:.1f} s")
        if details["hole_share"] > MOSTLY:
            note("that is most of the photo: look at what is found with unsay segment, pick with --box or --point")
    if "kept_share" in details:
        note(f"kept {details['kept_share']:.1%} of the photo in {details['seconds']:.1f} s")
    if report.output not in (None, "-"):
        print_path(report.output)
