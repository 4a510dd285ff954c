"""Convolution blocks of the float networks: cheap, one resolution, channels-last friendly.

Only ReLU, leaky or plain, and 3×3 or 1×1 convolutions: what every CPU engine runs fast. Working at one low
resolution follows the DCVC-RT family; the residual block is He et al. (arXiv 1603.05027), unnormalised, so
that its sum may drift until units with plain ReLUs never fire again: `learn/training/dormant.py` finds and
wakes them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """A context in which what is computed from ``x`` stays float32, whatever autocast says."""
    return torch.autocast(x.device.type, enabled=False)


def rectify(x: Tensor, slope: float) -> Tensor:
    """Leaky ReLU; the plain one if ``slope`` is 0."""
    return F.leaky_relu(x, slope) if slope else x.relu()


def conv3(inputs: int, outputs: int, *, stride: int = 1, gain: float = 1.0) -> nn.Conv2d:
    """A 3×3 convolution with zero padding; ``gain`` scales its initial weights."""
    layer = nn.Conv2d(inputs, outputs, 3, stride, 1)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    layer.weight.data *= gain
    return layer


class ResidualBlock(nn.Module):
    """``x + conv3(relu(conv3(relu(x))))``, shapes ``[b, c, h, w]``; ``slope`` is that of negative units."""

    def __init__(self, channels: int, *, slope: float = 0.0) -> None:
        super().__init__()
        self.slope = slope
        self.first = conv3(channels, channels)
        self.second = conv3(channels, channels, gain=0.2)  # close to the identity at the start

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(rectify(self.first(rectify(x, self.slope)), self.slope))
