"""``bifocal-train finetune``: a found transformer, trained on and packed as a head."""

from __future__ import annotations

import shlex
from pathlib import Path

from bifocal.apps.cli.options import Force
from bifocal.apps.cli.outputs import check_document
from bifocal.apps.cli.train import options
from bifocal.apps.cli.train.packed import as_folder


def finetune(
    config: options.FoundConfig,
    data: options.Classes,
    minutes: options.Minutes = 0.0,
    cpu_minutes: options.CpuMinutes = 0.0,
    steps: options.Steps = 0,
    out: options.FoundHeadFile = None,
    supernet: options.MovedSupernet = None,
    test: options.Tested = None,
    names: options.ClassNames = None,
    lr: options.LearningRate = 1e-3,
    seed: options.Seed = 0,
    work: options.Work = None,
    device: options.Device = "",
    threads: options.Threads = 0,
    force: Force = False,
) -> None:
    """Fine-tune a subnet that `bifocal-train search` found, and pack it as a head that runs in integers.

    Give the data of the supernet's training: the same pictures are held out.
    """
    from bifocal.learn.training.budget import Budget
    from bifocal.learn.training.machine import prepare
    from bifocal.learn.training.search.finetune import finetune as tune

    target: Path = out or config.with_suffix(".bfh")
    check_document(target, force)
    with as_folder(data, work) as pictures, as_folder(test, work) as judged:
        made = tune(
            config,
            pictures,
            target,
            Budget(minutes, cpu_minutes, steps),
            supernet=supernet,
            test=judged,
            names=names,
            work=work,
            lr=lr,
            seed=seed,
            device=prepare(device, threads),
        )
    print(f"wrote {made.path}; what is known of it is in {made.path.with_suffix('.json')}")
    if "accuracy" in made.figures:
        print(f"try it: bifocal classify FILE.bfc --head {shlex.quote(str(made.path))}")
    else:
        print("it reads pixels: for comparisons, with bifocal bench --analyse --against")
