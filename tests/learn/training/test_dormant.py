"""Dormant units are found and started afresh, and the network computes what it computed before."""

import numpy as np
import torch

from bifocal.learn.checkpoint import Checkpoint
from bifocal.learn.systems.lowfirst import LowFirst
from bifocal.learn.training.dormant import THRESHOLD, dormant_units, firing, revived
from tests.learn.systems.test_lowfirst import TINY


def broken() -> LowFirst:
    """Three hidden units of the synthesis and the whole deep path of the half network never fire."""
    torch.manual_seed(1)
    model = LowFirst(TINY)
    model.synthesis.blocks[0].first.bias.data[:3] = -1e6
    model.to_half.blocks[-1].second.bias.data[:] = -1e6
    model.to_half.tail.bias.data[:] = 0.5
    return model


def test_dormant_units_are_counted_and_revived_without_a_change() -> None:
    model = broken()
    pictures = [torch.rand(1, 3, 64, 64) * 255 for _ in range(2)]
    before = dormant_units(model, pictures)
    assert before["synthesis"][0] >= 3 and before["to_half"][0] >= TINY.half_width
    y = model.analyse(pictures[0])
    wanted = model.synthesise(y), model.synthesise_half(y)
    assert model.revive(firing(model, pictures), THRESHOLD) >= 3
    assert torch.allclose(model.synthesise(y), wanted[0], atol=1e-3)
    assert torch.allclose(model.synthesise_half(y), wanted[1], atol=1e-3)
    assert dormant_units(model, pictures)["synthesis"][0] < before["synthesis"][0]
    model.synthesise(y).square().mean().backward()
    assert model.synthesis.blocks[0].second.weight.grad[:, :3].abs().max() > 0


def test_weights_and_average_are_revived_alike() -> None:
    state = broken().state_dict()
    average = {k: v.clone() for k, v in state.items()}
    rng = np.random.default_rng(0)
    made, count = revived(Checkpoint(TINY, state, average), [rng.integers(0, 256, (80, 70, 3), np.uint8)])
    assert count > 0
    assert all(torch.equal(made.weights[k], made.average[k]) for k in made.weights)
