"""GELU, softmax and sigmoid as short polynomials with regularising factors: HeatViT's non-linear functions.

HeatViT (arXiv 2211.08110) takes the second-order polynomials of I-BERT (arXiv 2101.01321) for erf and exp,
and the piecewise linear PLAN (Amin et al., 1997) for the sigmoid, and multiplies two of them by factors
delta < 1, so that an error of quantisation shrinks on its way through: with delta1 = 0.5 the slope of the
GELU lies in [0.17, 0.83], where the exact one reaches 1.13. The tests check every bound named here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

ERF_A, ERF_B = -0.2888, -1.769
EXP_A, EXP_B, EXP_C = 0.3585, 1.353, 0.344


@dataclass(frozen=True)
class Polynomials:
    """The regularising factors: ``delta1`` of the GELU's erf, ``delta2`` of the attention's softmax."""

    delta1: float = 0.5
    delta2: float = 0.5


def poly_gelu(x: Tensor, delta: float = 0.5) -> Tensor:
    """``x/2·(1 + L(x/√2))`` with ``L(u) = delta·sgn(u)·(a·(min(|u|, −b) + b)² + 1)``; any shape.

    With ``delta`` 1 it is the GELU within 0.018; with 0.5 it is within 0.009 of ``GELU(x)/2 + x/4``, which a
    network has to be trained with.
    """
    u = x / math.sqrt(2.0)
    erf = u.sign() * (ERF_A * (u.abs().clamp(max=-ERF_B) + ERF_B).square() + 1)
    return x / 2 * (1 + delta * erf)


def poly_exp(t: Tensor) -> Tensor:
    """``exp(t)`` for ``t <= 0``, within 0.0021: one octave's parabola, shifted right."""
    octaves = torch.floor(t.detach() / -math.log(2.0))
    p = t + octaves * math.log(2.0)
    return (EXP_A * (p + EXP_B).square() + EXP_C) * torch.exp2(-octaves)


def plan_sigmoid(x: Tensor) -> Tensor:
    """The sigmoid in four straight pieces with power-of-two slopes, within 0.019."""
    m = x.abs()
    y = torch.where(m < 1, m / 4 + 1 / 2, m / 8 + 5 / 8)
    y = torch.where(m < 2.375, y, m / 32 + 27 / 32).clamp(max=1.0)
    return torch.where(x < 0, 1 - y, y)


def poly_softmax(x: Tensor, delta: float = 1.0) -> Tensor:
    """Softmax over the last axis with :func:`poly_exp`, times ``delta``."""
    e = poly_exp(x - x.detach().amax(-1, keepdim=True))
    return delta * e / e.sum(-1, keepdim=True)


class PolyGELU(nn.Module):
    """:func:`poly_gelu` as a layer, to stand where a ``nn.GELU`` stood."""

    def __init__(self, delta: float = 0.5) -> None:
        super().__init__()
        self.delta = delta

    def forward(self, x: Tensor) -> Tensor:
        return poly_gelu(x, self.delta)
