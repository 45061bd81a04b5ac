"""What a bundle's `inpaint` part holds: a network (image, mask) -> image, and how pixels enter and leave it.

    "inpaint": {
      "file": "filler.onnx",
      "multiple": 64,                  sides are padded to multiples of this
      "max_side": 512,                 the largest side at which the network is used; equal to `multiple`: the only one
      "mean", "std": [r, g, b],        the image enters as (rgb / 255 - mean) / std, and is 0 in the hole
      "mask": [hole, known]            the mask's two values; "keep" is [0, 1] (as in the MADF paper), "fill" [1, 0]
    }

and, where a network differs from ours, any of

      "inputs": {"image": ["image"], "mask": ["mask"]}    the graph's inputs, and what each holds along its channels
      "output": "fill"                                    the graph's output that is the filled image
      "output_mean", "output_std"                         as `mean` and `std`, for the output; the same if not given
      "layout": "NCHW" or "NHWC"                          order of the axes, inputs and output
      "colours": "rgb" or "bgr"                           order of the colours, input and output
      "pad": "hole" or "mirror"                           padding is unknown, or the picture and its hole mirrored
      "grow": 0                                           pixels by which the hole is shown larger than it is
      "match_rim": true                                   whether its colours are then shifted to those around the hole

The image has 3 channels, the mask 1. An input that holds "box" is [4] = (y0, x0, y1, x1), stops excluded: the output is
that box of the image alone. Number types (float32, float16, uint8 and so on) are the graph's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from unsay.bundle import Bundle
from unsay.checked import LARGEST, MOST_SIDE, colour, number, table, text, texts, whole
from unsay.errors import BundleError

Colour = tuple[float, float, float]
MASKS = {"keep": (0.0, 1.0), "fill": (1.0, 0.0)}
LAYOUTS = ("NCHW", "NHWC")
COLOURS = ("rgb", "bgr")
PADS = ("hole", "mirror")
PARTS = ("image", "mask")
"""What the inputs of a graph must hold between them."""
MOST_GROW = 64
LEAST_STD = 1e-6
BOX = "box"
"""The pixels that are wanted: an input of its own, if the graph has one."""


@dataclass(frozen=True)
class FillerRecipe:
    """The `inpaint` part of one bundle, as the module's page says; `mask` is (value in the hole, value elsewhere).

    Raises `ValueError` for settings that make no sense together.
    """

    file: str
    multiple: int
    max_side: int
    mean: Colour
    std: Colour
    mask: tuple[float, float]
    inputs: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"image": ("image",), "mask": ("mask",)})
    output: str = "fill"
    output_mean: Colour | None = None
    output_std: Colour | None = None
    layout: str = "NCHW"
    colours: str = "rgb"
    pad: str = "hole"
    grow: int = 0
    match_rim: bool = True

    def __post_init__(self) -> None:
        if self.multiple > self.max_side:
            raise ValueError(f"multiple {self.multiple} and max_side {self.max_side}: needs multiple <= max_side")
        for name, known in (("layout", LAYOUTS), ("colours", COLOURS), ("pad", PADS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r}; known: {', '.join(known)}")
        held = [parts for parts in self.inputs.values() if parts != (BOX,)]
        if sorted({part for parts in held for part in parts}) != sorted(PARTS) or len(held) < len(self.inputs) - 1:
            raise ValueError(
                f"inputs {self.inputs}: between them they must hold {' and '.join(PARTS)}, one may hold {BOX}"
            )
        if self.mask[0] == self.mask[1]:
            raise ValueError(f"mask {list(self.mask)}: the hole's value must differ from the rest's")


def read_recipe(bundle: Bundle) -> FillerRecipe:
    """The bundle's filler recipe. Raises `BundleError` for a part that is missing or makes no sense."""
    section = bundle.section("inpaint")
    try:
        return FillerRecipe(**_settings(section))
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"the inpaint part of the bundle {bundle.name!r} lacks or misstates {str(error)[:300]}: "
            "export or import it again"
        ) from error


def _settings(section: dict[str, Any]) -> dict[str, Any]:
    """The section's values as `FillerRecipe` takes them, each checked; keys of a later version are left out."""
    if section.get("data"):
        raise ValueError(f"data {section['data']!r}: weights have to lie in the graph's own file")
    values = {f.name: section[f.name] for f in fields(FillerRecipe) if f.name in section}
    values["file"] = text(section["file"], "file")
    sides = {"multiple": (1, MOST_SIDE), "max_side": (1, MOST_SIDE), "grow": (0, MOST_GROW)}
    values |= {name: whole(values[name], name, *sides[name]) for name in sides if name in values}
    for name in ("mean", "std", "output_mean", "output_std"):
        if name in values:
            values[name] = colour(values[name], name, LEAST_STD if name.endswith("std") else -LARGEST)
    if "mask" in values:
        stated = values["mask"]
        if isinstance(stated, str) and stated not in MASKS:
            raise ValueError(f"mask {stated!r}; known: {', '.join(MASKS)}, or two numbers")
        hole, known = MASKS[stated] if isinstance(stated, str) else stated
        values["mask"] = (number(hole, "mask"), number(known, "mask"))
    if "inputs" in values:
        values["inputs"] = {name: texts(held, "inputs") for name, held in table(values["inputs"], "inputs").items()}
    for name in ("output", "layout", "colours", "pad"):
        values[name] = text(values.get(name, getattr(FillerRecipe, name)), name)
    if not isinstance(values.get("match_rim", True), bool):
        raise ValueError(f"match_rim {values['match_rim']!r}: true or false belongs there")
    return values
