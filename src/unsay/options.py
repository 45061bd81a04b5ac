"""The options of each verb, in one place: the command line, the page and the batch runner share them."""

from __future__ import annotations

from dataclasses import dataclass

MAX_WORDS = 1000
MAX_WORD_LENGTH = 200
MAX_MEGAPIXELS = 100.0


@dataclass(frozen=True)
class SegmentOptions:
    """How words are looked for."""

    threshold: float | None = None
    """Score in [0, 1] under which a word counts as not found; None: the bundle's own constant."""
    box: tuple[int, int, int, int] | None = None
    """X, Y, width, height in displayed pixels: keep only the regions whose centre lies inside."""
    point: tuple[int, int] | None = None
    """X, Y in displayed pixels: keep only the region under this point."""
    outlines: bool = True
    """Cut each word's outline along the photo's colours; False: whole groups, as their borders were drawn."""


@dataclass(frozen=True)
class InpaintOptions:
    """How a hole is filled."""

    grow: int | None = 0
    """Pixels by which the mask is grown before it is filled; None: chosen from the photo's size."""
    feather: int | None = 0
    """Width in pixels, inside the hole, over which the fill is blended in; None: chosen from the photo's size."""
    match_rim: bool | None = None
    """Shift the network's colours smoothly so that they meet those around the hole; None: as the bundle says."""
    texture: bool = True
    """Copy fine detail into the fill from places of the photo that look alike; False: the fill stays soft."""


@dataclass(frozen=True)
class EraseOptions:
    """How words are looked for and how the hole is filled."""

    segment: SegmentOptions = SegmentOptions()
    inpaint: InpaintOptions = InpaintOptions(grow=None, feather=None)
