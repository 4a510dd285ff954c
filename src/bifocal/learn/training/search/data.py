"""What a supernet learns from: latents of a codec's streams, or small pictures; a share of them held out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from bifocal.errors import TrainingError
from bifocal.learn.data.labelled import Labelled, find_labelled, load_squares, split
from bifocal.learn.data.squares import Squares, as_tensor, shifted
from bifocal.learn.data.views import check_streams, make_views
from bifocal.learn.search.space import SearchSpace
from bifocal.learn.search.supernet import InputForm
from bifocal.learn.training.classify.batches import Feed, coding
from bifocal.learn.training.classify.gather import reading_progress
from bifocal.learn.training.classify.recipe import HeadRecipe, settled
from bifocal.learn.training.classify.targets import Targets
from bifocal.runtime.model import Model

#: Inputs with the probabilities that they should get.
Batch = tuple[Tensor, Tensor]
#: Pixels that random crops of pictures leave out, and pictures whose latents give the scale of a channel.
MARGIN, SAMPLE = 8, 500


@dataclass(frozen=True)
class DataOptions:
    """What is read, and how: ``base`` is the codec whose latents are read, none for pixels; ``side`` and
    ``views`` are of latents. ``held`` is the share that subnets are compared on."""

    base: str = ""
    side: int = 128
    views: int = 6
    held: float = 0.15
    batch: int = 64
    smoothing: float = 0.1
    seed: int = 0


@dataclass(frozen=True, eq=False)
class SearchData:
    """Batches of training inputs, and held-out inputs ``[n, c, h, w]`` with their labels ``[n]``.

    ``spread [c]`` is the root mean square of the channels of latents. ``rows`` and ``held_rows`` are those of
    the files. ``facts`` is what has to be the same for a run that goes on.
    """

    form: InputForm
    labelled: Labelled
    batches: Callable[[int], Iterator[Batch]]
    held: Tensor
    labels: Tensor
    spread: Tensor | None
    rows: NDArray[np.int64]
    held_rows: NDArray[np.int64]
    facts: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.labelled.classes


def input_form(space: SearchSpace, options: DataOptions, model: Model | None) -> InputForm:
    """What the network reads: pixels in patches, or pooled latents with their magnitudes."""
    if model is None:
        return InputForm("pixels", 3 * space.patch**2, space.side // space.patch, space.patch)
    recipe = _recipe(options, model)
    return InputForm("latents", 2 * recipe.channels, recipe.window)


def facts_of(
    labelled: Labelled, form: InputForm, options: DataOptions, model: Model | None
) -> dict[str, Any]:
    """What a checkpoint says of its data: another run goes on only with the same."""
    codec = {"base": model.name, "fingerprint": model.entropy.fingerprint.hex()} if model else {}
    numbers = {
        name: value for name, value in asdict(options).items() if name not in ("base", "batch", "smoothing")
    }
    return {"classes": list(labelled.classes), **codec, **numbers, "form": asdict(form)}


def find_data(data: Path, names: Path | None, model: Model | None) -> Labelled:
    """The labelled files, checked.

    :raises TrainingError: if they cannot be trained on.
    """
    labelled = find_labelled(data, names=names, streams=model is not None)
    if model is not None:
        check_streams(labelled, model)
    return labelled


def read_data(
    labelled: Labelled,
    space: SearchSpace,
    options: DataOptions,
    model: Model | None,
    work: Path,
    device: str,
    log: Callable[[str], None],
) -> SearchData:
    """Read every file once; views of latents stay in folder ``work``.

    :raises TrainingError: if they cannot be trained on.
    """
    log(f"reading {len(labelled.files):,} files of {len(labelled.classes)} classes")
    made = (
        _pixels(labelled, space, options, device)
        if model is None
        else _latents(labelled, space, options, model, work, device, log)
    )
    if not len(made.labels):
        raise TrainingError(
            "no picture is held out to compare subnets on. Give more pictures, or a larger --held."
        )
    for warning in made.labelled.warnings:
        log(f"warning: {warning}")
    log(f"{len(made.rows):,} pictures to train on, {len(made.labels):,} held out")
    return made


def _pixels(labelled: Labelled, space: SearchSpace, options: DataOptions, device: str) -> SearchData:
    found, pixels = load_squares(labelled, space.side + MARGIN)
    rows, held = split(found.labels, options.held, options.seed)
    squares = Squares(pixels, found.labels)
    train, kept = squares.take(rows), squares.take(held).middle(space.side)
    classes, smoothing = len(found.classes), options.smoothing

    def batches(seed: int) -> Iterator[Batch]:
        size = min(options.batch, len(rows))
        for x, labels in shifted(train, space.side, size, seed, torch.device(device)):
            yield x, F.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes

    form = input_form(space, options, None)
    facts = facts_of(found, form, options, None)
    labels = torch.from_numpy(kept.labels)
    return SearchData(form, found, batches, as_tensor(kept.pixels), labels, None, rows, held, facts)


def _latents(
    labelled: Labelled,
    space: SearchSpace,
    options: DataOptions,
    model: Model,
    work: Path,
    device: str,
    log: Callable[[str], None],
) -> SearchData:
    recipe = _recipe(options, model)
    found, views = make_views(
        *(labelled, model, work),
        views=recipe.views,
        side=recipe.side,
        channels=recipe.channels,
        seed=recipe.seed,
        large=recipe.views // 3,
        progress=reading_progress(log),
    )
    rows, held = split(found.labels, recipe.held, recipe.seed)
    targets = Targets(views.labels, len(found.classes), recipe.smoothing)
    feed = Feed(recipe, views, rows, coding(model, device), device, targets=targets)
    quiet = Feed(recipe, views, rows, coding(model, "cpu"), "cpu", targets=targets)
    torch.manual_seed(options.seed)  # some coding adds noise
    kept = quiet.plain(held, np.random.default_rng(options.seed))
    form = input_form(space, options, model)
    facts = facts_of(found, form, options, model)
    # of latents before coding: what low qualities leave of them is smaller, and high ones would saturate
    sample = views.take(rows[:: max(1, len(rows) // SAMPLE)], np.zeros(1, np.int64))[:, : recipe.channels]
    spread = torch.cat([sample, sample.abs()], 1).square().mean((0, 2, 3)).sqrt()
    labels = torch.from_numpy(found.labels[held])
    return SearchData(form, found, feed.batches, kept, labels, spread, rows, held, facts)


def _recipe(options: DataOptions, model: Model) -> HeadRecipe:
    """A head's recipe with these numbers: whole pictures, pooled."""
    numbers = {name: value for name, value in asdict(options).items() if name != "base"}
    return settled(HeadRecipe(whole=True, **numbers), model)


@contextmanager
def work_folder(work: Path | None) -> Iterator[Path]:
    """Folder ``work``, or one that is gone at the end."""
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
        yield work
        return
    with tempfile.TemporaryDirectory(prefix="bifocal-search-") as folder:
        yield Path(folder)
