"""Targets that are rows of probabilities: the loss against them, and pictures mixed two by two."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of ``logits [b, classes]`` against rows of probabilities."""
    return -(targets * F.log_softmax(logits.float(), 1)).sum(1).mean()


def mixed(y: Tensor, target: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mixup (arXiv 1710.09412) or CutMix (arXiv 1905.04899) with the same batch in another order."""
    other = torch.from_numpy(rng.permutation(len(y))).to(y.device)
    side = y.shape[2]
    if rng.random() < 0.5:
        share = float(rng.beta(0.4, 0.4))
        y = share * y + (1 - share) * y[other]
    else:
        edge = round(side * math.sqrt(1 - rng.uniform()))
        top, left = (int(n) for n in rng.integers(0, side - edge + 1, 2))
        part = slice(top, top + edge), slice(left, left + edge)
        y = y.clone()
        y[:, :, *part] = y[other][:, :, *part]
        share = 1 - edge**2 / side**2
    return y, share * target + (1 - share) * target[other]
