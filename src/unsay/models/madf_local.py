"""MADF as users run it: one graph for every size, which works only where the hole can be seen (ours; exact).

- Encoder: `y = const * x + sum_h (m_h - c_h) (W_h * x)` with `*` convolution, `c` the mask branch's constant value
  where its nested receptive field is all known and inside the image, and `const = b + sum_h c_h W_h`. The constant
  filter runs everywhere, the other 16/17 of the work only around the hole and along the image's border.
- Decoders: only the hole's pixels are wanted. From the image level down, that gives the region of every level that
  they depend on.
- The folds of `unsay.models.madf_folds`; a transposed convolution 4x4 of stride 2 is a 2x2 convolution to four times
  the channels and a rearrangement; a 1x1 convolution comes before a bilinear upsampling, whose weights sum to one.

With a box that is the whole image this is the dense network. Symbols: those of `unsay.models.madf`; a level's size, and
the start and stop of a region, are int64 tensors [2] = (y, x), in points of that level: the graph computes them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unsay.models import madf_folds as folds
from unsay.models.madf import MADF, FilterGenerator, PointwiseNorm, RefinementBlock, first_guess

CONSTANT_LEVELS = 4
"""Encoder levels at which the constant filter is worth its bookkeeping; deeper ones see the hole almost everywhere, and
the last two of the smallest image have no point inside the border."""
FIRST, LAST = 2, 1
"""Points at the start and end of an axis whose nested receptive field reaches beyond the image: the same at every level
with kernels 7, 5, 3, 3, ... of stride 2, padding k // 2 and even sizes."""
GROUP = 4
"""Mask channels of level 1 whose products are held at a time; doubles with the level, as areas shrink."""


@dataclass(frozen=True)
class Region:
    """The points from `start` to before `stop` of one level, int64 [2] each."""

    start: Tensor
    stop: Tensor

    def grown(self, by: int, size: Tensor) -> Region:
        """With `by` more points on each side, within a level of `size`."""
        return Region((self.start - by).clamp(min=0), torch.minimum(self.stop + by, size))

    def joined(self, other: Region) -> Region:
        """The smallest region that holds both."""
        return Region(torch.minimum(self.start, other.start), torch.maximum(self.stop, other.stop))

    def below(self, size: Tensor) -> Region:
        """The points at half the resolution, within `size`, that an upsampling by 2 reads to make this region."""
        return Region((_half(self.start + 1) - 1).clamp(min=0), torch.minimum(_half(self.stop) + 1, size))

    def seen(self, kernel: Any, size: Tensor) -> Region:
        """The points of the next encoder level, within `size`, whose window of stride 2 touches this region."""
        reach = kernel // 2
        start = _half((self.start - reach + 1).clamp(min=0))
        return Region(start, torch.minimum(_half(self.stop - 1 + reach) + 1, size))

    def interior(self, size: Tensor) -> Region:
        """Without the border of a level of `size`, yet at least one point."""
        end = size - LAST
        start = torch.minimum(self.start.clamp(min=FIRST), end - 1)
        return Region(start, torch.maximum(torch.minimum(self.stop, end), start + 1))


@dataclass(frozen=True)
class Patch:
    """Features [B, C, h, w] whose first point lies at `corner`, int64 [2], of their level."""

    values: Tensor
    corner: Tensor

    def at(self, region: Region) -> Tensor:
        """Its features in a region that lies inside."""
        return crop(self.values, Region(region.start - self.corner, region.stop - self.corner))


class _Crop(torch.autograd.Function):
    """One ONNX Slice along both axes; indexing would be traced as two."""

    @staticmethod
    def forward(_: Any, x: Tensor, start: Tensor, stop: Tensor) -> Tensor:
        (y0, x0), (y1, x1) = start.tolist(), stop.tolist()
        return x[:, :, y0:y1, x0:x1]

    @staticmethod
    def symbolic(g: Any, x: Any, start: Any, stop: Any) -> Any:
        return g.op("Slice", x, start, stop, g.op("Constant", value_t=torch.tensor([2, 3])))


def crop(x: Tensor, region: Region) -> Tensor:
    """x [B, C, H, W] in one region."""
    if torch.onnx.is_in_onnx_export():
        cropped: Tensor = _Crop.apply(x, region.start, region.stop)
        return cropped
    (y0, x0), (y1, x1) = region.start.tolist(), region.stop.tolist()
    return x[:, :, y0:y1, x0:x1]


def _box(top: Tensor, left: Tensor, bottom: Tensor, right: Tensor) -> Region:
    """Each edge from the coordinate of its axis in a pair (y, x)."""
    return Region(torch.stack([top[0], left[1]]), torch.stack([bottom[0], right[1]]))


