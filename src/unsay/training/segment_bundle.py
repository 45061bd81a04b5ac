"""A trained region encoder -> the segment part of a bundle: networks, tokenizer, lexicon, constants."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from unsay.errors import BadInput
from unsay.models.efficientnet_lite import MEAN, SCALE, EfficientNetLite, load_trunk
from unsay.models.starter_encoder import StarterEncoder
from unsay.segmentation.grouping import STARTER
from unsay.segmentation.lexicon import pack_rows
from unsay.segmentation.recognition import Constants
from unsay.training.bundling import write_part
from unsay.training.nouns import noun_embeddings
from unsay.training.segment import open_data, read_checkpoint
from unsay.training.segment_config import SegmentConfig
from unsay.training.segment_data import SegmentData, coverage
from unsay.training.segment_export import quantise_weights, round_half, save, to_onnx
from unsay.training.segment_networks import build_networks, export_trunk
from unsay.training.text_export import export_any_text

if TYPE_CHECKING:
    from unsay.training.shards.streaming import StreamData

WORDNET = Path(__file__).parent / "data" / "wordnet.json"
CONSTANTS = Path(__file__).parent / "data" / "recognition.json"
FILES = ["trunk.onnx", "regions.onnx", "text.onnx", "tokenizer.json", "words.json", "words.npz"]
WHOLE_POWER = 3.0
"""Generalised mean over the whole photo (Radenovic et al. 2018): what is there in a small place still counts."""
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


class RegionsWithClasses(nn.Module):
    """The region encoder and the trunk's ImageNet classifier over the same regions of one photo; the last region is
    the whole photo.
    """

    def __init__(self, encoder: StarterEncoder, trunk: EfficientNetLite) -> None:
        super().__init__()
        self.encoder, self.trunk = encoder, trunk

    def forward(self, fine: Tensor, last: Tensor, coverage: Tensor) -> tuple[Tensor, Tensor]:
        """fine [1, F, 2h, 2w], last [1, L, h, w], coverage [K + 1, h * w] -> embeddings [K + 1, E] of unit length,
        ImageNet logits [K + 1, 1000].
        """
        wide = self.trunk.widen(last)[0].flatten(1).T
        share = coverage / coverage.sum(-1, keepdim=True).clamp(min=1e-6)
        whole = wide.pow(WHOLE_POWER).mean(0, keepdim=True).clamp(min=1e-9).pow(1 / WHOLE_POWER)
        pooled = torch.cat([share[:-1] @ wide, whole])
        read = fine if self.encoder.config.tune else self.trunk.widen(last)
        return self.encoder(read, coverage[None])[0], self.trunk.classify(pooled)


def export_segment(checkpoint: Path, bundle_dir: Path, *, text: str = "") -> None:
    """Write the segment part of the bundle in `bundle_dir` from a checkpoint of `unsay train segment` (the starter's).

    text: where the sentence encoder of use comes from, see `unsay.training.text_export.export_any_text`; the words of
    `words.npz` are embedded by the large one in any case. Raises `BadInput` for a checkpoint of the paper's networks,
    whose towers `unsay import clip` brings along.
    """
    config, encoder = read_checkpoint(checkpoint)
    if not isinstance(encoder, StarterEncoder):
        raise BadInput(f"{checkpoint} holds the paper's networks: export needs a checkpoint of the starter's")
    torch.set_num_threads(config.machine.threads)
    bundle_dir.mkdir(parents=True, exist_ok=True)
    trunk = load_trunk(config.starter.trunk, Path(config.trunk_weights) if config.trunk_weights else None)
    export_trunk(trunk, bundle_dir / "trunk.onnx")
    export_regions(encoder, trunk, bundle_dir / "regions.onnx")
    wordnet = json.loads(WORDNET.read_text())
    text_from = export_any_text(text, config.text_weights, bundle_dir)
    data = open_data(config, build_networks(config))
    data.prepare_data()
    data.setup()
    export_lexicon(config, encoder, data, wordnet, bundle_dir)
    write_part(
        bundle_dir,
        "segment",
        section(config),
        files=FILES,
        licence="CC-BY-NC-4.0",
        training={"segment": _training(config, data.photos, text_from)},
    )


def export_regions(encoder: StarterEncoder, trunk: EfficientNetLite, path: Path) -> None:
    """`RegionsWithClasses` as ONNX, int8 in the file: fine, last, coverage -> embeddings, logits."""
    inputs = (torch.rand(1, trunk.fine_channels, 6, 8), torch.rand(1, trunk.last_channels, 3, 4), torch.rand(3, 12))
    dynamic = {
        "fine": {2: "fine_height", 3: "fine_width"},
        "last": {2: "height", 3: "width"},
        "coverage": {0: "regions", 1: "patches"},
        "embeddings": {0: "regions"},
        "logits": {0: "regions"},
    }
    names = ["fine", "last", "coverage"], ["embeddings", "logits"]
    save(quantise_weights(to_onnx(RegionsWithClasses(encoder, trunk).eval(), inputs, *names, dynamic)), path)


def export_lexicon(
    config: SegmentConfig, encoder: StarterEncoder, data: SegmentData | StreamData, wordnet: dict[str, Any], out: Path
) -> None:
    """Write `words.json` and `words.npz` (see `unsay.segmentation.lexicon`)."""
    total = data.frequency()
    vocabulary = sorted(total, key=lambda w: (-total[w], w))
    index = {w: i for i, w in enumerate(vocabulary)}
    above = {w: a for w, a in wordnet["above"].items() if w in index}
    named = [w for w in vocabulary if total[w] >= NAMED_FROM and w not in UNNAMED and w in {*above, *ALSO_NAMED}]
    narrower: dict[str, list[int]] = {}
    for word, names in above.items():
        for name in names:
            narrower.setdefault(name, []).append(index[word])
    lexicon = {
        "vocabulary": vocabulary,
        "photos": [total[w] for w in vocabulary],
        "visible": [index[w] for w in named],
        "narrower": {w: sorted(v) for w, v in sorted(narrower.items())},
        "classes": {w: c for w, c in wordnet["classes"].items() if w not in PEOPLE},
        "related": wordnet["related"],
    }
    (out / "words.json").write_text(json.dumps(lexicon, separators=(",", ":"), ensure_ascii=False), encoding="utf-8")
    embed = data.networks.embed()
    vectors = (
        noun_embeddings(w, config.nouns.templates, embed) for w in (vocabulary, [n[0] for n in wordnet["names"]])
    )
    nouns, classes = (v.numpy() for v in vectors)
    mean, spread = reference(reference_bank(encoder, data, config))
    bank = {"bank_mean": mean.numpy(), "bank_spread": spread.half().numpy()}
    packed = pack_rows("vocabulary", nouns) | pack_rows("classes", classes)
    np.savez(out / "words.npz", allow_pickle=False, **packed, **bank)


def reference(bank: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [E] and covariance [E, E] of the reference regions: what a word's score is by chance, and how it spreads."""
    return bank.mean(0), torch.cov(bank.T, correction=0)


@torch.no_grad()
def reference_bank(
    encoder: StarterEncoder, data: SegmentData | StreamData, config: SegmentConfig, regions: int = 8
) -> Tensor:
    """Embeddings of the `regions` largest regions of `BANK` photos of the data, [M, E]."""
    rounded = copy.deepcopy(encoder).eval()
    round_half(rounded)
    samples = data.some(BANK)
    shares = coverage(torch.stack([s.groups for s in samples]), config.groups, data.networks.grid)
    found = []
    for sample, share in zip(samples, shares, strict=True):
        largest = share.sum(-1).argsort(descending=True, stable=True)[:regions]
        embeddings = rounded(sample.inputs[None].float(), share[None])[0]
        found.append(embeddings[largest[share.sum(-1)[largest] > 0]])
    return torch.cat(found)


def section(config: SegmentConfig) -> dict[str, Any]:
    """The bundle's recipe (see `unsay.segmentation.recipe`).

    Its constants are one set for every photo and every data set; benchmarks/choose_constants.py chose them.
    """
    stored = json.loads(CONSTANTS.read_text(encoding="utf-8"))
    return {
        "features": {"file": "trunk.onnx", "side": 512, "multiple": 32, "mean": [MEAN] * 3, "deviation": [SCALE] * 3},
        "grouping": dataclasses.asdict(STARTER),
        "encoder": {"file": "regions.onnx", "maps": ["fine", "last"] if config.starter.tune else ["last"]},
        "text": {"file": "text.onnx", "tokenizer": "tokenizer.json", "templates": list(config.nouns.templates)},
        "lexicon": {"words": "words.json", "vectors": "words.npz"},
        "recognition": dataclasses.asdict(Constants(**stored)),
    }


def _training(config: SegmentConfig, photos: int, text: str) -> dict[str, Any]:
    data, name = f"{photos} pairs of {config.data.path}", "FILE"
    if config.data.kind == "tsv":
        name = "src/unsay/training/configs/segment-starter.yaml"
        data = f"Flickr8k: {photos} photos with 5 sentences each (Hodosh et al. 2013; research use)"
    if config.data.scenes:
        scenes, name = ", ".join(config.data.scenes), "src/unsay/training/configs/segment-starter-scenes.yaml"
        data = f"{photos} photos: Flickr8k (Hodosh et al. 2013; research use) and composed scenes of {scenes}"
    return {
        "data": data,
        "command": f"unsay train segment --config {name}",
        "trunk": f"{config.starter.trunk}, ImageNet-1k labels (Apache-2.0), frozen; its last stages also learn on",
        "text": text,
        "words": "WordNet 3.0: class names, what covers what (Princeton University)",
        "seed": config.seed,
    }
