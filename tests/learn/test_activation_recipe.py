"""A recipe's [activation] table: read, refused when it is wrong, and trained with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bifocal.errors import TrainingError
from bifocal.learn.nets.activations import ActivationBits, stored_outputs
from bifocal.learn.recipe import Activation, Recipe, load_recipe
from bifocal.learn.systems.lowfirst import LowFirst, LowFirstConfig
from bifocal.learn.training.rate_distortion import rate_distortion, with_activations

SMALL = LowFirstConfig(
    analysis_width=8,
    analysis_blocks=1,
    synthesis_width=8,
    synthesis_blocks=1,
    latent=4,
    hyper=4,
    features=8,
    context=8,
)


def test_the_table_is_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text('[activation]\nstrength = 0.002\ncoder = "symmetric"\n')
    assert load_recipe(path).activation == Activation(0.002, "symmetric")
    for wrong, said in (
        ('coder = "zip"', "a coder of gaussian, symmetric"),
        ("strenght = 1", "does not know"),
    ):
        path.write_text(f"[activation]\n{wrong}\n")
        with pytest.raises(TrainingError, match=said):
            load_recipe(path)


def test_bits_of_activations_join_the_loss() -> None:
    torch.manual_seed(0)
    model, recipe = LowFirst(SMALL), Recipe("small", system=SMALL, activation=Activation(0.01))
    pixels = torch.from_numpy(np.random.default_rng(0).random((2, 3, 64, 64), np.float32)) * 255
    quality = torch.tensor([50, 60])
    count = ActivationBits(stored_outputs(model, without=model.hyper_analysis))
    objective = with_activations(count)
    objective(model, pixels, quality, recipe, 0.0)  # finds the steps
    with_, free = (
        objective(model, pixels, quality, replace(recipe, activation=a), 0.0).value.detach()
        for a in (Activation(0.01), Activation(0.0))
    )
    bits = count.bits().detach() / 64**2
    assert float(with_ - free) == pytest.approx(0.01 * float(bits.mean()), rel=0.9)
    assert float(with_) > float(rate_distortion(model, pixels, quality, recipe).value.detach())
    objective(model, pixels, quality, recipe, 0.0).value.backward()
    assert count.log_steps.grad is not None and bool((count.log_steps.grad != 0).any())
