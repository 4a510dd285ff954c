"""A grown codec computes what it computed, with more parameters, all of which can learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bifocal.errors import TrainingError
from bifocal.learn.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from bifocal.learn.systems.lapped import Lapped, LappedConfig
from bifocal.learn.systems.lowfirst import LowFirstConfig
from bifocal.learn.training.grow import grow

SMALL = LappedConfig(
    latent=8, synthesis_width=8, synthesis_blocks=1, hyper=4, features=6, context=8, anchors=3
)
LARGE = replace(
    SMALL, analysis_width=6, analysis_blocks=1, synthesis_width=12, synthesis_blocks=3, context=12
)


def trained() -> Checkpoint:
    """Random weights, nothing zero, and another average."""
    torch.manual_seed(3)
    model = Lapped(SMALL)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    return Checkpoint(SMALL, weights, {name: 0.9 * value for name, value in weights.items()})


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("average", [False, True])
def test_it_computes_what_it_computed(exact: bool, average: bool) -> None:
    old = trained()
    new = grow(old, LARGE)
    pixels, quality = 255 * torch.rand(1, 3, 64, 128), torch.tensor([70])
    with torch.no_grad():
        small, large = (
            checkpoint.model(average=average).eval()(pixels, quality, exact=exact, noise=False)
            for checkpoint in (old, new)
        )
    assert torch.allclose(small.output, large.output, atol=2e-3)
    assert torch.allclose(small.bits, large.bits, rtol=1e-5)


def test_what_is_new_can_learn() -> None:
    """After one step of gradients every new layer moves, the silent ones first."""
    model = grow(trained(), LARGE).model()
    optimiser = torch.optim.SGD(model.parameters(), 1e-4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(2):
        optimiser.zero_grad()
        coded = model(255 * torch.rand(2, 3, 64, 64), torch.tensor([30, 90]), exact=False, noise=True)
        (coded.bits.mean() + coded.output.square().mean()).backward()
        optimiser.step()
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    for name in ("analysis.stem", "analysis.tail", "synthesis.blocks.2.second", "synthesis.blocks.2.first"):
        assert f"{name}.weight" in moved
    assert not torch.equal(model.predictors[5][2].weight[:, 8:], before["predictors.5.2.weight"][:, 8:])


@pytest.mark.parametrize(
    ("config", "what"),
    [
        (replace(SMALL, context=4), "context cannot go from 8 to 4"),
        (replace(SMALL, latent=16), "latent cannot go from 8 to 16"),
        (replace(SMALL, slope=0.2), "slope cannot go"),
        (LowFirstConfig(), "cannot grow to a LowFirstConfig"),
    ],
)
def test_other_changes_are_refused(config: LappedConfig, what: str) -> None:
    with pytest.raises(TrainingError, match=what):
        grow(trained(), config)


def test_it_is_saved_with_its_history(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "large.safetensors", grow(trained(), LARGE))
    again = load_checkpoint(tmp_path / "large.safetensors")
    assert again.config == LARGE and again.history[-1]["grown"]["context"] == 12 and not again.optimiser


def test_counts_too_large_for_float16_are_kept_in_a_small_checkpoint(tmp_path: Path) -> None:
    whole = trained()
    whole.average["reconstruction.count"] = torch.full((64, 3), 90_000.0)
    save_checkpoint(tmp_path / "small.safetensors", whole, small=True)
    again = load_checkpoint(tmp_path / "small.safetensors").average
    assert torch.equal(again["reconstruction.count"], whole.average["reconstruction.count"])
    assert torch.allclose(again["log_gain"], whole.average["log_gain"], rtol=1e-3)
