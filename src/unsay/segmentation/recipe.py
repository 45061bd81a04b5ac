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

import re
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from unsay.bundle import Bundle
from unsay.checked import MOST_SIDE, colour, number, table, text, texts, whole
from unsay.errors import BundleError

T = TypeVar("T")
TEMPLATE = re.compile(r"[^{}]*\{\}[^{}]*")
"""One place for the word and no other: a template is filled by `str.format`, which can do far more than that."""
MOST_TEMPLATES = 100
MOST_CHANNELS = 4096


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

    def __post_init__(self) -> None:
        for name in ("side", "multiple"):
            whole(getattr(self, name), name, 1, MOST_SIDE)
        colour(self.mean, "mean")
        colour(self.deviation, "deviation", 1e-6)


@dataclass(frozen=True)
class Grouping:
    """`maps`: which of the features' outputs, with weights, are grouped; `channels`: principal directions kept;
    `method` and `options`: see `unsay.segmentation.grouping`.
    """

    maps: dict[str, float]
    method: str = "agglomerative"
    channels: int = 24
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, weight in table(self.maps, "maps").items():
            number(weight, f"the weight of the map {name[:80]!r}", 1e-6)
        if not self.maps:
            raise ValueError("no maps to group by")
        text(self.method, "method")
        whole(self.channels, "channels", 1, MOST_CHANNELS)
        table(self.options, "options")


@dataclass(frozen=True)
class Encoder:
    """`maps` names what the graph reads; empty: it reads pixels as `network` says, `patch` pixels a patch."""

    file: str
    maps: tuple[str, ...] = ()
    network: Network | None = None
    patch: int = 0

    def __post_init__(self) -> None:
        text(self.file, "file")
        texts(self.maps, "maps")
        whole(self.patch, "patch", 0, MOST_SIDE)
        if (self.network is None) != bool(self.maps) or (self.network is not None and not self.patch):
            raise ValueError("an encoder that reads neither maps nor pixels with a patch, or both")


@dataclass(frozen=True)
class Text:
    """A word is put into each of the `templates`; the mean of the embeddings, brought to unit length, is its vector."""

    file: str
    tokenizer: str
    templates: tuple[str, ...]

    def __post_init__(self) -> None:
        text(self.file, "file")
        text(self.tokenizer, "tokenizer")
        wrong = [t for t in texts(self.templates, "templates", MOST_TEMPLATES) if not TEMPLATE.fullmatch(t)]
        if wrong or not self.templates:
            raise ValueError(f"templates {list(self.templates)[:3]}; each needs one {{}} where the word goes, no other")


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
    try:
        lexicon = section.get("lexicon")
        encoder = table(section["encoder"], "encoder")
        network = _make(Network, encoder) if "side" in encoder else None
        return Recipe(
            _make(Network, section["features"]),
            _make(Grouping, section["grouping"]),
            Encoder(encoder["file"], texts(encoder.get("maps", ()), "maps"), network, encoder.get("patch", 0)),
            _make(Text, section["text"]),
            (text(lexicon["words"], "words"), text(lexicon["vectors"], "vectors")) if lexicon else None,
            dict(table(section.get("recognition", {}), "recognition")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{where} lacks or misstates {str(error)[:300]}: export or install it again") from error


def _make(kind: type[T], values: Any) -> T:
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    stated = table(values, kind.__name__.lower())
    if "file" in known:
        text(stated["file"], "file")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in stated.items() if k in known})
