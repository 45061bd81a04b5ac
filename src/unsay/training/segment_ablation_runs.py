"""The training runs of the ablation, each with the bundle that reads its evidence."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unsay.bundle import Bundle, load_bundle
from unsay.segmentation.asking import read_constants
from unsay.segmentation.lexicon import bundle_lexicon
from unsay.segmentation.vision import Array
from unsay.training.bundling import write_part
from unsay.training.checkpoints import CHECKPOINT
from unsay.training.nouns import Embed, noun_embeddings
from unsay.training.pairs_readers import read_captions
from unsay.training.segment import read_checkpoint, train_segment
from unsay.training.segment_ablation_config import VARIANTS, AblationConfig, run_config
from unsay.training.segment_bundle import WORDNET, export_lexicon, section
from unsay.training.segment_config import SegmentConfig
from unsay.training.segment_data import SegmentData, spaced
from unsay.training.segment_files import write_atomically
from unsay.training.segment_networks import Networks

log = logging.getLogger(__name__)
Build = Callable[[SegmentConfig], Networks]
LEXICON = ["words.json", "words.npz"]


@dataclass(frozen=True, eq=False)
class Learned:
    """A trained region encoder. `bundle` holds its lexicon and the recognition constants; `sentences` is the same
    without what it knows of ImageNet's classes.
    """

    encoder: nn.Module
    bundle: Bundle
    sentences: Bundle


def chosen_captions(config: AblationConfig) -> dict[str, Any]:
    """The fields of the data that name the photos to train on; where these are not all, their captions are written.

    Raises `BadInput` for captions that cannot be read.
    """
    data = config.train.data
    if not config.photos:
        return {}
    captions = read_captions(Path(data.path) / data.captions)
    names = list(captions)
    kept = [names[i] for i in spaced(range(len(names)), config.photos)]
    lines = ["image\tcaption", *(f"{name}\t{caption}" for name in kept for caption in captions[name])]
    path = Path(config.out).resolve() / f"captions-{len(kept)}.tsv"
    write_atomically(path, lambda stream: stream.write("\n".join([*lines, ""]).encode()))
    return {"captions": str(path)}


def run_configs(config: AblationConfig) -> dict[tuple[str, int], SegmentConfig]:
    """The configuration of every run, by variant and seed."""
    data = chosen_captions(config)
    return {(v, seed): run_config(config, v, seed, **data) for v in VARIANTS for seed in config.seeds}


def prepare_photos(config: SegmentConfig, networks: Networks) -> int:
    """Let the frozen networks see the training photos, once for all runs; gives the number of readable photos."""
    return len(_prepared(config, networks).pairs)


def train(config: SegmentConfig, networks: Networks) -> nn.Module:
    """The encoder of one run: trained, continued where it stopped, or as it is where it is finished."""
    last = Path(config.out) / CHECKPOINT
    log.info("training %s", Path(config.out).name)
    return read_checkpoint(train_segment(config, resume=last.is_file(), networks=networks), networks)[1]


def learned(config: SegmentConfig, encoder: Any, networks: Networks, words: Sequence[str]) -> Learned:
    """The encoder with its own bank: a unit of evidence is how far *its* cosines spread over its training photos.

    `words`: all that will be asked, beside the constants' own.
    """
    folder = Path(config.out) / "lexicon"
    folder.mkdir(parents=True, exist_ok=True)
    export_lexicon(config, encoder, _prepared(config, networks), json.loads(WORDNET.read_text()), folder)
    write_part(folder, "segment", section(config), files=LEXICON)
    bundle = load_bundle(folder)
    classless = Bundle(bundle.path, bundle.manifest)
    lexicon = bundle_lexicon(bundle)
    classless.part("lexicon", lambda: dataclasses.replace(lexicon, classes={}))
    constants = read_constants(bundle)
    everything = [*words, *constants.things, *constants.background]
    for one in (bundle, classless):
        asked = sorted({bundle_lexicon(one).normal(word) for word in everything})
        vectors = noun_embeddings(asked, config.nouns.templates, networks.embed()).numpy()
        memory: dict[str, Array] = one.part("word vectors", dict)
        memory.update(zip(asked, vectors, strict=True))
    return Learned(encoder, bundle, classless)


def remembering(embed: Embed) -> Embed:
    """The same sentence encoder, which reads no sentence twice: all runs have their words in common."""
    known: dict[str, Tensor] = {}

    def again(sentences: Sequence[str]) -> Tensor:
        new = [s for s in dict.fromkeys(sentences) if s not in known]
        if new:
            known.update(zip(new, embed(new), strict=True))
        return torch.stack([known[s] for s in sentences])

    return again


def _prepared(config: SegmentConfig, networks: Networks) -> SegmentData:
    data = SegmentData(config, networks)
    data.prepare_data()
    data.setup()
    return data
