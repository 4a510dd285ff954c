"""Token selectors for a head that is trained already: HeatViT (arXiv 2211.08110) in a user's own head.

One selector before each block from the second on, all at once; what the search of the paper would add is in
``learn/training/tasks/prune.py``, as are the losses. At the end the wanted shares are met by shifting biases.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from bifocal.learn.nets.heads.heatvit import HeatConfig, HeatViT
from bifocal.learn.nets.heads.vit import VisionTransformer
from bifocal.learn.training.head_loop import HeadRun
from bifocal.learn.training.optimiser import Muon
from bifocal.learn.training.tasks.prune import (
    SELECTOR_RATE,
    Batch,
    calibrate,
    modelled_latency,
    pruning_objective,
)

#: Of a run with selectors, the share of its time that the transformer has before they are put in.
DENSE_SHARE = 0.7
#: Learning rates of that second part, as a share of the first one's.
RATE = 0.2
#: Pictures that shares of tokens are counted on.
COUNTED = 400


def with_selectors(run: HeadRun) -> HeadRun:
    """A run that goes on from the average of ``run`` with a selector for each share in ``recipe.keep``."""
    recipe, trunk = run.recipe, copy.deepcopy(run.average).requires_grad_(True)
    assert isinstance(trunk, VisionTransformer)
    before = tuple(range(1, 1 + len(recipe.keep)))
    model = HeatViT(trunk, HeatConfig(before=before, package=True)).train()
    c = trunk.config
    table = modelled_latency(c.dim, int(c.dim * c.mlp_ratio), c.heads, range(1, c.grid**2 + 3, 4))
    loss = pruning_objective(recipe.keep, table)

    def objective(model: nn.Module, y: Tensor, target: Tensor, done: float) -> Tensor:
        return loss(model, Batch(y, y.new_zeros(0), target), done)

    judges, matrices, rest = list[nn.Parameter](), list[nn.Parameter](), list[nn.Parameter]()
    for name, p in model.named_parameters():
        matrix = p.ndim in (2, 4) and "head." not in name
        (judges if "selectors." in name else matrices if matrix else rest).append(p)
    lr = RATE * recipe.lr
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [{"params": rest, "lr": lr}, {"params": judges, "lr": SELECTOR_RATE * lr}],
            lr,
            betas=(0.9, 0.99),
            weight_decay=0.0,
        ),
        Muon(matrices, RATE * recipe.matrix_lr, weight_decay=recipe.decay),
    ]
    average = copy.deepcopy(model).requires_grad_(False).eval()
    made = HeadRun(recipe, model, average, optimisers, run.feed, run.judged, run.say, objective)
    made.curve, made.step = run.curve, run.step
    return made


@torch.no_grad()
def settle(run: HeadRun) -> tuple[float, ...]:
    """Bring the average of a run with selectors to the shares that were asked for; what it keeps then.

    Counted on plain training pictures, coded at random qualities.
    """
    model, feed = run.average, run.feed
    assert isinstance(model, HeatViT)
    rng = np.random.default_rng(run.recipe.seed)
    rows = np.sort(rng.permutation(feed.rows)[:COUNTED])
    y = feed.code(feed.views.take(rows, rng, 1.0).to(feed.device), rng)
    calibrate(model, y, None, run.recipe.keep, rounds=8)
    return tuple(float(kept.mean()) for kept in model.run(y, None, masked=False).keep)
