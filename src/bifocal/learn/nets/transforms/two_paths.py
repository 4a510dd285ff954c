"""A linear lapped path and a deep path side by side, on one low resolution.

The linear one carries what a transform codec would; the deep one adds what that cannot say and starts near
zero (AuxT, ICLR 2025, has wavelet shortcuts beside its transforms).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bifocal.learn.nets.transforms.blocks import ResidualBlock, conv3, rectify


class TwoPaths(nn.Module):
    """``linear(x) + tail(blocks(stem(x·scale)))`` on ``[b, inputs, h, w]``, to ``[b, outputs, h, w]``.

    The linear path, 3×3, starts as the identity. ``scale`` ``[inputs]`` brings inputs of the deep path to
    order one; ``slope`` is that of its units below zero. With ``width`` 0 there is no deep path.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, blocks: int, scale: Tensor, *, slope: float = 0.0
    ) -> None:
        super().__init__()
        self.slope, self.deep = slope, width > 0
        self.linear = nn.Conv2d(inputs, outputs, 3, 1, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)  # type: ignore[arg-type]
        n = min(inputs, outputs)
        self.linear.weight.data[:n, :n, 1, 1] = torch.eye(n)
        self.register_buffer("scale", scale.reshape(1, -1, 1, 1))
        if self.deep:
            self.stem = conv3(inputs, width)
            self.blocks = nn.Sequential(*[ResidualBlock(width, slope=slope) for _ in range(blocks)])
            self.tail = conv3(width, outputs, gain=0.05)

    scale: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if not self.deep:
            return self.linear(x)
        return self.linear(x) + self.tail(rectify(self.blocks(self.stem(x * self.scale)), self.slope))
