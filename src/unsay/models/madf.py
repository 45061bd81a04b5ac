"""MADF, the mask-aware inpainting network (Zhu et al. 2021), one definition for training, published weights and export.

Symbols: B batch, H and W height and width (multiples of 2**levels), l level 1..L (stride 2 each), C_l the encoder's
channels at level l, M the mask branch's channels (16). The mask is 1 = keep, 0 = hole in this file, as in the paper.
Module names are those of the published tensors, so that a checkpoint's `state_dict` loads as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unsay.errors import BadInput
from unsay.models.membrane import guess
from unsay.models.recompute import Recomputing

KERNELS = (7, 5, 3, 3, 3, 3, 3)
ENCODER = (16, 32, 64, 128, 128, 128, 128)
LIFTED = (64, 128, 256, 512, 512, 512, 512)
DECODER = (3, 64, 128, 256, 512, 512, 512)
"""Channels that the decoders put out at level 1..7; level 1 is the image."""
AT_ONCE = 4
"""Mask channels whose products with the features are held at a time: less memory, the same arithmetic."""


@dataclass(frozen=True)
class MADFConfig:
    """Shape of the network; the defaults are the paper's.

    The published file has 85,141,214 learned values. 1,248 of them, an encoder batch-norm, are never used: they are
    not built here, so the default network has 85,139,966.
    """

    width: float = 1.0
    """Factor on every channel count but the image's and the mask branch's."""
    levels: int = 7
    """5 to 7 levels of stride 2; height and width must be multiples of 2**levels."""
    refinements: int = 2
    """0 to 2 refinement decoders after the recovery decoder."""
    mask_channels: int = 16
    """M, the channels of the mask branch."""
    membrane: bool = False
    """The hole of the first input holds a smooth guess, `membrane.guess`, in place of the paper's 0 (ours)."""
    guide_channels: int = 128
    """Hidden channels of point-wise normalization's predictor, before `width`."""

    def __post_init__(self) -> None:
        if not 5 <= self.levels <= 7:
            raise BadInput(f"levels is {self.levels}; MADF has 5 to 7")
        if not 0 <= self.refinements <= 2:
            raise BadInput(f"refinements is {self.refinements}; MADF has 0 to 2")
        if not 0 < self.width <= 4 or self.mask_channels < 1:
            raise BadInput(
                f"width {self.width} and mask_channels {self.mask_channels} must be positive, width at most 4"
            )

    def scaled(self, channels: int) -> int:
        """A channel count of the paper's at this width (the image's 3 stay 3)."""
        return channels if channels == 3 else max(1, round(channels * self.width))


def first_guess(config: MADFConfig, image: Tensor, mask: Tensor) -> Tensor:
    """The image [B, 3, H, W] as it enters: 0 in the hole, or a guess."""
    if not config.membrane:
        return image * mask
    with torch.autocast(image.device.type, enabled=False):
        return guess(image, mask)


