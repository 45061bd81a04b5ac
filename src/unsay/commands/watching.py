"""`unsay watch`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unsay.commands.console import WATCHED, answering, note, print_json, print_line
from unsay.commands.photos import BundleOption, Grow, Json, Limit, NoTexture, Precision, Threshold, Words
from unsay.options import MAX_MEGAPIXELS, EraseOptions, InpaintOptions, SegmentOptions

if TYPE_CHECKING:
    from unsay.watching import Handled


def watch(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder that photos are put into.")],
    words: Words,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where results go; default: unsaid in the folder."),
    ] = None,
    existing: Annotated[
        bool,
        typer.Option("--existing/--no-existing", help="First those that lie there already and have no result."),
    ] = True,
    grow: Grow = None,
    threshold: Threshold = None,
    no_texture: NoTexture = False,
    bundle: BundleOption = "starter",
    precision: Precision = "fp32",
    as_json: Json = False,
    max_megapixels: Limit = MAX_MEGAPIXELS,
) -> None:
    """Erase what the words name from each photo that is put into a folder.

    A line for each photo: what was found, or what is wrong with it; --json: a JSON object a line. A photo that is
    replaced is edited again. Ctrl-C ends it, with status 0; folders within the folder are not looked into.
    """
    with answering(as_json, "watch"):
        from unsay import load_bundle
        from unsay.watching import Watch

        options = EraseOptions(SegmentOptions(threshold), InpaintOptions(grow, None, texture=not no_texture))
        opened = load_bundle(bundle, precision=precision)
        job = Watch(folder, words, options, opened, output, max_megapixels)
        if not as_json:
            note(f"watching {folder}, results go to {job.place}; Ctrl-C ends it")
        try:
            for done in job.run(existing=existing):
                tell(done, as_json)
        except KeyboardInterrupt:
            note(WATCHED)


def tell(done: Handled, as_json: bool) -> None:
    """One line on standard output about one photo."""
    output = None if done.output is None else str(done.output)
    if as_json:
        error = {} if done.error is None else {"error": " ".join(done.error.split())}
        told = {"verb": "watch", "photo": str(done.photo), "output": output, "status": done.status}
        print_json({**told, **error, **done.details})
        return
    if done.error is not None:
        print_line(f"{done.photo.name}: {'' if done.status == 3 else 'error: '}{' '.join(done.error.split())}")
        return
    scores, missing = done.details["scores"], done.details["not_found"]
    found = ", ".join(f"{word} ({scores[word]:.2f})" for word in done.details["found"])
    less = f"; not found: {', '.join(f'{word} ({scores[word]:.2f})' for word in missing)}" if missing else ""
    print_line(f"{done.photo.name}: found: {found}{less}; {output}")
