"""The moving average of a network's weights: what is validated and packed."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

#: Buffers of norms that follow the weights: PyTorch's, and those of ``learn/lowbit/norms.py``.
STATISTICS = ("running_mean", "running_var", "running_scale")


class Average:
    """A second network whose weights follow those of the first: ``decay·average + (1 - decay)·weights``.

    ``model`` is the average, in evaluation mode. A young average follows faster, by
    ``(1 + updates)/(10 + updates)``; ``updates`` None is one that is old already. Running statistics of
    norms are averaged like the weights that they belong to: those of the last batches fit other weights.
    Other buffers are copied.
    """

    def __init__(self, network: nn.Module, decay: float, *, updates: int | None = 0) -> None:
        self.model = network.requires_grad_(False).eval()
        self.decay, self.updates = decay, updates

    @classmethod
    def of(cls, network: nn.Module, decay: float, *, updates: int | None = 0) -> Average:
        """An average that starts at the weights of ``network``."""
        return cls(copy.deepcopy(network), decay, updates=updates)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        decay = self.decay
        if self.updates is not None:
            decay = min(decay, (1 + self.updates) / (10 + self.updates))
            self.updates += 1
        mean: list[Tensor] = list(self.model.parameters())
        torch._foreach_lerp_(mean, list[Tensor](network.parameters()), 1 - decay)
        for (name, kept), new in zip(self.model.named_buffers(), network.buffers(), strict=True):
            if name.rpartition(".")[2] in STATISTICS:
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)
