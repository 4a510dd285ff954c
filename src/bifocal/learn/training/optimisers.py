"""The optimisers: Muon or SOAP for some groups of parameters, AdamW for the others; their state by name.

Muon (K. Jordan, 2024; scaled to AdamW's step as in arXiv 2502.16982) replaces a weight matrix's momentum by
the nearest orthogonal matrix, found with five Newton–Schulz iterations. Kernels count as matrices
``[outputs, inputs·k·k]``. Which parameters are what, networks say themselves (``nets/parameters.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bifocal.errors import TrainingError
from bifocal.learn.nets.parameters import KERNELS, ParameterGroup
from bifocal.learn.training import soap
from bifocal.learn.training.soap import Soap

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
BETAS = (0.9, 0.99)


def orthogonalise(matrix: Tensor) -> Tensor:
    """Roughly the nearest (semi-)orthogonal matrix to ``matrix [m, n]``, by Newton–Schulz iteration."""
    a, b, c = NEWTON_SCHULZ
    x = matrix.bfloat16()
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
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


#: The optimisers that a group of kernels or matrices may have in place of AdamW.
KERNEL_OPTIMISERS: dict[str, type[Muon] | type[Soap]] = {"muon": Muon, "soap": Soap}

#: What each optimiser remembers of a parameter.
SLOTS: dict[type[torch.optim.Optimizer], tuple[str, ...]] = {
    torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"),
    Muon: ("velocity",),
    Soap: soap.SLOTS,
    torch.optim.SGD: ("momentum_buffer",),
}


@dataclass(frozen=True)
class Rates:
    """Learning rates and weight decays of a task: AdamW's, and Muon's for the groups called ``muon``, or
    those of another of :data:`KERNEL_OPTIMISERS` by its name ``kernels``.

    With a ``momentum`` all of it is stochastic gradient descent after Nesterov; then only convolution kernels
    decay.
    """

    lr: float
    decay: float = 0.0
    muon: tuple[str, ...] = ()
    muon_lr: float = 0.0
    muon_decay: float = 0.0
    momentum: float = 0.0
    kernels: str = "muon"


def make_optimisers(groups: Sequence[ParameterGroup], rates: Rates) -> list[torch.optim.Optimizer]:
    """AdamW and, if it has groups and a rate, Muon or SOAP; over those parameters that need gradients.

    :raises TrainingError: if there is no such optimiser of kernels.
    """
    if rates.kernels not in KERNEL_OPTIMISERS:
        raise TrainingError(
            f"there is no optimiser {rates.kernels!r} for kernels. Known: {', '.join(KERNEL_OPTIMISERS)}."
        )
    if rates.momentum:
        return [_descent(groups, rates)]
    taken: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for group in groups:
        muon = rates.muon_lr > 0 and group.name in rates.muon
        learned = {name: p for name, p in group.parameters.items() if p.requires_grad}
        if learned:
            lr = group.scale * (rates.muon_lr if muon else rates.lr)
            taken[muon].append({"params": list(learned.values()), "names": list(learned), "lr": lr})
    made: list[torch.optim.Optimizer] = []
    if taken[False]:
        made.append(
            torch.optim.AdamW(taken[False], rates.lr, betas=BETAS, weight_decay=rates.decay, fused=True)
        )
    if taken[True]:
        kind = KERNEL_OPTIMISERS[rates.kernels]
        made.append(kind(taken[True], rates.muon_lr, weight_decay=rates.muon_decay))
    return made


def _descent(groups: Sequence[ParameterGroup], rates: Rates) -> torch.optim.Optimizer:
    taken: list[dict[str, Any]] = []
    for group in groups:
        learned = {name: p for name, p in group.parameters.items() if p.requires_grad}
        decay = rates.decay if group.name == KERNELS else 0.0
        if learned:
            row = {"params": list(learned.values()), "names": list(learned), "weight_decay": decay}
            taken.append(row | {"lr": group.scale * rates.lr})
    return torch.optim.SGD(taken, rates.lr, momentum=rates.momentum, nesterov=True)


def _named(optimiser: torch.optim.Optimizer) -> Iterator[tuple[str, torch.nn.Parameter]]:
    for group in optimiser.param_groups:
        yield from zip(group["names"], group["params"], strict=True)


def optimiser_state(optimisers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """What the optimisers remember, on the CPU, by ``SLOT.PARAMETER``."""
    return {
        f"{slot}.{name}": optimiser.state[p][slot].detach().cpu()
        for optimiser in optimisers
        for name, p in _named(optimiser)
        for slot in SLOTS[type(optimiser)]
        if slot in optimiser.state[p]
    }


def restore_state(optimisers: Sequence[torch.optim.Optimizer], state: Mapping[str, Tensor]) -> bool:
    """Give the optimisers what :func:`optimiser_state` found; whether every parameter got all of its own.

    Parameters of which something is missing, or has another shape, start anew.
    """
    whole = True
    for optimiser in optimisers:
        for name, p in _named(optimiser):
            slots = SLOTS[type(optimiser)]
            if isinstance(optimiser, Soap):
                slots = optimiser.slots_of(p)
                shapes = [optimiser.slot_shape(p, slot) for slot in slots]
            else:
                shapes = [() if slot == "step" else tuple(p.shape) for slot in slots]
            found = [state.get(f"{slot}.{name}") for slot in slots]
            if not all(t is not None and t.shape == shape for t, shape in zip(found, shapes, strict=True)):
                whole = False
                continue
            for slot, tensor in zip(slots, found, strict=True):
                assert tensor is not None
                like = tensor.shape == p.shape and not isinstance(optimiser, Soap)
                own = torch.empty_like(p).copy_(tensor) if like else tensor.to(p.device, copy=True)
                optimiser.state[p][slot] = own
    return whole
