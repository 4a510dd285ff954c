"""Dual-branch codec: two latents at two resolutions, the finer one coded first and conditioning the other.

"Learned Image Compression with Dual-Branch Encoder and Conditional Information Coding" (arXiv 2401.11093, DCC
2024). There is no public code and we know the abstract only: two branches learn a high-resolution and a
low-resolution latent, the first is the condition for coding the second, and both are coded by a channel-wise
model without spatial context. Everything else here is our reconstruction: widths, strides, the common trunk,
plain residual blocks, one hyper-latent for both, the fusion in the decoder, integer entropy networks, and the
start as a wavelet transform (`learn/nets/transforms/packets.py`).

    pixels ── trunk ─► [b,·,H/4,·] ─┬─ branch ↓  ─► y_H [b,high,H/8,·] ── fold ─┐
                                    └─ branch ↓↓ ─► y_L [b,low,H/16,·] ─────────┴─► y [b,4·high+low,H/16,·]
    groups: slices of y_H, each given those before it; then slices of y_L, given all of y_H and those before
    ŷ_H ─ unfold ──────┬─ 1×1 ─► [b,·,H/8,·] ── block, ↑, blocks, ↑, blocks, ↑ ─► pixels
    ŷ_L ─ 1×1↑ to H/8 ─┘

The drawing is of the small codec. At a paper's size each branch has a stage more and the latents are at H/16
and H/32; the small one stays an octave finer because few channels at H/16 hold too little of a picture.

Two resolutions need no format of their own: y_H is folded, four positions to four times the channels, and so
pooling ŷ_H for its use in y_L is a 1×1 convolution. Inside a slice the four positions follow one another, the
diagonal pair first. A checkerboard context, which the paper compares with, is then a finer list of groups
(``steps`` = 2), and no symbol is predicted in vain as it is under masks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.learn.nets.codec import PIXEL_UNIT, Codec
from bifocal.learn.nets.transforms.packets import (
    PIXELS,
    Labels,
    halve,
    start_block,
    start_down,
    start_same,
    start_up,
)
from bifocal.learn.nets.transforms.residual import Residual, Subpixel
from bifocal.stream.plan import Group, Plan

#: Positions of a 2×2 square in coding order: the diagonal of the checkerboard, then the rest.
PHASES = [0, 3, 1, 2]


@dataclass(frozen=True)
class DualConfig:
    """Sizes. The defaults are the small codec; :data:`PAPER` is our reconstruction at a paper's size.

    Channels: ``stem`` at 1/2 of the picture's size, ``trunk`` at 1/4, ``low_width`` at 1/8 in the branch of
    y_L, ``fused`` where the decoder joins the two, and ``low_up`` of y_L there; ``high`` and ``low`` of the
    latents (a ``low`` of 0 is a codec of one latent). A stage more in both branches if ``high_width`` and
    ``low_deep`` are not 0. Residual blocks: ``stem_blocks`` at 1/2, ``blocks`` in each branch at 1/4.
    ``conditioned``: whether y_L sees ŷ_H. ``steps``: passes over a slice of y_H, 1, 2 or 4.
    """

    stem: int = 16
    trunk: int = 40
    high_width: int = 0
    low_width: int = 32
    low_deep: int = 0
    low_up: int = 24
    fused: int = 64
    stem_blocks: int = 1
    blocks: int = 2
    high: int = 40
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
    lambda_max: float = 0.12

    @property
    def plan(self) -> Plan:
        part = 4 * self.high // self.high_slices // self.steps
        ends = [part * (i + 1) for i in range(self.high_slices * self.steps)]
        if self.low:
            ends += [4 * self.high + self.low // self.low_slices * (i + 1) for i in range(self.low_slices)]
        groups = tuple(Group(a, b, 1, 0) for a, b in zip([0, *ends], ends, strict=False))
        return Plan(ends[-1], self.hyper, groups, y_stride=32 if self.high_width else 16, skip=5)


PAPER = DualConfig(
    stem=128,
    trunk=128,
    high_width=128,
    low_width=128,
    low_deep=128,
    low_up=128,
    fused=192,
    stem_blocks=2,
    blocks=3,
    high=128,
    low=192,
    low_slices=4,
    hyper=192,
    features=192,
    context=224,
)


def fold(y: Tensor, slices: int) -> Tensor:
    """``[b, c, 2h, 2w]`` to ``[b, 4c, h, w]``: slice by slice, in each the four positions of a square.

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
    """Pixels ``[b, 3, H, W]`` to y_H ``[b, high, H/8, W/8]`` and, if there is one, y_L at half its size."""

    def __init__(self, c: DualConfig) -> None:
        super().__init__()
        self.trunk = nn.Sequential(_half(3, c.stem), *_blocks(c.stem, c.stem_blocks), _half(c.stem, c.trunk))
        self.high = _branch(c.blocks, c.trunk, c.high_width, c.high)
        self.low = _branch(c.blocks, c.trunk, c.low_width, c.low_deep, c.low) if c.low else None

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        x = self.trunk(pixels)
        return (self.high(x),) if self.low is None else (self.high(x), self.low(x))


