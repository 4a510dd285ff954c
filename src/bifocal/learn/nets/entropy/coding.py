"""The estimate driver: what the group loop does in training, differentiably.

The loop itself is :func:`bifocal.stream.plan.code_groups`, the same that encodes and decodes.

Computing heads at every position, masking them, and copying a canvas of all channels for every group would
take half of a training step. So latents are kept here by *phase*: the four positions of a 2×2 block, ``p =
2·(row & 1) + (column & 1)``. At one phase a group codes the same channels everywhere, whatever its mask, so a
group is a dense array ``[4, n, m]`` (phase; 2×2 blocks of all pictures; its channels there), and so is what
its predictor sees and gives. Nothing is masked, no canvas is copied; products of 1×1 layers are batched over
phases, with the rows of their weights that each phase needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.errors import ModelError
from bifocal.learn.nets.entropy.exact import ExactConv, round_ste
from bifocal.learn.nets.entropy.prior import (
    INDEX_FRACTION,
    LOG_RATIO,
    MAX_BITS,
    MEAN_FRACTION,
    SCALE_MIN,
    TABLES,
)
from bifocal.stream.plan import Group, Plan, group_mask

#: Magnitudes that have reconstruction points of their own: 1, 2, and 3 or more.
MAGNITUDES = 3
#: So many symbols of no shift are counted beside those that were seen.
FEW_SYMBOLS = 100.0


@dataclass(frozen=True, eq=False)
class Phases:
    """Where the symbols of a plan's groups stand in latents ``[b, c, h, w]``, padded to even sides.

    ``channels[k]`` int64 ``[4, m]`` are the channels of group ``k`` at each phase; ``order`` the flat
    positions of all symbols, group after group, each ``[4, b·n, m]`` in C order, and ``inverse`` undoes it;
    ``inside`` bool ``[4, n]`` says which blocks' positions are not padding, None if all are.
    """

    shape: tuple[int, int, int, int]
    channels: tuple[Tensor, ...]
    order: Tensor
    inverse: Tensor
    inside: Tensor | None

    @property
    def blocks(self) -> tuple[int, int, int]:
        """Pictures, and rows and columns of 2×2 blocks."""
        b, _, h, w = self.shape
        return b, -(-h // 2), -(-w // 2)

    def split(self, x: Tensor) -> Tensor:
        """``[b, c, h, w]`` to ``[4, b·n, c]``."""
        b, rows, columns = self.blocks
        x = (
            F.pad(x, (0, 2 * columns - x.shape[3], 0, 2 * rows - x.shape[2]))
            if self.inside is not None
            else x
        )
        x = x.reshape(b, -1, rows, 2, columns, 2).permute(3, 5, 0, 2, 4, 1)
        return x.reshape(4, b * rows * columns, -1)

    def join(self, x: Tensor) -> Tensor:
        """``[4, b·n, c]`` to ``[b, c, h, w]``, channels last in memory."""
        b, rows, columns = self.blocks
        x = x.reshape(2, 2, b, rows, columns, -1).permute(2, 3, 0, 4, 1, 5)
        x = x.reshape(b, 2 * rows, 2 * columns, -1).permute(0, 3, 1, 2)
        return x[:, :, : self.shape[2], : self.shape[3]]


@lru_cache(maxsize=16)
def phases(plan: Plan, b: int, h: int, w: int) -> Phases:
    """The phases of ``plan`` for ``b`` latents of ``h × w`` positions.

    :raises ModelError: if a group that is coded in steps does not have equally many channels at every phase.
    """
    channels = [_phase_channels(group) for group in plan.groups]
    rows, columns = -(-h // 2), -(-w // 2)
    flat = np.arange(b * plan.y_channels * 4 * rows * columns)
    split = flat.reshape(b, -1, rows, 2, columns, 2).transpose(3, 5, 0, 2, 4, 1)
    split = split.reshape(4, b * rows * columns, plan.y_channels)
    parts = [np.stack([split[p][:, part[p]] for p in range(4)]).reshape(-1) for part in channels]
    order = np.concatenate(parts)
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    inside = None
    if h % 2 or w % 2:
        grid = np.zeros((rows, 2, columns, 2), bool)
        grid.reshape(2 * rows, 2 * columns)[:h, :w] = True
        inside = torch.from_numpy(grid.transpose(1, 3, 0, 2).reshape(4, -1).copy())
    return Phases(
        (b, plan.y_channels, h, w),
        tuple(torch.from_numpy(part) for part in channels),
        torch.from_numpy(order),
        torch.from_numpy(inverse),
        inside,
    )


def _phase_channels(group: Group) -> NDArray[np.int64]:
    mask = group_mask(group, 2, 2).reshape(group.channels, 4)
    found = [np.flatnonzero(mask[:, p]) + group.start for p in range(4)]
    if len({len(part) for part in found}) > 1:
        raise ModelError(
            f"{group} is coded in {group.steps} steps but has {group.channels} channels. Give it a multiple "
            f"of {group.steps} channels."
        )
    return np.stack(found)


class _Permute(torch.autograd.Function):
    """Flat values in another order; the gradient in the first one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        ctx.shape = x.shape
        return x.reshape(-1)[order]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (inverse,) = ctx.saved_tensors
        return gradients[0][inverse].reshape(ctx.shape), None, None


