"""``bifocal-train detect``: teach a detector your objects."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from bifocal.apps.cli.options import Force
from bifocal.apps.cli.outputs import check_document
from bifocal.apps.cli.train import options
from bifocal.errors import OptionError

if TYPE_CHECKING:
    from bifocal.learn.data.detection.dataset import DetectionSet
    from bifocal.learn.training.detect.run import TrainedDetector


def detect(
    data: options.Annotations,
    minutes: options.Minutes = 0.0,
    cpu_minutes: options.CpuMinutes = 0.0,
    steps: options.Steps = 0,
    out: options.DetectorFile = Path("mine.bfd"),
    val: options.JudgedOn = None,
    modalities: options.Modalities = "rgb",
    fusion: options.Fusion = "mf",
    sr: options.SuperResolution = "off",
    size: options.Size = "slim",
    side: options.ViewSide = 256,
    shrink: options.Shrink = 2,
    ignore: options.Ignored = None,
    fold: options.Fold = "",
    base: options.ReadsStreams = "",
    views: options.Views = 4,
    near: options.Near = 0.0,
    draws: options.Draws = 0,
    resume: options.ResumeHead = None,
    seed: options.Seed = 0,
    report: options.Report = None,
    card: options.Card = None,
    device: options.Device = "",
    threads: options.Threads = 0,
    check: options.CheckOnly = False,
    force: Force = False,
) -> None:
    """Train a detector of small objects on your pictures with boxes. Ctrl-C ends early and packs what is."""
    from bifocal.learn.data.detection.dataset import find_detection, parse_modalities
    from bifocal.learn.training.budget import Budget
    from bifocal.learn.training.classify.recipe import read_card_entries
    from bifocal.learn.training.detect.recipe import detect_recipe
    from bifocal.learn.training.detect.train import train_detector
    from bifocal.learn.training.machine import prepare

    kinds = parse_modalities(modalities)
    if check:
        return _check(find_detection(data, kinds, ignore=ignore or (), fold=fold))
    check_document(out, force or resume is not None)
    made = train_detector(
        data,
        out,
        Budget(minutes, cpu_minutes, steps),
        recipe=detect_recipe(size, kinds, fusion, sr=_on(sr), side=side, shrink=shrink, seed=seed),
        val=val,
        ignore=tuple(ignore or ()),
        fold=fold,
        near=near,
        draws=draws,
        report=report,
        resume=resume,
        base=base,
        views=views,
        card=read_card_entries(card or ()),
        device=prepare(device, threads),
    )
    _say(made)


def _on(text: str) -> bool:
    if text not in ("on", "off"):
        raise OptionError(f"sr is {text!r}; it is on or off.")
    return text == "on"


def _check(found: DetectionSet) -> None:
    print("\n".join(found.warnings))
    print(f"{found.objects:,} objects of {len(found.classes)} classes in {len(found):,} pictures")


def _say(made: TrainedDetector) -> None:
    print(f"wrote {made.path}; curve, figures and a sheet with boxes are in {made.report}")
    print(f"try it: bifocal detect PICTURES --detector {shlex.quote(str(made.path))}")
