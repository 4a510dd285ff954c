"""3DM-WeConvene (arXiv 2504.04658): more levels, cheap high bands, and a wavelet across the channels.

What the paper says: the layer is a 3-D wavelet transform (channels, then rows and columns) of several levels,
a 3×3 convolution on the low band and 1×1 ones on the high bands; y is coded in the 3-D wavelet domain, low
slices first as the prior of the high ones; training has two steps, the first balancing the two rates. What
its code shows: only the name of a model class that was never published: two levels, 1×1 high bands, a simple
context for them, the low band in four slices, 128 and 320 channels. Our choices, all the rest: 9/7 (the paper
names it beside 5/3), one channel level, mirrored at its ends, which octant keeps the 3×3 kernel (low in
channels, rows and columns), the order of the groups below, and the base, which is
`learn/systems/weconvene.py`.

    pixels [b,3,H,W] ── as WeConvene, 3DM layers ─► [b,c,H/8,·] ── DWT over c, h, w ─► y [b,4c,H/16,·]
    groups: low (low in c, h and w) in 4 slices; then, given all before, three groups of high octants:
            LH|HL|HH of the channel-low half; LL of the channel-high half; LH|HL|HH of the channel-high half
    ŷ ── DWT⁻¹ ─► [b,c,H/8,·] ── as WeConvene, 3DM layers ─► pixels

:data:`PAPER` is this reconstruction at the sizes that the name gives away, float throughout, counted and run,
never packed. There is no published total to compare it with.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bifocal.errors import ModelError
from bifocal.learn.nets.codec import PIXEL_UNIT, Codec
from bifocal.learn.nets.entropy.hyperprior import float_entropy
from bifocal.learn.nets.transforms.lifting import WAVELETS, Pyramid, decompose, merge, recompose, split
from bifocal.learn.nets.transforms.residual import Bands
from bifocal.learn.nets.transforms.stages import (
    analysis,
    band_gains,
    from_bands,
    start_across_channels,
    start_as_packets,
    synthesis,
    to_bands,
)
from bifocal.stream.plan import Group, Plan


@dataclass(frozen=True)
class WeConvene3DConfig:
    """Sizes, see :class:`~bifocal.learn.systems.weconvene.WeConveneConfig` for those that are shared.

    ``levels`` of the wavelet in the blocks; with ``channels`` it crosses the channels too, there and in y.
    ``slices`` of the low band, and of the high one where y is not split across channels.
    """

    width: int = 32
    fine_width: int = 16
    blocks: int = 1
    first_stride: int = 2
    latent: int = 48
    wavelet: str = "9/7"
    levels: int = 2
    channels: bool = True
    slices: int = 4
    prior: str = "exact"
    prior_width: int = 32
    prior_hidden_1: int = 56
    prior_hidden_2: int = 32
    family: str = "logistic"
    hyper: int = 32
    features: int = 40
    context: int = 48
    anchors: int = 12
    lambda_min: float = 0.0012
    lambda_max: float = 0.24

    @property
    def bands(self) -> Bands:
        return Bands(self.wavelet, self.levels, high_kernel=1, joint=False, channels=self.channels)

    @property
    def low(self) -> int:
        """Channels of the low band of y."""
        return self.latent // 2 if self.channels else self.latent

    @property
    def plan(self) -> Plan:
        c, n = self.low, self.slices
        low = [Group(i * c // n, (i + 1) * c // n, 1, 0) for i in range(n)]
        if self.channels:
            high = [Group(a * c, b * c, 1, 0) for a, b in ((1, 4), (4, 5), (5, 8))]
        else:
            high = [Group(c + 3 * g.start, c + 3 * g.stop, 1, 0) for g in low]
        skip = 0 if self.prior == "paper" else 5
        return Plan(4 * self.latent, self.hyper, (*low, *high), skip=skip)


#: The reconstruction at the paper's size.
PAPER = WeConvene3DConfig(
    width=128,
    fine_width=128,
    blocks=3,
    first_stride=1,
    latent=320,
    prior="paper",
    prior_width=128,
    prior_hidden_1=224,
    prior_hidden_2=128,
    family="gaussian",
    hyper=192,
    features=320,
)


class WeConvene3D(Codec):
    """The codec in torch, of any row of the ablation."""

    config: WeConvene3DConfig

    def __init__(self, config: WeConvene3DConfig = WeConvene3DConfig()) -> None:
        if config.prior not in ("exact", "paper"):
            raise ModelError(f"3DM-WeConvene has no prior {config.prior!r}. Choose 'exact' or 'paper'.")
        super().__init__(config)
        c = config
        fine = (c.fine_width, c.width) if c.first_stride == 2 else (c.fine_width, c.width, c.width)
        self.analysis = analysis(fine, c.latent, blocks=c.blocks, first_stride=c.first_stride, bands=c.bands)
        self.synthesis = synthesis(c.latent, (c.width, c.width, c.fine_width), blocks=c.blocks, bands=c.bands)
        wavelet = WAVELETS[c.wavelet]
        if c.first_stride == 2:
            start_as_packets(self.analysis, self.synthesis)
            if c.channels:
                start_across_channels(self.analysis, self.synthesis, wavelet)
        gains = band_gains(wavelet, c.low, c.slices, axes=3 if c.channels else 2)
        self.log_gain.data += gains
        self.log_inverse_gain.data -= gains
        if c.prior == "paper":
            self.use_float_prior(float_entropy(c, c.low, gated_high=False))

    def analyse(self, pixels: Tensor) -> Tensor:
        """Pixels ``[b, 3, H, W]`` in 0..255 to y ``[b, 4c, H/16, W/16]``."""
        x: Tensor = self.analysis((pixels - 127.5) / PIXEL_UNIT)
        wavelet = WAVELETS[self.config.wavelet]
        if not self.config.channels:
            return to_bands(x, wavelet, self.config.slices)
        halves = (decompose(half, wavelet) for half in split(x, 1, wavelet))
        return torch.cat([band for half in halves for band in (half.low, *half.high[0])], 1)

    def synthesise(self, y: Tensor) -> Tensor:
        """The inverse of :meth:`analyse`: y after inverse gains to pixels, unclipped."""
        wavelet = WAVELETS[self.config.wavelet]
        if not self.config.channels:
            x = from_bands(y, wavelet, self.config.slices)
        else:
            octants = y.chunk(8, 1)
            halves = [recompose(Pyramid(octants[i], (octants[i + 1 : i + 4],)), wavelet) for i in (0, 4)]
            x = merge(halves[0], halves[1], 1, wavelet)
        pixels: Tensor = self.synthesis(x)
        return pixels * PIXEL_UNIT + 127.5
