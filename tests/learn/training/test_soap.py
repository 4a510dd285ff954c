"""SOAP: steps in the eigenbasis of a kernel's gradients, and its state in checkpoints."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bifocal.errors import TrainingError
from bifocal.learn.nets.parameters import grouped
from bifocal.learn.training.optimisers import Rates, make_optimisers, optimiser_state, restore_state
from bifocal.learn.training.soap import Soap


def mixed(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """A quadratic bowl that is steep and flat along slanted directions, which no single weight is."""
    torch.manual_seed(seed)
    left, right = (torch.linalg.qr(torch.randn(side, side))[0] for side in (12, 8))
    return left * torch.logspace(0, -2, 12), right * torch.logspace(0, -2, 8), torch.randn(12, 8, 1, 1)


def loss_after(kind: type[torch.optim.Optimizer], lr: float, steps: int = 150) -> float:
    left, right, wanted = mixed()
    kernel = nn.Parameter(torch.zeros(12, 8, 1, 1))
    optimiser = kind([kernel], lr=lr)  # type: ignore[call-arg]

    def loss() -> Tensor:
        away = left.T @ (kernel - wanted)[:, :, 0, 0] @ right
        return (away**2).sum()

    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = lr * (1 - step / steps)
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    return float(loss().detach())


def test_it_goes_down_slanted_valleys_where_adam_creeps() -> None:
    adam, soap = (loss_after(kind, 0.1) for kind in (torch.optim.AdamW, Soap))
    assert soap < 0.5 * adam


def test_its_bases_stay_orthogonal_and_large_sides_keep_their_own() -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(6, 600, 1, 1))
    optimiser = Soap([kernel], lr=1e-3)
    for _ in range(23):
        kernel.grad = torch.randn_like(kernel)
        optimiser.step()
    state = optimiser.state[kernel]
    basis = state["outputs_basis"]
    assert torch.allclose(basis @ basis.T, torch.eye(6), atol=1e-5)
    assert "inputs_basis" not in state and kernel.isfinite().all()


def test_a_resumed_run_goes_on_as_if_nothing_had_happened() -> None:
    def make() -> tuple[nn.Module, list[torch.optim.Optimizer]]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)).to(memory_format=torch.channels_last)
        rates = Rates(1e-3, muon=("kernels",), muon_lr=1e-3, kernels="soap")
        return network, make_optimisers(grouped(network), rates)

    def train(network: nn.Module, optimisers: list[torch.optim.Optimizer], steps: range) -> None:
        for step in steps:
            x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
            network.zero_grad()
            (network(x) ** 2).mean().backward()
            for optimiser in optimisers:
                optimiser.step()

    whole, own = make()
    train(whole, own, range(14))
    half, first = make()
    train(half, first, range(7))
    again, second = make()
    again.load_state_dict(half.state_dict())
    assert restore_state(second, optimiser_state(first))
    train(again, second, range(7, 14))
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_another_name_is_refused() -> None:
    with pytest.raises(TrainingError, match="muon, soap"):
        make_optimisers(grouped(nn.Conv2d(3, 4, 3)), Rates(1e-3, kernels="sgd"))
