"""The training loop, the only one. A task says what is trained, on what, by which loss; this does the rest.

Clock and budget, learning rate, accumulation, clipping, steps left out where a gradient is not finite, the
moving average, the curve, validation, checkpoints every two minutes, going on from one. The tasks are in
``learn/training/tasks``; docs/training.md says how to add one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from bifocal.errors import TrainingError
from bifocal.learn.checkpoint import Weights
from bifocal.learn.nets.parameters import ParameterGroup, parameter_groups
from bifocal.learn.training.average import Average
from bifocal.learn.training.budget import Budget, Clock
from bifocal.learn.training.optimisers import Rates, make_optimisers, optimiser_state, restore_state
from bifocal.learn.training.precision import Precision, bfloat16
from bifocal.learn.training.run_folder import RunFolder
from bifocal.learn.training.schedule import Every, Progress, Schedule

B = TypeVar("B")
#: How often a row is added to the curve, and a checkpoint written.
LOG, SAVE = Every(seconds=15), Every(seconds=120)
#: A training ends when so many steps in a row had gradients that are not finite.
MOST_SKIPPED = 100


def print_now(line: str) -> None:
    """Print a line without waiting: runs are watched through pipes and files."""
    print(line, flush=True)


class Loss(NamedTuple):
    """What a step minimises, a scalar; and what is logged of it, ``[figures]``, without gradient.

    The figures stay on the device, so that a GPU is not made to wait at every step.
    """

    value: Tensor
    figures: Tensor


@dataclass
class Job(Generic[B]):
    """A training, as a task describes it.

    :param model: what is trained; its device is the device of the run.
    :param batches: endless; what they are is between the task and its loss.
    :param loss: of a batch, and of how much of the training is over, 0..1.
    :param figures: the names of what ``loss`` logs.
    :param beside: what is trained with the model and thrown away, such as projections.
    :param average: what is validated and packed in place of the model, if a moving average is kept.
    :param accumulate: gradients of so many batches make one step.
    :param validate: looks at the model or its average; what it returns, if anything, joins the folder's
        validations.
    :param folder: where checkpoint, curve and record are written; nothing is if there is none.
    :param state: that of the optimiser in the checkpoint that the run goes on from, None for a fresh start.
    :param examples: pictures a step, for the record.
    :param phase: its name in the curve, if a run has several.
    :param finish: done once at the end, after the last checkpoint, such as plots.
    """

    model: nn.Module
    batches: Iterator[B]
    loss: Callable[[B, float], Loss]
    rates: Rates
    schedule: Schedule
    figures: tuple[str, ...] = ("loss",)
    beside: nn.Module | None = None
    average: Average | None = None
    precision: Precision = bfloat16
    clip: float = 1.0
    accumulate: int = 1
    validate: Callable[[Progress], Mapping[str, Any]] | None = None
    validate_every: Every = Every()
    log_every: Every | None = None
    folder: RunFolder | None = None
    state: Weights | None = None
    examples: int = 1
    phase: str = ""
    finish: Callable[[], None] | None = None
    log: Callable[[str], None] = print_now

    @property
    def checkpoint(self) -> Path:
        """The file that the run leaves.

        :raises TrainingError: if it leaves none.
        """
        if self.folder is None:
            raise TrainingError("this training has no folder and leaves no checkpoint.")
        return self.folder.checkpoint


def fit(job: Job[B], budget: Budget) -> Progress:
    """Train until the budget is spent; returns how far it came.

    Ctrl-C ends the training as the budget does: validated and saved. A step whose gradient is not finite is
    left out.

    :raises TrainingError: if that happens :data:`MOST_SKIPPED` times in a row.
    :raises OutputError: if a checkpoint cannot be written.
    """
    run = _Run(job, budget)
    stopped = False
    try:
        while budget.spent(run.clock, run.step) < 1:
            run.make_step()
            run.report()
    except KeyboardInterrupt:
        stopped = True
        job.log("stopped early")
    return run.finish(stopped)


class _Run(Generic[B]):
    """A job on its way: optimisers, clock, and what was logged, validated and saved last."""

    def __init__(self, job: Job[B], budget: Budget) -> None:
        self.job, self.budget = job, budget
        first = next(job.model.parameters())
        self.device = first.device.type
        self.parameters = list(job.model.parameters())
        groups = list(parameter_groups(job.model))
        if job.beside is not None:
            self.parameters += job.beside.parameters()
            groups += [_renamed(group, "beside") for group in parameter_groups(job.beside)]
        self.optimisers = make_optimisers(groups, job.rates)
        self.full_rates = [[group["lr"] for group in o.param_groups] for o in self.optimisers]
        if job.state is not None:
            self._go_on(job.state)
        self.step = self.skipped = self.skipped_in_a_row = 0
        self.unlogged, self.unseen = _Mean(job.figures), _Mean(job.figures)
        self.logged = self.validated = self.saved = Progress()
        self.figures: Mapping[str, float] = {}  # those logged last
        self.clock = Clock()

    def _go_on(self, state: Weights) -> None:
        if restore_state(self.optimisers, state):
            self.job.log("the optimiser goes on from its state in the checkpoint")
        elif state:
            self.job.log("the checkpoint has only a part of the optimiser's state; the rest starts anew")
        else:
            self.job.log("the checkpoint has no state of the optimiser, which starts anew")

    def make_step(self) -> None:
        job, done = self.job, self.budget.done(self.clock, self.step)
        rate = job.schedule.rate(self.step, done)
        for optimiser, rates in zip(self.optimisers, self.full_rates, strict=True):
            for group, full in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = full * rate
            optimiser.zero_grad(set_to_none=True)
        for _ in range(job.accumulate):
            batch = next(job.batches)
            with job.precision(self.device):
                loss = job.loss(batch, done)
            (loss.value / job.accumulate).backward()
            self.unlogged.add(loss.figures)
            self.unseen.add(loss.figures)
        norm = nn.utils.clip_grad_norm_(self.parameters, job.clip)
        if bool(norm.isfinite()):
            for optimiser in self.optimisers:
                optimiser.step()
            self.skipped_in_a_row = 0
        else:
            self._skip()
        if job.average is not None:
            job.average.update(job.model)
        self.step += 1

    def _skip(self) -> None:
        self.skipped += 1
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row >= MOST_SKIPPED:
            raise TrainingError(
                f"{MOST_SKIPPED} steps in a row had gradients that are not finite, the last one at step "
                f"{self.step}. Start again, or from the last checkpoint, with a lower learning rate."
            )

    def now(self) -> Progress:
        done = self.budget.done(self.clock, self.step)
        return Progress(
            self.step, self.clock.seconds, self.clock.cpu_seconds, done, self.skipped, self.figures
        )

    def report(self) -> None:
        """Log, validate and save, each when it is due."""
        job, now = self.job, self.now()
        if (LOG if job.log_every is None else job.log_every).due(self.logged, now):
            self._log(now)
        if job.validate_every.due(self.validated, now):
            self._validate(now)
        if SAVE.due(self.saved, now):
            self._save(now)

    def finish(self, stopped: bool) -> Progress:
        now = replace(self.now(), stopped=stopped)
        if self.budget.steps and self.step < self.budget.steps and not stopped:
            self.job.log(
                f"the time was over after {self.step:,} of {self.budget.steps:,} steps: the learning rate "
                "has not come to its end. Give more minutes, or fewer steps."
            )
        if stopped:
            self._save(now)  # whoever stopped it may not wait for the validation
        if self.validated.step < self.step or not self.step:
            self._validate(now)
        self._save(now)
        if self.job.folder is not None:
            self.job.folder.over = self.job.folder.total(now)
        if self.job.finish is not None:
            self.job.finish()
        return now

    def _log(self, now: Progress) -> None:
        job = self.job
        self.figures, self.logged = self.unlogged.take(), now
        over = 0.0 if job.folder is None else job.folder.over.seconds
        row: dict[str, Any] = {"seconds": round(over + now.seconds, 1)}
        if job.phase:
            row["phase"] = job.phase
        row |= {
            "step": now.step,
            "rate": round(job.schedule.rate(now.step, now.done), 4),
            "crops_per_s": round(now.step * job.examples / max(now.seconds, 1e-9), 1),
        }
        row |= {name: round(value, 4) for name, value in self.figures.items()}
        if job.folder is not None:
            job.folder.log(row)
        job.log(" ".join(f"{name} {value}" for name, value in row.items()))

    def _validate(self, now: Progress) -> None:
        self.validated = now
        if self.job.validate is None:
            return
        with self.clock.paused():
            found = self.job.validate(replace(now, figures=self.unseen.take()))
            if found and self.job.folder is not None:
                self.job.folder.note(now, found)

    def _save(self, now: Progress) -> None:
        self.saved = now
        job = self.job
        if job.folder is None:
            return
        # without an average the weights are what is validated and packed
        parts = {"average": _weights(job.model if job.average is None else job.average.model)}
        if job.average is not None:
            parts["weights"] = _weights(job.model)
        parts["optimiser"] = optimiser_state(self.optimisers)
        job.folder.save(parts, now, device=self.device, examples=job.examples * job.accumulate)


class _Mean:
    """Running means of figures, on their device until they are asked for."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names, self.total, self.count = names, torch.zeros(len(names)), 0

    def add(self, figures: Tensor) -> None:
        self.total = self.total.to(figures.device) + figures.detach()
        self.count += 1

    def take(self) -> dict[str, float]:
        count = self.count or float("nan")  # no figures have no mean
        values = (self.total / count).tolist()
        self.total, self.count = torch.zeros(len(self.names)), 0
        return dict(zip(self.names, values, strict=True))


def _weights(model: nn.Module) -> Weights:
    return {name: value.detach().cpu() for name, value in model.state_dict().items()}


def _renamed(group: ParameterGroup, prefix: str) -> ParameterGroup:
    return replace(group, parameters={f"{prefix}.{name}": p for name, p in group.parameters.items()})
