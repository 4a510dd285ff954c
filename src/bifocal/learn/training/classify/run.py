"""Teaching a head your classes: a frozen codec, labelled pictures, a CPU and some minutes.

Everything that can go wrong is tried first: the folder is checked, every picture read, the held ones
encoded, the untrained network packed, loaded and asked, and the output written to. Only then the first step
is made. The head is judged on real streams by the packed file that users get.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from bifocal._version import DEFAULT_MODEL
from bifocal.errors import OptionError, OutputError
from bifocal.learn.checkpoint import Weights
from bifocal.learn.data.labelled import (
    Labelled,
    find_labelled,
    find_unlabelled,
    labelled_as,
    with_unlabelled,
)
from bifocal.learn.data.views import check_streams, encode_held, readable
from bifocal.learn.nets.heads.heatvit import HeatViT
from bifocal.learn.packing.heads import PackedHead, pack_head
from bifocal.learn.training.average import Average
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.classify.batches import Feed, coding
from bifocal.learn.training.classify.calibration import fit_temperature
from bifocal.learn.training.classify.gather import HeadData, gather
from bifocal.learn.training.classify.judging import Judged, describe, figures_of, judge, nearness, watched
from bifocal.learn.training.classify.network import new_network
from bifocal.learn.training.classify.recipe import HeadRecipe, settled
from bifocal.learn.training.classify.report import write_head_report
from bifocal.learn.training.classify.resume import HeadCheckpoint, head_header, load_head_checkpoint
from bifocal.learn.training.classify.selectors import (
    DENSE_SHARE,
    RATE,
    SelectorObjective,
    meet_shares,
    with_selectors,
)
from bifocal.learn.training.classify.start import START_RATE
from bifocal.learn.training.classify.targets import soften
from bifocal.learn.training.fit import fit, print_now
from bifocal.learn.training.run_folder import RunFolder
from bifocal.learn.training.tasks.classify import classify_job
from bifocal.runtime.heads.file import SUFFIX, head_path, read_card
from bifocal.runtime.model import Model
from bifocal.storage.filesystem import write_atomically

#: What a head's card says of its training.
ON_CARD = (
    *("start", "accuracy", "agreement", "calibration error", "temperature", "confident", "embedding"),
    *("pictures", "tokens kept", "minutes", "cpu_minutes", "steps", "recipe", "torch"),
)


@dataclass(frozen=True)
class TrainedHead:
    """What was written, and how good it is: ``accuracy`` by quality, on real streams of held pictures.

    ``figures`` are those of ``report.json``.
    """

    path: Path
    report: Path
    classes: tuple[str, ...]
    accuracy: Mapping[str, float]
    warnings: tuple[str, ...]
    figures: Mapping[str, Any]


def train_head(
    data: Path,
    out: Path,
    budget: Budget,
    *,
    recipe: HeadRecipe | None = None,
    base: str = DEFAULT_MODEL,
    names: Path | None = None,
    unlabelled: Path | None = None,
    test: Path | None = None,
    report: Path | None = None,
    work: Path | None = None,
    device: str = "cpu",
    start: str | os.PathLike[str] | None = None,
    resume: Path | None = None,
    card: Mapping[str, str] = MappingProxyType({}),
    log: Callable[[str], None] = print_now,
) -> TrainedHead:
    """Train a head on a folder per class of pictures or ``.bfc`` files and write it to ``out``.

    :param budget: how long to train; reading the pictures before and judging after take their own time.
    :param base: the codec whose streams the head reads: an installed model's name, or a folder.
    :param names: a file of lines ``FOLDER<TAB>NAME`` for better names of classes.
    :param unlabelled: a folder of more pictures, for the embedding alone.
    :param test: a folder like ``data`` that the finished head is judged on, too; nothing is chosen by it.
    :param report: folder for checkpoint, curve, confusion matrix and figures; by default beside ``out``.
    :param work: folder that keeps the views of pictures for further runs: at 128 pixels 128 bytes for each
        channel of a view, 2.5 kB with a teacher. By default they are in a temporary one.
    :param device: where the steps are made; views and judging stay on the CPU.
    :param start: a head, shipped or a file, whose convolutions are taken over: for few pictures.
    :param resume: a checkpoint of the same data, classes and recipe to go on from.
    :param card: what people should know of the head, such as its data and licence; figures are added.
    :raises TrainingError: if the pictures cannot be trained on, or the checkpoint does not fit.
    :raises OutputError: if ``out`` or ``report`` cannot be written.
    :raises OptionError: if a number of the recipe is out of range.
    :raises ModelError: if there is no such codec, or it has no analysis.
    """
    report = report or out.with_name(f"{out.stem}-report")
    _check_output(out, report)
    model = Model.load(base)
    recipe = settled(recipe or HeadRecipe(), model)
    _check_start(start, resume, recipe)
    old = None if resume is None else load_head_checkpoint(resume)
    labelled = _find(data, unlabelled, names, recipe)
    tested = None if test is None else _find_tested(test, names, labelled.classes, model)
    check_streams(labelled, model)
    if old is not None:
        old.check(recipe, labelled.classes, model)
    torch.manual_seed(recipe.seed)
    with _work_folder(work) as (kept, folder):
        found = gather(labelled, model, recipe, kept, log)
        run = _HeadRun(recipe, found, model, out, report, device, log)
        run.prepare(start, old)
        run.rehearse(folder)
        packed, judged = run.calibrated(run.train(budget), folder)
        figures = {"start": start and read_card(head_path(start)).name, **run.figures()}
        if tested is not None:
            figures["test"] = run.tested(packed, tested, folder)
    return run.write(packed, judged, figures, card)


def _find(data: Path, unlabelled: Path | None, names: Path | None, recipe: HeadRecipe) -> Labelled:
    """The files to learn from, those with a label first.

    :raises OptionError: if pictures without labels are given to a head that gives no embedding.
    """
    if unlabelled is not None and not recipe.embedding:
        raise OptionError("pictures without labels teach an embedding alone, which needs --teacher.")
    if not recipe.classes:
        return find_unlabelled(data)
    labelled = find_labelled(data, names=names, streams=True)
    return labelled if unlabelled is None else with_unlabelled(labelled, find_unlabelled(unlabelled))


def _find_tested(test: Path, names: Path | None, classes: tuple[str, ...], model: Model) -> Labelled:
    """The test pictures that can be read."""
    found = find_labelled(test, names=names, streams=True)
    check_streams(found, model)
    labelled_as(found, classes)  # before any picture is read
    return labelled_as(readable(found, model), classes)


@contextmanager
def _work_folder(work: Path | None) -> Iterator[tuple[Path, Path]]:
    """Where views are kept, and a folder that is gone at the end."""
    if work is not None:
        try:
            work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{work} cannot be written to ({error.strerror or error}). Name another folder with --work."
            ) from error
    with tempfile.TemporaryDirectory(dir=work, prefix="bifocal-head-") as folder:
        yield work or Path(folder), Path(folder)


class _HeadRun:
    """One head from its network to its trained average: a dense phase, then one with selectors if wanted."""

    def __init__(
        self,
        recipe: HeadRecipe,
        data: HeadData,
        model: Model,
        out: Path,
        report: Path,
        device: str,
        log: Callable[[str], None],
    ) -> None:
        self.recipe, self.data, self.model, self.out, self.log = recipe, data, model, out, log
        code = coding(model, device)
        blank = data.nothing if recipe.classes else None
        self.feed = Feed(recipe, data.views, data.rows, code, device, targets=data.targets, nothing=blank)
        self.judged = watched(data.streams, model, recipe)
        self.folder = RunFolder(report, self._header(selectors=False))
        self.curve: list[dict[str, float]] = []
        self.kept: tuple[float, ...] = ()
        self.selecting = False  # whether the checkpoint was of the second phase
        self.network: nn.Module
        self.average: Average | None = None
        self.state: Weights | None = None

    def _header(self, *, selectors: bool) -> dict[str, str]:
        return head_header(self.recipe, self.data.labelled.classes, self.model, selectors)

    def prepare(self, start: str | os.PathLike[str] | None, old: HeadCheckpoint | None) -> None:
        """Make the network: fresh, or as ``start`` or the checkpoint has it."""
        recipe, data = self.recipe, self.data
        classes = len(data.labelled.classes)
        self.network = new_network(recipe, classes, data.views, data.rows, self.model, start)
        if start is not None:
            lr, matrix_lr = START_RATE * recipe.lr, START_RATE * recipe.matrix_lr
            self.recipe = dataclasses.replace(recipe, lr=lr, matrix_lr=matrix_lr)
        if old is not None:
            self.selecting = old.selectors
            if self.selecting:
                self.network = with_selectors(self.network, recipe.keep)
            self.average = old.restore(self.network, copy.deepcopy(self.network), recipe.ema)
            self.state, self.folder.history = old.parts["optimiser"], old.history
        counts = {"train": len(data.rows), "judged on": len(data.held)}
        self.folder.facts |= {"recipe": dataclasses.asdict(self.recipe), "pictures": counts}
        self.trust: dict[str, Any] = {}

    def rehearse(self, work: Path) -> None:
        """Go through the last steps with the untrained network, so that they cannot fail at the end."""
        network, keep = self.network, self.recipe.keep
        if keep and not self.selecting:
            network = with_selectors(network, keep)
        first = {name: pairs[:1] for name, pairs in self.data.streams.items()}
        judge(self.pack(network), work, first, self.model)

    def train(self, budget: Budget) -> nn.Module:
        """Both phases; the average in the end."""
        recipe, keep = self.recipe, self.recipe.keep
        if self.selecting:
            return self._train_selectors(cast(HeatViT, self.network), self.average, budget)
        dense, selecting = budget.split(DENSE_SHARE) if keep else (budget, budget)
        average = self._fit(self.network, self.average, dense)
        if not keep:
            return average
        self.log("token selectors are put in and trained")
        network = with_selectors(average, keep)
        updates = None if self.folder.history else 1 + self.folder.over.step
        return self._train_selectors(network, Average.of(network, recipe.ema, updates=updates), selecting)

    def _train_selectors(self, network: HeatViT, average: Average | None, budget: Budget) -> nn.Module:
        self.folder.header = self._header(selectors=True)
        keep = self.recipe.keep
        objective = SelectorObjective(network, keep)
        made = self._fit(network, average, budget, objective=objective, share=RATE)
        self.kept = meet_shares(cast(HeatViT, made), self.feed, self.recipe)
        self.log("tokens kept: " + ", ".join(f"{part:.0%}" for part in self.kept))
        return made

    def _fit(self, network: nn.Module, average: Average | None, budget: Budget, **options: Any) -> nn.Module:
        job = classify_job(
            self.recipe,
            network,
            self.feed,
            self.judged,
            score=None if self.recipe.classes else self._nearness,
            average=average,
            curve=self.curve,
            folder=self.folder,
            seed=self.recipe.seed + 1000 * len(self.folder.history),
            log=self.log,
            **options,
        )
        job.state, self.state = self.state, None
        fit(job, budget)
        assert job.average is not None
        return job.average.model

    def _nearness(self, network: nn.Module) -> float:
        return nearness(network, self.feed, self.data.held)

    def calibrated(self, network: nn.Module, work: Path) -> tuple[PackedHead, Judged]:
        """The packed head, its logits divided by a temperature; and what it says of the held streams."""
        recipe, data = self.recipe, self.data
        packed = self.pack(network)
        if recipe.embedding:
            self.trust["embedding"] = {"cosine with the teacher": round(self._nearness(network), 4)}
        judged = judge(packed, work, data.streams, self.model)
        if not recipe.classes:
            return packed, judged
        before, _ = judged.trust()
        temperature = fit_temperature(judged.rows, judged.row_truth)
        network = copy.deepcopy(network)
        soften(network, temperature)
        packed = self.pack(network)
        judged = judge(packed, work, data.streams, self.model)
        self.trust |= figures_of(judged, data.labelled.classes)
        self.trust |= {"temperature": round(temperature, 4), "calibration error before": round(before, 4)}
        for name, share in judged.accuracy.items():
            self.log(f"{share:.1%} right on {len(data.streams[name]):,} real streams, {describe(name)}")
        return packed, judged

    def tested(self, packed: PackedHead, files: Labelled, work: Path) -> dict[str, Any]:
        """What the finished head says of pictures that nothing was chosen by."""
        for warning in files.warnings:
            self.log(f"warning: of the test pictures {warning}")
        streams = encode_held(files, np.arange(len(files.files)), self.model, side=self.recipe.side)
        found = figures_of(judge(packed, work, streams, self.model), self.data.labelled.classes)
        shares = ", ".join(f"{share:.1%} at {describe(name)}" for name, share in found["accuracy"].items())
        self.log(f"right on the {len(files.files):,} test pictures: {shares}")
        return found

    def write(
        self, packed: PackedHead, judged: Judged, figures: Mapping[str, Any], card: Mapping[str, str]
    ) -> TrainedHead:
        """Write the file of the head, its card filled in, and the report."""
        labelled, known = self.data.labelled, {key: figures[key] for key in ON_CARD if key in figures}
        write_atomically(self.out, packed.data({**card, **known}))
        write_head_report(self.folder.folder, self.curve, judged, labelled.classes, figures)
        return TrainedHead(
            self.out, self.folder.folder, labelled.classes, judged.accuracy, labelled.warnings, figures
        )

    def pack(self, network: nn.Module) -> PackedHead:
        pooling = {"grid": self.recipe.window, "magnitudes": True} if self.recipe.whole else {}
        return pack_head(
            copy.deepcopy(network).cpu().eval(),
            name=self.out.stem,
            base=self.model,
            channels=self.recipe.channels,
            classes=self.data.labelled.classes,
            window=self.recipe.window,
            **pooling,
        )

    def figures(self) -> dict[str, Any]:
        """What is known of the run: for the report, and partly for the head's card."""
        data, total = self.data, self.folder.over
        return {
            **self.trust,
            "pictures": self.folder.facts["pictures"],
            "classes": {"train": data.count(data.rows), "judged on": data.count(data.held)},
            "tokens kept": self.kept,
            "minutes": round(total.seconds / 60, 2),
            "cpu_minutes": round(total.cpu_seconds / 60, 2),
            "steps": total.step,
            "skipped": total.skipped,
            "recipe": self.folder.facts["recipe"],
            "device": f"{platform.machine()} {self.feed.device}, {torch.get_num_threads()} threads",
            "torch": torch.__version__,
            "warnings": list(data.labelled.warnings),
        }


def _check_start(start: object, resume: object, recipe: HeadRecipe) -> None:
    if start is None:
        return
    head_path(str(start))
    if resume is not None:
        raise OptionError("--resume goes on with a network of its own. Leave --start out.")
    if not recipe.classifier.takes_start:
        raise OptionError("a transformer, or a head with selectors, starts from nothing. Leave out --start.")


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
