"""Photos and sentences -> what the region head is trained on: trunk maps, groups, and counts of nouns."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unsay.errors import BadInput
from unsay.models.efficientnet_lite import EfficientNetLite, load_trunk
from unsay.models.text_encoder import load_text_encoder
from unsay.segmentation.grouping import Agglomerative, patch_features
from unsay.segmentation.trunk import Maps
from unsay.training.nouns import photo_nouns, read_captions
from unsay.training.segment_export import halve_weights, save, to_onnx
from unsay.training.segment_features import Features, cache_features
from unsay.training.text_export import text_folder

if TYPE_CHECKING:
    from unsay.training.segment import SegmentConfig

log = logging.getLogger(__name__)
SPLITS = ("train", "val")
_NO_WIDE = np.empty((1280, 0, 0), np.float32)


@dataclass(frozen=True, eq=False)
class Pairs:
    """`wide` [N, P, 1280] fp16 and `groups` [N, 2h, 2w] int8 of the photos `names`; `counts` [N, M] int16: in how many
    sentences of photo i noun m stands; `words` the M nouns, `nouns` [M, E] their text embeddings.
    """

    names: list[str]
    wide: Tensor
    groups: Tensor
    most: int
    counts: Tensor
    words: list[str]
    nouns: Tensor

    def batch(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """wide [B, P, 1280] fp32 and coverage [B, K, P] of the photos at the indices `photos` [B]."""
        return self.wide[photos].float(), coverage(self.groups[photos], self.most)

    def pooled(self) -> tuple[Tensor, Tensor, Tensor]:
        """Means of all regions [N, K, 1280] and photos [N, 1280], fp16, and which regions exist [N, K] bool."""
        regions, photos_mean, exists = [], [], []
        for photos in torch.arange(len(self.names)).split(128):
            wide, shares = self.batch(photos)
            total = shares.sum(-1, keepdim=True)
            regions.append((shares / total.clamp(min=1e-6) @ wide).half())
            photos_mean.append(wide.mean(1).half())
            exists.append(total[..., 0] > 0)
        return torch.cat(regions), torch.cat(photos_mean), torch.cat(exists)


def coverage(groups: Tensor, most: int) -> Tensor:
    """Groups [B, 2h, 2w] on the fine grid -> the share of each coarse patch in each group [B, most, h * w]."""
    planes = F.one_hot(groups.long(), most).permute(0, 3, 1, 2).float()
    return F.avg_pool2d(planes, 2).flatten(2)


def load_pairs(config: SegmentConfig, split: str, photos: int | None = None) -> Pairs:
    """Compute, or read from `config.out`, everything of one split. Nouns are those of the training split.

    `photos`: only so many, evenly spaced.
    """
    if split not in SPLITS:
        raise BadInput(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    out, data = Path(config.out), Path(config.data)
    trunk = load_trunk(weights=Path(config.trunk_weights) if config.trunk_weights else None)
    features = all_features(config, trunk)
    groups = _groups(config, features)
    counts = noun_counts(data, out)
    words = frequent(counts["train"], config.least_photos)
    index = {name: i for i, name in enumerate(features.names)}
    names = spaced(list(counts[split]), photos)
    rows = [index[name] for name in names]
    return Pairs(
        names,
        _wide(features, rows, trunk),
        torch.from_numpy(groups[rows]),
        config.groups,
        _count_table([counts[split][n] for n in names], words),
        words,
        embed([config.template.format(w) for w in words], config.text_weights),
    )


def spaced(names: list[str], count: int | None) -> list[str]:
    """`count` of the names, evenly spaced; all of them for None."""
    if count is None or count >= len(names):
        return names
    return [names[i * len(names) // count] for i in range(count)]


def all_features(config: SegmentConfig, trunk: EfficientNetLite) -> Features:
    """The trunk's maps of all photos of the data folder, computed on the first call."""
    folder = Path(config.data) / "images"
    photos = sorted(folder.glob("*.jpg"))
    if not photos:
        raise BadInput(f"{folder} has no photos (*.jpg): set `data` to a folder with images/ and captions-train.tsv")
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    export_trunk(trunk, out / "trunk.onnx")
    return cache_features(photos, _session(out / "trunk.onnx", config.threads), out / "features", config.side)


