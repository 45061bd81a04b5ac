"""The losses are their formulas written as loops, and many processes compute what one does with the joint batch."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unsay.errors import BadInput
from unsay.training.segment_gather import mean_over_ranks
from unsay.training.segment_loss import (
    LossConfig,
    Nouns,
    Sentences,
    check_loss,
    contrast,
    image_sentence_loss,
    noun_loss,
    noun_scores,
    region_to_noun_loss,
)

T, TAU = 0.2, 0.1


class Case(NamedTuple):
    regions: Tensor
    present: Tensor
    nouns: Nouns
    table: Tensor
    whole: Tensor
    sentences: Sentences


def case() -> Case:
    """Five photos with up to three regions; photo 4 has no noun; nouns 0, 2 and 3 stand with several photos."""
    random = torch.Generator().manual_seed(0)

    def unit(*shape: int) -> Tensor:
        return F.normalize(torch.randn(*shape, 6, dtype=torch.float64, generator=random), dim=-1)

    present = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]], dtype=torch.bool)
    owner = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3])
    noun = torch.tensor([0, 2, 5, 2, 3, 0, 3, 4])
    weight = torch.tensor([1, 3, 1, 2, 1, 5, 1, 1], dtype=torch.float64)
    sentences = Sentences(unit(9), torch.tensor([0, 0, 1, 1, 2, 3, 3, 4, 4]))
    return Case(unit(5, 3), present, Nouns(owner, noun, weight), unit(7), unit(5), sentences)


def best(cosines: list[float], maximum: str) -> float:
    if maximum == "hard":
        return max(cosines)
    return TAU * math.log(sum(math.exp(c / TAU) for c in cosines) / len(cosines))


def surprise(own: float, negatives: list[float]) -> float:
    return -math.log(math.exp(own / T) / sum(math.exp(s / T) for s in [own, *negatives]))


def pairs_of(nouns: Nouns) -> list[tuple[int, int, float]]:
    return list(zip(nouns.owner.tolist(), nouns.noun.tolist(), nouns.weight.tolist(), strict=True))


@pytest.mark.parametrize("maximum", ["hard", "soft"])
def test_one_way_is_the_formula_written_as_loops(maximum: str) -> None:
    c = case()

    def score(n: int, j: int) -> float:
        return best([float(c.table[n] @ c.regions[j, k]) for k in range(3) if c.present[j, k]], maximum)

    stands = {(i, n) for i, n, _ in pairs_of(c.nouns)}
    total = weights = 0.0
    for i, n, weight in pairs_of(c.nouns):
        negatives = [score(n, j) for j in range(5) if j != i and (j, n) not in stands]
        total += weight * surprise(score(n, i), negatives)
        weights += weight
    config = LossConfig(maximum=maximum, tau=TAU)
    assert float(noun_loss(c.regions, c.present, c.nouns, c.table, config, T)) == pytest.approx(total / weights)


@pytest.mark.parametrize("maximum", ["hard", "soft"])
def test_the_way_back_is_the_formula_written_as_loops(maximum: str) -> None:
    c = case()
    losses = []
    for i in range(5):
        own = {n for photo, n, _ in pairs_of(c.nouns) if photo == i}
        others = {n for _, n, _ in pairs_of(c.nouns)} - own
        for k in range(3):
            if own and c.present[i, k]:
                fits = {n: float(c.table[n] @ c.regions[i, k]) for n in own | others}
                losses.append(surprise(best([fits[n] for n in own], maximum), [fits[n] for n in others]))
    config = LossConfig("two-way", maximum, TAU)
    back = float(region_to_noun_loss(c.regions, c.present, c.nouns, c.table, config, T))
    assert back == pytest.approx(sum(losses) / len(losses))
    one_way = noun_loss(c.regions, c.present, c.nouns, c.table, dataclasses.replace(config, objective="one-way"), T)
    assert float(noun_loss(c.regions, c.present, c.nouns, c.table, config, T)) == pytest.approx(float(one_way) + back)


def test_image_sentence_is_the_formula_written_as_loops() -> None:
    c = case()
    owners = c.sentences.owner.tolist()
    total = 0.0
    for s, i in enumerate(owners):
        fits = [float(c.sentences.embedding[s] @ c.whole[j]) for j in range(5)]
        total += surprise(fits[i], [fits[j] for j in range(5) if j != i])
        back = [float(c.sentences.embedding[other] @ c.whole[i]) for other in range(9)]
        total += surprise(back[s], [back[other] for other in range(9) if owners[other] != i])
    assert float(image_sentence_loss(c.whole, c.sentences, T)) == pytest.approx(total / 18)


def test_a_photo_that_shares_the_noun_gets_no_gradient_from_it() -> None:
    logits = torch.zeros(1, 4, requires_grad=True)
    contrast(logits, torch.tensor([0]), torch.tensor([[True, False, True, False]])).sum().backward()
    assert logits.grad is not None
    assert logits.grad[0, 2] == 0
    assert logits.grad[0, 1] > 0 > logits.grad[0, 0]


def test_an_absent_region_is_never_the_best() -> None:
    c = case()
    other = torch.where(c.present[..., None], c.regions, 100 * c.table[0])
    for maximum in ("hard", "soft"):
        scores = noun_scores(c.table, c.regions, c.present, maximum)
        assert torch.equal(scores, noun_scores(c.table, other, c.present, maximum))


def test_a_batch_without_any_noun_has_no_loss_and_finite_gradients() -> None:
    c = case()
    none = Nouns(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long), torch.zeros(0))
    for objective in ("one-way", "two-way"):
        regions = c.regions.clone().requires_grad_()
        loss = noun_loss(regions, c.present, none, c.table, LossConfig(objective), T)
        loss.backward()
        assert float(loss.detach()) == 0
        assert regions.grad is not None
        assert torch.count_nonzero(regions.grad) == 0


def test_the_mean_is_weighted() -> None:
    assert float(mean_over_ranks(torch.tensor([1.0, 4.0]), torch.tensor([1.0, 2.0]))) == 3


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LossConfig("both"), "one-way, two-way, image"),
        (LossConfig(maximum="mean"), "hard, soft"),
        (LossConfig(tau=0.0), "above 0"),
    ],
)
def test_unknown_settings_are_refused(config: LossConfig, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        check_loss(config)


# --- several processes ------------------------------------------------------------------------------------------------

CUT = (0, 2, 5)
"""Photos 0 and 1 belong to the first process, 2 to 4 to the second: their shares differ in every size."""


def loss_and_gradient(c: Case) -> tuple[Tensor, Tensor]:
    """Sum of all losses, and its gradient to T and to a map that all regions and photos go through, like an encoder."""
    mixing = torch.eye(6, dtype=torch.float64).requires_grad_()
    temperature = torch.tensor(T, dtype=torch.float64, requires_grad=True)
    regions, whole = F.normalize(c.regions @ mixing, dim=-1), F.normalize(c.whole @ mixing, dim=-1)
    total = image_sentence_loss(whole, c.sentences, temperature)
    for maximum in ("hard", "soft"):
        config = LossConfig("two-way", maximum, TAU)
        total = total + noun_loss(regions, c.present, c.nouns, c.table, config, temperature)
    gradients = torch.autograd.grad(total, [mixing, temperature])
    return total.detach(), torch.cat([g.flatten() for g in gradients])


def share(c: Case, rank: int) -> Case:
    """The part of the batch that belongs to one process, its photos counted from 0."""
    start, end = CUT[rank], CUT[rank + 1]
    mine = (c.nouns.owner >= start) & (c.nouns.owner < end)
    nouns = Nouns(c.nouns.owner[mine] - start, c.nouns.noun[mine], c.nouns.weight[mine])
    said = (c.sentences.owner >= start) & (c.sentences.owner < end)
    sentences = Sentences(c.sentences.embedding[said], c.sentences.owner[said] - start)
    return Case(c.regions[start:end], c.present[start:end], nouns, c.table, c.whole[start:end], sentences)


def run_process(rank: int, folder: Path) -> None:
    """What one of two processes computes, averaged over both as data-parallel training does."""
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(str(folder / "store"), 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    for part in loss_and_gradient(share(case(), rank)):
        torch.distributed.all_reduce(part)
        torch.save(part / 2, folder / f"{'gradient' if part.ndim else 'loss'}-{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_compute_what_one_does_with_the_joint_batch(tmp_path: Path) -> None:
    loss, gradient = loss_and_gradient(case())
    assert torch.isfinite(gradient).all()
    environment = {
        **os.environ,
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "error::FutureWarning",
    }
    ranks = [subprocess.Popen([sys.executable, __file__, str(r), str(tmp_path)], env=environment) for r in range(2)]
    assert [process.wait(60) for process in ranks] == [0, 0]
    for rank in range(2):
        assert torch.allclose(torch.load(tmp_path / f"loss-{rank}.pt"), loss, rtol=0, atol=1e-12)
        assert torch.allclose(torch.load(tmp_path / f"gradient-{rank}.pt"), gradient, rtol=0, atol=1e-12)


if __name__ == "__main__":
    run_process(int(sys.argv[1]), Path(sys.argv[2]))
