"""Muon for convolution kernels, AdamW for everything else.

Muon (K. Jordan, 2024; scaled to AdamW's step as in arXiv 2502.16982) replaces a weight matrix's momentum by
the nearest orthogonal matrix, found with five Newton–Schulz iterations. Kernels count as matrices
``[outputs, inputs·k·k]``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Roughly the nearest (semi-)orthogonal matrix to ``matrix [m, n]``, by Newton–Schulz iteration."""
    a, b, c = NEWTON_SCHULZ
    x = matrix.bfloat16()
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.T).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised per kernel; a step's root mean square is ``0.2·lr``, like AdamW's."""

    def __init__(self, params: Any, lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                velocity = self.state[p].setdefault("velocity", torch.zeros_like(p))
                velocity.lerp_(p.grad, 1 - group["momentum"])
                ahead = p.grad.lerp(velocity, group["momentum"]).flatten(1)
                step = orthogonalise(ahead) * (0.2 * max(ahead.shape) ** 0.5)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(step.view_as(p), alpha=-group["lr"])


def make_optimisers(model: nn.Module, *, lr: float, kernel_lr: float) -> list[torch.optim.Optimizer]:
    """Muon over the kernels of deep paths and entropy networks, AdamW over the rest.

    The linear lapped projections start at a wavelet transform and keep AdamW: orthogonal steps of full size
    would shake them.
    """
    kernels: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, p in model.named_parameters():
        kernel = p.ndim == 4 and ".linear." not in name and kernel_lr > 0
        (kernels if kernel else rest).append(p)
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, lr, betas=(0.9, 0.99), weight_decay=0.0)
    ]
    if kernels:
        optimisers.append(Muon(kernels, kernel_lr))
    return optimisers
