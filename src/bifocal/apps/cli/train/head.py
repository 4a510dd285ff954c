"""``bifocal-train head``: teach a head your classes."""

from __future__ import annotations

import shlex
from pathlib import Path

from bifocal._version import DEFAULT_MODEL
from bifocal.apps.cli.options import Force
from bifocal.apps.cli.outputs import check_document
from bifocal.apps.cli.train import options
from bifocal.apps.cli.train.packed import as_folder


def head(
    data: options.Classes,
    minutes: options.Minutes = 0.0,
    cpu_minutes: options.CpuMinutes = 0.0,
    steps: options.Steps = 0,
    out: options.HeadFile = Path("mine.bfh"),
    task: options.Task = "classify",
    teacher: options.HeadTeacher = "",
    base: options.Base = DEFAULT_MODEL,
    names: options.ClassNames = None,
    unlabelled: options.Unlabelled = None,
    test: options.Tested = None,
    side: options.Side = 128,
    views: options.Views = 8,
    held: options.Held = 0.1,
    channels: options.Channels = 0,
    whole: options.Whole = False,
    start: options.Start = None,
    resume: options.ResumeHead = None,
    keep: options.Keep = None,
    seed: options.Seed = 0,
    report: options.Report = None,
    work: options.Work = None,
    card: options.Card = None,
    device: options.Device = "",
    threads: options.Threads = 0,
    force: Force = False,
) -> None:
    """Train a head on your own labelled pictures, the codec frozen, and judge it on real streams.

    Everything is checked before the first step. Ctrl-C ends the training early and packs what there is.
    """
    from bifocal.learn.training.budget import Budget
    from bifocal.learn.training.classify.recipe import head_recipe, read_card_entries
    from bifocal.learn.training.classify.run import train_head
    from bifocal.learn.training.machine import prepare

    check_document(out, force or resume is not None)
    numbers = {"side": side, "views": views, "held": held, "channels": channels, "seed": seed}
    with as_folder(data, work) as pictures, as_folder(test, work) as judged:
        made = train_head(
            pictures,
            out,
            Budget(minutes, cpu_minutes, steps),
            recipe=head_recipe(task, keep or (), teacher=teacher, whole=whole, **numbers),
            base=base,
            names=names,
            unlabelled=unlabelled,
            test=judged,
            report=report,
            work=work,
            start=start,
            resume=resume,
            card=read_card_entries(card or ()),
            device=prepare(device, threads),
        )
    print(f"wrote {made.path}; curve and confusion matrix are in {made.report}")
    print(f"try it: bifocal classify FILE.bfc --head {shlex.quote(str(made.path))}")
