"""Less memory in training: what a module computes inside is made again in the backward pass, not kept for it. Exact."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Recomputing(nn.Module):
    """A module that can make its inner values again; `recompute_all` switches it."""

    recompute = False

    def remade(self, function: Callable[..., Tensor], *inputs: Tensor, norms: nn.Module | None = None) -> Tensor:
        """`function(*inputs)`, its inner values kept or, with `recompute`, made again.

        `norms`: the module with the batch-norms that `function` uses; they count a batch once either way.
        """
        if not (self.recompute and torch.is_grad_enabled()):
            return function(*inputs)

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), _Uncounted(norms)

        result: Tensor = checkpoint(
            function, *inputs, use_reentrant=False, preserve_rng_state=False, context_fn=contexts
        )
        return result


def recompute_all(network: nn.Module, on: bool) -> None:
    """Switch recomputing in every module of `network` that knows it."""
    for module in network.modules():
        if isinstance(module, Recomputing):
            module.recompute = on


class _Uncounted:
    """Inside, batch-norms below a module count into copies of their running statistics; what they compute is the same.

    It can be entered again, for a second pass backward over one graph.
    """

    def __init__(self, module: nn.Module | None) -> None:
        below = module.modules() if module else ()
        self.norms = [norm for norm in below if isinstance(norm, nn.modules.batchnorm._BatchNorm)]
        self.own: list[dict[str, Tensor]] = []

    def __enter__(self) -> None:
        self.own = [dict(norm.named_buffers()) for norm in self.norms]
        for norm, buffers in zip(self.norms, self.own, strict=True):
            _set_buffers(norm, {name: value.clone() for name, value in buffers.items()})

    def __exit__(self, *_: object) -> None:
        for norm, buffers in zip(self.norms, self.own, strict=True):
            _set_buffers(norm, buffers)


def _set_buffers(module: nn.Module, buffers: dict[str, Tensor]) -> None:
    for name, value in buffers.items():
        setattr(module, name, value)
