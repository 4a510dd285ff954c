"""Entropy models in float, as published codecs train them. For counting and comparison: never packed.

A stream of Bifocal never depends on these (see ``learn/nets/entropy/exact.py`` for what it depends on): a
float scale that differs by one rounding between two machines picks another table and loses the rest of the
stream.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SCALE_FLOOR = 0.11
LIKELIHOOD_FLOOR = 1e-9


def gaussian_bits(residual: Tensor, scale: Tensor) -> Tensor:
    """Bits of ``residual`` in bins of width 1 under zero-mean Gaussians of deviation ``scale``, elementwise.

    Deviations below 0.11 count as 0.11 and likelihoods below 1e-9 as that (Ballé et al., arXiv 1802.01436).
    """
    distance = residual.abs()
    inverse = -(0.5**0.5) / scale.clamp_min(SCALE_FLOOR)
    p = 0.5 * (torch.erfc((0.5 - distance) * inverse) - torch.erfc((-0.5 - distance) * inverse))
    return -torch.log2(p.clamp_min(LIKELIHOOD_FLOOR))


class FactorisedDensity(nn.Module):
    """A learned density a channel, from a cumulative that a small monotone network gives.

    Ballé et al. (arXiv 1802.01436, appendix 6.1) with filters 3, 3, 3. ``medians`` are learned beside it, by
    :meth:`median_error` alone: symbols are rounded around them.
    """

    def __init__(self, channels: int, *, filters: tuple[int, ...] = (3, 3, 3), spread: float = 10.0) -> None:
        super().__init__()
        sizes = (1, *filters, 1)
        scale = spread ** (1 / (len(filters) + 1))
        self.matrices, self.biases, self.factors = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        for i, (n, m) in enumerate(zip(sizes, sizes[1:], strict=False)):
            start = math.log(math.expm1(1 / scale / m))
            self.matrices.append(torch.full((channels, m, n), start))
            self.biases.append(torch.rand(channels, m, 1) - 0.5)
            if i < len(filters):
                self.factors.append(torch.zeros(channels, m, 1))
        self.medians = nn.Parameter(torch.zeros(channels))

    def _logits(self, x: Tensor, *, fixed: bool = False) -> Tensor:
        """Logits of the cumulative at ``x [channels, 1, n]``."""
        for i, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            weights = [F.softplus(matrix), bias] + ([self.factors[i].tanh()] if i < len(self.factors) else [])
            weight, shift, *factor = (w.detach() if fixed else w for w in weights)
            x = weight @ x + shift
            if factor:
                x = x + factor[0] * x.tanh()
        return x

    def round(self, z: Tensor, *, noise: bool) -> Tensor:
        """``z [b, c, h, w]`` rounded around the medians, or with uniform noise instead, for training."""
        if noise:
            return z + torch.rand_like(z) - 0.5
        medians = self.medians.detach()[:, None, None]
        return torch.round(z - medians) + medians

    def bits(self, z: Tensor) -> Tensor:
        """Bits of every symbol of ``z [b, c, h, w]``."""
        flat = z.transpose(0, 1).flatten(1)[:, None]
        lower, upper = self._logits(flat - 0.5), self._logits(flat + 0.5)
        sign = -torch.sign(
            lower + upper
        ).detach()  # on the far side of zero the difference keeps its precision
        p = (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs().clamp_min(LIKELIHOOD_FLOOR)
        return -torch.log2(p).reshape(z.transpose(0, 1).shape).transpose(0, 1)

    def median_error(self) -> Tensor:
        """How far the medians are from where the cumulative is a half: a loss that moves only them."""
        return self._logits(self.medians[:, None, None], fixed=True).abs().sum()
