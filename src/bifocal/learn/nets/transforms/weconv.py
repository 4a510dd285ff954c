"""Convolution in the wavelet domain (WeConv): a drop-in for a plain or strided convolution in any network.

A feature map is split into wavelet bands, each band is convolved with kernels of its own, and the bands are
put together again. From WeConvene (arXiv 2407.09983): one Haar level, 3×3 on the low band, 3×3 over the three
high bands jointly, generalised divisive normalisation (GDN) in each. From 3DM-WeConvene (arXiv 2504.04658):
several levels, 1×1 on every high band by itself, a wavelet across the channels before the spatial ones. Ours,
because the code of the second was not published: which octant keeps the 3×3 kernel (low in channels, rows and
columns), how the channel axis ends (mirrored), and what a stride of 2 does (the finest bands are mixed by a
1×1 convolution instead of being put together).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.learn.nets.transforms.lifting import HAAR, Pyramid, Wavelet, decompose, merge, recompose, split


class GDN(nn.Module):
    """Generalised divisive normalisation, ``x / sqrt(beta + gamma·x²)``; ``inverse`` multiplies instead.

    Ballé et al., arXiv 1511.06281. ``beta`` and ``gamma`` stay positive as squares of what is learned. For
    float networks only: an exact one has no division. Shapes ``[b, c, h, w]`` in and out.
    """

    def __init__(self, channels: int, *, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta_root = nn.Parameter(torch.ones(channels))
        self.gamma_root = nn.Parameter((0.1 * torch.eye(channels) + 1e-4).sqrt())

    def forward(self, x: Tensor) -> Tensor:
        gamma = self.gamma_root.square()[:, :, None, None]
        norm = F.conv2d(x.square(), gamma, self.beta_root.square() + 1e-6)
        return x * (norm.sqrt() if self.inverse else norm.rsqrt())


class BandConv(nn.Module):
    """Kernels (and GDN) for the bands of one pyramid: ``low`` for its low band, ``high`` for each level."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        levels: int,
        low_kernel: int,
        high_kernel: int,
        joint: bool,
        norm: str,
    ) -> None:
        super().__init__()

        def stage(bands: int, kernel: int, groups: int) -> nn.Sequential:
            conv = nn.Conv2d(bands * inputs, bands * outputs, kernel, padding=kernel // 2, groups=groups)
            return nn.Sequential(
                conv, *([GDN(bands * outputs, inverse=norm == "inverse-gdn")] if norm else [])
            )

        self.low = stage(1, low_kernel, 1)
        self.high = nn.ModuleList(stage(3, high_kernel, 1 if joint else 3) for _ in range(levels))

    def forward(self, bands: Pyramid) -> Pyramid:
        high = tuple(
            tuple(stage(torch.cat(level, 1)).chunk(3, 1))
            for stage, level in zip(self.high, bands.high, strict=True)
        )
        return Pyramid(self.low(bands.low), high)


class WaveletConv(nn.Module):
    """``[b, inputs, h, w]`` to ``[b, outputs, ceil(h/stride), ceil(w/stride)]`` through wavelet bands.

    :param stride: 1 or 2.
    :param levels: spatial levels; only the low band is split again.
    :param high_kernel: side of the kernels of the high bands, 3 or 1; that of the low band is 3.
    :param joint: one kernel over the three high bands of a level, else one for each.
    :param channels: split along the channels too; ``inputs`` and ``outputs`` are then even.
    :param norm: ``""``, ``"gdn"`` or ``"inverse-gdn"`` after each band's convolution.
    :raises ValueError: if an option does not exist.

    WeConvene's layer is ``WaveletConv(n, n, norm="gdn")``; that of 3DM-WeConvene is
    ``WaveletConv(n, n, wavelet=CDF97, levels=2, high_kernel=1, joint=False, channels=True, norm="gdn")``.

    >>> WaveletConv(4, 8, stride=2)(torch.zeros(1, 4, 7, 10)).shape
    torch.Size([1, 8, 4, 5])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        stride: int = 1,
        wavelet: Wavelet = HAAR,
        levels: int = 1,
        high_kernel: int = 3,
        joint: bool = True,
        channels: bool = False,
        norm: str = "",
    ) -> None:
        super().__init__()
        if stride not in (1, 2) or levels < 1 or norm not in ("", "gdn", "inverse-gdn"):
            raise ValueError(f"no WaveletConv has stride {stride}, {levels} levels and norm {norm!r}")
        if channels and (inputs % 2 or outputs % 2):
            raise ValueError(f"{inputs} to {outputs} channels cannot be split in halves: use even numbers")
        self.wavelet, self.levels, self.channels = wavelet, levels, channels
        parts = 2 if channels else 1
        self.bands = nn.ModuleList(
            BandConv(
                inputs // parts,
                outputs // parts,
                levels=levels,
                low_kernel=3 if part == 0 else high_kernel,
                high_kernel=high_kernel,
                joint=joint,
                norm=norm,
            )
            for part in range(parts)
        )
        self.mix = nn.Conv2d(4 * outputs, outputs, 1) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        unit = 1 << self.levels
        if h % unit or w % unit:  # bands convolved together have one shape
            x = F.pad(x, (0, -w % unit, 0, -h % unit), mode="replicate")
        halves = split(x, 1, self.wavelet) if self.channels else (x,)
        pyramids = [
            stage(decompose(half, self.wavelet, levels=self.levels))
            for stage, half in zip(self.bands, halves, strict=True)
        ]
        if self.mix is None:
            parts = [recompose(p, self.wavelet) for p in pyramids]
            return (merge(parts[0], parts[1], 1, self.wavelet) if self.channels else parts[0])[..., :h, :w]
        finest = [
            band
            for p in pyramids
            for band in (recompose(Pyramid(p.low, p.high[1:]), self.wavelet), *p.high[0])
        ]
        mixed: Tensor = self.mix(torch.cat(finest, 1))
        return mixed[..., : -(-h // 2), : -(-w // 2)]
