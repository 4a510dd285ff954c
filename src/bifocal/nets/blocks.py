"""Convolution blocks of the float halves: cheap, one resolution, channels-last friendly.

Only ReLU and 3×3 or 1×1 convolutions: what every CPU engine runs fast. Working at one low resolution follows
the DCVC-RT family (sheet 7.1); the residual block is He et al. (arXiv 1603.05027), without normalisation.
"""

from __future__ import annotations

from torch import Tensor, nn


def conv3(inputs: int, outputs: int, *, stride: int = 1, gain: float = 1.0) -> nn.Conv2d:
    """A 3×3 convolution with zero padding; ``gain`` scales its initial weights."""
    layer = nn.Conv2d(inputs, outputs, 3, stride, 1)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    layer.weight.data *= gain
    return layer


class ResidualBlock(nn.Module):
    """``x + conv3(relu(conv3(relu(x))))``, shapes ``[b, c, h, w]`` in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv3(channels, channels)
        self.second = conv3(channels, channels, gain=0.2)  # close to the identity at the start

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x.relu()).relu())
