"""Teaching a head your classes: a frozen codec, labelled pictures, a CPU and some minutes.

Everything that can go wrong is tried first: the folder is checked, every picture read, the held ones
encoded, the untrained network packed, loaded and asked, and the output's place written to. Only then the
first step is made. A quality is drawn for each picture of a batch, so one head serves all qualities; it is
judged on real streams by the packed file that users get.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bifocal.errors import OptionError, OutputError
from bifocal.learn.data.labelled import Labelled, find_labelled, split
from bifocal.learn.data.views import GIVEN, Streams, check_streams, encode_held, make_views
from bifocal.learn.nets.heads.heatvit import HeatViT
from bifocal.learn.nets.heads.latent_stem import LatentClassifierConfig, LatentResNetConfig
from bifocal.learn.packing.heads import PackedHead, pack_dense_head, pack_pruned_head
from bifocal.learn.training.head_loop import HeadRecipe, start_run, train_steps
from bifocal.learn.training.head_report import write_head_report
from bifocal.learn.training.head_selectors import DENSE_SHARE, settle, with_selectors
from bifocal.runtime.heads.classify import read_labels
from bifocal.runtime.heads.file import SUFFIX, head_path, read_card
from bifocal.runtime.heads.run import Head
from bifocal.runtime.model import Model
from bifocal.storage.whole_files import write_atomically
from bifocal.stream import container
from bifocal.stream.limits import TILE_UNIT

#: Windows are so many times as wide as views: seen whole, a picture twice as large was told better than in
#: parts (docs/heads.md).
WINDOW = 3


@dataclass(frozen=True)
class TrainedHead:
    """What was written, and how good it is: ``accuracy`` by quality, on real streams of held pictures."""

    path: Path
    report: Path
    classes: tuple[str, ...]
    accuracy: Mapping[str, float]
    warnings: tuple[str, ...]


def print_now(line: str) -> None:
    """Print a line without waiting: runs are watched through pipes and files."""
    print(line, flush=True)


def train_head(
    data: Path,
    out: Path,
    *,
    minutes: float,
    recipe: HeadRecipe | None = None,
    steps: int = 0,
    base: str = "lowfirst",
    names: Path | None = None,
    report: Path | None = None,
    work: Path | None = None,
    device: str = "cpu",
    start: str | os.PathLike[str] | None = None,
    card: Mapping[str, str] = MappingProxyType({}),
    say: Callable[[str], None] = print_now,
) -> TrainedHead:
    """Train a head on a folder per class of pictures or ``.bfc`` files and write it to ``out``.

    :param minutes: how long to train; reading the pictures before and judging after take their own time.
    :param steps: end after so many steps, if ``minutes`` are not over first: runs can be repeated exactly.
    :param base: the codec whose streams the head reads: an installed model's name, or a folder.
    :param names: a file of lines ``FOLDER<TAB>NAME`` for better names of classes.
    :param report: folder for curve, confusion matrix and figures; by default beside ``out``.
    :param work: folder for temporary latents, about 8 kB a view at 128 pixels; the system's by default.
    :param device: where the steps are made; views and judging stay on the CPU.
    :param start: a head, shipped or a file, whose convolutions are taken over: for few pictures.
    :param card: what people should know of the head, such as its data and licence; figures are added.
    :raises TrainingError: if the pictures cannot be trained on.
    :raises OutputError: if ``out`` or ``report`` cannot be written.
    :raises OptionError: if a number of the recipe is out of range.
    :raises ModelError: if there is no such codec, or it has no analysis.
    """
    report = report or out.with_name(f"{out.stem}-report")
    _check_output(out, report)
    model = Model.load(base)
    recipe = _settled(recipe or HeadRecipe(), model, minutes)
    if start is not None:
        head_path(start)
        if not isinstance(recipe.classifier, LatentResNetConfig):
            raise OptionError(
                "a transformer, or a head with selectors, starts from nothing. Leave out --start."
            )
    labelled = find_labelled(data, names=names, streams=True)
    check_streams(labelled, model)
    torch.manual_seed(recipe.seed)
    with tempfile.TemporaryDirectory(dir=work, prefix="bifocal-head-") as folder:
        place = Path(folder)
        count = len(labelled.files)
        say(f"reading {count:,} files of {len(labelled.classes)} classes, {recipe.views} views of each")
        labelled, views = make_views(
            labelled,
            model,
            place / "views.npy",
            views=recipe.views,
            side=recipe.side,
            channels=recipe.channels,
            seed=recipe.seed,
            report=_progress(say),
        )
        for warning in labelled.warnings:
            say(f"warning: {warning}")
        rows, held = split(labelled.labels, recipe.held, recipe.seed)
        streams = encode_held(labelled, held, model, side=recipe.side)
        say(f"{len(rows):,} pictures to train on, {len(held):,} to judge on, as real streams")
        run = start_run(recipe, len(labelled.classes), views, rows, streams, model, say, device, start)
        pack = _packer(recipe, labelled, model, out.stem)
        _rehearse(pack(with_selectors(run).average if recipe.keep else run.average), place, streams, model)
        begin, kept = time.monotonic(), tuple[float, ...]()
        share = DENSE_SHARE if recipe.keep else 1.0
        train_steps(run, share * minutes * 60, math.ceil(share * steps))
        if recipe.keep:
            run = with_selectors(run)
            say("token selectors are put in and trained")
            # at least one: 0 steps would mean no limit
            left = max(1, steps - math.ceil(share * steps)) if steps else 0
            train_steps(run, (1 - share) * minutes * 60, left)
            kept = settle(run)
            say("tokens kept: " + ", ".join(f"{part:.0%}" for part in kept))
        spent = (time.monotonic() - begin) / 60
        packed = pack(run.average)
        accuracy, confusion = _judge(packed, place, streams, model)
        for name, share in accuracy.items():
            say(f"{share:.1%} right on {len(streams[name]):,} real streams, {_described(name)}")
        figures = {
            "accuracy": accuracy,
            "pictures": {"train": len(rows), "judged on": len(held)},
            "classes": dict(zip(labelled.classes, np.bincount(labelled.labels).tolist(), strict=True)),
            "tokens kept": kept,
            "minutes": round(spent, 2),
            "steps": run.step,
            "recipe": dataclasses.asdict(run.recipe),
            "start": None if start is None else read_card(head_path(start)).name,
            "device": f"{platform.machine()} {device}, {torch.get_num_threads()} threads",
            "torch": torch.__version__,
            "warnings": list(labelled.warnings),
        }
        told = ("start", "accuracy", "pictures", "tokens kept", "minutes", "steps", "recipe", "torch")
        write_atomically(out, packed.data({**card, **{key: figures[key] for key in told}}))
        write_head_report(report, run.curve, confusion, labelled.classes, figures)
    return TrainedHead(out, report, labelled.classes, accuracy, labelled.warnings)


# -- before the first step -----------------------------------------------------------------------------------


def _settled(recipe: HeadRecipe, model: Model, minutes: float) -> HeadRecipe:
    """The recipe with its zeros filled in from the codec.

    :raises OptionError: if a number is out of range.
    """
    plan = model.entropy.plan
    channels = recipe.channels or plan.groups[0].stop
    window = recipe.window or min(WINDOW * (recipe.side // plan.y_stride), 128)
    for name, value, right in (
        ("minutes", minutes, minutes > 0),
        (
            "side",
            recipe.side,
            recipe.side >= TILE_UNIT and recipe.side % TILE_UNIT == 0 and recipe.side <= 1024,
        ),
        ("views", recipe.views, 1 <= recipe.views <= 1000),
        ("held", recipe.held, 0 < recipe.held < 1),
        ("channels", channels, 1 <= channels <= plan.y_channels),
        ("window", window, 1 <= window <= 128),
        ("batch", recipe.batch, recipe.batch >= 2),
    ):
        if not right:
            raise OptionError(
                f"{name} is {value}, out of range. minutes and views are positive, side is a multiple of "
                f"{TILE_UNIT} up to 1024, held lies between 0 and 1, channels at most {plan.y_channels}, "
                "window at most 128, batch at least 2."
            )
    transformer = recipe.classifier
    if recipe.keep and not (
        isinstance(transformer, LatentClassifierConfig)
        and len(recipe.keep) < transformer.depth
        and all(0 < part <= 1 for part in recipe.keep)
    ):
        raise OptionError(
            f"keep is {', '.join(map(str, recipe.keep))}. It needs a transformer, and a share above 0 and "
            "up to 1 for each selector, of which there can be one fewer than blocks."
        )
    return dataclasses.replace(recipe, channels=channels, window=window)


def _check_output(out: Path, report: Path) -> None:
    if out.suffix.lower() != SUFFIX:
        raise OutputError(f"{out} is not named like a head. Call it {out.stem or 'mine'}{SUFFIX}.")
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
        raise OutputError(f"{out} is a folder; a head is a file. Name another output with --out.")


def _progress(say: Callable[[str], None]) -> Callable[[int, int], None]:
    """Says how far reading is, about every quarter of a minute."""
    last = time.monotonic()

    def report(done: int, of: int) -> None:
        nonlocal last
        if time.monotonic() - last > 15:
            last = time.monotonic()
            say(f"read {done:,} of {of:,}")

    return report


def _packer(
    recipe: HeadRecipe, labelled: Labelled, model: Model, name: str
) -> Callable[[nn.Module], PackedHead]:
    what: dict[str, Any] = {
        "name": name,
        "base": model,
        "channels": recipe.channels,
        "classes": labelled.classes,
        "window": recipe.window,
    }

    def pack(network: nn.Module) -> PackedHead:
        network = copy.deepcopy(network).cpu()
        if isinstance(network, HeatViT):
            return pack_pruned_head(network, **what)
        return pack_dense_head(network, **what)

    return pack


def _rehearse(packed: PackedHead, place: Path, streams: Streams, model: Model) -> None:
    """Go through the last steps with the untrained network, so that they cannot fail after the training."""
    first = {name: pairs[:1] for name, pairs in streams.items()}
    _judge(packed, place, first, model)


# -- judging -----------------------------------------------------------------------------------------------


def _judge(
    packed: PackedHead, place: Path, streams: Streams, model: Model
) -> tuple[dict[str, float], NDArray[np.int64]]:
    """Accuracy by quality, and the confusion matrix over all, of the packed file on real streams."""
    file = place / f"head{SUFFIX}"
    file.write_bytes(packed.data())
    head = Head.load(file)
    index = {name: number for number, name in enumerate(head.spec.classes)}
    confusion = np.zeros((len(index), len(index)), np.int64)
    accuracy = {}
    for name, pairs in streams.items():
        right = 0
        for data, label in pairs:
            answer = index[read_labels(container.read(data), model, head).names[0]]
            confusion[label, answer] += 1
            right += answer == label
        accuracy[name] = right / len(pairs)
    return accuracy, confusion


def _described(name: str) -> str:
    return "as they were given" if name == GIVEN else f"quality {name.removeprefix('q')}"
