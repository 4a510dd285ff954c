"""Task: a codec as the student of a larger one (``learn/training/distillation.py`` has the losses)."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from bifocal.errors import TrainingError
from bifocal.learn.checkpoint import load_checkpoint
from bifocal.learn.recipe import Recipe
from bifocal.learn.systems.registry import system_of
from bifocal.learn.training.distillation import Lesson
from bifocal.learn.training.fit import Job
from bifocal.learn.training.tasks.codec import codec_job


def distil_job(recipe: Recipe, teacher: Path, data: Path, out: Path, *, device: str = "cpu") -> Job[Tensor]:
    """The recipe's codec as a student of a checkpoint; it leaves what a codec's training leaves in ``out``.

    The run record names the teacher by the hash of its checkpoint.

    :raises TrainingError: when recipe, teacher or pictures do not fit.
    """
    if recipe.distil is None:
        raise TrainingError(
            f"Recipe {recipe.name} has no [distil] table with the phases of a student. Add one, or train it "
            "by `bifocal-train run`."
        )
    known = load_checkpoint(teacher)
    student = system_of(recipe.system).codec(recipe.system)
    lesson = Lesson(known.model(), student, recipe.distil).to(device)
    record = {
        "system": system_of(known.config).name,
        "config": dataclasses.asdict(cast(Any, known.config)),
        "sha256": hashlib.sha256(teacher.read_bytes()).hexdigest(),
        "crops": sum(int(run.get("crops", 0)) for run in known.history),
    }
    return codec_job(
        recipe,
        data,
        out,
        device=device,
        objective=lesson,
        beside=lesson.projections,
        facts={"teacher": record},
    )
