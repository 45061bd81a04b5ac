"""`unsay prepare|train|ablate|export|pack`: the learning half, which needs the `[train]` extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from unsay.commands.batching import Address, Number, Threads, results_alone
from unsay.commands.console import note, print_path, working
from unsay.commands.judging import LimitCount, Split
from unsay.errors import UnsayError

EXTRA = {
    "torch",
    "pytorch_lightning",
    "lightning_fabric",
    "onnx",
    "onnxscript",
    "spacy",
    "yaml",
    "transformers",
    "safetensors",
    "huggingface_hub",
    "webdataset",
    "fsspec",
}
"""Top-level modules that only the `[train]` extra brings."""

Config = Annotated[Path, typer.Option("--config", metavar="FILE", help="The run's configuration, a YAML file.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")]
Minutes = Annotated[float | None, typer.Option("--minutes", metavar="N", help="Stop after so long, steps left or not.")]
Folder = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The folder to write.")]


def scenes(
    output: Folder,
    cutouts: Annotated[list[Path], typer.Option("--cutouts", metavar="DIR", help="Cut-outs with alpha; repeatable.")],
    backgrounds: Annotated[list[Path], typer.Option("--backgrounds", metavar="DIR", help="Photos; repeatable.")],
    split: Annotated[str, typer.Option("--split", metavar="train|test|all", help="Which files may be used.")] = "test",
    count: Annotated[int, typer.Option("--count", metavar="N", help="How many scenes.")] = 60,
    size: Annotated[str, typer.Option("--size", metavar="W,H", help="Their size in pixels.")] = "768,576",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="The same seed gives the same scenes.")] = 0,
) -> None:
    """Compose scenes: cut-outs on photos, with exact masks, the true backgrounds and sentences."""
    from unsay.commands.console import numbers

    wanted = numbers(size, "--size", "W,H") or (768, 576)
    with learning_half(), working(f"composing {count} scenes"):
        from unsay.training.scenes import prepare_scenes

        prepare_scenes(cutouts, backgrounds, output, split, count, size=(wanted[0], wanted[1]), seed=seed)
    print(output)


def pairs(
    config: Config,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="DST", help="A folder or a bucket's path for the prepared shards.")
    ],
    address: Address = None,
    workers: Number = None,
    threads: Threads = 1,
) -> None:
    """Prepare shards of image-sentence pairs for `kind: shards`: their nouns, groups and what else a step reads.

    FILE is the training's configuration, its data the downloaded shards (`kind: webdataset`). Shards that were prepared
    with the same settings are passed over; corrupt pairs are left out and counted.
    """
    with learning_half(), results_alone():
        from unsay.training.config import load_config
        from unsay.training.segment_config import SegmentConfig
        from unsay.training.shards.preparing import prepare_pairs

        def tell(done: int, of: int, record: dict[str, Any]) -> None:
            note(f"{done} of {of} shards: {record['result']}{': ' + record['error'] if 'error' in record else ''}")

        settings = load_config(config, SegmentConfig)
        totals = prepare_pairs(settings, output, address=address, number=workers, threads=threads, tell=tell)
    skipped = ", ".join(f"{reason} {count}" for reason, count in sorted(totals.skipped.items()))
    shards = f"{totals.shards} shards, {totals.unchanged} of them as they were"
    note(f"{totals.pairs} pairs in {shards}; left out: {skipped or 0}")
    print_path(output)
    if totals.failed:
        raise UnsayError(
            f"{len(totals.failed)} of {totals.shards} shards failed: run the same command to try them again"
        )


def segment(config: Config, resume: Resume = False, minutes: Minutes = None) -> None:
    """Train the region head that links words and regions; prints the checkpoint's path."""
    _log_to_stderr()
    with learning_half():
        from unsay.training.config import load_config
        from unsay.training.segment import train_segment
        from unsay.training.segment_config import SegmentConfig

        print(train_segment(load_config(config, SegmentConfig), max_minutes=minutes, resume=resume))


