"""What a head learns from and is judged on, checked and read before the first step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bifocal.learn.data.labelled import Labelled, split
from bifocal.learn.data.views import Streams, Views, encode_held, make_views
from bifocal.learn.training.classify.recipe import HeadRecipe
from bifocal.runtime.model import Model

#: How often the progress of reading is reported, in seconds.
REPORT_EVERY = 15.0


@dataclass(frozen=True, eq=False)
class HeadData:
    """Labelled files, the views of all of them, ``rows`` to train on, ``held`` ones as real streams."""

    labelled: Labelled
    views: Views
    rows: NDArray[np.int64]
    held: NDArray[np.int64]
    streams: Streams


def gather(
    labelled: Labelled, model: Model, recipe: HeadRecipe, work: Path, log: Callable[[str], None]
) -> HeadData:
    """Read every file once, keep the latents of its views in ``work``, encode the held ones.

    :raises TrainingError: if the pictures cannot be trained on.
    """
    count = len(labelled.files)
    log(f"reading {count:,} files of {len(labelled.classes)} classes, {recipe.views} views of each")
    labelled, views = make_views(
        labelled,
        model,
        work / "views.npy",
        views=recipe.views,
        side=recipe.side,
        channels=recipe.channels,
        seed=recipe.seed,
        progress=_progress(log),
    )
    for warning in labelled.warnings:
        log(f"warning: {warning}")
    rows, held = split(labelled.labels, recipe.held, recipe.seed)
    streams = encode_held(labelled, held, model, side=recipe.side)
    log(f"{len(rows):,} pictures to train on, {len(held):,} to judge on, as real streams")
    return HeadData(labelled, views, rows, held, streams)


def _progress(log: Callable[[str], None]) -> Callable[[int, int], None]:
    """Says now and then how many files are read."""
    last = time.monotonic()

    def progress(done: int, of: int) -> None:
        nonlocal last
        if time.monotonic() - last > REPORT_EVERY:
            last = time.monotonic()
            log(f"read {done:,} of {of:,}")

    return progress
