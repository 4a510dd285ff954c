"""Differentiable bits of activations agree with the bytes of the coders, and reach the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bifocal.learn.nets.activations import ESTIMATES, ActivationBits, golomb_bits, stored_outputs
from bifocal.learn.nets.transforms.two_paths import TwoPaths


@pytest.mark.parametrize("coder", ["gaussian", "symmetric"])
@pytest.mark.parametrize("deviation", [0.7, 3.0, 20.0])
def test_estimates_are_close_to_the_bytes(coder: str, deviation: float) -> None:
    pytest.importorskip("numba")
    from bifocal.hardware.cost.coders import CODERS

    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * deviation
    block = (x[0].round() + 128).clamp(0, 255).numpy().astype(np.uint16)
    real = 8 * len(CODERS[coder].encode(block, 8)) / x.numel()
    assert float(ESTIMATES[coder](x)) / x.numel() == pytest.approx(real, rel=0.15, abs=0.25)


def test_a_median_costs_nothing_more_than_a_flag() -> None:
    assert golomb_bits(torch.full((2, 3, 4, 4), 7.0)).tolist() == [48.0, 48.0]


def test_what_ends_in_a_sum_is_counted_as_the_sum() -> None:
    network = TwoPaths(4, 5, 6, 2, torch.ones(4), slope=0.1)
    parts = stored_outputs(network)
    first = [block.first for block in network.residual_blocks]
    assert set(parts) == {network, network.linear, network.stem, *first, *network.residual_blocks}
    assert stored_outputs(TwoPaths(4, 5, 0, 0, torch.ones(4)))  # the linear path alone


def test_a_penalty_makes_activations_small() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))
    count = ActivationBits(stored_outputs(network)[:1])
    x = torch.randn(4, 2, 16, 16)
    optimiser = torch.optim.Adam([*network.parameters(), *count.parameters()], 0.05)
    found = []
    for _ in range(30):
        with count.counting():
            y = network(x)
        bits = count.bits().mean() / (4 * 256)
        found.append(float(bits.detach()))
        optimiser.zero_grad()
        (((y - x) ** 2).mean() + 0.1 * bits).backward()
        optimiser.step()
    assert found[-1] < found[0] - 0.3 and count.log_steps.grad is not None
    assert not network[0]._forward_hooks  # nothing is left behind
