"""Task: a transformer with token selectors, or any classifier beside it, on batches that are given.

Muon on the matrices of blocks, AdamW on the rest, a cosine from the full rate to zero after a short warm-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

from bifocal.learn.nets.parameters import MATRICES
from bifocal.learn.training.average import Average
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.fit import Job, Loss, fit
from bifocal.learn.training.optimisers import Rates
from bifocal.learn.training.pruning.objective import Batch, Objective
from bifocal.learn.training.schedule import Every, Progress, Schedule

DECAY = 0.05
#: Gets the step, the mean loss since the last report, and the average.
Report = Callable[[int, float, nn.Module], None]


def prune_job(
    model: nn.Module,
    batches: Iterator[Batch],
    objective: Objective,
    *,
    steps: int,
    lr: float,
    average: float = 0.998,
    report: Report | None = None,
    every: int = 200,
) -> Job[Batch]:
    """A training of ``steps`` batches; ``report`` is called every so many steps and at the end."""
    mean = Average.of(model.train(), average)

    def loss(batch: Batch, done: float) -> Loss:
        value = objective(model, batch, done)
        return Loss(value, value.detach()[None])

    def validate(now: Progress) -> Mapping[str, Any]:
        if report is not None:
            report(now.step, now.figures["loss"], mean.model)
        return {}

    return Job(
        model,
        batches,
        loss,
        Rates(lr, DECAY, (MATRICES,), 2 * lr, DECAY),
        Schedule(max(1, min(30, steps // 5)), cosine=True),
        average=mean,
        clip=5.0,
        validate=validate,
        validate_every=Every(steps=every),
        log_every=Every(),
    )


def train_pruned(
    model: nn.Module, batches: Iterator[Batch], objective: Objective, *, steps: int, **options: Any
) -> nn.Module:
    """Train for ``steps`` batches and return the moving average of the model, in evaluation mode.

    The options are those of :func:`prune_job`.
    """
    job = prune_job(model, batches, objective, steps=steps, **options)
    fit(job, Budget(steps=steps))
    assert job.average is not None
    return job.average.model
