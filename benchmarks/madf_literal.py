"""MADF as the method is told and commonly coded: every point's filter is made, stored and applied (Zhu et al. 2021).

The yardstick of `madf_speed.py` and of the equivalence tests, so it shares nothing with `unsay.models.madf` but the
configuration and the names of the tensors: a `state_dict` of either loads into the other.

Symbols: B batch, N output points, k kernel, level l = 1..L of stride 2; the mask is 1 = keep, 0 = hole.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unsay.models.madf import DECODER, ENCODER, KERNELS, LIFTED, MADF, FilterGenerator, MADFConfig


class LiteralFiltering(nn.Module):
    """Mask-aware dynamic filtering, one level (the paper's section of that name)."""

    def __init__(self, in_channels: int, out_channels: int, mask_in: int, mask_channels: int, kernel: int) -> None:
        super().__init__()
        self.out_channels, self.kernel = out_channels, kernel
        self.conv = nn.Sequential(nn.Conv2d(mask_in, mask_channels, kernel, 2, kernel // 2), nn.ReLU())
        self.conv1 = nn.Sequential(nn.Conv2d(mask_channels, in_channels * kernel * kernel * out_channels, 1))

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, C_in, H, W], mask [B, mask_in, H, W] -> features [B, C_out, H/2, W/2], m_l [B, M, H/2, W/2]."""
        m: Tensor = self.conv(mask)
        windows = F.unfold(x, self.kernel, padding=self.kernel // 2, stride=2).transpose(1, 2)  # [B, N, C_in k k]
        filters = self.conv1(m).flatten(2).transpose(1, 2)  # [B, N, C_in k k C_out]
        filters = filters.unflatten(2, (windows.shape[2], self.out_channels))
        y = torch.matmul(windows.unsqueeze(2), filters).squeeze(2)  # [B, N, C_out]
        return F.relu(y.transpose(1, 2).unflatten(2, m.shape[2:])), m


class LiteralNorm(nn.Module):
    """Point-wise normalization (the paper's section of that name)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.batch_norm = nn.BatchNorm2d(channels, affine=False)
        self.mlp_shared = nn.Sequential(nn.Conv2d(channels, hidden, 3, padding=1), nn.ReLU())
        self.mlp_scale = nn.Conv2d(hidden, channels, 3, padding=1)
        self.mlp_bias = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """x and guide [B, C, H, W] -> [B, C, H, W]."""
        normalised = self.batch_norm(x)
        hidden = self.mlp_shared(guide)
        scale = self.mlp_scale(hidden)
        bias: Tensor = self.mlp_bias(hidden)
        return normalised * (1 + scale) + bias


class LiteralUp(nn.Module):
    """One level of a refinement decoder."""

    def __init__(self, in_channels: int, out_channels: int, hidden: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(in_channels, out_channels, 4, 2, 1)
        self.bn = LiteralNorm(out_channels, hidden)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """x [B, C_in, H, W], guide [B, C_out, 2H, 2W] -> [B, C_out, 2H, 2W]."""
        return F.leaky_relu(self.bn(self.deconv(x), guide), 0.2)


class LiteralMADF(nn.Module):
    """The whole network, (image, mask) -> outputs from coarse to fine, as `unsay.models.madf.MADF`."""

    def __init__(self, config: MADFConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MADFConfig()
        enc = [6] + [config.scaled(c) for c in ENCODER]
        self.lifted = [6] + [config.scaled(c) for c in LIFTED]
        self.dec = [0] + [config.scaled(c) for c in DECODER]
        for level in range(1, config.levels + 1):
            mask_in = 3 if level == 1 else config.mask_channels
            filtering = LiteralFiltering(enc[level - 1], enc[level], mask_in, config.mask_channels, KERNELS[level - 1])
            self.add_module(f"filter_gen_{level}", filtering)
            self.add_module(f"enc_up_{level}", nn.Sequential(nn.Conv2d(enc[level], self.lifted[level], 1), nn.ReLU()))
        self._build_recovery()
        for r in range(config.refinements):
            self._build_refinement(r)

    def _coming_in(self, level: int) -> int:
        return self.lifted[level] if level == self.config.levels else self.dec[level + 1]

    def _build_recovery(self) -> None:
        for level in range(self.config.levels, 0, -1):
            up: list[nn.Module] = [nn.ConvTranspose2d(self._coming_in(level), self.dec[level], 4, 2, 1)]
            if level > 1:
                up += [nn.BatchNorm2d(self.dec[level], eps=1e-5), nn.LeakyReLU(0.2)]
            self.add_module(f"deconv_{level}", nn.Sequential(*up))
            mixing = nn.Sequential(nn.Conv2d(self.lifted[level - 1] + self.dec[level], self.dec[level], 3, padding=1))
            self.add_module(f"att_conv_{level}", nn.ModuleDict({"conv": mixing}))

    def _build_refinement(self, r: int) -> None:
        hidden = self.config.scaled(self.config.guide_channels)
        for level in range(self.config.levels, 1, -1):
            self.add_module(f"dec_ref{r}_{level}", LiteralUp(self._coming_in(level), self.dec[level], hidden))
        self.add_module(f"dec_ref{r}_1", nn.Conv2d(self.dec[2] + 3 * (r + 1) + 6, 3, 1))

    def forward(self, image: Tensor, mask: Tensor) -> list[Tensor]:
        """image [B, 3, H, W] normalised, mask [B, 1, H, W] -> `refinements` + 1 images [B, 3, H, W], normalised."""
        mask3 = mask.repeat(1, 3, 1, 1)
        inputs = torch.cat([image * mask3, mask3], 1)
        x, m, skips = inputs, mask3, [inputs]
        for level in range(1, self.config.levels + 1):
            x, m = self._part(f"filter_gen_{level}")(x, m)
            skips.append(self._part(f"enc_up_{level}")(x))
        guides: dict[int, Tensor] = {}
        x = skips[-1]
        for level in range(self.config.levels, 0, -1):
            mixed = self._part(f"att_conv_{level}.conv")(
                torch.cat([skips[level - 1], self._part(f"deconv_{level}")(x)], 1)
            )
            x = guides[level] = F.relu(mixed) if level > 1 else mixed
        outputs = [x]
        for r in range(self.config.refinements):
            x = skips[-1]
            for level in range(self.config.levels, 1, -1):
                x = guides[level] = self._part(f"dec_ref{r}_{level}")(x, guides[level])
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            outputs.append(self._part(f"dec_ref{r}_1")(torch.cat([x, *outputs, inputs], 1)))
        return outputs

    def _part(self, name: str) -> nn.Module:
        return self.get_submodule(name)


def lively_network(config: MADFConfig | None = None) -> MADF:
    """A random network in evaluation mode whose every level matters to the output, and whose numbers stay near 1.

    With the framework's initialisation either features grow to 1e3 or deep levels vanish, which hides errors. Weights
    are drawn for a constant variance (He et al. 2015), batch statistics are those of two random batches.
    """
    network = MADF(config).train()
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
        elif isinstance(module, FilterGenerator):
            variance = 1 / (module.in_channels * module.kernel**2)
            _draw(module.conv1[0], variance / module.conv1[0].in_channels, variance)
        elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and not name.endswith("conv1.0"):
            taps = module.weight[0].numel() if isinstance(module, nn.Conv2d) else 4 * len(module.weight)
            share = 0.1 if name.endswith(("mlp_scale", "mlp_bias")) else 1.0
            _draw(module, 2 * share / taps, 0.0025)
    side = 2 * 2**network.config.levels
    with torch.no_grad():
        for _ in range(2):
            network(torch.randn(4, 3, side, side), (torch.rand(4, 1, side, side) > 0.2).float())
    return network.eval()


def _draw(module: nn.Module, weight: float, bias: float) -> None:
    """Normal weights and biases of these variances."""
    nn.init.normal_(module.get_parameter("weight"), 0, weight**0.5)
    nn.init.normal_(module.get_parameter("bias"), 0, bias**0.5)
