"""What a batch does with each photo: one verb with its options, on bytes; and what stands for it in the manifest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from unsay.bundle import MANIFEST, Bundle, load_bundle, sha256
from unsay.errors import BadInput
from unsay.inpainting import settled
from unsay.masks_out import SUFFIXES, check_format
from unsay.options import MAX_MEGAPIXELS, EraseOptions, InpaintOptions
from unsay.segmentation.pieces import check_picks
from unsay.segmentation.words import check_words
from unsay.verbs import Outcome, run_cutout, run_erase, run_inpaint, run_segment

VERBS = ("erase", "segment", "inpaint", "cutout")
OPTIONS = {"inpaint": EraseOptions(inpaint=InpaintOptions(0, None)), "cutout": EraseOptions(inpaint=InpaintOptions(0))}
"""The verbs' own options, where they are not those of "erase"."""
TOLD = ("words", "found", "not_found", "scores", "hole_share", "kept_share", "kept_box", "shares", "size")
"""What the manifest says of a photo, of all that a verb reports: what depends on the photo and the options alone."""
_ANY_SIZE = (10**9, 10**9)


@dataclass(frozen=True)
class Job:
    """A verb ("erase", "segment", "inpaint", "cutout") with its options, the same for all photos.

    `words`: of photos that have none of their own; `options`: None: the verb's own; `kind`: what "segment" writes;
    `crop`: "cutout" keeps the box alone.
    `bundle`: a packaged bundle's name or a folder, which every machine of a cluster must have.
    """

    verb: str
    words: tuple[str, ...] = ()
    options: EraseOptions | None = None
    kind: str = "overlay"
    crop: bool = False
    bundle: str = "starter"
    precision: str = "fp32"
    max_megapixels: float = MAX_MEGAPIXELS

    def settled(self) -> Job:
        """The same with the verb's own options where none are given, and a bundle that is so named everywhere."""
        bundle = load_bundle(self.bundle, precision=self.precision)
        name = self.bundle if bundle.packaged else str(bundle.path)
        return dataclasses.replace(self, bundle=name, options=self.how)

    @property
    def how(self) -> EraseOptions:
        """The options, given or the verb's own."""
        return self.options or OPTIONS.get(self.verb, EraseOptions())

    def check(self) -> None:
        """Raise `BadInput` for what no photo could be done with, `BundleError` for such a bundle."""
        if self.verb not in VERBS:
            raise BadInput(f"no verb {self.verb!r}: use one of {', '.join(VERBS)}")
        if self.words:
            check_words(self.words)
        check_picks(self.how.segment, *_ANY_SIZE)
        settled(self.how.inpaint, _ANY_SIZE)
        if self.verb == "segment":
            check_format(self.kind, "." + SUFFIXES.get(self.kind, "").rpartition(".")[2])
        bundle = load_bundle(self.bundle, precision=self.precision)
        for part in {"inpaint": ("inpaint",), "erase": ("segment", "inpaint")}.get(self.verb, ("segment",)):
            bundle.section(part)

    def suffix(self, photo: str) -> str:
        """What the name of the result for `photo` ends with."""
        if self.verb == "segment":
            return SUFFIXES[self.kind]
        return ".cutout.png" if self.verb == "cutout" else posixpath.splitext(photo)[1]

    def output(self, photo: str) -> str:
        """The result's name for a photo of this name: `a/b.jpg`, `a/b.labels.png`, `a/b.cutout.png`."""
        return posixpath.splitext(photo)[0] + self.suffix(photo)

    @cached_property
    def digest(self) -> str:
        """What stands for the bundle and every option, the words aside: 16 hexadecimal digits."""
        bundle = load_bundle(self.bundle, precision=self.precision)
        own = dataclasses.asdict(self) | {"bundle": sha256(bundle.path / MANIFEST), "words": None}
        return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:16]

    def recipe(self, words: Sequence[str]) -> str:
        """What stands for all that is done with a photo but the photo itself: 16 hexadecimal digits."""
        return hashlib.sha256(json.dumps([self.digest, list(words)]).encode()).hexdigest()[:16]

    def perform(
        self, photo: bytes, words: Sequence[str], mask: bytes | None, bundle: Bundle, name: str
    ) -> tuple[bytes, dict[str, Any]]:
        """The result of one photo as bytes, and what the manifest says of it. `name`: the photo's, for annotations.

        Raises `UnsayError` as the verb does.
        """
        outcome = self._run(photo, words, mask, bundle, name)
        told = outcome.report.details
        return outcome.value, {key: told[key] for key in TOLD if key in told}

    def _run(self, photo: bytes, words: Sequence[str], mask: bytes | None, bundle: Bundle, name: str) -> Outcome:
        limit: dict[str, Any] = {"bundle": bundle, "max_megapixels": self.max_megapixels}
        if self.verb == "segment":
            called = Path(name).name if self.kind == "labelme" else name  # labelme looks beside its own file
            return run_segment(photo, words, self.how.segment, kind=self.kind, name=called, **limit)
        if self.verb == "inpaint":
            if mask is None:
                raise BadInput("it has no mask: give --masks, or a table with a column mask")
            return run_inpaint(photo, mask, self.how.inpaint, **limit)
        if self.verb == "cutout":
            return run_cutout(photo, words, self.how, crop=self.crop, **limit)
        return run_erase(photo, words, self.how, **limit)
