from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsay.errors import BadInput
from unsay.models.region_encoder import TransformerConfig
from unsay.models.vit import GroupFeatures, RegionViT, VisionTransformer, ViTConfig, resampling

LAYERS = TransformerConfig(width=24, heads=3, layers=3, hidden=40, start=1)


def tower(**settings: object) -> VisionTransformer:
    torch.manual_seed(0)
    vit = VisionTransformer(ViTConfig(LAYERS, patch=4, grid=3, **settings)).double().eval()  # type: ignore[arg-type]
    for parameter in vit.parameters():
        if parameter.ndim > 1 or parameter is vit.class_token:
            nn.init.normal_(parameter, std=0.3)
    return vit


def pixels(height: int, width: int) -> Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize(("grid", "height", "width"), [(4, 4, 4), (4, 9, 6), (7, 3, 5), (2, 1, 11), (16, 21, 10)])
def test_positions_are_resampled_as_torch_does(grid: int, height: int, width: int, antialias: bool) -> None:
    values = torch.randn(grid, grid, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    rows, columns = (resampling(n, grid, antialias, values) for n in (height, width))
    expected = F.interpolate(values.permute(2, 0, 1)[None], (height, width), mode="bicubic", antialias=antialias)[0]
    assert torch.allclose(torch.einsum("hi,ijd,wj->dhw", rows, values, columns), expected, rtol=0, atol=1e-10)


def test_a_region_of_everything_is_the_photo_and_all_are_unit() -> None:
    vit = tower(pre_norm=True)
    network = RegionViT(vit, nn.Linear(24, 10, bias=False).double())
    photo, coverage = pixels(12, 20), torch.rand(4, 15, dtype=torch.float64)
    coverage[0] = 1
    regions = network(photo, coverage)
    assert regions.shape == (4, 10)
    assert torch.allclose(regions.norm(dim=1), torch.ones(4, dtype=torch.float64))
    assert torch.allclose(regions[0], F.normalize(network.projection(vit(photo)[0, 0]), dim=0), rtol=0, atol=1e-10)
    assert not torch.allclose(regions[0], regions[1], atol=1e-3)


def test_coverage_names_the_patches_row_by_row() -> None:
    torch.manual_seed(4)
    single = TransformerConfig(width=24, heads=3, layers=1, hidden=40)
    network = RegionViT(VisionTransformer(ViTConfig(single, patch=4, grid=3)), nn.Linear(24, 10)).double()
    photo, coverage = pixels(8, 12), torch.zeros(1, 6, dtype=torch.float64)
    coverage[0, 5] = 1  # the last patch of the second row
    inside, outside = photo.clone(), photo.clone()
    inside[:, :, 4:, 8:] += 1
    outside[:, :, :4] += 1
    outside[:, :, 4:, :8] += 1
    assert torch.equal(network(photo, coverage), network(outside, coverage))
    assert not torch.allclose(network(photo, coverage), network(inside, coverage))


@pytest.mark.parametrize("registers", [0, 2])
def test_group_features_lie_where_their_patches_lie(registers: int) -> None:
    vit = tower(registers=registers)
    photo = pixels(12, 20)
    tokens = GroupFeatures(vit)(photo)
    assert tokens.shape == (1, 24, 3, 5)
    assert torch.equal(tokens[0, :, 1, 2], vit(photo)[0, 1 + registers + 5 + 2])
    keys = GroupFeatures(vit, "key")(photo)
    last = vit.transformer.layers[-1]
    before = vit.embed(photo)
    for layer in vit.transformer.layers[:-1]:
        before = layer(before)
    assert torch.equal(keys[0, :, 1, 2], last.key(last.norm1(before))[0, 1 + registers + 5 + 2])


def test_pixels_beyond_whole_patches_are_not_seen() -> None:
    vit = tower()
    assert torch.equal(vit(pixels(12, 20)[..., :15]), vit(pixels(12, 20)[..., :12]))


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(BadInput, match="known: token, key"):
        GroupFeatures(tower(), "query")
    with pytest.raises(BadInput, match="at least 2"):
        VisionTransformer(ViTConfig(LAYERS, patch=4, grid=1))
