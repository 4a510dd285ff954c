"""``bifocal-train run``: a recipe for some minutes."""

from __future__ import annotations

from pathlib import Path

from bifocal.apps.cli.train import options


def run(
    recipe: options.Recipe,
    data: options.PicturesOrClasses,
    minutes: options.Minutes = 0.0,
    cpu_minutes: options.CpuMinutes = 0.0,
    steps: options.Steps = 0,
    out: options.RunFolder = None,
    resume: options.Resume = None,
    device: options.Device = "",
    threads: options.Threads = 0,
    names: options.ClassNames = None,
) -> None:
    """Train a recipe for some minutes and write checkpoint, curves and run record.

    Ctrl-C ends the training early and writes what there is.
    """
    from bifocal.learn.recipe import load_recipe
    from bifocal.learn.training.budget import Budget
    from bifocal.learn.training.machine import prepare
    from bifocal.learn.training.run import train

    budget, loaded = Budget(minutes, cpu_minutes, steps), load_recipe(recipe)
    out = out or Path("runs") / loaded.name
    device = prepare(device, threads)
    path = train(loaded, data, out, budget, resume=resume, device=device, names=names)
    print(f"wrote {path}")
