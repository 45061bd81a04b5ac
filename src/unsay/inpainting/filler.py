"""The network that fills, as ONNX Runtime runs it: the one place where pixels are prepared for it (see `recipe`)."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from unsay.bundle import Bundle
from unsay.errors import BundleError
from unsay.inpainting.hole import Box, box_around
from unsay.inpainting.network import Bf16Network
from unsay.inpainting.recipe import BOX, PARTS, FillerRecipe, read_recipe
from unsay.onnx_check import Graph, Value
from unsay.results import Mask, Pixels

Floats = npt.NDArray[np.float32]
TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}

CHANNELS = {"image": 3, "mask": 1}


class Filler:
    """A bundle's filling network. Make it with `Filler.of(bundle)`, which keeps one for each bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self.recipe = recipe = read_recipe(bundle)
        self.multiple = recipe.multiple
        self.max_side = recipe.max_side - recipe.max_side % recipe.multiple
        self.session: Any = _opened(bundle, recipe)
        self.types = {name: TYPES[value.kind] for name, value in bundle.graph(recipe.file).inputs.items()}
        self.mean, self.std = (np.array(v, np.float32) for v in (recipe.mean, recipe.std))
        self.output_mean = np.array(recipe.output_mean or recipe.mean, np.float32)
        self.output_std = np.array(recipe.output_std or recipe.std, np.float32)

    @classmethod
    def of(cls, bundle: Bundle) -> Filler:
        """The bundle's filler, built on first use."""
        return bundle.part("filler", lambda: cls(bundle))

    def fill(self, rgb: Pixels, hole: Mask) -> Pixels:
        """`rgb` [h, w, 3] uint8 with the pixels under `hole` [h, w] bool replaced; all others are the photo's own.

        Raises `BundleError` if the network fails (for a packaged one, most often for lack of memory).
        """
        filled = rgb.copy()
        if hole.any():
            box = box_around(hole)
            filled[box.slices] = np.where(hole[box.slices][..., None], self.raw(rgb, hole, box), rgb[box.slices])
        return filled

    def raw(self, rgb: Pixels, hole: Mask, box: Box | None = None) -> Pixels:
        """What the network makes of `rgb` [h, w, 3], known pixels too, or of a box of it; ours then does no more."""
        box = box or Box(0, 0, hole.shape[1], hole.shape[0])
        padded, pending = self._padded(rgb, hole)
        parts = dict(zip(PARTS, self._prepared(padded, pending), strict=True))
        inputs = self.recipe.inputs
        feed = {name: self._input(name, [parts[p] for p in held]) for name, held in inputs.items() if held != (BOX,)}
        wanted = [name for name, held in inputs.items() if held == (BOX,)]
        feed |= {name: np.array([box.y0, box.x0, box.y1, box.x1], self.types[name]) for name in wanted}
        try:
            (fill,) = self.session.run([self.recipe.output], feed)
        except Exception as error:  # the runtime's own exceptions share no public base class
            size = f"{pending.shape[1]}x{pending.shape[0]}"
            raise BundleError(f"the filling network failed on {size} pixels: {error}") from error
        if wanted:
            return self._pixels(np.asarray(fill), (box.y1 - box.y0, box.x1 - box.x0))
        return self._pixels(np.asarray(fill), pending.shape)[box.slices]

    def _padded(self, rgb: Pixels, hole: Mask) -> tuple[Pixels, Mask]:
        """Both, the hole grown, extended at the right and bottom to the network's multiples.

        Ours is padded as if that were hole: nothing is known there, and the network's own padding says so too.
        """
        if self.recipe.grow:
            reach = 2 * self.recipe.grow + 1
            hole = cv2.dilate(hole.view(np.uint8), np.ones((reach, reach), np.uint8)).astype(bool)
        room = [(0, -side % self.multiple) for side in hole.shape]
        if self.recipe.pad == "mirror":
            return np.pad(rgb, [*room, (0, 0)], "symmetric"), np.pad(hole, room, "symmetric")
        return np.pad(rgb, [*room, (0, 0)]), np.pad(hole, room, constant_values=True)

    def _prepared(self, rgb: Pixels, hole: Mask) -> tuple[Floats, Floats]:
        """image [1, 3, H, W], 0 in the hole, and mask [1, 1, H, W], as the recipe says."""
        colours = (rgb.astype(np.float32) / np.float32(255) - self.mean) / self.std * ~hole[..., None]
        if self.recipe.colours == "bgr":
            colours = colours[..., ::-1]
        in_hole, known = self.recipe.mask
        mask = np.where(hole, np.float32(in_hole), np.float32(known))
        return colours.transpose(2, 0, 1)[None], mask[None, None]

    def _input(self, name: str, parts: list[Floats]) -> npt.NDArray[Any]:
        """One input of the graph, [1, C, H, W] or [1, H, W, C], in its own number type."""
        value = np.concatenate(parts, 1) if len(parts) > 1 else parts[0]
        if self.recipe.layout == "NHWC":
            value = value.transpose(0, 2, 3, 1)
        kind = self.types[name]
        if np.issubdtype(kind, np.integer):
            value = np.rint(value)
        return np.ascontiguousarray(value, kind)

    def _pixels(self, fill: npt.NDArray[Any], shape: tuple[int, ...]) -> Pixels:
        """The output, of `shape` (H, W), as [H, W, 3] uint8 RGB."""
        wanted = (1, *shape, 3) if self.recipe.layout == "NHWC" else (1, 3, *shape)
        if fill.shape != wanted:
            raise BundleError(
                f"the filling network gave {list(fill.shape)}, not {list(wanted)}: the bundle is not usable"
            )
        raw = fill[0] if self.recipe.layout == "NHWC" else fill[0].transpose(1, 2, 0)
        if self.recipe.colours == "bgr":
            raw = raw[..., ::-1]
        colours = raw.astype(np.float32) * self.output_std + self.output_mean
        if not np.isfinite(colours).all():
            raise BundleError("the filling network gave numbers that are not finite: the bundle is not usable")
        return np.asarray(np.rint(colours * 255).clip(0, 255), np.uint8)


