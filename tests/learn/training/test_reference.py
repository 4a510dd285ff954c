"""Losses of the first steps of every task and seed, as the four loops before this one had them.

They were compared weight for weight when one loop took the place of four; what is kept here are losses in
float32. Processors agree on them to three digits: networks round, and a sum that falls on the other side of
a half moves a loss by a few ten-thousandths. After a change that means to change them:
``python -m tests.learn.training.test_reference``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import bifocal
from bifocal.learn.data.squares import Squares
from bifocal.learn.data.views import Views
from bifocal.learn.nets.heads.heatvit import HeatConfig, HeatViT
from bifocal.learn.nets.heads.latent_stem import LatentClassifierConfig, LatentResNetConfig
from bifocal.learn.nets.heads.vit import VisionTransformer, VitConfig
from bifocal.learn.recipe import Distillation, JointPhases, Recipe
from bifocal.learn.systems.feds import FedsConfig
from bifocal.learn.systems.joint import Joint, JointConfig
from bifocal.learn.systems.lowfirst import LowFirstConfig
from bifocal.learn.training import joint_codec
from bifocal.learn.training.average import Average
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.classify.batches import Feed, coding
from bifocal.learn.training.classify.network import new_network
from bifocal.learn.training.classify.recipe import HeadRecipe
from bifocal.learn.training.classify.selectors import RATE, SelectorObjective, with_selectors
from bifocal.learn.training.fit import Job, Loss, fit
from bifocal.learn.training.precision import float32
from bifocal.learn.training.pruning.latency import LatencyTable
from bifocal.learn.training.pruning.objective import Batch, pruning_objective
from bifocal.learn.training.tasks.classify import classify_job
from bifocal.learn.training.tasks.codec import codec_job
from bifocal.learn.training.tasks.distil import distil_job
from bifocal.learn.training.tasks.joint import phase_job
from bifocal.learn.training.tasks.prune import prune_job
from tests.tiny_model import build_tiny_model

RECORDED = Path(__file__).with_name("reference.json")
STEPS = 3
SEEDS = (0, 1)

SMALL: dict[str, Any] = {"crop": 64, "batch": 2, "validation": 2, "warmup": 2}
LOWFIRST = LowFirstConfig(
    analysis_width=8,
    analysis_blocks=1,
    synthesis_width=8,
    synthesis_blocks=1,
    latent=4,
    hyper=4,
    features=8,
    context=8,
)
STUDENT = FedsConfig(
    width_2=8, width_4=8, width_8=12, blocks_4=1, latent=12, slices=3, hyper=4, features=8, context=8
)
CODECS = {
    "codec, AdamW": Recipe("float", system=LOWFIRST, kernel_lr=0.0, **SMALL),
    "codec, Muon and a cooldown": Recipe("muon", system=LOWFIRST, kernel_lr=1e-3, cooldown=0.6, **SMALL),
    "codec, exact": Recipe("exact", system=LOWFIRST, exact=True, exact_from=0.5, kernel_lr=1e-3, **SMALL),
    "codec, bands": Recipe("bands", system=LOWFIRST, band_weights=(1.0, 2.0), kernel_lr=0.0, **SMALL),
}
JOINT = JointConfig(
    width=8,
    latent=8,
    dim=24,
    depth=3,
    heads=2,
    grid=4,
    aggregated=3,
    classes=2,
    hyper=4,
    features=8,
    context=8,
    anchors=2,
)
HEAD: dict[str, Any] = {
    "channels": 4,
    "window": 8,
    "views": 2,
    "held": 0.25,
    "batch": 6,
    "side": 64,
    "warmup": 2,
    "lr": 0.01,
    "matrix_lr": 0.02,
    "ema": 0.9,
}
RESIDUAL = LatentResNetConfig(width=8, blocks=1, deep_width=8, deep_blocks=1)
TRANSFORMER = LatentClassifierConfig(width=8, blocks=1, dim=8, depth=2, heads=2)


def losses(job: Job[Any]) -> list[float]:
    """The losses of the first steps, in float32."""
    found, inner = list[float](), job.loss

    def loss(batch: Any, done: float) -> Loss:
        made = inner(batch, done)
        found.append(float(made.value.detach()))
        return made

    job.loss, job.precision, job.validate, job.finish = loss, float32, None, None
    fit(job, Budget(steps=STEPS))
    return found


def pictures(folder: Path) -> Path:
    folder.mkdir()
    for number in range(5):
        coarse = np.random.default_rng(number).integers(0, 256, (16, 20, 3), np.uint8)
        Image.fromarray(np.kron(coarse, np.ones((8, 8, 1), np.uint8))).save(folder / f"p{number}.png")
    return folder


def codecs(work: Path, seed: int) -> Iterator[tuple[str, list[float]]]:
    data = pictures(work / "data")
    for name, recipe in CODECS.items():
        yield name, losses(codec_job(replace(recipe, seed=seed), data, work / recipe.name))
    teacher = Recipe("teacher", system=replace(STUDENT, latent=16, slices=4), kernel_lr=0.0, **SMALL)
    job = codec_job(replace(teacher, seed=seed), data, work / "teacher")
    losses(job)
    phases = Distillation(features=0.3, channels=0.3)
    recipe = Recipe("student", system=STUDENT, kernel_lr=2e-3, distil=phases, seed=seed, **SMALL)
    yield "student", losses(distil_job(recipe, job.checkpoint, data, work / "student"))


def joint(seed: int) -> Iterator[tuple[str, list[float]]]:
    stripes = np.broadcast_to(
        np.random.default_rng(0).integers(0, 256, (16, 1, 68, 3), np.uint8), (16, 68, 68, 3)
    )
    stripes = stripes.copy()
    stripes[::2] = stripes[::2].transpose(0, 2, 1, 3)
    train, plan = Squares(stripes, np.arange(16, dtype=np.int64) % 2), JointPhases(margin=4)
    recipe = Recipe(
        "joint", JOINT, exact=True, crop=64, batch=4, warmup=2, kernel_lr=5e-3, joint=plan, seed=seed
    )
    torch.manual_seed(seed)
    model = Joint(JOINT)
    first, second = joint_codec.joint_phases(plan, recipe, Budget(steps=2 * STEPS))
    for phase, loss in (
        (first, joint_codec.first_loss(model, plan)),
        (second, joint_codec.second_loss(model, plan, recipe)),
    ):
        yield f"joint, {phase.name} phase", losses(phase_job(model, train, loss, phase, recipe, None))


def heads(model: bifocal.Model, seed: int) -> Iterator[tuple[str, list[float]]]:
    y = np.random.default_rng(5).normal(0, 5, (12, 2, 4, 4, 4)).astype(np.float16)
    views, rows = Views(y, np.arange(12, dtype=np.int64) % 3), np.arange(12)
    for name, config in (("residual head", RESIDUAL), ("transformer head", TRANSFORMER)):
        torch.manual_seed(seed)
        recipe = HeadRecipe(config, seed=seed, **HEAD)
        network = new_network(recipe, 3, views, rows, model)
        feed = Feed(recipe, views, rows, coding(model, "cpu"))
        job = classify_job(recipe, network, feed, [])
        yield name, losses(job)
        if config is TRANSFORMER:
            assert job.average is not None
            pruned = with_selectors(job.average.model, (0.5,))
            average = Average.of(pruned, recipe.ema, updates=1 + STEPS)
            objective = SelectorObjective(pruned, (0.5,))
            second = classify_job(recipe, pruned, feed, [], objective=objective, share=RATE, average=average)
            yield "head with selectors", losses(second)


def toy(seed: int) -> Iterator[Batch]:
    rng = torch.Generator().manual_seed(seed)
    while True:
        label = torch.randint(0, 2, (8,), generator=rng)
        x = torch.randn(8, 3, 16, 16, generator=rng) + label[:, None, None, None]
        yield Batch(x, torch.zeros(8, 4, 4), torch.nn.functional.one_hot(label, 2).float())


def pruned(seed: int) -> Iterator[tuple[str, list[float]]]:
    torch.manual_seed(seed)
    sizes = VitConfig(dim=16, depth=3, heads=2, grid=4, classes=2)
    vit = VisionTransformer(torch.nn.Conv2d(3, 16, 4, 4), sizes)
    model = HeatViT(copy.deepcopy(vit), HeatConfig(before=(1, 2)))
    table = LatencyTable((1, 10, 18), (0.1, 1.0, 2.0), "ms")
    objective = pruning_objective((0.6, 0.3), table, teacher=vit)
    yield "pruned transformer", losses(prune_job(model, toy(seed), objective, steps=STEPS, lr=3e-3))


def every_task(work: Path, model: bifocal.Model, seed: int) -> dict[str, list[float]]:
    return dict([*codecs(work, seed), *joint(seed), *heads(model, seed), *pruned(seed)])


@pytest.mark.parametrize("seed", SEEDS)
def test_the_first_losses_are_those_that_were_recorded(
    seed: int, tmp_path: Path, tiny_model: bifocal.Model
) -> None:
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))[str(seed)]
    found = every_task(tmp_path, tiny_model, seed)
    assert set(found) == set(recorded)
    for name, values in recorded.items():
        assert found[name] == pytest.approx(values, rel=2e-3), name


if __name__ == "__main__":
    made = {}
    for seed in SEEDS:
        with TemporaryDirectory() as folder:
            model = bifocal.Model.load(build_tiny_model(Path(folder) / "tiny"), threads=1)
            made[str(seed)] = every_task(Path(folder), model, seed)
    RECORDED.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
