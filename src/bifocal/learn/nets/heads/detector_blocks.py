"""Building blocks of one-stage detectors: convolutions with norm and SiLU, CSP blocks, pyramid pooling, and
two ways to fuse colour with infrared at pixel level.

CSP: Wang et al., arXiv 1911.11929. Spatial pyramid pooling: He et al., arXiv 1406.4729. Squeeze and
excitation: Hu et al., arXiv 1709.01507. Multimodal fusion: Zhang et al., arXiv 2209.13351.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm and SiLU, ``[n, inputs, h, w]`` to ``[n, outputs, h/s, w/s]``."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.silu(cast(Tensor, self.norm(self.conv(x))))


class Bottleneck(nn.Module):
    """1×1 and 3×3 at the same width, added to the input if ``shortcut``."""

    def __init__(self, channels: int, *, shortcut: bool) -> None:
        super().__init__()
        self.first, self.second = ConvNorm(channels, channels), ConvNorm(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x))
        return x + y if self.shortcut else y


class CrossStage(nn.Module):
    """A CSP block: bottlenecks on one half of the channels, the other half beside them, then 1×1."""

    def __init__(self, inputs: int, outputs: int, depth: int = 1, *, shortcut: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.into, self.beside = ConvNorm(inputs, half), ConvNorm(inputs, half)
        self.blocks = nn.Sequential(*[Bottleneck(half, shortcut=shortcut) for _ in range(depth)])
        self.join = ConvNorm(2 * half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        joined: Tensor = self.join(torch.cat([self.blocks(self.into(x)), self.beside(x)], 1))
        return joined


class PyramidPooling(nn.Module):
    """The largest values of 5×5, 9×9 and 13×13 neighbourhoods beside the map itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.into, self.join = ConvNorm(channels, channels // 2), ConvNorm(2 * channels, channels)
        self.pools = nn.ModuleList([nn.MaxPool2d(side, 1, side // 2) for side in (5, 9, 13)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x)
        joined: Tensor = self.join(torch.cat([x, *(pool(x) for pool in self.pools)], 1))
        return joined


class SqueezeExcite(nn.Module):
    """Channels ``[n, c, h, w]`` weighted by what their means say, through ``inner`` numbers."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, inner, 1, bias=False)
        self.up = nn.Conv2d(inner, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.up(self.down(x.mean((2, 3), keepdim=True)).relu())
        return x * weight.sigmoid()


class PixelFusion(nn.Module):
    """Colour and infrared ``[n, 4, h, w]`` fused at full resolution to ``[n, channels, h, w]``.

    Each is halved and multiplied by a map that a 1×1 convolution makes of it, added to itself and given a
    3×3 convolution, of whose outputs three quarters are colour's; squeeze and excitation weighs them all.
    No norm and no activation follow.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        colours = channels * 3 // 4
        self.colour_map, self.infrared_map = nn.Conv2d(3, 1, 1), nn.Conv2d(1, 1, 1)
        self.colour = nn.Conv2d(3, colours, 3, padding=1, bias=False)
        self.infrared = nn.Conv2d(1, channels - colours, 3, padding=1, bias=False)
        self.weigh = SqueezeExcite(channels, max(1, channels // 16))

    def forward(self, x: Tensor) -> Tensor:
        colour, infrared = x[:, :3], x[:, 3:]
        half_colour, half_infrared = 0.5 * colour, 0.5 * infrared
        one = self.colour(self.colour_map(half_colour) * half_colour + colour)
        two = self.infrared(self.infrared_map(half_infrared) * half_infrared + infrared)
        fused: Tensor = self.weigh(torch.cat([one, two], 1))
        return fused