def _opened(bundle: Bundle, recipe: FillerRecipe) -> Any:
    """The graph, found to be what the recipe says before it is opened."""
    check_fit(bundle.graph(recipe.file), recipe, bundle.name)
    if bundle.precision == "bf16":
        return Bf16Network(bundle.file(recipe.file), bundle.threads)
    return bundle.session(recipe.file)


def check_fit(graph: Graph, recipe: FillerRecipe, name: str) -> None:
    """Raises `BundleError` where the graph's inputs and outputs are not what the recipe says."""
    if set(graph.inputs) != set(recipe.inputs) or recipe.output not in graph.outputs:
        raise BundleError(
            f"{recipe.file} of the bundle {name!r} reads {sorted(graph.inputs)} and gives {sorted(graph.outputs)}; "
            f"its manifest says {sorted(recipe.inputs)} and {recipe.output!r}: import or export it again"
        )
    for key, value in graph.inputs.items():
        if value.kind not in TYPES:
            raise BundleError(f"{recipe.file} of the bundle {name!r} reads {value.kind}; known: {', '.join(TYPES)}")
        held = recipe.inputs[key]
        wanted = (4,) if held == (BOX,) else _image_shape(recipe, sum(CHANNELS[part] for part in held))
        _check_shape(value, wanted, f"{recipe.file} of the bundle {name!r} reads {key!r}")
    given = graph.outputs[recipe.output]
    free = _image_shape(recipe, 3, free=any(held == (BOX,) for held in recipe.inputs.values()))
    _check_shape(given, free, f"{recipe.file} of the bundle {name!r} gives {recipe.output!r}")


def _image_shape(recipe: FillerRecipe, channels: int, *, free: bool = False) -> tuple[int | None, ...]:
    """[1, C, H, W] in the recipe's order of axes; the sides where the network knows a single one."""
    side = recipe.multiple if recipe.multiple == recipe.max_side and not free else None
    return (1, side, side, channels) if recipe.layout == "NHWC" else (1, channels, side, side)


def _check_shape(value: Value, wanted: tuple[int | None, ...], what: str) -> None:
    """Raises `BundleError` where a length that the graph fixes is another than the one it will meet.

    A side that is wanted as None is of many lengths, so the graph may not fix it.
    """
    stated = value.shape
    if stated is None:
        return
    if len(stated) == len(wanted) and all(s is None or s == w for s, w in zip(stated, wanted, strict=True)):
        return
    told, should = (["free" if n is None else n for n in shape] for shape in (stated, wanted))
    raise BundleError(f"{what} of shape {told}; its manifest says {should}: import or export it again")