class DualSynthesis(nn.Module):
    """y_H and, if there is one, y_L to pixels ``[b, 3, H, W]``."""

    def __init__(self, c: DualConfig) -> None:
        super().__init__()
        self.widen = nn.Conv2d(c.low, 4 * c.low_up, 1) if c.low else None  # then a shuffle
        self.fuse = nn.Conv2d(c.high + (c.low_up if c.low else 0), c.fused, 1)
        layers = _blocks(c.fused)
        if c.high_width:
            layers += [Subpixel(c.fused, c.high_width), *_blocks(c.high_width)]
        self.up = nn.Sequential(
            *layers,
            Subpixel(c.high_width or c.fused, c.trunk),
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


def _branch(blocks: int, *widths: int) -> nn.Sequential:
    """``blocks`` residual blocks, then a halving to every further width (but 0) with a block between two."""
    widths = tuple(width for width in widths if width)
    layers = _blocks(widths[0], blocks)
    for k, (inputs, outputs) in enumerate(zip(widths, widths[1:], strict=False)):
        layers += [*(_blocks(inputs) if k else []), _half(inputs, outputs)]
    return nn.Sequential(*layers)


def start_as_packets(analysis: DualAnalysis, synthesis: DualSynthesis) -> None:
    """Start both latents as wavelet packets that the synthesis puts together again.

    y_L begins with the lowest packets, y_H with those that follow: neither is empty (symbols that are
    certain to be zero get no gradient, and a latent that starts as noise stays empty for good).
    """
    labels: list[Labels] = [PIXELS]
    *halvings, last = (m for m in (*analysis.trunk, *analysis.high) if isinstance(m, nn.Conv2d))
    for layer in halvings:
        labels.append(start_down(layer, labels[-1]))
    trunk, parents = labels[2], 0
    if analysis.low is not None and synthesis.widen is not None:
        *halvings, low = (m for m in analysis.low if isinstance(m, nn.Conv2d))
        parents = low.out_channels // 4
        here = trunk
        for layer in halvings:
            here = start_down(layer, here)
        lowest = start_down(low, here, halve(here[:parents], low.out_channels))
        widened = [*here[:parents], *[None] * (synthesis.widen.out_channels // 4 - parents)]
        start_up(synthesis.widen, lowest, widened)
    ranks = halve(labels[-1], parents + last.out_channels)
    start_down(last, labels[-1], ranks[parents:])
    fused = halve(labels[-1], synthesis.fuse.out_channels)
    start_same(synthesis.fuse, [*ranks[parents:], *(widened if parents else [])], fused)
    for up in (m for m in synthesis.up if isinstance(m, Subpixel)):
        start_up(up, fused, labels[-1])
        fused = labels.pop()
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
        start_as_packets(self.analysis, self.synthesis)

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
