from __future__ import annotations

import math

import pytest
import torch

from unsay.errors import BadInput
from unsay.training.segment_loss import noun_scores, one_way_loss


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    nouns = torch.nn.functional.normalize(torch.randn(7, 5), dim=-1)
    regions = torch.nn.functional.normalize(torch.randn(4, 3, 5), dim=-1)
    present = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1]], dtype=torch.bool)
    owner = torch.tensor([0, 0, 1, 2, 3, 3, 3])
    shares = torch.zeros(7, 4, dtype=torch.bool)
    shares[torch.arange(7), owner] = True
    shares[0, 2] = shares[3, 0] = shares[5, 1] = True
    return nouns, regions, present, owner, shares


@pytest.mark.parametrize("maximum", ["hard", "soft"])
def test_the_loss_is_the_formula_written_as_loops(maximum: str) -> None:
    nouns, regions, present, owner, shares = batch()
    tau, temperature = 0.1, 0.2

    def score(n: int, j: int) -> float:
        cosines = [float(nouns[n] @ regions[j, k]) for k in range(3) if present[j, k]]
        if maximum == "hard":
            return max(cosines)
        return tau * math.log(sum(math.exp(c / tau) for c in cosines) / len(cosines))

    total = 0.0
    for n in range(7):
        own = int(owner[n])
        negatives = [j for j in range(4) if j != own and not shares[n, j]]
        below = sum(math.exp(score(n, j) / temperature) for j in [own, *negatives])
        total -= math.log(math.exp(score(n, own) / temperature) / below)
    ours = one_way_loss(noun_scores(nouns, regions, present, maximum, tau), owner, shares, temperature)
    assert float(ours) == pytest.approx(total / 7, rel=1e-5)


def test_weights_count_a_noun_as_often_as_it_stands() -> None:
    nouns, regions, present, owner, shares = batch()
    scores = noun_scores(nouns, regions, present)
    again = torch.tensor([0, 1, 2, 3, 4, 5, 6, 6, 6])
    twice = one_way_loss(scores[again], owner[again], shares[again], 0.1)
    weighted = one_way_loss(scores, owner, shares, 0.1, torch.tensor([1.0, 1, 1, 1, 1, 1, 3]))
    assert float(weighted) == pytest.approx(float(twice), rel=1e-6)


def test_a_photo_that_shares_the_noun_gets_no_gradient_from_it() -> None:
    nouns, regions, present, owner, shares = batch()
    scores = noun_scores(nouns, regions, present).requires_grad_()
    one_way_loss(scores, owner, shares, 0.1).backward()
    assert scores.grad is not None
    assert scores.grad[0, 2] == 0
    assert scores.grad[0, 1] > 0 > scores.grad[0, 0]


def test_an_unknown_maximum_is_refused() -> None:
    nouns, regions, present, _, _ = batch()
    with pytest.raises(BadInput, match="hard, soft"):
        noun_scores(nouns, regions, present, "mean")
