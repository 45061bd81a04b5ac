"""The command line: gathers the commands and translates errors into one line and an exit status.

0 done; 1 failed; 2 bad input or usage; 3 none of the words was found; 130 interrupted. Heavy libraries are imported
inside the commands, so that `unsay --help` answers at once.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

import unsay
from unsay.commands import batching, bundles, completing, importing, judging, learning, photos, serving, watching
from unsay.commands.console import interruptible, note, one_line, print_json
from unsay.commands.sections import Sections
from unsay.entry import INTERRUPTED, INTERRUPTION
from unsay.errors import UnsayError

app = typer.Typer(
    name="unsay",
    cls=Sections,
    help="Edit photos by words: name a thing, and it is erased as if it had never been there.",
    epilog="Exit status: 0 done, 1 failed, 2 bad input or usage, 3 none of the words was found (nothing is written).",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
batch = typer.Typer(
    help="Any number of photos, on all cores or a cluster (needs the extra: pip install 'unsay[batch]').",
    no_args_is_help=True,
)
evaluate = typer.Typer(help="Score a bundle on a data set.", no_args_is_help=True)
prepare = typer.Typer(help="Make data for training and judging.", no_args_is_help=True)
train = typer.Typer(help="Train a network (needs the extra: pip install 'unsay[train]').", no_args_is_help=True)
ablate = typer.Typer(help="Measure what each part of a method is worth.", no_args_is_help=True)
imports = typer.Typer(help="Make a bundle of open weights that you have.", no_args_is_help=True)
pack = typer.Typer(help="Training packs for a machine that is lent for a while.", no_args_is_help=True)

COMMANDS: tuple[tuple[typer.Typer, str, Callable[..., None]], ...] = (
    (app, "erase", photos.erase),
    (app, "segment", photos.segment),
    (app, "inpaint", photos.inpaint),
    (app, "cutout", photos.cutout),
    (app, "watch", watching.watch),
    (app, "serve", serving.serve),
    (batch, "erase", batching.erase),
    (batch, "segment", batching.segment),
    (batch, "inpaint", batching.inpaint),
    (batch, "cutout", batching.cutout),
    (app, "bundles", bundles.bundles),
    (evaluate, "segment", judging.segment),
    (evaluate, "inpaint", judging.inpaint),
    (evaluate, "erase", judging.erase),
    (evaluate, "presence", judging.presence),
    (prepare, "scenes", learning.scenes),
    (prepare, "pairs", learning.pairs),
    (train, "segment", learning.segment),
    (train, "inpaint", learning.inpaint),
    (ablate, "segment", learning.ablate_segment),
    (ablate, "inpaint", learning.ablate_inpaint),
    (app, "export", learning.export),
    (imports, "clip", importing.clip),
    (imports, "madf", importing.madf),
    (imports, "onnx", importing.onnx),
    (pack, "make", learning.pack_make),
    (pack, "train", learning.pack_train),
    (app, "completion", completing.completion),
)
for group, name, command in COMMANDS:
    group.command(name)(command)
for group, name in (
    (batch, "batch"),
    (evaluate, "evaluate"),
    (prepare, "prepare"),
    (train, "train"),
    (ablate, "ablate"),
    (imports, "import"),
    (pack, "pack"),
):
    app.add_typer(group, name=name)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"unsay {unsay.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None, *, sigint: Any = None) -> int:
    """Run `unsay` with `arguments` (default: the process's own) and return the exit status.

    `sigint`: what answered Ctrl-C before the program did, for commands that end in their own way.
    """
    _guard_streams()
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        with interruptible(given[:1], arguments is None, sigint):
            return _run(given)
    except KeyboardInterrupt:  # before or after the command itself
        note(INTERRUPTION)
        return INTERRUPTED


def _run(arguments: list[str]) -> int:
    try:
        command = typer.main.get_command(app)
        status = command.main(arguments, prog_name="unsay", standalone_mode=False)
    except UnsayError as error:
        note(f"unsay: {one_line(error)}")
        return error.exit_status
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return _unexpected(error, arguments)
    if status == INTERRUPTED:  # Typer itself returns this for Ctrl-C inside a command, others raise
        note(INTERRUPTION)
    return status if isinstance(status, int) else 0


def _guard_streams() -> None:
    """Occupy standard streams that came closed (`>&-`): a photo's file must not take their place and their prints."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _unexpected(error: Exception, arguments: list[str]) -> int:
    """One line for an error that is not ours: a wrong usage, or something that went wrong."""
    if hasattr(error, "format_message"):  # the parser's own errors; Typer brings its parser along under changing names
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "unsay"
        asked = type(error).__name__ == "NoArgsIsHelpError"
        text = " ".join(error.format_message().split()).rstrip(".")
        if not asked and _wants_json(context, arguments):
            print_json({"verb": path.partition(" ")[2] or None, "output": None, "error": text, "status": 2})
        note(error.format_message() if asked else f"unsay: {text}; see {path} --help")
        return 2
    if os.environ.get("UNSAY_DEBUG"):
        traceback.print_exception(error)
    hint = "" if os.environ.get("UNSAY_DEBUG") else " (UNSAY_DEBUG=1 shows where)"
    note(f"unsay: {type(error).__name__}: {one_line(error)}{hint}")
    return 1


def _wants_json(context: Any, arguments: list[str]) -> bool:
    """Whether a command that was typed wrongly was to answer in JSON: by its flag, not by an option `--json FILE`."""
    own = [parameter for parameter in context.command.params if "--json" in parameter.opts] if context else []
    typed = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in typed and all(parameter.is_flag for parameter in own)


if __name__ == "__main__":
    sys.exit(main())
