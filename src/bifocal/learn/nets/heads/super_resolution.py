"""The branch that learns to enlarge a picture while a detector is trained, and is then thrown away.

An encoder and decoder from two maps of the detector, a low and a high one (Zhang et al., arXiv 2209.13351),
and EDSR (Lim et al., arXiv 1707.02921) behind them. Its loss is
to make the detector keep detail.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from bifocal.learn.nets.heads.detector import DetectorConfig


class _Residual(nn.Module):
    """``x + conv3(relu(conv3(x)))``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = _conv(channels, channels), _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x).relu())
        return x + y


class SuperResolution(nn.Module):
    """The low tap ``[n, 2w, h, w]`` and the high one ``[n, 8w, h/4, w/4]`` to pixels ``[n, c, 8h, 8w]``:
    twice the resolution of what the detector saw."""

    def __init__(self, config: DetectorConfig, blocks: int = 16) -> None:
        super().__init__()
        low, high = config.taps
        width = config.width
        self.low, self.high = nn.Conv2d(low, low // 2, 1), nn.Conv2d(high, high // 2, 1)
        self.merge = nn.Sequential(
            *(_conv(low // 2 + high // 2, high // 2), nn.ReLU()),
            *(_conv(high // 2, low), nn.ReLU(), nn.Conv2d(low, width, 1)),
        )
        self.into = _conv(width, width)
        self.body = nn.Sequential(*[_Residual(width) for _ in range(blocks)], _conv(width, width))
        enlarge = [layer for _ in range(3) for layer in (_conv(width, 4 * width), nn.PixelShuffle(2))]
        self.enlarge = nn.Sequential(*enlarge, _conv(width, config.channels))

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        wide = interpolate(self.high(high).relu(), low.shape[-2:], mode="bilinear", align_corners=False)
        x = self.into(self.merge(torch.cat([self.low(low).relu(), wide], 1)))
        made: Tensor = self.enlarge(x + self.body(x))
        return made


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)
