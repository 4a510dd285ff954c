"""Task: a supernet, a few of its subnets each step; and one subnet of it, fine-tuned.

With the sandwich rule (Yu and Huang, arXiv 1903.05134) a step trains the largest subnet by the labels, and
the smallest and a random one by what the largest says. Without it, one random subnet a step by the labels.
AdamW and a cosine.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bifocal.learn.search.space import Subnet
from bifocal.learn.search.supernet import Supernet
from bifocal.learn.training.fit import Job, Loss, print_now
from bifocal.learn.training.optimisers import Rates
from bifocal.learn.training.precision import float32
from bifocal.learn.training.run_folder import RunFolder
from bifocal.learn.training.schedule import Every, Progress, Schedule
from bifocal.learn.training.soft_labels import soft_cross_entropy

Batch = tuple[Tensor, Tensor]
#: A subnet -> what people should know of it, such as its accuracy.
Judge = Callable[[Subnet], float]


def supernet_job(
    net: Supernet,
    batches: Iterator[Batch],
    judge: Judge,
    *,
    sandwich: bool = True,
    lr: float = 2e-3,
    decay: float = 0.05,
    seed: int = 0,
    folder: RunFolder | None = None,
    log: Callable[[str], None] = print_now,
) -> Job[Batch]:
    """Train all subnets of ``net``; ``judge`` looks at the largest and the smallest now and then."""
    space, rng = net.space, np.random.default_rng(seed)

    def loss(batch: Batch, done: float) -> Loss:
        x, target = batch
        if not sandwich:
            value = soft_cross_entropy(net(x, space.sample(rng)), target)
            return Loss(value, value.detach()[None])
        said = net(x, space.largest)
        largest = soft_cross_entropy(said, target)
        taught = said.detach().softmax(1)
        value = largest
        for subnet in (space.smallest, space.sample(rng)):
            value = value + soft_cross_entropy(net(x, subnet), taught)
        return Loss(value / 3, largest.detach()[None])

    def look() -> Mapping[str, float]:
        return {"largest": judge(space.largest), "smallest": judge(space.smallest)}

    return _job(net, batches, loss, look, lr, decay, folder, log)


def subnet_job(
    net: Supernet,
    subnet: Subnet,
    batches: Iterator[Batch],
    judge: Judge,
    *,
    distil: bool = True,
    lr: float = 1e-3,
    decay: float = 0.05,
    log: Callable[[str], None] = print_now,
) -> Job[Batch]:
    """Fine-tune one subnet of ``net``: half by the labels, half by what the largest one said before."""
    teacher = copy.deepcopy(net).requires_grad_(False).eval() if distil else None

    def loss(batch: Batch, done: float) -> Loss:
        x, target = batch
        if teacher is not None:
            with torch.no_grad():
                target = (target + teacher(x, net.space.largest).softmax(1)) / 2
        value = soft_cross_entropy(net(x, subnet), target)
        return Loss(value, value.detach()[None])

    return _job(net, batches, loss, lambda: {"accuracy": judge(subnet)}, lr, decay, None, log)


def _job(
    net: Supernet,
    batches: Iterator[Batch],
    loss: Callable[[Batch, float], Loss],
    look: Callable[[], Mapping[str, float]],
    lr: float,
    decay: float,
    folder: RunFolder | None,
    log: Callable[[str], None],
) -> Job[Batch]:
    def validate(now: Progress) -> Mapping[str, Any]:
        found = look()
        shares = ", ".join(f"{name} {share:.1%}" for name, share in found.items())
        spent = f"{now.cpu_seconds:.0f} processor seconds"
        log(f"step {now.step}, {spent}: loss {now.figures['loss']:.3f}, {shares}")
        return dict(found)

    return Job(
        net.train(),
        batches,
        loss,
        Rates(lr, decay),
        Schedule(30, cosine=True),
        precision=float32,
        validate=validate,
        validate_every=Every(share=0.25),
        log_every=Every(),
        folder=folder,
        log=log,
    )
