"""``bifocal-train supernet``: train all transformers of a search space at once."""

from __future__ import annotations

from pathlib import Path

from bifocal._version import DEFAULT_MODEL
from bifocal.apps.cli.train import options
from bifocal.apps.cli.train.packed import as_folder


def supernet(
    data: options.Classes,
    space: options.Space = Path("tiny.toml"),
    minutes: options.Minutes = 0.0,
    cpu_minutes: options.CpuMinutes = 0.0,
    steps: options.Steps = 0,
    out: options.SupernetFolder = Path("runs/supernet"),
    latents: options.OnLatents = False,
    base: options.Base = DEFAULT_MODEL,
    names: options.ClassNames = None,
    side: options.Side = 128,
    views: options.SearchViews = 6,
    held: options.SearchHeld = 0.15,
    batch: options.SearchBatch = 64,
    one: options.OneSubnet = False,
    separate: options.SeparateRows = False,
    lr: options.LearningRate = 2e-3,
    resume: options.ResumeSupernet = None,
    seed: options.Seed = 0,
    work: options.Work = None,
    device: options.Device = "",
    threads: options.Threads = 0,
) -> None:
    """Train a supernet: one network whose parts are all transformers of a space, in 4-bit and 8-bit rows.

    On pictures, or with --latents on what a codec's streams hold. Ctrl-C ends the training early.
    """
    from bifocal.learn.search.space import load_space
    from bifocal.learn.training.budget import Budget
    from bifocal.learn.training.machine import prepare
    from bifocal.learn.training.search.data import DataOptions
    from bifocal.learn.training.search.supernet import train_supernet

    with as_folder(data, work) as pictures:
        made = train_supernet(
            pictures,
            load_space(space),
            out,
            Budget(minutes, cpu_minutes, steps),
            options=DataOptions(base if latents else "", side, views, held, batch, seed=seed),
            names=names,
            work=work,
            resume=resume,
            sandwich=not one,
            separate=separate,
            lr=lr,
            device=prepare(device, threads),
        )
    print(f"wrote {made}")
    print(f"search it: bifocal-train search {out} --device zcu102 --latency 0.2ms --out found")
