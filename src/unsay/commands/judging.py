"""`unsay evaluate segment|inpaint|erase|presence`: score a bundle on a data set, print the table, keep the numbers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from unsay.commands.console import PIPE
from unsay.commands.photos import BundleOption
from unsay.errors import BadInput

Data = Annotated[Path, typer.Option("--data", metavar="DIR", help="The data set's folder.")]
Split = Annotated[str | None, typer.Option("--split", metavar="NAME", help="The part of it to judge.")]
JsonFile = Annotated[str | None, typer.Option("--json", metavar="FILE", help="Keep all numbers; - prints them.")]
SheetFile = Annotated[Path | None, typer.Option("--sheet", metavar="FILE", help="A picture sheet of the first cases.")]
LimitCount = Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first so many photos.")]


def segment(
    data: Data,
    dataset: Annotated[
        str,
        typer.Option(
            "--set",
            metavar="NAME",
            help="Which: voc21, voc20, context60, context59, coco-object, coco-stuff, ade20k or cityscapes.",
        ),
    ] = "voc21",
    split: Split = None,
    protocol: Annotated[
        str, typer.Option("--protocol", metavar="unsay|groupvit|sclip", help="How it is scored: docs/protocols.md.")
    ] = "unsay",
    bundle: BundleOption = "starter",
    json_file: JsonFile = None,
    sheet: SheetFile = None,
    limit: LimitCount = None,
) -> None:
    """Words to masks: intersection over union on a set with true masks."""
    from unsay.bundle import load_bundle
    from unsay.evaluation.segment import evaluate_segment, table

    settings = {"dataset": dataset, "split": split, "protocol": protocol, "limit": limit, "sheet": sheet}
    result = evaluate_segment(data, load_bundle(bundle), **_given(settings), progress=_progress())
    _publish(result, table, json_file)


def inpaint(
    data: Data,
    split: Split = None,
    bundle: BundleOption = "starter",
    peers: Annotated[
        str,
        typer.Option(
            "--peers",
            metavar="NAME,...|all|none",
            help="Beside the bundle: telea, navier-stokes, biharmonic, patchmatch; what is not installed is said.",
        ),
    ] = "all",
    json_file: JsonFile = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="A line for each hole filled.")] = None,
    sheet: SheetFile = None,
    limit: LimitCount = None,
) -> None:
    """Mask to pixels: random holes in six bands against other fillers; LPIPS and FID too where they are installed."""
    from unsay.bundle import load_bundle
    from unsay.evaluation.csv_file import write_csv
    from unsay.evaluation.inpaint import evaluate_inpaint
    from unsay.evaluation.inpaint_result import lines, table
    from unsay.evaluation.peers import PEERS

    chosen = {"all": tuple(PEERS), "none": ()}.get(peers, tuple(name.strip() for name in peers.split(",")))
    settings = {"split": split, "limit": limit, "sheet": sheet, "peers": chosen}
    result = evaluate_inpaint(data, load_bundle(bundle), **_given(settings), progress=_progress())
    if csv_file is not None:
        write_csv(lines(result), csv_file)
    _publish(result, table, json_file)


def erase(
    data: Data,
    split: Split = None,
    bundle: BundleOption = "starter",
    json_file: JsonFile = None,
    sheet: SheetFile = None,
    limit: LimitCount = None,
) -> None:
    """Words to pixels: composed scenes (see `unsay prepare scenes`) against their true backgrounds."""
    from unsay.bundle import load_bundle
    from unsay.evaluation.erase import evaluate_erase, table

    settings = {"split": split, "limit": limit, "sheet": sheet}
    result = evaluate_erase(data, load_bundle(bundle), **_given(settings), progress=_progress())
    _publish(result, table, json_file)


def presence(
    data: Data,
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="FILE", help="A table of noun, image and 0 or 1, tab-separated.")
    ] = None,
    split: Split = None,
    bundle: BundleOption = "starter",
    json_file: JsonFile = None,
    limit: LimitCount = None,
) -> None:
    """Whether a thing is in the photo: average precision and calibration, from labels or VOC's masks of animals."""
    from unsay.bundle import load_bundle
    from unsay.evaluation.presence import evaluate_presence, table

    settings = {"labels": labels, "split": split, "limit": limit}
    result = evaluate_presence(data, load_bundle(bundle), **_given(settings), progress=_progress())
    _publish(result, table, json_file)


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    """Leaves out what was not asked for, so that the function's own defaults hold."""
    return {name: value for name, value in settings.items() if value is not None}


def _progress() -> Callable[[str], None] | None:
    """One line that overwrites itself, on a terminal only."""
    if not sys.stderr.isatty():
        return None
    return lambda text: print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _publish(result: dict[str, Any], table: Callable[[dict[str, Any]], str], json_file: str | None) -> None:
    """The table, or with `--json -` the numbers alone, on standard output."""
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    text = json.dumps(result, ensure_ascii=False)
    if json_file == PIPE:
        print(text)
        return
    if json_file is not None:
        scratch = Path(f"{json_file}.part")
        try:
            scratch.write_text(text + "\n", encoding="utf-8")
            os.replace(scratch, json_file)
        except OSError as error:
            raise BadInput(f"cannot write the numbers to {json_file}: {error.strerror}") from error
    print(table(result))
