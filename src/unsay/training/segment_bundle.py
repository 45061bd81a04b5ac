"""A trained region head -> the segment part of a bundle: networks, tokenizer, lexicon, constants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unsay.models.efficientnet_lite import EfficientNetLite, load_trunk
from unsay.models.region_head import RegionHead
from unsay.training.bundling import write_part
from unsay.training.segment import SegmentConfig, read_checkpoint
from unsay.training.segment_data import Pairs, embed, export_trunk, frequent, load_pairs, noun_counts
from unsay.training.segment_export import halve_weights, round_half, save, to_onnx
from unsay.training.text_export import export_text, text_folder

WORDNET = Path(__file__).parent / "data" / "wordnet.json"
FILES = ["trunk.onnx", "head.onnx", "text.onnx", "tokenizer.json", "words.json", "words.npz"]
BANK = 256
"""Training photos that serve as a reference against which every score is read."""
NAMED_FROM = 25
"""A noun of at least so many training photos may be named as being in a photo."""
_UNNAMED = (
    "group air picture object photo event piece t back short closeup photograph member white orange silver structure "
    "watch climb stand match base surface lap friend owner male female adult body eye ear nose tongue mouth tooth "
    "finger hind equipment gear metal plastic art paint match trunk lab mound spray leather hand arm leg foot head "
    "face shoulder neck knee drink ledge slide bar piece fan bank tube pipe hind"
)
UNNAMED = frozenset(_UNNAMED.split())
"""Concrete by WordNet, yet nothing that a person would ask for, or not in the meaning that captions give them."""
_PEOPLE = "person individual someone somebody mortal soul adult grownup man woman people"
PEOPLE = frozenset(_PEOPLE.split())
"""ImageNet's three kinds of people (ballplayer, groom, scuba diver) say nothing of people at large."""
ALSO_NAMED = ("field", "table", "forest", "wave", "sign", "park", "path", "basketball", "football")


class HeadWithClasses(nn.Module):
    """The region head and the trunk's ImageNet classifier over the same regions of one photo."""

    def __init__(self, head: RegionHead, trunk: EfficientNetLite) -> None:
        super().__init__()
        self.head, self.classifier = head, trunk._fc

    def forward(self, wide: Tensor, coverage: Tensor) -> tuple[Tensor, Tensor]:
        """wide [P, 1280], coverage [K, P] -> regions [K, E] unit length, ImageNet logits [K, 1000]."""
        share = coverage / coverage.sum(-1, keepdim=True).clamp(min=1e-6)
        return self.head(wide[None], coverage[None])[0], self.classifier(share @ wide)


def export_segment(checkpoint: Path, bundle_dir: Path) -> None:
    """Write the segment part of the bundle in `bundle_dir` from a checkpoint of `train_segment`."""
    config, head = read_checkpoint(checkpoint)
    torch.set_num_threads(config.threads)
    bundle_dir.mkdir(parents=True, exist_ok=True)
    trunk = load_trunk(weights=Path(config.trunk_weights) if config.trunk_weights else None)
    export_trunk(trunk, bundle_dir / "trunk.onnx")
    export_head(head, trunk, bundle_dir / "head.onnx")
    wordnet = json.loads(WORDNET.read_text())
    words = {w for k in (*wordnet["classes"], *wordnet["above"]) for w in k.split()}
    export_text(text_folder(config.text_weights), bundle_dir, words)
    counts = noun_counts(Path(config.data), Path(config.out))["train"]
    export_lexicon(config, head, counts, wordnet, bundle_dir)
    write_part(
        bundle_dir,
        "segment",
        section(config),
        files=FILES,
        licence="CC-BY-NC-4.0",
        training={"segment": _training(config, len(counts))},
    )


def export_head(head: RegionHead, trunk: EfficientNetLite, path: Path) -> None:
    """The region head with the classifier as ONNX, fp16 storage: wide [P, 1280], coverage [K, P] -> regions, logits."""
    inputs = (torch.rand(12, head.config.channels), torch.rand(3, 12))
    dynamic = {
        "wide": {0: "patches"},
        "coverage": {0: "regions", 1: "patches"},
        "embeddings": {0: "regions"},
        "logits": {0: "regions"},
    }
    model = HeadWithClasses(head, trunk).eval()
    save(halve_weights(to_onnx(model, inputs, ["wide", "coverage"], ["embeddings", "logits"], dynamic)), path)


