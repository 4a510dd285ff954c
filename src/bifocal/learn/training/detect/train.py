"""Training a detector from beginning to end: what the command `bifocal-train detect` calls."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from bifocal.errors import OutputError, TrainingError
from bifocal.learn.data.detection.dataset import DetectionSet, find_detection, split
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.detect.latents import LatentRun
from bifocal.learn.training.detect.recipe import DetectRecipe
from bifocal.learn.training.detect.run import DetectorRun, TrainedDetector
from bifocal.learn.training.fit import print_now
from bifocal.runtime.heads.file import DETECTOR_SUFFIX
from bifocal.runtime.model import Model


def train_detector(
    data: Path,
    out: Path,
    budget: Budget,
    *,
    recipe: DetectRecipe | None = None,
    val: Path | None = None,
    ignore: tuple[str, ...] = (),
    fold: str = "",
    near: float = 0.0,
    draws: int = 0,
    report: Path | None = None,
    device: str = "cpu",
    resume: Path | None = None,
    base: str = "",
    views: int = 4,
    card: Mapping[str, str] = MappingProxyType({}),
    log: Callable[[str], None] = print_now,
) -> TrainedDetector:
    """Train a detector on a data set and write it to ``out``.

    :param budget: how long to train; reading the data set before and judging after take their own time.
    :param val: the data set that is judged on; a share of ``data`` by default.
    :param ignore: classes where nothing is learned or judged.
    :param fold: the list of VEDAI to train on, such as ``fold01``; then ``fold01test`` is judged on.
    :param near: also judge by the distance of centres in pixels, for objects that are points.
    :param draws: pictures are drawn again so often for intervals of the precision.
    :param report: folder for checkpoint, curve, figures and a sheet; by default beside ``out``.
    :param resume: a checkpoint of the same data and options to go on from; the branch for super-resolution
        is not in it, and starts anew.
    :param base: a codec, to train a detector that reads its streams; ``views`` of each picture are encoded.
    :raises TrainingError: if the data set cannot be trained on, or the checkpoint does not fit.
    :raises OutputError: if ``out`` or ``report`` cannot be written.
    """
    recipe, report = recipe or DetectRecipe(), report or out.with_name(f"{out.stem}-report")
    _check_output(out, report)
    modalities = recipe.config.modalities
    known = find_detection(data, modalities, ignore=ignore, fold=fold)
    train, held = _parts(
        known, recipe, val or (data if fold else None), ignore, f"{fold}test" if fold else ""
    )
    for warning in (*known.warnings, *(f"to judge on: {text}" for text in held.warnings)):
        log(f"note: {warning}")
    log(
        f"{train.objects:,} objects in {len(train):,} pictures to train on, {held.objects:,} in {len(held):,}"
    )
    torch.manual_seed(recipe.seed)
    run = _run_of(base, views, recipe, train, held, out, report, device, log)
    run.prepare(resume)
    run.rehearse()
    return run.write(run.train(budget), near, draws, known.warnings, card)


def _run_of(base: str, views: int, *what: Any) -> DetectorRun:
    if not base:
        return DetectorRun(*what)
    return LatentRun(*what, model=Model.load(base), views=views)


def _parts(
    known: DetectionSet, recipe: DetectRecipe, val: Path | None, ignore: tuple[str, ...], fold: str
) -> tuple[DetectionSet, DetectionSet]:
    if val is not None:
        taken = known.modalities
        return known, find_detection(val, taken, ignore=ignore, fold=fold, classes=known.classes)
    train, held = split(len(known), recipe.held, recipe.seed)
    parts = known.part(train), known.part(held)
    if not all(part.objects for part in parts):
        raise TrainingError("all objects are in a few pictures. Name others to judge on with --val.")
    return parts


def _check_output(out: Path, report: Path) -> None:
    if out.suffix.lower() != DETECTOR_SUFFIX:
        raise OutputError(
            f"{out} is not named like a detector. Call it {out.stem or 'mine'}{DETECTOR_SUFFIX}."
        )
    for folder in (out.parent, report):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise OutputError(
                f"{folder} cannot be written to ({error.strerror or error}). Name another output with --out."
            ) from error
    if out.is_dir():
        raise OutputError(f"{out} is a folder; a detector is a file. Name another output with --out.")
