"""One call for each command: a recipe to a trained checkpoint."""

from __future__ import annotations

from pathlib import Path

from bifocal.learn.recipe import Recipe
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.fit import fit
from bifocal.learn.training.tasks.codec import codec_job
from bifocal.learn.training.tasks.distil import distil_job
from bifocal.learn.training.tasks.joint import joint_data, train_joint


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    budget: Budget,
    *,
    resume: Path | None = None,
    device: str = "cpu",
    names: Path | None = None,
) -> Path:
    """Train a recipe on ``data`` and leave its files in ``out``; returns the checkpoint.

    ``data`` is a folder of pictures; for a recipe with a table ``[joint]`` it has a subfolder for each class,
    and ``names`` may give the classes better names.

    :raises TrainingError: when recipe, pictures or the checkpoint to ``resume`` do not fit, before any step.
    """
    if recipe.joint is not None:
        squares = joint_data(recipe, data, names)
        return train_joint(recipe, squares, out, budget, resume=resume, device=device)
    job = codec_job(recipe, data, out, resume=resume, device=device)
    fit(job, budget)
    return job.checkpoint


def distil(
    recipe: Recipe, teacher: Path, data: Path, out: Path, budget: Budget, *, device: str = "cpu"
) -> Path:
    """Train the recipe's codec as a student of the checkpoint ``teacher``, as :func:`train` does."""
    job = distil_job(recipe, teacher, data, out, device=device)
    fit(job, budget)
    return job.checkpoint
