"""Dual-branch codec: two latents at two resolutions, the finer one coded first and conditioning the other.

"Learned Image Compression with Dual-Branch Encoder and Conditional Information Coding" (arXiv 2401.11093, DCC
2024). There is no public code and we know the abstract only: two branches learn a high-resolution and a
low-resolution latent, the first is the condition for coding the second, and both are coded by a channel-wise
model without spatial context. Everything else here is our reconstruction: widths, strides, the common trunk,
plain residual blocks, one hyper-latent for both, the fusion in the decoder, integer entropy networks, and the
start as a wavelet transform (`nets/packets.py`).

    pixels ── trunk ─► [b,·,H/4,·] ─┬─ branch ↓↓  ─► y_H [b,high,H/16,·] ─ fold ─┐
                                    └─ branch ↓↓↓ ─► y_L [b,low,H/32,·] ─────────┴─► y [b,4·high+low,H/32,·]
    groups: slices of y_H, each given those before it; then slices of y_L, given all of y_H and those before
    ŷ_H ─ unfold ───────┬─ 1×1 ─► [b,·,H/16,·] ── ↑, blocks, ↑, blocks, ↑, blocks, ↑ ─► pixels
    ŷ_L ─ 1×1↑ to H/16 ─┘

Two resolutions need no format of their own: y_H is folded, four places to four times the channels, and so
pooling ŷ_H for its use in y_L is a 1×1 convolution. Inside a slice the four places stand one after another,
the diagonal pair first. A checkerboard context, which the paper compares with, is then a finer list of groups
(``steps`` = 2), and no symbol is predicted in vain as it is under masks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.nets.codec import PIXEL_UNIT, Codec
from bifocal.nets.packets import PIXELS, halve, start_block, start_down, start_same, start_up
from bifocal.nets.residual import Residual, Subpixel
from bifocal.stream.plan import Group, Plan

#: Places of a 2×2 square in coding order: the diagonal of the checkerboard, then the rest.
PHASES = [0, 3, 1, 2]


@dataclass(frozen=True)
class DualConfig:
    """Sizes. The defaults are the small codec; :data:`PAPER` is our reconstruction at a paper's size.

    Channels: ``stem`` at 1/2 of the picture's size, ``trunk`` at 1/4; then ``high_width`` at 1/8 in the one
    branch, ``low_width`` at 1/8 and ``low_deep`` at 1/16 in the other; ``fused`` in the decoder at 1/16;
    ``high`` and ``low`` of the latents (a ``low`` of 0 is a codec of one latent). Residual blocks:
    ``stem_blocks`` at 1/2, ``blocks`` in each branch at 1/4, ``deep_blocks`` at 1/16. ``conditioned``:
    whether y_L sees ŷ_H. ``steps``: passes over a slice of y_H, 1, 2 or 4.
    """

    stem: int = 16
    trunk: int = 40
    high_width: int = 36
    low_width: int = 32
    low_deep: int = 40
    fused: int = 40
    stem_blocks: int = 1
    blocks: int = 2
    deep_blocks: int = 0
    high: int = 64
    low: int = 96
    high_slices: int = 4
    low_slices: int = 2
    conditioned: bool = True
    steps: int = 1
    hyper: int = 32
    features: int = 40
    context: int = 52
    anchors: int = 12
    lambda_min: float = 0.0012
    lambda_max: float = 0.06

    @property
    def plan(self) -> Plan:
        part = 4 * self.high // self.high_slices // self.steps
        ends = [part * (i + 1) for i in range(self.high_slices * self.steps)]
        if self.low:
            ends += [4 * self.high + self.low // self.low_slices * (i + 1) for i in range(self.low_slices)]
        groups = tuple(Group(a, b, 1, 0) for a, b in zip([0, *ends], ends, strict=False))
        return Plan(ends[-1], self.hyper, groups, y_stride=32, z_stride=64, skip=5)


PAPER = DualConfig(
    stem=128,
    trunk=128,
    high_width=128,
    low_width=128,
    low_deep=128,
    fused=192,
    stem_blocks=2,
    blocks=3,
    deep_blocks=1,
    high=128,
    low=192,
    low_slices=4,
    hyper=192,
    features=192,
    context=224,
)


def fold(y: Tensor, slices: int) -> Tensor:
    """``[b, c, 2h, 2w]`` to ``[b, 4c, h, w]``: slice by slice, in each the four places of a square in turn.

    >>> fold(torch.arange(8.0).reshape(1, 2, 2, 2), 1).flatten().tolist()
    [0.0, 4.0, 3.0, 7.0, 1.0, 5.0, 2.0, 6.0]
    """
    b, c, h, w = y.shape
    x = F.pixel_unshuffle(y, 2).reshape(b, slices, c // slices, 4, h // 2, w // 2)
    return x[:, :, :, PHASES].transpose(2, 3).reshape(b, 4 * c, h // 2, w // 2)


def unfold(x: Tensor, slices: int) -> Tensor:
    """Inverse of :func:`fold`: ``[b, 4c, h, w]`` to ``[b, c, 2h, 2w]``."""
    b, c, h, w = x.shape
    y = x.reshape(b, slices, 4, c // slices // 4, h, w).transpose(2, 3)
    back = [PHASES.index(phase) for phase in range(4)]
    return F.pixel_shuffle(y[:, :, :, back].reshape(b, c, h, w), 2)


class DualAnalysis(nn.Module):
    """Pixels ``[b, 3, H, W]`` to y_H ``[b, high, H/16, W/16]`` and, if there is one, y_L at H/32."""

    def __init__(self, c: DualConfig) -> None:
        super().__init__()
        self.trunk = nn.Sequential(_half(3, c.stem), *_blocks(c.stem, c.stem_blocks), _half(c.stem, c.trunk))
        self.high = nn.Sequential(
            *_blocks(c.trunk, c.blocks),
            _half(c.trunk, c.high_width),
            *_blocks(c.high_width),
            _half(c.high_width, c.high),
        )
        self.low = None
        if c.low:
            self.low = nn.Sequential(
                *_blocks(c.trunk, c.blocks),
                _half(c.trunk, c.low_width),
                *_blocks(c.low_width),
                _half(c.low_width, c.low_deep),
                *_blocks(c.low_deep, c.deep_blocks),
                _half(c.low_deep, c.low),
            )

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        x = self.trunk(pixels)
        return (self.high(x),) if self.low is None else (self.high(x), self.low(x))


class DualSynthesis(nn.Module):
    """y_H and, if there is one, y_L to pixels ``[b, 3, H, W]``."""

    def __init__(self, c: DualConfig) -> None:
        super().__init__()
        self.widen = nn.Conv2d(c.low, 4 * c.low_deep, 1) if c.low else None  # 1×1 before the shuffle: cheap
        self.fuse = nn.Conv2d(c.high + (c.low_deep if c.low else 0), c.fused, 1)
        self.up = nn.Sequential(
            *_blocks(c.fused, c.deep_blocks),
            Subpixel(c.fused, c.high_width),
            *_blocks(c.high_width),
            Subpixel(c.high_width, c.trunk),
            *_blocks(c.trunk, c.blocks),
            Subpixel(c.trunk, c.stem),
            *_blocks(c.stem, c.stem_blocks),
            Subpixel(c.stem, 3),
        )

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        x = high if self.widen is None else torch.cat([high, F.pixel_shuffle(self.widen(low), 2)], 1)
        y: Tensor = self.up(self.fuse(x))
        return y


def _half(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, 2, 1)


def _blocks(channels: int, count: int = 1) -> list[nn.Module]:
    return [Residual(channels) for _ in range(count)]


def _start(analysis: DualAnalysis, synthesis: DualSynthesis) -> None:
    """Start y_H as wavelet packets that the synthesis puts together again; y_L finds its own use."""
    labels = [PIXELS]
    for layer in (*analysis.trunk, *analysis.high):
        if isinstance(layer, nn.Conv2d):
            labels.append(start_down(layer, labels[-1]))
    y_labels = labels.pop()
    labels.append(halve(labels[-1], synthesis.fuse.out_channels))
    start_same(synthesis.fuse, y_labels, labels[-1])
    ups = [layer for layer in synthesis.up if isinstance(layer, Subpixel)]
    for up, coarse, finer in zip(ups, labels[::-1], labels[-2::-1], strict=False):
        start_up(up, coarse, finer)
    for block in (*analysis.modules(), *synthesis.modules()):
        if isinstance(block, Residual):
            start_block(block)


class Dual(Codec):
    """The codec: its plan codes y_H before y_L, and :meth:`sees` closes the one to the other if asked."""

    config: DualConfig

    def __init__(self, config: DualConfig = DualConfig()) -> None:
        super().__init__(config)
        self.analysis = DualAnalysis(config)
        self.synthesis = DualSynthesis(config)
        _start(self.analysis, self.synthesis)

    def sees(self, k: int) -> Tensor:
        c = self.config
        channel = torch.arange(self.plan.y_channels)
        if c.conditioned or self.plan.groups[k].start < 4 * c.high:
            return super().sees(k)
        return channel >= 4 * c.high

    def analyse(self, pixels: Tensor) -> Tensor:
        high, *low = self.analysis((pixels - 127.5) / PIXEL_UNIT)
        return torch.cat([fold(high, self.config.high_slices), *low], 1)

    def synthesise(self, y: Tensor) -> Tensor:
        high, low = y.split([4 * self.config.high, self.config.low], 1)
        x = self.synthesis(unfold(high, self.config.high_slices), low)
        pixels: Tensor = x * PIXEL_UNIT + 127.5
        return pixels
