"""Token selectors for a head that is trained already: HeatViT (arXiv 2211.08110) in a user's own head.

One selector before each block from the second on, all at once; what the search of the paper would add is in
``learn/training/pruning``, as are the losses. At the end the wanted shares are met by shifting biases.
"""

from __future__ import annotations

import copy
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from bifocal.learn.nets.heads.heatvit import HeatConfig, HeatViT
from bifocal.learn.nets.heads.vit import VisionTransformer
from bifocal.learn.training.classify.batches import Feed
from bifocal.learn.training.classify.recipe import HeadRecipe
from bifocal.learn.training.pruning.latency import modelled_latency
from bifocal.learn.training.pruning.objective import Batch, calibrate, pruning_objective

#: Of a run with selectors, the share of its budget that the transformer has before they are put in.
DENSE_SHARE = 0.7
#: Learning rates of that second part, as a share of the first one's.
RATE = 0.2
#: Pictures that shares of tokens are counted on.
COUNTED = 400


def with_selectors(network: nn.Module, keep: tuple[float, ...]) -> HeatViT:
    """A copy of a trained transformer with a selector for each share in ``keep``."""
    trunk = copy.deepcopy(network).requires_grad_(True)
    before = tuple(range(1, 1 + len(keep)))
    return HeatViT(trunk, HeatConfig(before=before, package=True)).train()


class SelectorObjective:
    """The loss of inputs against rows of probabilities, with the pull towards what shall be kept."""

    def __init__(self, model: HeatViT, keep: tuple[float, ...]) -> None:
        c = cast(VisionTransformer, model.backbone).config
        table = modelled_latency(c.dim, int(c.dim * c.mlp_ratio), c.heads, range(1, c.grid**2 + 3, 4))
        self._loss = pruning_objective(keep, table)

    def __call__(self, model: nn.Module, y: Tensor, target: Tensor, done: float) -> Tensor:
        return self._loss(model, Batch(y, y.new_zeros(0), target), done)


@torch.no_grad()
def meet_shares(model: HeatViT, feed: Feed, recipe: HeadRecipe) -> tuple[float, ...]:
    """Bring the selectors to the shares that were asked for; what they keep then.

    Counted on plain training pictures, coded at random qualities.
    """
    rng = np.random.default_rng(recipe.seed)
    rows = np.sort(rng.permutation(feed.rows)[:COUNTED])
    y = feed.plain(rows, rng)
    calibrate(model, y, None, recipe.keep, rounds=8)
    return tuple(float(kept.mean()) for kept in model.run(y, None, masked=False).keep)
