"""Task: a head that classifies, on cached latents of labelled pictures, the codec frozen.

A quality is drawn for each picture of a batch, so one head serves all qualities. Muon for kernels and
matrices, AdamW for the rest, a cosine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bifocal.learn.nets.parameters import KERNELS, MATRICES
from bifocal.learn.training.average import Average
from bifocal.learn.training.classify.batches import Feed
from bifocal.learn.training.classify.judging import Watched, accuracy
from bifocal.learn.training.classify.recipe import HeadRecipe
from bifocal.learn.training.classify.targets import loss_of_answers
from bifocal.learn.training.fit import Job, Loss, print_now
from bifocal.learn.training.optimisers import Rates
from bifocal.learn.training.precision import fastest
from bifocal.learn.training.run_folder import RunFolder
from bifocal.learn.training.schedule import Every, Progress, Schedule

#: The curve has about so many points.
VALIDATIONS = 12
#: (network, inputs, rows of probabilities, share of the training done) -> loss
Objective = Callable[[nn.Module, Tensor, Tensor, float], Tensor]


def classify_job(
    recipe: HeadRecipe,
    network: nn.Module,
    feed: Feed,
    judged: Watched,
    *,
    objective: Objective = loss_of_answers,
    score: Callable[[nn.Module], float] | None = None,
    share: float = 1.0,
    average: Average | None = None,
    curve: list[dict[str, float]] | None = None,
    folder: RunFolder | None = None,
    seed: int | None = None,
    log: Callable[[str], None] = print_now,
) -> Job[tuple[Tensor, Tensor]]:
    """A network on the batches of ``feed``, judged now and then on latents of real streams.

    :param score: judges in another way than by the share of ``judged`` that is classified rightly.
    :param share: of the recipe's learning rates.
    :param average: the moving average so far; it starts at ``network`` by default.
    :param curve: gets a row for each judging: minutes, step, loss and accuracy.
    :param seed: of the batches; the recipe's by default.
    """
    network.to(feed.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean = average or Average.of(network, recipe.ema, updates=1)
    mean.model.to(feed.device)

    def loss(batch: tuple[Tensor, Tensor], done: float) -> Loss:
        value = objective(network, *batch, done)
        return Loss(value, value.detach()[None])

    def validate(now: Progress) -> Mapping[str, Any]:
        total = folder.total(now) if folder else now
        right = accuracy(mean.model, judged) if score is None else score(mean.model)
        minutes, loss = total.seconds / 60, now.figures["loss"]
        if curve is not None:
            curve.append({"minutes": minutes, "step": total.step, "loss": loss, "accuracy": right})
        found = f"{right:.1%} right" if score is None else f"mean cosine {right:.3f}"
        spent = f"{minutes:.1f} minutes ({total.cpu_seconds / 60:.1f} of processor time)"
        log(f"{spent}, step {total.step}: loss {loss:.3f}, {found}")
        return {}  # the curve has it

    return Job(
        network,
        feed.batches(recipe.seed if seed is None else seed),
        loss,
        Rates(share * recipe.lr, 0.0, (KERNELS, MATRICES), share * recipe.matrix_lr, recipe.decay),
        Schedule(recipe.warmup, cosine=True),
        average=mean,
        precision=fastest,
        clip=5.0,
        validate=validate,
        validate_every=Every(share=1 / VALIDATIONS),
        log_every=Every(),
        folder=folder,
        examples=recipe.batch,
        log=log,
    )