def export_trunk(trunk: EfficientNetLite, path: Path) -> None:
    """The trunk as ONNX with fp16 storage: pixels [1, 3, H, W] -> fine, last, wide."""
    dynamic = {
        "pixels": {2: "height", 3: "width"},
        "fine": {2: "fine_height", 3: "fine_width"},
        "last": {2: "last_height", 3: "last_width"},
        "wide": {2: "last_height", 3: "last_width"},
    }
    model = to_onnx(trunk, (torch.zeros(1, 3, 64, 96),), ["pixels"], ["fine", "last", "wide"], dynamic)
    save(halve_weights(model), path)


def noun_counts(data: Path, out: Path) -> dict[str, dict[str, dict[str, int]]]:
    """Split -> photo -> noun -> number of sentences; kept in `out/nouns.json`."""
    kept = out / "nouns.json"
    if kept.is_file():
        stored: dict[str, dict[str, dict[str, int]]] = json.loads(kept.read_text())
        return stored
    counts = {split: photo_nouns(read_captions(data / f"captions-{split}.tsv")) for split in SPLITS}
    kept.write_text(json.dumps(counts))
    return counts


def frequent(counts: dict[str, dict[str, int]], least: int) -> list[str]:
    """Nouns of at least `least` photos, the most frequent first."""
    total: dict[str, int] = {}
    for nouns in counts.values():
        for noun in nouns:
            total[noun] = total.get(noun, 0) + 1
    return [n for n, c in sorted(total.items(), key=lambda e: (-e[1], e[0])) if c >= least]


@torch.no_grad()
def embed(sentences: list[str], weights: str) -> Tensor:
    """Sentences -> [N, E] fp32 unit length, by the unpruned fp32 text encoder."""
    from tokenizers import Tokenizer

    folder = text_folder(weights)
    encoder = load_text_encoder(folder / "model.safetensors")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding()
    rows = []
    for start in range(0, len(sentences), 128):
        encoded = tokenizer.encode_batch(sentences[start : start + 128])
        ids, mask = (torch.tensor([getattr(e, key) for e in encoded]) for key in ("ids", "attention_mask"))
        rows.append(encoder(ids, mask))
    return torch.cat(rows)


def _groups(config: SegmentConfig, features: Features) -> np.ndarray:
    kept = Path(config.out) / f"groups-{config.groups}.npy"
    if kept.is_file():
        return np.asarray(np.load(kept))
    grouper = Agglomerative(config.groups)
    groups = np.zeros((len(features.names), *features.fine.shape[2:]), np.int8)
    for i in range(len(groups)):
        maps = Maps(np.asarray(features.fine[i], np.float32), np.asarray(features.last[i], np.float32), _NO_WIDE)
        groups[i] = grouper(patch_features(maps))
    np.save(kept, groups)
    return groups


@torch.no_grad()
def _wide(features: Features, rows: list[int], trunk: EfficientNetLite) -> Tensor:
    patches = features.last.shape[2] * features.last.shape[3]
    wide = torch.empty(len(rows), patches, 1280, dtype=torch.float16)
    for start in range(0, len(rows), 64):
        chosen = rows[start : start + 64]
        last = torch.from_numpy(np.stack([np.asarray(features.last[i], np.float32) for i in chosen]))
        wide[start : start + 64] = trunk.widen(last).flatten(2).transpose(1, 2).half()
    return wide


def _count_table(counts: list[dict[str, int]], words: list[str]) -> Tensor:
    column = {w: i for i, w in enumerate(words)}
    table = torch.zeros(len(counts), len(words), dtype=torch.int16)
    for row, nouns in enumerate(counts):
        for noun, count in nouns.items():
            if noun in column:
                table[row, column[noun]] = count
    return table


def _session(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