def size_of(x: Tensor) -> Tensor:
    """Height and width of x [B, C, H, W]; int64 [2]."""
    return torch._shape_as_tensor(x)[2:]


def hole_region(mask: Tensor) -> Region:
    """The box around the zeros of mask [B, 1, H, W]; everything if it has none."""
    starts, stops = [], []
    for other in (3, 2):
        holes = 1 - mask.amin((0, 1, other))
        starts.append(holes.argmax())
        stops.append(torch._shape_as_tensor(holes)[0] - holes.flip(0).argmax())
    return Region(torch.stack(starts), torch.stack(stops))


def _half(n: Tensor) -> Tensor:
    """n // 2 for n >= 0."""
    return torch.div(n, 2, rounding_mode="trunc")


def _fixed(weight: Tensor, bias: Tensor | None, **options: int) -> nn.Conv2d:
    """A convolution with these weights."""
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], bias=bias is not None, **options)  # type: ignore[arg-type]
    conv.weight = nn.Parameter(weight.detach().contiguous(), requires_grad=False)
    conv.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
    return conv


class LocalFiltering(nn.Module):
    """One encoder level: the constant filter everywhere, the mask's part only where it is not the constant."""

    def __init__(self, generator: FilterGenerator, constant: Tensor, level: int, *, local: bool) -> None:
        """`constant` [M]: the mask's features of this level where all is known; `local`: it saves work here."""
        super().__init__()
        mask = generator.conv[0]
        weight: Tensor = mask.get_parameter("weight")
        bank, const = generator.bank(), folds.constant_filter(generator, constant)
        if level == 1:
            weight = folds.fold_equal_channels(weight, slice(0, 3))
            bank, const = (folds.fold_equal_channels(w, folds.MASK) for w in (bank, const))
        self.local, self.kernel, self.out_channels = local, generator.kernel, generator.out_channels
        self.mask: nn.Module = _fixed(weight, mask.get_parameter("bias"), stride=2, padding=self.kernel // 2)
        self.constant: Tensor
        self.register_buffer("constant", constant.detach()[:, None, None])
        self.const = _fixed(const, None, stride=2)
        self.at_once = GROUP * 2 ** (level - 1)
        parts = bank[: -self.out_channels].split(self.at_once * self.out_channels)
        self.parts = nn.ModuleList(_fixed(part, None, stride=2) for part in parts)
        one = torch.eye(self.out_channels, dtype=bank.dtype)  # ONNX Runtime sums faster by a 1x1 convolution
        copies = [len(part) // self.out_channels for part in parts]
        self.adding = nn.ModuleList(_fixed(one.repeat(1, n)[:, :, None, None], None) for n in copies)

    def forward(self, x: Tensor, mask: Tensor, hole: Region) -> tuple[Tensor, Tensor]:
        """x [B, C_in, H, W], mask [B, 1 or M, H, W] -> y [B, C_out, H/2, W/2] after ReLU, m_l [B, M, H/2, W/2].

        `hole`: points of this level that see the hole.
        """
        m = F.relu(self.mask(mask))
        x = F.pad(x, [self.kernel // 2] * 4)
        y, excess = self.const(x), m - self.constant
        if self.local:
            return F.relu(self._assembled(x, y, excess, hole.interior(size_of(y)))), m
        return F.relu(y + self._sum(x, excess)), m

    def _assembled(self, x: Tensor, y: Tensor, excess: Tensor, hole: Region) -> Tensor:
        """`y` with the mask's part added in `hole` and along the border; the code is laid out as the picture is."""
        size = size_of(y)
        zero, first, end = torch.zeros_like(size), torch.full_like(size, FIRST), size - LAST

        def constant(top: Tensor, left: Tensor, bottom: Tensor, right: Tensor) -> Tensor:
            return crop(y, _box(top, left, bottom, right))

        def general(top: Tensor, left: Tensor, bottom: Tensor, right: Tensor) -> Tensor:
            points = _box(top, left, bottom, right)
            windows = Region(2 * points.start, 2 * points.stop + (self.kernel - 2))
            return crop(y, points) + self._sum(crop(x, windows), crop(excess, points))

        a, b = hole.start, hole.stop
        middle = [constant(a, first, b, a), general(a, a, b, b), constant(a, b, b, end)]
        inner = [constant(first, first, a, end), torch.cat(middle, 3), constant(b, first, end, end)]
        sides = [general(first, zero, end, first), torch.cat(inner, 2), general(first, end, end, size)]
        return torch.cat([general(zero, zero, first, size), torch.cat(sides, 3), general(end, zero, size, size)], 2)

    def _sum(self, windows: Tensor, excess: Tensor) -> Tensor:
        """sum_h excess_h (W_h * x), a few h at a time: memory stays near that of the features."""
        terms = []
        for part, adding, few in zip(self.parts, self.adding, excess.split(self.at_once, 1), strict=True):
            products = part(windows).unflatten(1, (-1, self.out_channels)) * few.unsqueeze(2)
            terms.append(adding(products.flatten(1, 2)))
        total: Tensor = terms[0]
        for term in terms[1:]:
            total = total + term
        return total


class Upsampling(nn.Module):
    """A transposed convolution 4x4 of stride 2 and its batch-norm, as a 2x2 convolution and a rearrangement."""

    def __init__(self, deconv: nn.ConvTranspose2d, norm: nn.BatchNorm2d | None, slope: float = 1.0) -> None:
        """`slope`: of the leaky ReLU that follows; 1 for none."""
        super().__init__()
        weight, bias = (deconv.weight, deconv.bias) if norm is None else folds.fold_batch_norm(deconv, norm)
        taps = weight.unflatten(3, (2, 2)).unflatten(2, (2, 2)).flip(2, 4)  # [C_in, C_out, tap, phase, tap, phase]
        phases = taps.permute(1, 3, 5, 0, 2, 4).flatten(0, 2)
        self.conv = _fixed(phases, None if bias is None else bias.repeat_interleave(4), padding=1)
        self.slope = slope

    def forward(self, below: Patch, wanted: Region, size: Tensor) -> Tensor:
        """`below`: what `wanted` needs of the level at half the resolution, of `size` -> its [B, C_out, h, w]."""
        source = wanted.below(size)
        x = self.conv(below.at(source))
        if self.slope != 1:
            x = F.leaky_relu(x, self.slope)
        return Patch(F.pixel_shuffle(x, 2), 2 * source.start - 1).at(wanted)


class Mixing(nn.Module):
    """One level of the recovery decoder: upsampled features beside the encoder's, mixed by a 3x3 convolution."""

    def __init__(self, up: Upsampling, lift: nn.Module, conv: nn.Module) -> None:
        super().__init__()
        self.up, self.lift, self.conv = up, lift, conv

    def forward(self, below: Patch, skip: Tensor, wanted: Region, size: Tensor) -> Tensor:
        """Mixed features [B, C_out, h, w] of `wanted`; `skip` [B, C, H, W]: the encoder's, whole and not lifted yet."""
        around = wanted.grown(1, size_of(skip))
        features = torch.cat([self.lift(crop(skip, around)), self.up(below, around, size)], 1)
        return Patch(self.conv(features), around.start).at(wanted)


class Refining(nn.Module):
    """One level of a refinement decoder."""

    def __init__(self, block: RefinementBlock) -> None:
        super().__init__()
        norm: PointwiseNorm = block.bn
        self.up, self.shared = Upsampling(block.deconv, norm.batch_norm), norm.mlp_shared
        self.maps = _fixed(*folds.merge_scale_and_bias(norm), padding=1)

    def forward(self, below: Patch, guide: Patch, wanted: Region, sizes: tuple[Tensor, Tensor]) -> Patch:
        """Features of `wanted`; `sizes`: of this level and of the one at half the resolution."""
        around = wanted.grown(2, sizes[0])
        scale, bias = Patch(self.maps(self.shared(guide.at(around))), around.start).at(wanted).chunk(2, 1)
        y = self.up(below, wanted, sizes[1]) * scale + bias
        return Patch(F.leaky_relu(y, 0.2), wanted.start)


class Imaging(nn.Module):
    """The last convolution of a refinement decoder."""

    def __init__(self, conv: nn.Conv2d, earlier: int) -> None:
        """`conv`: on features, `earlier` outputs and the 6-channel input."""
        super().__init__()
        weight = folds.fold_equal_channels(conv.weight, slice(conv.in_channels - 3, conv.in_channels))
        channels = conv.in_channels - 3 * earlier - 6
        self.features, self.rest = _fixed(weight[:, :channels], conv.bias), _fixed(weight[:, channels:], None)

    def forward(self, below: Patch, images: Tensor, wanted: Region, size: Tensor) -> Tensor:
        """`below`: features at half the resolution, of `size`; images [B, C, h, w] -> an output [B, 3, h, w]."""
        source = wanted.below(size)
        x = F.interpolate(self.features(below.at(source)), scale_factor=2, mode="bilinear", align_corners=False)
        y: Tensor = Patch(x, 2 * source.start).at(wanted) + self.rest(images)
        return y


class LocalMADF(nn.Module):
    """(image, mask, box) -> the last output of `MADF` inside the box."""

    def __init__(self, network: MADF) -> None:
        super().__init__()
        network = copy.deepcopy(network).eval().requires_grad_(False)
        self.config, self.levels, part = network.config, network.config.levels, network.get_submodule
        constants, deepest = folds.uniform_constants(network, 1.0), min(CONSTANT_LEVELS, self.levels - 2)
        self.filtering = nn.ModuleList(
            LocalFiltering(part(f"filter_gen_{level}"), constant, level, local=level <= deepest)  # type: ignore[arg-type]
            for level, constant in enumerate(constants, 1)
        )
        self.top = part(f"enc_up_{self.levels}")
        self.mixing = nn.ModuleList(_mixing(network, level) for level in range(self.levels, 0, -1))
        self.refining, self.imaging = nn.ModuleList(), nn.ModuleList()
        for r in range(network.config.refinements):
            blocks = [part(f"dec_ref{r}_{level}") for level in range(self.levels, 1, -1)]
            self.refining.append(nn.ModuleList(Refining(block) for block in blocks))  # type: ignore[arg-type]
            self.imaging.append(Imaging(part(f"dec_ref{r}_1"), r + 1))  # type: ignore[arg-type]

    def forward(self, image: Tensor, mask: Tensor, box: Tensor) -> Tensor:
        """Fill the pixels of a box.

        image [B, 3, H, W] normalised, mask [B, 1, H, W] 1 = keep, box int64 [4] = (y0, x0, y1, x1), stops excluded, not
        empty and inside the image -> fill [B, 3, y1 - y0, x1 - x0], normalised.
        """
        inputs = torch.cat([first_guess(self.config, image, mask), mask], 1)
        features = self._encode(inputs, mask)
        sizes = [size_of(x) for x in features]
        wanted = Region(box[:2], box[2:])
        plan = self._plan(wanted, sizes)
        top = Patch(self.top(features[-1]), torch.zeros_like(box[:2]))
        guides, x = [], top
        for level, region, mixing in zip(range(self.levels, 1, -1), plan[0], self.mixing[:-1], strict=True):
            x = Patch(mixing(x, features[level - 1], region, sizes[level]), region.start)
            guides.append(x)
        images: list[Tensor] = [self.mixing[-1](x, inputs, wanted, sizes[1]), crop(inputs, wanted)]
        for regions, blocks, imaging in zip(plan[1:], self.refining, self.imaging, strict=True):
            guides = self._refine(blocks.children(), top, guides, regions, sizes)
            images.insert(-1, imaging(guides[-1], torch.cat(images, 1), wanted, sizes[1]))
        return images[-2]

    def _encode(self, inputs: Tensor, mask: Tensor) -> list[Tensor]:
        """Features before lifting of levels 0 (the input) to L."""
        x, m, hole, features = inputs, mask, hole_region(mask), [inputs]
        for filtering in self.filtering:
            hole = hole.seen(filtering.kernel, _half(size_of(x)))
            x, m = filtering(x, m, hole)
            features.append(x)
        return features

    def _plan(self, wanted: Region, sizes: list[Tensor]) -> list[list[Region]]:
        """For each decoder the regions of its levels L..2 that are needed.

        Mixing reads one point around what it makes; a refinement's predictor reads its guide two points around.
        """
        plan: list[list[Region]] = []
        for decoder in range(len(self.refining), -1, -1):
            read, regions = wanted.grown(1, sizes[0]) if decoder == 0 else wanted, []
            for level in range(2, self.levels + 1):
                size = sizes[level - 1]
                region = read.below(size)
                if plan:
                    region = region.joined(plan[0][-(level - 1)].grown(2, size))
                read = region.grown(1, size) if decoder == 0 else region
                regions.append(region)
            plan.insert(0, regions[::-1])
        return plan

    def _refine(
        self, blocks: Iterable[nn.Module], top: Patch, guides: list[Patch], regions: list[Region], sizes: list[Tensor]
    ) -> list[Patch]:
        x, made = top, []
        levels = range(self.levels, 1, -1)
        for level, block, guide, region in zip(levels, blocks, guides, regions, strict=True):
            x = block(x, guide, region, (sizes[level - 1], sizes[level]))
            made.append(x)
        return made


def _mixing(network: MADF, level: int) -> Mixing:
    deconv: Any = network.get_submodule(f"deconv_{level}")
    conv: Any = network.get_submodule(f"att_conv_{level}.conv.0")
    if level == 1:
        image = _fixed(folds.fold_equal_channels(conv.weight, folds.MASK), conv.bias, padding=1)
        return Mixing(Upsampling(deconv[0], None), nn.Identity(), image)
    up = Upsampling(deconv[0], deconv[1], deconv[2].negative_slope)
    return Mixing(up, network.get_submodule(f"enc_up_{level - 1}"), nn.Sequential(conv, nn.ReLU()))
