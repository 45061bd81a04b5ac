"""The network that fills, as ONNX Runtime runs it: the one place that knows how its pixels are prepared.

The bundle's manifest says so under `inpaint`:

    {"file": "filler.onnx", "multiple": 64, "mean": [r, g, b], "std": [r, g, b], "mask": "keep", "max_side": 512}

Inputs `image` [1, 3, H, W] float32 = (rgb / 255 - mean) / std, 0 in the hole, and `mask` [1, 1, H, W] float32: with
"keep" 1 = known and 0 = hole (the convention of the MADF paper), with "fill" the other way round. Output `fill`
[1, 3, H, W] float32 in the same normalised space. H and W are multiples of `multiple`; `max_side` is the largest side
at which the network is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from unsay.bundle import Bundle
from unsay.errors import BundleError, UnsayError
from unsay.results import Mask, Pixels


class Filler:
    """A bundle's filling network. Make it with `Filler.of(bundle)`, which keeps one for each bundle."""

    def __init__(self, bundle: Bundle) -> None:
        part = bundle.section("inpaint")
        try:
            self.multiple, self.max_side = int(part["multiple"]), int(part["max_side"])
            self.mean, self.std = (np.array(part[key], np.float32).reshape(3) for key in ("mean", "std"))
            self.keeps = {"keep": True, "fill": False}[part["mask"]]
            file = str(part["file"])
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"the inpaint part of the bundle {bundle.name!r} is not usable: {error!r}") from error
        if not (1 <= self.multiple <= self.max_side and np.all(self.std > 0)):
            raise BundleError(
                f"the inpaint part of the bundle {bundle.name!r} needs multiple, max_side and std above 0"
            )
        self.max_side -= self.max_side % self.multiple
        self.session: Any = bundle.session(file)

    @classmethod
    def of(cls, bundle: Bundle) -> Filler:
        """The bundle's filler, built on first use."""
        return bundle.part("filler", lambda: cls(bundle))

    def fill(self, rgb: Pixels, hole: Mask) -> Pixels:
        """`rgb` [h, w, 3] uint8 with the pixels under `hole` [h, w] bool replaced; all others are the photo's own.

        Raises `UnsayError` if the network fails (most often for lack of memory).
        """
        image, keep = self._prepared(rgb, hole)
        mask = keep if self.keeps else 1 - keep
        try:
            (fill,) = self.session.run(["fill"], {"image": image, "mask": mask})
        except Exception as error:  # the runtime's own exceptions share no public base class
            raise UnsayError(
                f"the filling network failed on {image.shape[3]}x{image.shape[2]} pixels: {error}"
            ) from error
        return np.where(hole[..., None], self._pixels(fill, hole.shape), rgb)

    def _prepared(self, rgb: Pixels, hole: Mask) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Network inputs [1, 3, H, W] and keep [1, 1, H, W], padded at the right and bottom as if that were hole.

        Nothing is known there, and the network's own padding says so too; mirroring would show it a second hole.
        """
        height, width = hole.shape
        down, right = -height % self.multiple, -width % self.multiple
        image = np.zeros((1, 3, height + down, width + right), np.float32)
        keep = np.zeros((1, 1, height + down, width + right), np.float32)
        keep[0, 0, :height, :width] = ~hole
        colours = (rgb.astype(np.float32) / np.float32(255) - self.mean) / self.std * ~hole[..., None]
        image[0, :, :height, :width] = colours.transpose(2, 0, 1)
        return image, keep

    def _pixels(self, fill: npt.NDArray[np.float32], shape: tuple[int, ...]) -> Pixels:
        colours: npt.NDArray[np.float32] = fill[0, :, : shape[0], : shape[1]].transpose(1, 2, 0) * self.std + self.mean
        if not np.isfinite(colours).all():
            raise UnsayError("the filling network gave numbers that are not finite: the bundle is not usable")
        return np.rint(colours * 255).clip(0, 255).astype(np.uint8)
