"""Every term against numbers worked out by hand, and where in the network's outputs each term is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unsay.training.inpaint_losses import LossWeights, gram, inpainting_loss, total_variation

WEIGHTS = LossWeights()


def constant(*values: float) -> Tensor:
    """[1, 3, 2, 2]: each channel one value everywhere."""
    return torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, 2, 2).clone()


def corner_hole() -> Tensor:
    """[1, 1, 2, 2], 1 = keep: the lower right of four pixels is the hole."""
    return torch.tensor([[1.0, 1.0], [1.0, 0.0]]).view(1, 1, 2, 2)


class Twice(nn.Module):
    """Two "stages": the image itself, and twice its first channel."""

    def forward(self, image: Tensor) -> list[Tensor]:
        return [image, 2 * image[:, :1]]


def test_the_weights_are_the_papers() -> None:
    assert dataclasses.astuple(WEIGHTS) == (6.0, 1.0, 0.05, 120.0, 0.1, 0.0, False)


def test_l1_is_a_mean_over_the_whole_image_on_every_output() -> None:
    """Three outputs, off by 1, 2 and 4 in one of three channels; 1 of 4 pixels is hole."""
    outputs = [constant(1, 0, 0), constant(0, 2, 0), constant(0, 0, 4)]
    got = inpainting_loss(outputs, constant(0, 0, 0), corner_hole(), LossWeights(variation=0.0))
    assert set(got) == {"hole", "known"}
    assert float(got["hole"]) == pytest.approx(6 * 7 / 12)  # 1 + 2 + 4 over 12 values
    assert float(got["known"]) == pytest.approx(3 * 7 / 12)


def test_variation_is_of_the_composited_last_output() -> None:
    """Composited, the one pixel of the hole stands 3 above the rest in each channel: half of all neighbours differ."""
    outputs = [constant(9, 9, 9), constant(3, 3, 3)]
    got = inpainting_loss(outputs, constant(0, 0, 0), corner_hole(), LossWeights())
    assert float(got["variation"]) == pytest.approx(0.1 * (1.5 + 1.5))
    ramp = torch.arange(6.0).view(1, 1, 2, 3)
    assert float(total_variation(ramp)) == pytest.approx(1 + 3)


def test_perceptual_terms_sum_over_stages_raw_and_composited_from_output_1_on() -> None:
    """Off by 1 in the first channel. Raw: 1/3 + 2; composited, a quarter of it. Output 0 does not count."""
    truth = constant(0, 0, 0)
    outputs = [constant(50, 50, 50), constant(1, 0, 0), constant(1, 0, 0)]
    got = inpainting_loss(outputs, truth, corner_hole(), LossWeights(), Twice())
    one = (1 / 3 + 2) * (1 + 0.25)
    assert float(got["perceptual"]) == pytest.approx(0.05 * 2 * one)
    got = inpainting_loss(outputs[:2], truth, corner_hole(), LossWeights(), Twice())
    assert float(got["perceptual"]) == pytest.approx(0.05 * one)
    got = inpainting_loss(outputs[1:2], truth, corner_hole(), LossWeights(), Twice())
    assert float(got["perceptual"]) == pytest.approx(0.05 * one), "the only output of a network without refinement"


def test_gram_matrices_are_divided_by_all_values_of_a_map() -> None:
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 2, 1, 2)  # two channels, two pixels
    assert gram(features)[0].tolist() == [[5 / 4, 11 / 4], [11 / 4, 25 / 4]]


def test_style_is_of_the_last_output_raw_and_composited() -> None:
    """First stage: Gram raw 4/12 in one of 9 places, composited 1/12; second: 16/4 and 4/4, in its one place."""
    outputs = [constant(7, 7, 7), constant(8, 8, 8), constant(1, 0, 0)]
    got = inpainting_loss(outputs, constant(0, 0, 0), corner_hole(), LossWeights(), Twice())
    assert float(got["style"]) == pytest.approx(120 * ((4 / 12 + 1 / 12) / 9 + 4 + 1))


def test_all_losses_can_be_on_the_last_output_only() -> None:
    outputs = [constant(1, 0, 0), constant(0, 2, 0), constant(4, 0, 0)]
    last = inpainting_loss(outputs, constant(0, 0, 0), corner_hole(), LossWeights(last_only=True), Twice())
    assert float(last["hole"]) == pytest.approx(6 * 4 / 12)
    assert float(last["known"]) == pytest.approx(3 * 4 / 12)
    assert float(last["perceptual"]) == pytest.approx(0.05 * 4 * (1 / 3 + 2) * 1.25)
    staged = inpainting_loss(outputs, constant(0, 0, 0), corner_hole(), LossWeights(), Twice())
    assert torch.equal(last["style"], staged["style"])
    assert torch.equal(last["variation"], staged["variation"])


def test_terms_of_weight_0_are_not_computed() -> None:
    class Never(nn.Module):
        def forward(self, image: Tensor) -> list[Tensor]:
            raise AssertionError("asked for features")

    weights = LossWeights(hole=0, perceptual=0, style=0, variation=0)
    got = inpainting_loss([constant(1, 0, 0)], constant(0, 0, 0), corner_hole(), weights, Never())
    assert set(got) == {"known"}
    assert set(inpainting_loss([constant(1, 0, 0)], constant(0, 0, 0), corner_hole(), WEIGHTS)) == {
        "hole",
        "known",
        "variation",
    }


def test_gradients_reach_what_each_term_is_of() -> None:
    """hole and known: every output; perceptual: 1 and 2; style, variation: 2 alone."""
    torch.manual_seed(0)
    outputs = [torch.randn(2, 3, 8, 8, requires_grad=True) for _ in range(3)]
    truth, mask = torch.randn(2, 3, 8, 8), (torch.rand(2, 1, 8, 8) > 0.4).float()
    got = inpainting_loss(outputs, truth, mask, LossWeights(), Twice())
    reached = {
        name: [
            g is not None and bool(g.any())
            for g in torch.autograd.grad(value, outputs, retain_graph=True, allow_unused=True)
        ]
        for name, value in got.items()
    }
    assert reached == {
        "hole": [True, True, True],
        "known": [True, True, True],
        "perceptual": [False, True, True],
        "style": [False, False, True],
        "variation": [False, False, True],
    }


def test_random_terms_equal_an_independent_form() -> None:
    """All terms on random numbers, pixel by pixel with NumPy loops."""
    rng = np.random.default_rng(1)
    outputs, truth = rng.normal(size=(3, 2, 3, 4, 5)), rng.normal(size=(2, 3, 4, 5))
    mask = (rng.random((2, 1, 4, 5)) > 0.4).astype(float)
    hole = squared = known = perceptual = style = 0.0
    final = np.where(mask == 1, truth, outputs[2])
    for n, output in enumerate(outputs):
        hole += np.abs(np.where(mask == 0, output - truth, 0)).sum() / truth.size
        squared += np.square(np.where(mask == 0, output - truth, 0)).sum() / truth.size
        known += np.abs(np.where(mask == 1, output - truth, 0)).sum() / truth.size
        for image in (output, np.where(mask == 1, truth, output)) if n else ():
            for stage in (lambda x: x, lambda x: 2 * x[:, :1]):
                found, wanted = stage(image), stage(truth)
                perceptual += np.abs(found - wanted).mean()
                if n == 2:
                    grams = [np.einsum("bchw,bdhw->bcd", m, m) / m[0].size for m in (found, wanted)]
                    style += np.abs(grams[0] - grams[1]).mean()
    variation = np.abs(np.diff(final, axis=3)).mean() + np.abs(np.diff(final, axis=2)).mean()
    weights = LossWeights(2.0, 3.0, 0.5, 7.0, 11.0, squared=13.0)
    got = inpainting_loss(
        [torch.from_numpy(o) for o in outputs], torch.from_numpy(truth), torch.from_numpy(mask), weights, Twice()
    )
    wanted = {"hole": 2 * hole, "known": 3 * known, "perceptual": perceptual / 2, "style": 7 * style}
    wanted |= {"variation": 11 * variation, "squared": 13 * squared}
    assert {name: float(value) for name, value in got.items()} == pytest.approx(wanted)
