"""Between a photo's own colours and sRGB, in both directions: ICC profiles, grey, CMYK, 8 and 16 bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyvips

from unsay.photo.native import Native, Samples, as_vips, from_vips, narrow
from unsay.results import Pixels

_SPACES = {1: b"GRAY", 3: b"RGB ", 4: b"CMYK"}
_BUILT_IN = {3: "srgb", 4: "cmyk"}
_HOW = {"intent": "relative", "black_point_compensation": True}
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709 primaries, which are sRGB's


@dataclass(frozen=True)
class ColourSpace:
    """What a photo's colour samples mean. `icc`: the profile to go by; None: sRGB, its grey, or plain CMYK."""

    colours: int
    icc: bytes | None = None

    @classmethod
    def of(cls, native: Native) -> ColourSpace:
        """The colour space of a photo: by its profile, where that fits the samples and works in both directions."""
        icc = native.icc
        if icc is None or icc[16:20] != _SPACES[native.colours]:
            return cls(native.colours)
        space = cls(native.colours, icc)
        return cls(native.colours) if space._is_useless() else space

    @property
    def is_srgb(self) -> bool:
        """Whether the colour samples are sRGB as they are."""
        return self.colours == 3 and self.icc is None

    def to_srgb(self, pixels: Samples) -> Pixels:
        """The colours of [H, W, bands] samples in sRGB, [H, W, 3] uint8; the samples themselves if they are that."""
        if self.is_srgb and pixels.dtype == np.uint8:
            return np.ascontiguousarray(pixels[..., :3])
        if self.icc is None and self.colours != 4:
            return _widen_grey(narrow(pixels[..., : self.colours]))
        image = as_vips(pixels, self.colours, self.icc).extract_band(0, n=self.colours)
        source = {} if self.icc is not None else {"input_profile": _BUILT_IN[self.colours]}
        return from_vips(image.icc_transform("srgb", embedded=self.icc is not None, depth=8, **source, **_HOW))

    def from_srgb(self, rgb: Pixels, dtype: Any) -> Samples:
        """The nearest samples [H, W, colours] of `dtype` (uint8 or uint16) to [H, W, 3] uint8 sRGB."""
        if self.icc is None and self.colours != 4:
            return _from_srgb_plain(rgb, self.colours, dtype)
        image = as_vips(rgb, 3).icc_import(input_profile="srgb", pcs="lab", **_HOW).copy()
        target: dict[str, Any] = {"depth": 16 if dtype == np.uint16 else 8}
        if self.icc is None:
            target["output_profile"] = _BUILT_IN[self.colours]
        else:
            image.set_type(pyvips.GValue.blob_type, "icc-profile-data", self.icc)
        return from_vips(image.icc_export(pcs="lab", **target, **_HOW))

    def _is_useless(self) -> bool:
        """Whether the profile says nothing that counts: broken, one-way, or sRGB to within a rounding step."""
        levels = np.array([0, 32, 64, 96, 128, 160, 192, 224, 255], np.uint8)
        cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(27, 27, 3)
        try:
            native = self.from_srgb(cube, np.uint8)
            shown = self.to_srgb(cube if self.colours == 3 else native)
        except pyvips.Error:
            return True
        if native.shape[2] != self.colours or shown.shape[2] != 3:
            return True
        return self.colours == 3 and int(np.abs(shown.astype(np.int16) - cube).max()) <= 1


def _widen_grey(pixels: Samples) -> Pixels:
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def _from_srgb_plain(rgb: Pixels, colours: int, dtype: Any) -> Samples:
    wide = dtype == np.uint16
    if colours == 3:
        return rgb.astype(np.uint16) * 257 if wide else rgb
    levels = np.arange(256) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    light: npt.NDArray[np.float64] = linear[rgb] @ _LUMINANCE
    grey = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    samples: Samples = np.rint(grey * (65535 if wide else 255)).astype(dtype)[..., None]
    return samples