class FilterGenerator(Recomputing):
    """Mask-Aware Dynamic Filtering (the paper's section of that name), one encoder level; the exact fast form is ours.

    `conv` carries the mask on: m_l = relu(conv(m_{l-1})), M channels. `conv1` holds the 1x1 convolution that turns
    m_l(p) into point p's own filter [C_in * k * k, C_out] (C_in slowest, C_out fastest). The filter is linear in
    m_l(p), so with W_h the part that multiplies channel h and b the constant part

        y(p) = sum_h m_h(p) * (W_h conv x)(p) + (b conv x)(p)

    which is one ordinary convolution with (M + 1) * C_out outputs, a product and a sum: no filter is ever stored.
    """

    def __init__(self, in_channels: int, out_channels: int, mask_in: int, mask_channels: int, kernel: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.kernel = in_channels, out_channels, kernel
        self.conv = nn.Sequential(nn.Conv2d(mask_in, mask_channels, kernel, 2, kernel // 2), nn.ReLU())
        self.conv1 = nn.Sequential(nn.Conv2d(mask_channels, in_channels * kernel * kernel * out_channels, 1))

    def bank(self) -> Tensor:
        """The generator as one convolution's weight [(M + 1) * C_out, C_in, k, k]; the constant part comes last."""
        weight, bias = self.conv1[0].get_parameter("weight"), self.conv1[0].get_parameter("bias")
        shape = (self.in_channels, self.kernel, self.kernel, self.out_channels)
        parts = torch.cat([weight.flatten(1), bias.unsqueeze(1)], 1)
        bank = parts.view(*shape, -1).permute(4, 3, 0, 1, 2)
        return bank.reshape(-1, self.in_channels, self.kernel, self.kernel)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, C_in, H, W], mask [B, mask_in, H, W] -> y [B, C_out, H/2, W/2] after ReLU, m_l [B, M, H/2, W/2]."""
        m: Tensor = self.conv(mask)
        bank, const = self.bank().split([m.shape[1] * self.out_channels, self.out_channels])
        y = F.conv2d(x, const, stride=2, padding=self.kernel // 2)
        for few, part in zip(m.split(AT_ONCE, 1), bank.split(AT_ONCE * self.out_channels), strict=True):
            y = y + self.remade(self._weighted, x, few, part)
        return F.relu(y), m

    def _weighted(self, x: Tensor, few: Tensor, part: Tensor) -> Tensor:
        """sum_h m_h (W_h conv x) over a few h: few [B, n, H/2, W/2], part [n * C_out, C_in, k, k] of the bank."""
        products = F.conv2d(x, part, stride=2, padding=self.kernel // 2).unflatten(1, (-1, self.out_channels))
        weighted: Tensor = (products * few.unsqueeze(2)).sum(1)
        return weighted


class PointwiseNorm(nn.Module):
    """Point-wise Normalization (the paper's section of that name): batch-norm, then x * (1 + scale) + bias.

    Both maps are predicted at every point from a guide.
    """

    def __init__(self, channels: int, guide: int, hidden: int) -> None:
        super().__init__()
        self.batch_norm = nn.BatchNorm2d(channels, affine=False)
        self.mlp_shared = nn.Sequential(nn.Conv2d(guide, hidden, 3, padding=1), nn.ReLU())
        self.mlp_scale = nn.Conv2d(hidden, channels, 3, padding=1)
        self.mlp_bias = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """x [B, C, H, W], guide [B, G, H, W] -> [B, C, H, W]."""
        hidden = self.mlp_shared(guide)
        y: Tensor = self.batch_norm(x) * (1 + self.mlp_scale(hidden)) + self.mlp_bias(hidden)
        return y


class RefinementBlock(Recomputing):
    """One level of a refinement decoder: transposed convolution, point-wise normalization, leaky ReLU 0.2."""

    def __init__(self, in_channels: int, out_channels: int, hidden: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(in_channels, out_channels, 4, 2, 1)
        self.bn = PointwiseNorm(out_channels, out_channels, hidden)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """x [B, C_in, H, W], guide [B, C_out, 2H, 2W] -> [B, C_out, 2H, 2W]."""
        return self.remade(self._made, x, guide, norms=self.bn)

    def _made(self, x: Tensor, guide: Tensor) -> Tensor:
        return F.leaky_relu(self.bn(self.deconv(x), guide), 0.2)


class MADF(Recomputing):
    """The whole network: encoder, recovery decoder (output 0), refinement decoders (outputs 1 and 2)."""

    def __init__(self, config: MADFConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MADFConfig()
        enc, lifted, dec = ([config.scaled(c) for c in row] for row in (ENCODER, LIFTED, DECODER))
        hidden = config.scaled(config.guide_channels)
        self._build_encoder(enc, lifted)
        self._build_recovery(lifted, dec)
        for r in range(config.refinements):
            self._build_refinement(r, lifted, dec, hidden)

    def _build_encoder(self, enc: list[int], lifted: list[int]) -> None:
        for level in range(1, self.config.levels + 1):
            c_in = 6 if level == 1 else enc[level - 2]
            mask_in = 3 if level == 1 else self.config.mask_channels
            generator = FilterGenerator(c_in, enc[level - 1], mask_in, self.config.mask_channels, KERNELS[level - 1])
            self.add_module(f"filter_gen_{level}", generator)
            lift = nn.Sequential(nn.Conv2d(enc[level - 1], lifted[level - 1], 1), nn.ReLU())
            self.add_module(f"enc_up_{level}", lift)

    def _build_recovery(self, lifted: list[int], dec: list[int]) -> None:
        for level in range(self.config.levels, 0, -1):
            c_in = lifted[level - 1] if level == self.config.levels else dec[level]
            c_out = dec[level - 1]
            deconv: list[nn.Module] = [nn.ConvTranspose2d(c_in, c_out, 4, 2, 1)]
            if level > 1:
                deconv += [nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2)]
            self.add_module(f"deconv_{level}", nn.Sequential(*deconv))
            skip = 6 if level == 1 else lifted[level - 2]
            mix = nn.Sequential(nn.Conv2d(skip + c_out, c_out, 3, padding=1))
            self.add_module(f"att_conv_{level}", nn.ModuleDict({"conv": mix}))

    def _build_refinement(self, r: int, lifted: list[int], dec: list[int], hidden: int) -> None:
        for level in range(self.config.levels, 1, -1):
            c_in = lifted[level - 1] if level == self.config.levels else dec[level]
            self.add_module(f"dec_ref{r}_{level}", RefinementBlock(c_in, dec[level - 1], hidden))
        self.add_module(f"dec_ref{r}_1", nn.Conv2d(dec[1] + 3 * (r + 1) + 6, 3, 1))

    def forward(self, image: Tensor, mask: Tensor) -> list[Tensor]:
        """Fill the holes.

        image [B, 3, H, W]: normalised by the ImageNet mean and deviation; what it holds under the hole is ignored.
        mask [B, 1, H, W]: 1 = keep, 0 = hole. Returns `refinements` + 1 raw outputs [B, 3, H, W] in normalised space,
        from coarse to fine; the last one, composited with the known pixels, is the result. Raises `BadInput` for other
        shapes.
        """
        self._check(image, mask)
        copies = mask.expand(-1, 3, -1, -1)
        inputs = torch.cat([first_guess(self.config, image, mask), copies], 1)
        lifted = self._encode(inputs, copies)
        guides, coarse = self._recover(lifted, inputs)
        outputs = [coarse]
        for r in range(self.config.refinements):
            guides, output = self._refine(r, lifted[-1], guides, outputs, inputs)
            outputs.append(output)
        return outputs

    def _check(self, image: Tensor, mask: Tensor) -> None:
        """Raise `BadInput` for shapes that the network cannot take."""
        multiple, size = 2**self.config.levels, tuple(image.shape[2:])
        if image.ndim != 4 or image.shape[1] != 3 or mask.shape != (len(image), 1, *size):
            found = f"image {list(image.shape)}, mask {list(mask.shape)}"
            raise BadInput(f"{found}; MADF takes an image [B, 3, H, W] and a mask [B, 1, H, W]")
        if any(side % multiple for side in size) or image.dtype != mask.dtype:
            found = f"{size[1]}x{size[0]} pixels of {image.dtype}, a mask of {mask.dtype}"
            raise BadInput(
                f"{found}; with {self.config.levels} levels sides are multiples of {multiple}, both of one type"
            )

    def _encode(self, x: Tensor, m: Tensor) -> list[Tensor]:
        """x [B, 6, H, W], m [B, 3, H, W] -> lifted features of levels 1..L, [B, C_l, H / 2**l, W / 2**l].

        The next level continues from the unlifted features.
        """
        lifted = []
        for level in range(1, self.config.levels + 1):
            x, m = getattr(self, f"filter_gen_{level}")(x, m)
            lifted.append(getattr(self, f"enc_up_{level}")(x))
        return lifted

    def _recover(self, lifted: list[Tensor], inputs: Tensor) -> tuple[list[Tensor], Tensor]:
        """The recovery decoder, from level L to the image.

        lifted: as `_encode` gives it; inputs [B, 6, H, W]. Returns the features of levels L..2 after mixing and ReLU,
        [B, D_l, H / 2**(l-1), W / 2**(l-1)] (the guides of the first refinement), and output 0 [B, 3, H, W].
        """
        x, features = lifted[-1], []
        for level in range(self.config.levels, 1, -1):
            x = self.recover_level(level, x, lifted[level - 2])
            features.append(x)
        return features, self.recover_level(1, x, inputs)

    def recover_level(self, level: int, x: Tensor, skip: Tensor) -> Tensor:
        """One level of the recovery decoder, 1..L: transposed convolution, then mixing with the level below.

        x [B, D_in, h, w], skip [B, S, 2h, 2w] (lifted level l - 1; at level 1 the input) -> [B, D_l, 2h, 2w].
        Batch-norm, leaky ReLU 0.2 and the ReLU behind the mixing are for the levels above 1 alone.
        """
        deconv: nn.Module = getattr(self, f"deconv_{level}")
        mix: nn.Module = getattr(self, f"att_conv_{level}")["conv"]

        def mixed(x: Tensor, skip: Tensor) -> Tensor:
            y: Tensor = mix(torch.cat([skip, deconv(x)], 1))
            return F.relu(y) if level > 1 else y

        return self.remade(mixed, x, skip, norms=deconv)

    def _refine(
        self, r: int, x: Tensor, guides: list[Tensor], outputs: list[Tensor], inputs: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """One refinement decoder of the cascade, without skips from the encoder.

        x: lifted level L; guides: the features of the decoder before, levels L..2; outputs: those so far. Returns this
        decoder's features of levels L..2 (the next one's guides) and its output [B, 3, H, W].
        """
        features = []
        for level, guide in zip(range(self.config.levels, 1, -1), guides, strict=True):
            x = getattr(self, f"dec_ref{r}_{level}")(x, guide)
            features.append(x)
        return features, self._image(getattr(self, f"dec_ref{r}_1"), x, torch.cat([*outputs, inputs], 1))

    @staticmethod
    def _image(conv: nn.Conv2d, x: Tensor, images: Tensor) -> Tensor:
        """The 1x1 convolution of x upsampled by 2, and of images [B, C, H, W].

        It is done before the upsampling, on a quarter of the points: bilinear weights sum to one, so nothing changes.
        """
        on_x, on_images = conv.weight.split([x.shape[1], images.shape[1]], 1)
        y = F.interpolate(F.conv2d(x, on_x, conv.bias), scale_factor=2, mode="bilinear", align_corners=False)
        return y + F.conv2d(images, on_images)
