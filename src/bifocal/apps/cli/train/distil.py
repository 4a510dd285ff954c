"""``bifocal-train distil``: a codec as the student of a larger one."""

from __future__ import annotations

from pathlib import Path

from bifocal.apps.cli.train import options


def distil(
    recipe: options.StudentRecipe,
    teacher: options.Teacher,
    data: options.Pictures,
    minutes: options.Minutes = 0.0,
    cpu_minutes: options.CpuMinutes = 0.0,
    steps: options.Steps = 0,
    out: options.RunFolder = None,
    device: options.Device = "",
    threads: options.Threads = 0,
) -> None:
    """Train a recipe's codec as the student of a larger one; write what `run` writes."""
    from bifocal.learn.recipe import load_recipe
    from bifocal.learn.training import run
    from bifocal.learn.training.budget import Budget
    from bifocal.learn.training.machine import prepare

    budget, loaded = Budget(minutes, cpu_minutes, steps), load_recipe(recipe)
    out = out or Path("runs") / loaded.name
    path = run.distil(loaded, teacher, data, out, budget, device=prepare(device, threads))
    print(f"wrote {path}")
