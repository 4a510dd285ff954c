"""What a head learns from and is judged on, checked and read before the first step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bifocal.learn.data.blank import COUNT, blank_picture
from bifocal.learn.data.labelled import Labelled, split
from bifocal.learn.data.views import Streams, Views, encode_held, make_views
from bifocal.learn.training.classify.recipe import HeadRecipe
from bifocal.learn.training.classify.targets import Targets
from bifocal.learn.training.classify.teacher import Shortened, Teacher, class_probabilities
from bifocal.runtime.analysis import transform
from bifocal.runtime.model import Model

#: How often the progress of reading is reported, in seconds.
REPORT_EVERY = 15.0


@dataclass(frozen=True, eq=False)
class HeadData:
    """Files with labels (-1 for none), the views of all of them, ``rows`` to train on, ``held`` ones.

    The held ones that have a label are there as real ``streams``. ``nothing`` are latents
    ``[n, c, h, w]`` of pictures that show no class.
    """

    labelled: Labelled
    views: Views
    rows: NDArray[np.int64]
    held: NDArray[np.int64]
    streams: Streams
    targets: Targets
    nothing: NDArray[np.float16]

    def count(self, rows: NDArray[np.int64]) -> dict[str, int]:
        """How many of ``rows`` are of each class."""
        labels = self.labelled.labels[rows]
        counts = np.bincount(labels[labels >= 0], minlength=len(self.labelled.classes))
        return dict(zip(self.labelled.classes, counts.tolist(), strict=True))


def gather(
    labelled: Labelled, model: Model, recipe: HeadRecipe, work: Path, log: Callable[[str], None]
) -> HeadData:
    """Read every file once, keep the latents of its views in ``work``, encode the held ones.

    :raises TrainingError: if the pictures cannot be trained on.
    """
    count, classes = len(labelled.files), len(labelled.classes)
    kinds = f" of {classes} classes" if classes else ""
    log(f"reading {count:,} files{kinds}, {recipe.views} views of each")
    teacher = Teacher(recipe.teacher) if recipe.teacher else None
    labelled, views = make_views(
        labelled,
        model,
        work,
        views=recipe.views,
        side=recipe.side,
        channels=recipe.channels,
        seed=recipe.seed,
        large=recipe.views // 3 if recipe.whole else 0,
        watcher=teacher,
        progress=reading_progress(log),
    )
    for warning in labelled.warnings:
        log(f"warning: {warning}")
    rows, held = split(labelled.labels, recipe.held, recipe.seed)
    known = held[labelled.labels[held] >= 0]
    streams = encode_held(labelled, known, model, side=recipe.side)
    log(f"{len(rows):,} pictures to train on, {len(held):,} to judge on")
    targets = _targets(views, rows, held, classes, recipe, log)
    nothing = np.stack([_latents(model, recipe, seed) for seed in range(COUNT)])
    return HeadData(labelled, views, rows, held, streams, targets, nothing)


def _targets(
    views: Views,
    rows: NDArray[np.int64],
    held: NDArray[np.int64],
    classes: int,
    recipe: HeadRecipe,
    log: Callable[[str], None],
) -> Targets:
    targets = Targets(views.labels, classes, recipe.smoothing)
    if views.features is None:
        return targets
    if classes:
        taught, right = class_probabilities(views.features, views.labels, rows, held, classes)
        log(f"the teacher, which sees pixels, is right on {right:.1%} of the held-out pictures")
        targets = replace(targets, taught=taught, share=recipe.taught)
    if size := recipe.embedding:
        shorten = Shortened.of(views.features[rows, 0], size)
        targets = replace(
            targets, embedding=np.stack([shorten(row) for row in views.features]).astype(np.float16)
        )
    return targets


def _latents(model: Model, recipe: HeadRecipe, seed: int) -> NDArray[np.float16]:
    shown = blank_picture(recipe.side, seed)
    made = transform(model, shown, (0, 0, recipe.side, recipe.side)).y[: recipe.channels]
    return made.astype(np.float16)


def reading_progress(log: Callable[[str], None]) -> Callable[[int, int], None]:
    """Says now and then how many files are read, and about how long the others will take."""
    begun = last = time.monotonic()

    def progress(done: int, of: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > REPORT_EVERY:
            last = now
            log(f"read {done:,} of {of:,}; about {_duration((now - begun) * (of - done) / done)} to go")

    return progress


def _duration(seconds: float) -> str:
    """
    >>> _duration(40), _duration(200)
    ('40 seconds', '3 minutes')
    """
    return f"{round(seconds)} seconds" if seconds < 100 else f"{round(seconds / 60)} minutes"