def export_lexicon(
    config: SegmentConfig, head: RegionHead, counts: dict[str, dict[str, int]], wordnet: dict[str, Any], out: Path
) -> None:
    """Write `words.json` and `words.npz` (see `unsay.segmentation.lexicon`)."""
    vocabulary = frequent(counts, config.least_photos)
    index = {w: i for i, w in enumerate(vocabulary)}
    total = dict.fromkeys(vocabulary, 0)
    for nouns in counts.values():
        for noun in nouns:
            if noun in total:
                total[noun] += 1
    above = {w: a for w, a in wordnet["above"].items() if w in index}
    named = [w for w in vocabulary if total[w] >= NAMED_FROM and w not in UNNAMED and w in {*above, *ALSO_NAMED}]
    narrower: dict[str, list[int]] = {}
    for word, names in above.items():
        for name in names:
            narrower.setdefault(name, []).append(index[word])
    lexicon = {
        "vocabulary": vocabulary,
        "visible": [index[w] for w in named],
        "narrower": {w: sorted(v) for w, v in sorted(narrower.items())},
        "classes": {w: c for w, c in wordnet["classes"].items() if w not in PEOPLE},
    }
    (out / "words.json").write_text(json.dumps(lexicon, separators=(",", ":"), ensure_ascii=False), encoding="utf-8")
    classes = embed([config.template.format(n[0]) for n in wordnet["names"]], config.text_weights)
    mean, spread = reference(reference_bank(head, load_pairs(config, "train", BANK)))
    np.savez(
        out / "words.npz",
        vocabulary=embed([config.template.format(w) for w in vocabulary], config.text_weights).half().numpy(),
        classes=classes.half().numpy(),
        bank_mean=mean.numpy(),
        bank_spread=spread.numpy(),
    )


def reference(bank: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [E] and covariance [E, E] of the reference regions: what a word's score is by chance, and how it spreads."""
    return bank.mean(0), torch.cov(bank.T, correction=0)


@torch.no_grad()
def reference_bank(head: RegionHead, pairs: Pairs, regions: int = 8) -> Tensor:
    """Embeddings of the `regions` largest regions of each photo, [M, E]."""
    rounded = RegionHead(head.config)
    rounded.load_state_dict(head.state_dict())
    round_half(rounded.eval())
    wide, coverage = pairs.batch(torch.arange(len(pairs.names)))
    sizes = coverage.sum(-1)
    largest = sizes.argsort(dim=1, descending=True, stable=True)[:, :regions]
    embeddings = rounded(wide, coverage).gather(1, largest[..., None].expand(-1, -1, head.config.text))
    chosen: Tensor = embeddings[sizes.gather(1, largest) > 0]
    return chosen


def section(config: SegmentConfig) -> dict[str, Any]:
    """The bundle's constants: one set for every photo and every data set; docs/segmentation.md says how chosen."""
    return {"template": config.template, **CONSTANTS}


_BACKGROUND = (
    "sky grass tree water road wall building ground field sand snow rock floor mountain dirt fence forest river "
    "street beach ocean sidewalk carpet bed hill window door leaf bush flower blanket background room cage hay mud"
)
_THINGS = "person dog cat horse cow sheep bird car bus truck bicycle motorcycle boat train chair sofa table ball"
CONSTANTS: dict[str, Any] = {
    "trunk": "trunk.onnx",
    "head": "head.onnx",
    "text": "text.onnx",
    "tokenizer": "tokenizer.json",
    "words": "words.json",
    "vectors": "words.npz",
    "side": 512,
    "groups": 20,
    "unit": 0.1,
    "kind_margin": 0.8,
    "class_weight": 0.5,
    "class_floor": -6.0,
    "similar": 0.03,
    "unseen_scale": 1.3,
    "unseen_bonus": 0.5,
    "background_classes": 0.4,
    "background_margin": 0.75,
    "best_region": 0.4,
    "behind_best": 2.0,
    "behind_rival": 0.15,
    "present_at": 3.0,
    "present_slope": 1.7,
    "threshold": 0.5,
    "unknown_threshold": 0.9,
    "background": _BACKGROUND.split(),
    "things": _THINGS.split(),
    "thing_margin": 0.75,
}


def _training(config: SegmentConfig, photos: int) -> dict[str, Any]:
    return {
        "data": f"Flickr8k: {photos} photos with 5 sentences each (Hodosh et al. 2013; research use)",
        "command": "unsay train segment --config src/unsay/training/configs/segment-starter.yaml",
        "trunk": "EfficientNet-Lite0, ImageNet-1k labels (Apache-2.0), frozen",
        "text": "all-MiniLM-L6-v2 (Apache-2.0), frozen, int8 storage, pruned vocabulary",
        "words": "WordNet 3.0: class names, what covers what (Princeton University)",
        "seed": config.seed,
    }