class _Decode(torch.autograd.Function):
    """``offset + mu``, for an offset that stands for y - mu; straight through to y, where certain to mu."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, mu: Tensor, offset: Tensor, certain: Tensor) -> Tensor:
        ctx.save_for_backward(certain)
        return offset + mu

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (certain,) = ctx.saved_tensors
        (gradient,) = gradients
        return gradient.masked_fill(certain, 0), gradient * certain, None, None


class _Bits(torch.autograd.Function):
    """:func:`~bifocal.learn.nets.entropy.prior.logistic_bits`, its gradient computed on the way forward."""

    @staticmethod
    def forward(ctx: Any, residual: Tensor, index: Tensor) -> Tensor:
        inverse = torch.exp(index.clamp(0, TABLES - 1) * -LOG_RATIO).mul_(
            math.pi / math.sqrt(3.0) / SCALE_MIN
        )
        distance = residual.abs()
        near, far = 0.5 - distance, -0.5 - distance
        above, below = torch.sigmoid(near * inverse), torch.sigmoid(far * inverse)
        p = above - below
        rare = p < 2.0**-MAX_BITS
        p.clamp_min_(2.0**-MAX_BITS)
        slope = (-1 / math.log(2.0)) / p
        slope.masked_fill_(rare, 0)
        above.mul_(1 - above)  # the derivatives of the two sigmoids
        below.mul_(1 - below)
        by_residual = (below - above).mul_(inverse).mul_(slope).mul_(residual.sign())
        by_index = near.mul_(above).sub_(far.mul_(below)).mul_(slope).mul_(inverse).mul_(-LOG_RATIO)
        by_index.masked_fill_((index < 0) | (index > TABLES - 1), 0)
        ctx.save_for_backward(by_residual, by_index)
        return torch.log2(p).neg_()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        by_residual, by_index = ctx.saved_tensors
        return gradients[0] * by_residual, gradients[0] * by_index


class Reconstruction(nn.Module):
    """Where in its interval a symbol is decoded to, by table and magnitude: at the mean of what rounds to it.

    Densities fall away from the mean, so that values which round to 1 are below 1 on average. ``shift`` is
    how much, in steps, for magnitudes 1, 2 and 3 or more: measured during training, not learned.
    """

    #: No shift is larger, in steps: rounding a decoded latent again must give its symbol.
    LARGEST = 7 / 16
    #: What older symbols still count after a step.
    MEMORY = 0.99

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(TABLES, MAGNITUDES))
        self.register_buffer("count", torch.zeros(TABLES, MAGNITUDES))

    total: Tensor
    count: Tensor

    @property
    def shift(self) -> Tensor:
        """``[tables, magnitudes]`` in steps."""
        return (self.total / (self.count + FEW_SYMBOLS)).clamp(-self.LARGEST, self.LARGEST)

    def points(self, q: Tensor, table: Tensor, grid: float | None = None) -> Tensor:
        """Symbols ``q`` moved to their points; with a ``grid`` (units a step) as the integers will."""
        shift = self.shift if grid is None else torch.floor(self.shift * grid + 0.5) / grid
        by_magnitude = F.pad(shift, (1, 0)).reshape(-1)  # zero stays
        entry = table * (MAGNITUDES + 1) + q.abs().clamp(max=MAGNITUDES)
        return q - q.sign() * by_magnitude[entry.long()]

    @torch.no_grad()
    def measure(self, residual: Tensor, q: Tensor, table: Tensor) -> None:
        """Take in residuals that were rounded to ``q``."""
        some = q.nonzero(as_tuple=True)
        q, residual, table = q[some], residual[some], table[some]
        entry = (table * MAGNITUDES + q.abs().clamp(max=MAGNITUDES) - 1).long()
        self.total.view(-1).index_add_(0, entry, q.abs() - residual * q.sign())
        self.count.view(-1).index_add_(0, entry, torch.ones_like(q))

    def forget(self) -> None:
        """Let what was measured so far count less."""
        self.total.mul_(self.MEMORY)
        self.count.mul_(self.MEMORY)


class Estimate:
    """Driver that rounds with straight-through gradients and remembers means and indices of all groups.

    ``predictors`` are the exact layers of each group (1×1, 3×3, 1×1), ``features`` the hyper features, ``y``
    ``[b, c, h, w]`` the latent in quantiser steps, ``anchors`` the interpolation weights of the qualities.
    Certain symbols are forced to zero, as the coder does; in exact mode the context is put on its grid.
    With a ``reconstruction`` symbols are decoded to its points; they are measured where gradients are wanted.
    What passes through the loop is the list of groups decoded so far, each ``[4, b·n, m]``.
    """

    def __init__(
        self,
        plan: Plan,
        predictors: Sequence[Sequence[ExactConv]],
        features: Tensor,
        y: Tensor,
        anchors: Tensor,
        exact: bool,
        reconstruction: Reconstruction | None = None,
    ) -> None:
        self.plan, self.predictors, self.anchors, self.exact = plan, predictors, anchors, exact
        self.reconstruction = reconstruction
        b, _, h, w = y.shape
        self.phases = phases(plan, b, h, w)
        self.features = self.phases.split(features)
        self.device = y.device
        self.order, self.inverse = self.phases.order.to(y.device), self.phases.inverse.to(y.device)
        self.channels = [part.to(y.device) for part in self.phases.channels]
        flat = _Permute.apply(self._padded(y), self.order, self.inverse)
        sizes = [part.shape[1] * self.features.shape[1] * 4 for part in self.channels]
        self.y = [
            part.reshape(4, -1, channels.shape[1])
            for part, channels in zip(flat.split(sizes), self.channels, strict=True)
        ]
        self.contexts: list[Tensor] = []
        self.predicted: list[tuple[Tensor, Tensor]] = []
        self.symbols: list[Tensor] = []
        self.measuring = reconstruction is not None and reconstruction.training and torch.is_grad_enabled()
        if reconstruction is not None and self.measuring:
            reconstruction.forget()

    def start(self) -> list[Tensor]:
        return []

    def predict(self, k: int, group: Group, decoded: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Mean in steps and table index of the group's symbols, each ``[4, b·n, m]``."""
        first, second, head = self.predictors[k]
        features = torch.arange(self.features.shape[2], device=self.device).expand(4, -1)
        seen = [features, *(part + features.shape[1] for part in self.channels[:k])]
        kind = self.features.dtype
        x = torch.cat([self.features, *(context.to(kind) for context in self.contexts)], 2)
        x = self._rows(first, x, inputs=torch.cat(seen, 1))
        x = self.phases.split(second(self.phases.join(x), self.anchors, self.exact))
        own = self.channels[k] - group.start
        x = self._rows(head, x, outputs=torch.cat([own, own + group.channels], 1)).float()
        mu, index = x.chunk(2, 2)
        index = (index * 2.0**INDEX_FRACTION).clamp(0, TABLES - 1)
        return mu * 2.0 ** (MEAN_FRACTION - self.plan.fraction), index

    def code(self, group: Group, mu: Tensor, index: Tensor, decoded: list[Tensor]) -> list[Tensor]:
        k = len(decoded)
        with torch.no_grad():
            table = _table(index)
            certain = table < self.plan.skip
            residual = self.y[k] - mu
            q = offset = torch.floor(residual + 0.5).masked_fill_(certain, 0)
            if self.reconstruction is not None:
                offset = self.reconstruction.points(q, table, 2.0**self.plan.fraction if self.exact else None)
                if self.measuring:
                    some = slice(0, q.shape[1], 4)  # a quarter of the blocks is enough
                    self.reconstruction.measure(residual[:, some], q[:, some], table[:, some])
        here = _Decode.apply(self.y[k], mu, offset, certain)
        self.symbols.append(q)
        self.predicted.append((mu, index))
        self.contexts.append(self._context(here))
        return [*decoded, here]

    def whole(self, parts: list[Tensor]) -> Tensor:
        """Values of the groups so far, each ``[4, b·n, m]``, as ``[b, c, h, w]``; zero where none is yet."""
        flat = torch.cat([part.reshape(-1) for part in parts])
        flat = F.pad(flat, (0, len(self.order) - len(flat)))
        b, rows, columns = self.phases.blocks
        _, c, h, w = self.phases.shape
        values: Tensor = _Permute.apply(flat, self.inverse, self.order)
        return values.reshape(b, c, 2 * rows, 2 * columns)[:, :, :h, :w]

    def bits(self, noise: bool) -> Tensor:
        """Bits of the symbols of every channel, ``[b, c]``; with uniform noise for rounding in training."""
        b, c, _, _ = self.phases.shape
        total = torch.zeros(c, b, device=self.device)
        for channels, bits in zip(self.channels, self._bits(noise), strict=False):
            bits = bits.reshape(4, b, -1, bits.shape[2])
            if self.phases.inside is not None:
                bits = bits * self.phases.inside.to(bits)[:, None, :, None]
            total = total.index_add(0, channels.reshape(-1), bits.sum(2).mT.reshape(-1, b))
        return total.T

    def bit_maps(self) -> Tensor:
        """Bits of every symbol, ``[b, c, h, w]``."""
        return self.whole(self._bits(False))

    def _bits(self, noise: bool) -> list[Tensor]:
        found = []
        for y, q, (mu, index) in zip(self.y, self.symbols, self.predicted, strict=False):
            if noise:
                found.append(_Bits.apply(y - mu + torch.rand_like(mu) - 0.5, index))
                continue
            table = _table(index)
            straight = q + (y - mu - (y - mu).detach())
            found.append(_Bits.apply(straight, table).masked_fill(table < self.plan.skip, 0))
        return found

    def _padded(self, y: Tensor) -> Tensor:
        b, c, h, w = y.shape
        return F.pad(y, (0, w % 2, 0, h % 2)) if self.phases.inside is not None else y

    def _rows(
        self, layer: ExactConv, x: Tensor, *, inputs: Tensor | None = None, outputs: Tensor | None = None
    ) -> Tensor:
        """A 1×1 layer on ``x [4, b·n, i]``, at each phase with some of its inputs or outputs ``[4, …]``."""
        kernel, bias = layer.numbers(self.anchors, self.exact)  # [o, i, 1, 1], [b or 1, o]
        matrix = kernel[:, :, 0, 0]
        if inputs is not None:
            weight = F.embedding(inputs, matrix.T)  # [4, i, o]
        elif outputs is not None:
            weight = F.embedding(outputs, matrix).mT
        if outputs is not None:
            bias = bias[:, outputs].transpose(0, 1)  # [4, b or 1, o]
        y = torch.bmm(x, weight)
        shape = y.shape
        y = y.reshape(4, self.phases.shape[0], -1, shape[2]) + bias.to(y.dtype).reshape(
            -1, bias.shape[-2], 1, shape[2]
        )
        fractions = layer.row_fraction if outputs is None else layer.row_fraction[outputs][:, None, None]
        return layer.finish(y, fractions, self.exact).reshape(shape)

    def _context(self, decoded: Tensor) -> Tensor:
        """What predictors see of decoded values: in units of a context step, saturated."""
        grid = 2.0 ** (self.plan.fraction - self.plan.context_shift)  # context units per step
        context = round_ste(decoded, grid) if self.exact else decoded
        context = context.clamp(-self.plan.context_max / grid, self.plan.context_max / grid)
        # a context unit counts as 2^-fraction: four steps are one real unit, like the features'
        return context * (grid * 2.0**-self.plan.fraction)


def _table(index: Tensor) -> Tensor:
    """The table that a real-valued index stands for; in exact mode it is one already."""
    return torch.floor(index + 0.5).clamp(0, TABLES - 1)