def inpaint(config: Config, resume: Resume = False, minutes: Minutes = None) -> None:
    """Train the inpainting network; prints the checkpoint's path."""
    _log_to_stderr()
    with learning_half():
        from unsay.training.config import load_config
        from unsay.training.inpaint import train_inpaint
        from unsay.training.inpaint_config import InpaintConfig

        print(train_inpaint(load_config(config, InpaintConfig), max_minutes=minutes, resume=resume))


def ablate_segment(
    config: Config,
    split: Split = None,
    limit: LimitCount = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Keep all numbers here.")
    ] = None,
) -> None:
    """Train the segmentation half without this and without that, judge each; prints four tables."""
    _log_to_stderr()
    with learning_half():
        import dataclasses

        from unsay.training.config import load_config
        from unsay.training.segment_ablation import ablate_segment, keep, table
        from unsay.training.segment_ablation_config import AblationConfig

        settings = load_config(config, AblationConfig)
        chosen = dataclasses.replace(settings, split=split or settings.split, limit=limit or settings.limit)
        result = ablate_segment(chosen)
        if output is not None:
            keep(result, output)
        print(table(result))


def ablate_inpaint(
    config: Config,
    limit: LimitCount = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Keep all numbers here.")
    ] = None,
) -> None:
    """Train the inpainting half without this and without that, judge each on the same holes; prints four tables."""
    _log_to_stderr()
    with learning_half():
        import dataclasses

        from unsay.training.ablation_figures import keep_figures
        from unsay.training.config import load_config
        from unsay.training.inpaint_ablation import ablate_inpaint, table
        from unsay.training.inpaint_ablation_config import InpaintAblationConfig

        settings = load_config(config, InpaintAblationConfig)
        result = ablate_inpaint(dataclasses.replace(settings, limit=limit or settings.limit))
        if output is not None:
            keep_figures(result, output)
        print(table(result))


def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint of `unsay train`.")],
    output: Folder,
    text: Annotated[
        str | None,
        typer.Option(
            "--text", metavar="FILE|BUNDLE|full", help="The sentence encoder: a student's, a bundle's, the large one."
        ),
    ] = None,
) -> None:
    """Write a trained network as its half of a bundle."""
    with learning_half(), working(f"exporting {checkpoint.name}"):
        from unsay.training.export import export_checkpoint

        print(export_checkpoint(checkpoint, output, text=text or ""))


def pack_make(
    sources: Annotated[list[Path], typer.Argument(metavar="DIR", help="Folders of photos, with sentences or not.")],
    output: Folder,
    limit: Annotated[float, typer.Option("--limit", metavar="MIB", help="Size of a pack with the tracked tree.")] = 64,
) -> None:
    """Write photos as packs that each fit, with the tracked tree, into a limit."""
    with learning_half(), working("packing"):
        from unsay.training.pack import make_packs

        written = make_packs(sources, output, limit)
    for path in written:
        print(path)


def pack_train(
    packs: Annotated[Path, typer.Argument(metavar="PACKS", help="A pack, or a folder of packs.")],
    output: Folder,
    minutes: Annotated[float, typer.Option("--minutes", metavar="N", help="How long to train.")],
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="The run's configuration.")] = None,
    run: Annotated[Path, typer.Option("--run", metavar="DIR", help="Where checkpoints lie.")] = Path("runs/from-packs"),
    resume: Resume = False,
) -> None:
    """Train the inpainting network from packs for N minutes; leave its weights in files under 16 MB."""
    with learning_half():
        from unsay.training.config import load_config
        from unsay.training.inpaint_config import InpaintConfig
        from unsay.training.pack import train_from_packs

        settings = load_config(config, InpaintConfig) if config else None
        written = train_from_packs(packs, minutes, output, config=settings, run=run, resume=resume)
    for path in written:
        print(path)


def _log_to_stderr() -> None:
    """Epochs, losses and what is being prepared, a line each: these runs last from minutes to days."""
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


@contextmanager
def learning_half() -> Iterator[None]:
    """Say how to install what is missing, instead of a traceback about a module."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in EXTRA:
            raise UnsayError(f"this command needs {error.name}: pip install 'unsay[train]'") from error
        raise
