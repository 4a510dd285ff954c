"""The Gaussian family that latents are coded with, as tables and as differentiable bits.

A table index ``t`` stands for a zero-mean Gaussian of scale ``SCALE_MIN·ratio^t``; networks predict ``t``
itself, so that an integer network can do it (house plan, section 2). Bits are of unit-width bins around the
mean, with uniform noise in place of rounding in training (Ballé et al., arXiv 1611.01704).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TABLES = 64
SCALE_MIN = 0.11
SCALE_MAX = 128.0
LOG_RATIO = math.log(SCALE_MAX / SCALE_MIN) / (TABLES - 1)
#: Index of scale 1: where untrained networks start.
UNIT_INDEX = -math.log(SCALE_MIN) / LOG_RATIO
#: Bits of the rarest symbol a 16-bit table holds; beyond it the escape takes over.
MAX_BITS = 24.0


def table_scales() -> list[float]:
    """Scales of the tables, in quantiser steps: 64 of them, log-spaced from 0.11 to 128."""
    return [SCALE_MIN * math.exp(LOG_RATIO * t) for t in range(TABLES)]


def gaussian_bits(residual: Tensor, index: Tensor) -> Tensor:
    """Bits of ``residual`` (steps) under table ``index`` (real-valued in training), elementwise.

    Both of any equal shape. Written with erfc on the far side of zero, where it keeps its precision.
    """
    scale = SCALE_MIN * torch.exp(LOG_RATIO * index.clamp(0, TABLES - 1))
    distance, inverse = residual.abs(), (0.5**0.5) / scale
    p = 0.5 * (torch.erfc((distance - 0.5) * inverse) - torch.erfc((distance + 0.5) * inverse))
    return -torch.log2(p.clamp_min(2.0**-MAX_BITS))
