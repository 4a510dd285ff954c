"""The estimate driver: what the group loop does in training, differentiably.

The loop itself is :func:`bifocal.stream.plan.code_groups`, the same that encodes and decodes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from bifocal.learn.nets.entropy.exact import round_ste
from bifocal.learn.nets.entropy.prior import TABLES, logistic_bits
from bifocal.stream.plan import Group, Plan, group_mask

#: (k, features and context [b, c, h, w]) -> mean in steps and table index, each [b, group channels, h, w]
Predictor = Callable[[int, Tensor], tuple[Tensor, Tensor]]


@lru_cache(maxsize=64)
def _mask(group: Group, h: int, w: int) -> Tensor:
    return torch.from_numpy(group_mask(group, h, w).copy())


class Estimate:
    """Driver that rounds with straight-through gradients and remembers means and indices of all groups.

    ``y [b, c, h, w]`` is the latent in quantiser steps, ``features`` the hyper features. Certain symbols are
    forced to zero, as the coder does; in exact mode the context is put on its integer grid too.
    """

    def __init__(self, plan: Plan, predictor: Predictor, features: Tensor, y: Tensor, exact: bool) -> None:
        self.plan, self.predictor, self.features, self.y, self.exact = plan, predictor, features, y, exact
        self.means: list[Tensor] = []
        self.indices: list[Tensor] = []
        self.bands: list[int] = []

    def start(self) -> Tensor:
        return torch.zeros_like(self.y)

    def predict(self, k: int, group: Group, decoded: Tensor) -> tuple[Tensor, Tensor]:
        grid = 2.0 ** (self.plan.fraction - self.plan.context_shift)  # context units per step
        context = decoded
        if self.exact:
            context = round_ste(decoded, grid)
        context = context.clamp(-self.plan.context_max / grid, self.plan.context_max / grid)
        # a context unit counts as 2^-fraction: four steps are one real unit, like the features'
        return self.predictor(k, torch.cat([self.features, context * (grid * 2.0**-self.plan.fraction)], 1))

    def code(self, group: Group, mu: Tensor, index: Tensor, decoded: Tensor) -> Tensor:
        mask = _mask(group, *mu.shape[-2:]).to(mu.device)
        y = self.y[:, group.start : group.stop]
        q = round_ste(y - mu)
        q = torch.where(_table(index) < self.plan.skip, q * 0, q)
        here = torch.where(mask, mu + q, decoded[:, group.start : group.stop])
        self._remember(group, torch.where(mask, mu, 0 * mu), torch.where(mask, index, 0 * index))
        return torch.cat([decoded[:, : group.start], here, decoded[:, group.stop :]], 1)

    def _remember(self, group: Group, mu: Tensor, index: Tensor) -> None:
        if self.bands and self.bands[-1] == group.start:  # another step of the same channels
            self.means[-1] = self.means[-1] + mu
            self.indices[-1] = self.indices[-1] + index
        else:
            self.bands.append(group.start)
            self.means.append(mu)
            self.indices.append(index)

    def bits(self, decoded: Tensor, noise: bool) -> Tensor:
        """Bits of every symbol ``[b, c, h, w]``; with uniform noise for rounding in training."""
        mu, index = torch.cat(self.means, 1), torch.cat(self.indices, 1)
        if noise:
            return logistic_bits(self.y - mu + torch.rand_like(mu) - 0.5, index)
        table = _table(index)
        return torch.where(table < self.plan.skip, 0 * mu, logistic_bits(decoded - mu, table))


def _table(index: Tensor) -> Tensor:
    """The table that a real-valued index stands for; in exact mode it is one already."""
    return torch.floor(index + 0.5).clamp(0, TABLES - 1)
