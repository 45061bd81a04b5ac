"""One batch out of those of all processes, with gradients (torch.distributed); a single process is left as it is."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F


def world() -> tuple[int, int]:
    """This process's rank and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)


def gather(rows: Tensor) -> Tensor:
    """Rows [n_r, ...] of every rank r, in the order of the ranks: [sum of n_r, ...]. The n_r may differ.

    Gradients flow back to the rank that the rows came from, summed over what all ranks made of them.
    """
    if world()[1] == 1:
        return rows
    sizes = row_counts(rows)
    padded = F.pad(rows, [0, 0] * (rows.ndim - 1) + [0, max(sizes) - len(rows)])
    parts = _Gather.apply(padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def row_counts(rows: Tensor) -> list[int]:
    """How many rows each rank has."""
    if world()[1] == 1:
        return [len(rows)]
    return [int(n) for n in _Gather.apply(torch.tensor([len(rows)], device=rows.device))]


def mean_over_ranks(losses: Tensor, weights: Tensor) -> Tensor:
    """This rank's part of the mean of all ranks' `losses` [N], weighted by `weights` [N].

    It is scaled by the number of ranks, because data-parallel training takes the mean of the ranks' gradients: the mean
    over ranks of what this gives is the weighted mean over all. Without any weight it is 0.
    """
    total = weights.sum().detach().clone()
    ranks = world()[1]
    if ranks > 1:
        dist.all_reduce(total)
    return (losses * weights).sum() * ranks / total.clamp(min=torch.finfo(total.dtype).tiny)


class _Gather(torch.autograd.Function):
    """Rows [n, ...], as many on every rank, -> [ranks, n, ...]; torch's own differentiable form is deprecated."""

    @staticmethod
    def forward(_: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(world()[1])]
        dist.all_gather(parts, rows.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        own = torch.empty_like(gradient[0])
        dist.reduce_scatter(own, list(gradient.contiguous()))
        return own
