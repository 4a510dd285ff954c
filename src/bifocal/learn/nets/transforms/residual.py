"""Residual blocks of learned codecs: plain, strided and subpixel, each with or without wavelet bands inside.

The plain, strided and subpixel blocks with generalised divisive normalisation are those of Cheng et al.
(arXiv 2001.01568). WeConvene (arXiv 2407.09983) puts a convolution in the wavelet domain in place of the
second convolution of the strided and subpixel ones: one Haar level, 3×3 kernels. 3DM-WeConvene (arXiv
2504.04658) has more levels, 1×1 kernels on high bands and a wavelet across channels. :class:`Bands` says
which. A strided wavelet block of WeConvene's code owns a second convolution that never runs; ours has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.learn.nets.transforms.lifting import WAVELETS
from bifocal.learn.nets.transforms.weconv import GDN, WaveletConv

SLOPE = 0.01


@dataclass(frozen=True)
class Bands:
    """What a wavelet block does between its transforms: see ``WaveletConv`` in weconv.py."""

    wavelet: str = "haar"
    levels: int = 1
    high_kernel: int = 3
    joint: bool = True
    channels: bool = False


def _middle(channels: int, norm: str, bands: Bands | None) -> nn.Module:
    """The second convolution of a block with its normalisation, in the plane or in wavelet bands."""
    if bands is None:
        inverse = norm == "inverse-gdn"
        return nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1), GDN(channels, inverse=inverse))
    return WaveletConv(
        channels,
        channels,
        wavelet=WAVELETS[bands.wavelet],
        levels=bands.levels,
        high_kernel=bands.high_kernel,
        joint=bands.joint,
        channels=bands.channels,
        norm=norm,
    )


class Residual(nn.Module):
    """``x + act(conv3(act(conv3(x))))``, act a leaky ReLU; shapes ``[b, c, h, w]``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, 1, 1)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.leaky_relu(self.first(x), SLOPE)
        return x + F.leaky_relu(self.second(hidden), SLOPE)


class ResidualDown(nn.Module):
    """``[b, i, h, w]`` to ``[b, o, ceil(h/s), ceil(w/s)]``: strided conv, conv with GDN, strided 1×1 skip.

    With ``bands`` it is WeConvene's "WeConv-down". ``square`` lets a skip of stride 2 see all four pixels and
    not one of them: ours, for a transform that starts as wavelet packets.

    >>> ResidualDown(3, 8, bands=Bands())(torch.zeros(1, 3, 8, 12)).shape
    torch.Size([1, 8, 4, 6])
    """

    def __init__(
        self, inputs: int, outputs: int, *, stride: int = 2, bands: Bands | None = None, square: bool = False
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.middle = _middle(outputs, "gdn", bands)
        self.skip = nn.Conv2d(inputs, outputs, 2, 2) if square else nn.Conv2d(inputs, outputs, 1)
        self.every = 1 if square else stride

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.middle(F.leaky_relu(self.first(x), SLOPE))
        # no strided 1×1 convolution: with few channels, channels last, torch 2.13 corrupts memory on CPU
        return y + self.skip(x[..., :: self.every, :: self.every])


class ResidualUp(nn.Module):
    """``[b, i, h, w]`` to ``[b, o, f·h, f·w]``: subpixel conv, conv with inverse GDN, subpixel 3×3 skip.

    With ``bands`` it is WeConvene's "WeConv-up", whose skip costs as much as the first convolution.

    >>> ResidualUp(8, 4, bands=Bands())(torch.zeros(1, 8, 4, 6)).shape
    torch.Size([1, 4, 8, 12])
    """

    def __init__(self, inputs: int, outputs: int, *, factor: int = 2, bands: Bands | None = None) -> None:
        super().__init__()
        self.first = Subpixel(inputs, outputs, factor)
        self.middle = _middle(outputs, "inverse-gdn", bands)
        self.skip = Subpixel(inputs, outputs, factor)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.middle(F.leaky_relu(self.first(x), SLOPE))
        return y + self.skip(x)


class Subpixel(nn.Module):
    """A 3×3 convolution whose channels become ``factor``×``factor`` pixels (Shi et al., arXiv 1609.05158)."""

    def __init__(self, inputs: int, outputs: int, factor: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs * factor**2, 3, 1, 1)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.factor == 1:
            return y
        shuffled = F.pixel_shuffle(y, self.factor)
        if torch.compiler.is_exporting():
            return shuffled
        return shuffled.contiguous(memory_format=torch.channels_last)  # a shuffle drops that layout
