"""The logistic family that latents are coded with, as tables and as differentiable bits.

A table index ``t`` stands for a zero-mean logistic distribution of standard deviation ``SCALE_MIN·ratio^t``;
networks predict ``t`` itself, so that an integer network can do it (house plan, section 2). Bits are of
unit-width bins around the mean, with uniform noise in place of rounding in training (Ballé et al., arXiv
1611.01704). Gaussians are customary; the logistic, whose tails are heavier, takes about 1 % fewer bits on our
symbols at the same parameters (studies/entropy_tables), and it is cheaper.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TABLES = 64
SCALE_MIN = 0.11
SCALE_MAX = 128.0
LOG_RATIO = math.log(SCALE_MAX / SCALE_MIN) / (TABLES - 1)
#: Index of deviation 1: where untrained networks start.
UNIT_INDEX = -math.log(SCALE_MIN) / LOG_RATIO
#: Fraction bits of a predictor's rows: a mean counts in 1/16 step = 1/64 unit, an index is eight a unit.
MEAN_FRACTION, INDEX_FRACTION = 6, 3
#: Bits of the rarest symbol a 16-bit table holds; beyond it the escape takes over.
MAX_BITS = 24.0


def logistic_bits(residual: Tensor, index: Tensor) -> Tensor:
    """Bits of ``residual`` (steps) under table ``index`` (real-valued in training), elementwise.

    Both of any equal shape. Written on the far side of zero, where the difference keeps its precision.
    """
    deviation = SCALE_MIN * torch.exp(LOG_RATIO * index.clamp(0, TABLES - 1))
    distance, inverse = residual.abs(), (math.pi / math.sqrt(3.0)) / deviation
    p = torch.sigmoid((0.5 - distance) * inverse) - torch.sigmoid((-0.5 - distance) * inverse)
    return -torch.log2(p.clamp_min(2.0**-MAX_BITS))
