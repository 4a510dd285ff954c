"""Distillation: what each phase asks for, whom it leaves alone, and that a run leaves its record."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bifocal.errors import ModelError, TrainingError
from bifocal.learn.checkpoint import load_checkpoint
from bifocal.learn.packing.codec import pack
from bifocal.learn.recipe import Distillation, Recipe, load_recipe
from bifocal.learn.systems.feds import Feds
from bifocal.learn.systems.lowfirst import LowFirst, LowFirstConfig
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.distillation import Lesson, relative_error
from bifocal.learn.training.rate_distortion import rate_distortion
from bifocal.learn.training.run import distil, train
from tests.learn.systems.test_feds import DEEP, TEACHER, TINY

PHASES = Distillation(features=0.5, channels=0.3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    rng = np.random.default_rng(0)
    for i in range(4):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        coarse.resize((128, 128), Image.Resampling.BICUBIC).save(data / f"p{i}.png")
    return data


def test_phases_change_the_loss_and_the_last_is_plain() -> None:
    torch.manual_seed(0)
    lesson, student = Lesson(Feds(TEACHER), Feds(TINY), PHASES), Feds(TINY)
    recipe = Recipe("t", system=TINY)
    pixels, quality = torch.rand(2, 3, 64, 64) * 255, torch.tensor([20, 80])

    def loss(done: float) -> float:
        torch.manual_seed(1)
        return float(lesson(student, pixels, quality, recipe, done)[0].detach())

    torch.manual_seed(1)
    plain = float(rate_distortion(student, pixels, quality, recipe)[0].detach())
    first, late = loss(0.0) - plain, loss(0.499) - plain
    assert first > 0 and late == pytest.approx(0.1 * first, rel=0.05)  # alpha falls from 1 to 0.1
    assert 0 < loss(0.6) - plain < 1
    assert loss(0.81) == plain


def test_a_student_equal_to_its_teacher_has_nothing_to_learn() -> None:
    torch.manual_seed(0)
    teacher = Feds(TINY)
    student = Feds(TINY)
    student.load_state_dict(teacher.state_dict())
    lesson = Lesson(teacher, student, PHASES)
    pixels = torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        y = student.analyse(pixels)
        lesson.rates += torch.rand(TINY.latent)
        assert float(lesson.channel_error(y, pixels)) == 0
        assert float(lesson.channel_error(torch.zeros_like(y), pixels)) == pytest.approx(1)
    assert float(relative_error(torch.zeros(3), torch.ones(3), (0,))) == 1


def test_only_student_and_projections_learn() -> None:
    torch.manual_seed(0)
    lesson, student = Lesson(Feds(TEACHER), Feds(TINY), PHASES), Feds(TINY)
    pixels, quality = torch.rand(1, 3, 64, 64) * 255, torch.tensor([60])
    lesson(student, pixels, quality, Recipe("t", system=TINY), 0.1)[0].backward()
    assert all(p.grad is None for p in lesson.teacher.parameters())
    assert all(p.grad is not None and bool(p.grad.any()) for p in lesson.projections.parameters())
    assert bool((lesson.rates > 0).any()) and len(lesson.projections) == 6


def test_a_run_leaves_its_record(tmp_path: Path, folder: Path) -> None:
    plain = Recipe("teacher", system=TEACHER, crop=64, batch=2, validation=2, kernel_lr=0.0)
    teacher = train(plain, folder, tmp_path / "teacher", Budget(steps=1))
    recipe = replace(plain, name="student", system=TINY, exact=True, exact_from=0.7, distil=PHASES)
    path = distil(recipe, teacher, folder, tmp_path / "student", Budget(steps=5))
    checkpoint = load_checkpoint(path)
    assert checkpoint.config == TINY and not any("projection" in name for name in checkpoint.weights)
    record = json.loads((tmp_path / "student" / "run.json").read_text())
    assert record["teacher"]["crops"] == 2 and len(record["teacher"]["sha256"]) == 64
    assert record["recipe"]["distil"]["features"] == 0.5 and record["steps"] == 5
    assert {"samples.png", "validation.jsonl"} <= {p.name for p in path.parent.iterdir()}
    with pytest.raises(ModelError, match="A teacher is not packed"):
        pack(load_checkpoint(teacher), tmp_path / "packed", name="teacher", version="0.0.0")
    with pytest.raises(TrainingError, match="bifocal-train distil"):
        train(recipe, folder, tmp_path / "no", Budget(minutes=1))
    with pytest.raises(TrainingError, match=r"no \[distil\] table"):
        distil(plain, teacher, folder, tmp_path / "no", Budget(minutes=1))


def test_teachers_that_cannot_teach_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="larger teacher"):
        Lesson(Feds(TINY), Feds(TEACHER), PHASES)
    with pytest.raises(TrainingError, match="lambdas"):
        Lesson(Feds(replace(TEACHER, lambda_max=0.05)), Feds(TINY), PHASES)
    small = LowFirstConfig(analysis_width=8, synthesis_width=8, latent=8, lambda_max=TINY.lambda_max)
    for teacher in (LowFirst(small), Feds(DEEP)):
        with pytest.raises(TrainingError, match="not the same stages"):
            Lesson(teacher, Feds(TINY), PHASES)
    for shares in ("features = 0.0", "features = 0.9", "alfa = 2"):
        path = tmp_path / "bad.toml"
        path.write_text(f'codec = "feds"\n[distil]\n{shares}\n')
        with pytest.raises(TrainingError, match=r"distil"):
            load_recipe(path)
