"""The protocols under which words -> masks is scored: ours, and the two that the field publishes under.

Each fixes one set of constants for every data set; docs/protocols.md says where the published code differs. Sources:
GroupViT (Xu et al. 2022, section 4 and its released settings), SCLIP (Wang et al. 2023, its released settings).
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import Any

from unsay.errors import BadInput
from unsay.evaluation.datasets import DataSet, read_templates

WORDS_PROTOCOL = "unsay"


@dataclass(frozen=True)
class Windows:
    """The sliding window of a published family.

    The photo's short side is brought to `short_side` pixels unless its long side would exceed `long_side`; square
    windows of `window` pixels every `stride`. `average`: what is averaged where windows overlap, "probabilities" or
    "cosines". A probability is the softmax over all names of cosine / `temperature`. `threshold`: the probability
    under which the background wins; None for sets without one. `templates`: the packaged list of prompts.
    """

    short_side: int
    long_side: int
    window: int
    stride: int
    average: str
    temperature: float
    threshold: float | None
    templates: str


@dataclass(frozen=True)
class Protocol:
    """Everything that a protocol fixes for one data set; it is printed whole with every result.

    `windows` None: the photo whole and at its own size, under the bundle's own constants, the names offered as words.
    `background_words`: names that stand for the background, of which the best counts; empty: the background is what
    stays below the threshold. The templates' number and the sha256 of their lines say which they were.
    """

    family: str
    dataset: str
    class_names: str
    windows: Windows | None
    template_count: int | None
    templates_sha256: str | None
    background_words: tuple[str, ...]

    def settings(self) -> dict[str, Any]:
        """All fields in one flat dictionary, ready for JSON; the window's are left out where there is none."""
        fields = asdict(self)
        windows = fields.pop("windows")
        return {**fields, **(windows or {})}


_FAMILIES: dict[str, Windows] = {
    "groupvit": Windows(448, 2048, 448, 224, "probabilities", temperature=0.01, threshold=0.95, templates="simple"),
    "sclip": Windows(336, 2048, 224, 112, "cosines", 0.025, threshold=0.1, templates="openai-imagenet-80"),
}
PROTOCOLS = (WORDS_PROTOCOL, *_FAMILIES)


def make_protocol(family: str, dataset: DataSet) -> Protocol:
    """The protocol of a family on a data set. Raises `BadInput` for a family that is none."""
    file = dataset.names_file(family) + (" without its first line" if dataset.skip else "")
    if family == WORDS_PROTOCOL:
        return Protocol(family, dataset.name, file, None, None, None, ())
    if family not in _FAMILIES:
        raise BadInput(f"unknown protocol {family!r}; known: {', '.join(PROTOCOLS)}")
    windows = _FAMILIES[family]
    if not dataset.background:
        windows = replace(windows, threshold=None)
    lines = read_templates(windows.templates)
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    words = tuple(dataset.class_names(family)[0]) if dataset.background and family == "sclip" else ()
    return Protocol(family, dataset.name, file, windows, len(lines), digest, words)
