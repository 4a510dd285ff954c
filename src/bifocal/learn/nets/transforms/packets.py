"""Start a deep transform as a wavelet transform: weights only, no layer of its own.

A chain of stride-2 convolutions with residual blocks between them can be a Haar packet transform before any
training: every convolution splits each channel into four bands and keeps those that carry most of a
photograph, and every block starts close to the identity. Training then begins some 15 dB further on than from
random kernels, which matters when it is short. AuxT (ICLR 2025) reaches the same with wavelet layers beside
the transform; this way, which is ours, costs nothing at run time. A :data:`Label` says which packet a
channel holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bifocal.learn.nets.transforms.residual import Residual, Subpixel

#: Colour (0 luma, 1 and 2 chroma) and how often rows and columns of the packet change their sign.
Label = tuple[int, int, int]
Labels = Sequence[Label | None]

#: What is left of the random weights beside those of the packet.
NOISE = 0.1
PIXELS: Labels = ((0, 0, 0), (1, 0, 0), (2, 0, 0))
_COLOURS = [[3**-0.5] * 3, [2**-0.5, 0.0, -(2**-0.5)], [-(6**-0.5), 2 * 6**-0.5, -(6**-0.5)]]


def _rank(label: Label) -> tuple[float, Label]:
    """Packets that carry most of a photograph first: by sequency, chroma as if it were twice as far out."""
    colour, u, v = label
    return (math.hypot(u, v) + 0.25 * max(u, v)) * (2 if colour else 1) + 1.5 * (colour > 0), label


def _children(label: Label) -> list[tuple[Label, int, int]]:
    """The four bands of a packet, and whether each is high along rows and columns."""
    colour, u, v = label
    return [((colour, 2 * u + (a ^ u & 1), 2 * v + (b ^ v & 1)), a, b) for a in (0, 1) for b in (0, 1)]


def halve(labels: Labels, width: int) -> Labels:
    """Labels of the ``width`` channels that a stride-2 convolution makes of ``labels``; ``None`` is nothing.

    >>> halve([(0, 0, 0)], 3)
    [(0, 0, 0), (0, 0, 1), (0, 1, 0)]
    """
    made = sorted((c for x in labels if x is not None for c, _, _ in _children(x)), key=_rank)[:width]
    return [*made, *[None] * (width - len(made))]


def _square(a: int, b: int) -> Tensor:
    """The Haar kernel that is high along rows (``a``) or columns (``b``): ``[2, 2]``, of unit norm."""
    rows, columns = torch.tensor([1.0, (-1.0) ** a]), torch.tensor([1.0, (-1.0) ** b])
    return 0.5 * rows[:, None] * columns


def start_down(conv: nn.Conv2d, labels: Labels, wanted: Labels | None = None) -> Labels:
    """Make a 3×3 or 2×2 stride-2 convolution split ``labels``; return the labels of its outputs.

    Its outputs are ``wanted``, or what :func:`halve` chooses. Of three inputs, labelled :data:`PIXELS`, it
    makes luma and chroma first.
    """
    made = halve(labels, conv.out_channels) if wanted is None else wanted
    with torch.no_grad():
        conv.weight *= NOISE
        for source, label in enumerate(labels):
            for child, a, b in _children(label) if label is not None else ():
                if child in made:
                    conv.weight[made.index(child), source, -2:, -2:] += _square(a, b)
        if labels is PIXELS:
            conv.weight.copy_(torch.einsum("oikl,ij->ojkl", conv.weight, torch.tensor(_COLOURS)))
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return made


def start_up(up: Subpixel | nn.Conv2d, labels: Labels, finer: Labels) -> None:
    """Make a subpixel convolution put packets ``labels`` together to ``finer``: :func:`start_down` undone.

    ``up`` may be a plain convolution before a shuffle by 2.
    """
    conv = up.conv if isinstance(up, Subpixel) else up
    middle = conv.kernel_size[0] // 2
    with torch.no_grad():
        conv.weight *= NOISE
        weight = conv.weight.unflatten(0, (-1, 2, 2))
        for target, label in enumerate(finer):
            for child, a, b in _children(label) if label is not None else ():
                if child in labels:
                    weight[target, :, :, labels.index(child), middle, middle] += _square(a, b)
        if finer is PIXELS:
            weight.copy_(torch.einsum("jabikl,jo->oabikl", weight, torch.tensor(_COLOURS)))
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]


def start_same(conv: nn.Conv2d, labels: Labels, wanted: Labels) -> None:
    """Make a 1×1 or 3×3 convolution pass those packets of ``labels`` that are ``wanted``."""
    middle = conv.kernel_size[0] // 2
    with torch.no_grad():
        conv.weight *= NOISE
        for target, label in enumerate(wanted):
            if label is not None and label in labels:
                conv.weight[target, labels.index(label), middle, middle] += 1
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]


def start_block(block: Residual) -> None:
    """Bring a residual block close to the identity."""
    with torch.no_grad():
        block.second.weight *= NOISE
        for conv in (block.first, block.second):
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
