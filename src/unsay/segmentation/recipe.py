"""What a bundle's `segment` part holds: which networks, how pixels enter them, how groups are made, which words.

    "segment": {
      "features":    {"file", "side", "multiple", "mean", "deviation"},     pixels [1, 3, H, W] -> maps [1, C, h, w]
      "grouping":    {"method", "maps": {name: weight}, "channels", "options": {}},
      "encoder":     {"file", "maps": ["fine", "last"]} or {"file", "side", "multiple", "mean", "deviation", "patch"},
      "text":        {"file", "tokenizer", "templates"},
      "lexicon":     {"words", "vectors"},                                  may be missing
      "recognition": {...}                                                  see `recognition.Constants`
    }

The encoder's graph reads maps by their names [1, C, h, w] (patches as in the last one), or `pixels` [1, 3, H, W] of
its own with one patch per `patch` x `patch` pixels, and `coverage` [K + 1, P], whose last row is the whole photo; it
gives `embeddings` [K + 1, E] of unit length, and may give `logits` [K + 1, 1000] of ImageNet's classes. The text graph
reads `ids`, `mask` [N, T] int64 and gives `embedding` [N, E].
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from unsay.bundle import Bundle
from unsay.errors import BundleError

T = TypeVar("T")


@dataclass(frozen=True)
class Network:
    """An ONNX file that reads a photo: its long side is brought to `side`, both sides to multiples of `multiple`;
    then (x - mean) / deviation per channel, x in 0..255.
    """

    file: str
    side: int
    multiple: int
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


@dataclass(frozen=True)
class Grouping:
    """`maps`: which of the features' outputs, with weights, are grouped; `channels`: principal directions kept;
    `method` and `options`: see `unsay.segmentation.grouping`.
    """

    maps: dict[str, float]
    method: str = "agglomerative"
    channels: int = 24
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Encoder:
    """`maps` names what the graph reads; empty: it reads pixels as `network` says, `patch` pixels a patch."""

    file: str
    maps: tuple[str, ...] = ()
    network: Network | None = None
    patch: int = 0


@dataclass(frozen=True)
class Text:
    """A word is put into each of the `templates`; the mean of the embeddings, brought to unit length, is its vector."""

    file: str
    tokenizer: str
    templates: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """The `segment` part of one bundle, checked. `lexicon` is (words file, vectors file) or None."""

    features: Network
    grouping: Grouping
    encoder: Encoder
    text: Text
    lexicon: tuple[str, str] | None
    recognition: dict[str, Any]


def read_recipe(bundle: Bundle) -> Recipe:
    """The bundle's recipe; read once. Raises `BundleError` for a part that is missing or malformed."""
    return bundle.part("recipe", lambda: _build(bundle))


def _build(bundle: Bundle) -> Recipe:
    section = bundle.section("segment")
    where = f"the segment part of the bundle {bundle.name!r}"
    lexicon = section.get("lexicon")
    try:
        encoder = dict(section["encoder"])
        network = _make(Network, encoder, where) if "side" in encoder else None
        return Recipe(
            _make(Network, section["features"], where),
            _make(Grouping, section["grouping"], where),
            Encoder(encoder["file"], tuple(encoder.get("maps", ())), network, int(encoder.get("patch", 0))),
            _make(Text, section["text"], where),
            (lexicon["words"], lexicon["vectors"]) if lexicon else None,
            dict(section.get("recognition", {})),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{where} lacks or misstates {error}: export or install it again") from error


def _make(kind: type[T], values: dict[str, Any], where: str) -> T:
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(values, dict):
        raise BundleError(f"{where} has {values!r} where {kind.__name__.lower()} settings belong: export it again")
    if kind is Network and min(values.get("side", 1), values.get("multiple", 1)) < 1:
        raise ValueError(f"side {values.get('side')} and multiple {values.get('multiple')}, which must be positive")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known})
