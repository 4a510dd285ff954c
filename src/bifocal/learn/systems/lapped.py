"""Lapped: the default codec. A complete lapped transform, low band first, exact integers.

Its ideas and where they are from; the assembly is ours:

* linear paths that start as a lapped biorthogonal transform (Tran, Liang and Tu 2003), with a deep path
  beside them, after AuxT (ICLR 2025): `nets/transforms/lapped.py`, `nets/transforms/two_paths.py`;
* as many latents as samples: near-lossless at quality 100. What is certainly zero costs
  neither bits nor time;
* low-frequency band first, high bands given it, in the Haar domain of the latent: WeConvene (2407.09983);
* four-step masks inside the bands: DCVC-DC (2302.14402);
* integer networks for entropy coding: Ballé et al. (ICLR 2019), with the arithmetic of
  `nets/entropy/exact.py`.

::

    pixels [b,3,H,W]
       packet       [b,192,H/8,W/8]
       3×3 linear, beside it 3×3 · residual blocks · 3×3
                    [b,192,H/8,W/8]
       Haar         y [b,768,H/16,W/16]: LL 192, then LH, HL, HH 576

    y · gain
       1×1, 3×3↓, 3×3↓                 z [b,64,H/64,W/64]
       exact: 1×1↑, 3×3, 1×1↑, 3×3     features [b,96,H/16,W/16]
       groups: LL in 2 checkerboard steps, then LH, HL, HH in 4 mask steps; before each, exact:
       1×1, 3×3, 1×1 of features and what is decoded so far     mean and table index of the group

    ŷ / gain
       Haar⁻¹       [b,192,H/8,W/8]
       3×3 linear, beside it 3×3 · residual blocks · 3×3
       packet⁻¹     pixels [b,3,H,W]
    half:  a small network of the same kind from [b,192,H/8,W/8] to [b,3,H/2,W/2]
    thumb: a tiny one from LL [b,192,H/16,W/16] to [b,3,H/16,W/16]
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bifocal.learn.nets.codec import PIXEL_UNIT, Codec
from bifocal.learn.nets.entropy.exact import WIRE_2
from bifocal.learn.nets.parameters import ParameterGroup, grouped
from bifocal.learn.nets.transforms.blocks import full_precision
from bifocal.learn.nets.transforms.lapped import lapped_kernels
from bifocal.learn.nets.transforms.two_paths import TwoPaths
from bifocal.learn.nets.transforms.wavelet import haar_merge, haar_split, packet_matrix
from bifocal.stream.plan import Group, Plan


@dataclass(frozen=True)
class LappedConfig:
    """Sizes of the codec; a width of 0 is no deep path, or none of the smaller pictures.

    Rates: lambda of R + lambda·255²·MSE goes log-linearly over qualities 1..100.
    """

    latent: int = 192
    analysis_width: int = 0
    analysis_blocks: int = 0
    synthesis_width: int = 128
    synthesis_blocks: int = 2
    slope: float = 0.1
    half_width: int = 0
    half_blocks: int = 2
    thumb_width: int = 0
    thumb_blocks: int = 1
    hyper: int = 64
    features: int = 96
    context: int = 192
    anchors: int = 12
    lambda_min: float = 0.0012
    lambda_max: float = 1.0

    @property
    def plan(self) -> Plan:
        low, all_ = self.latent, 4 * self.latent
        groups = [Group(0, low, 2, s) for s in range(2)] + [Group(low, all_, 4, s) for s in range(4)]
        return Plan(y_channels=all_, z_channels=self.hyper, groups=tuple(groups), skip=5)


def _scale(channels: int) -> Tensor:
    """Rough inverse spread of packet coefficients, so that the deep path starts with inputs of order one."""
    order = torch.arange(channels, dtype=torch.float32)
    return 1 / (1 + 15 / (1 + order))


def _averages(back: Tensor, factor: int) -> Tensor:
    """The linear path back to pixels as one to ``factor × factor`` averages: ``[3·(8/factor)², c, 3, 3]``."""
    pixels = torch.einsum("ps,pcij->scij", packet_matrix(), back)
    side = 8 // factor
    return pixels.reshape(3, side, factor, side, factor, *back.shape[1:]).mean((2, 4)).flatten(0, 2)


class Lapped(Codec):
    """The codec in torch; what it shares with every other is :class:`~bifocal.learn.nets.codec.Codec`."""

    wire = WIRE_2
    config: LappedConfig
    packet: Tensor

    def __init__(self, config: LappedConfig = LappedConfig()) -> None:
        super().__init__(config)
        c, scale = config, _scale(config.latent)
        self.register_buffer("packet", packet_matrix()[:, :, None, None], persistent=False)
        self.analysis = TwoPaths(
            192, c.latent, c.analysis_width, c.analysis_blocks, _scale(192), slope=c.slope
        )
        self.synthesis = TwoPaths(c.latent, 192, c.synthesis_width, c.synthesis_blocks, scale, slope=c.slope)
        to, back = lapped_kernels(c.latent)
        self.analysis.linear.weight.data.copy_(to)
        self.synthesis.linear.weight.data.copy_(back)
        if c.half_width:
            self.to_half = TwoPaths(c.latent, 48, c.half_width, c.half_blocks, scale, slope=c.slope)
            self.to_half.linear.weight.data.copy_(_averages(back, 2))
        if c.thumb_width:
            self.to_thumb = TwoPaths(c.latent, 3, c.thumb_width, c.thumb_blocks, scale / 2, slope=c.slope)
            self.to_thumb.linear.weight.data.zero_()  # LL is twice the mean of four
            self.to_thumb.linear.weight.data[:, :, 1, 1] = _averages(back, 8).sum((2, 3)) / 2

    def parameter_groups(self) -> tuple[ParameterGroup, ...]:
        """Its parameters in the groups that training treats apart: linear paths learn slowly."""
        return grouped(self, linear=[part.linear for part in self._two_paths().values()])

    def packing_extras(self) -> frozenset[str]:
        c = self.config
        there = {"half": c.half_width, "thumb": c.thumb_width, "int8": c.synthesis_width, "linear adjoint": 1}
        return frozenset(name for name, some in there.items() if some)

    def analyse(self, pixels: Tensor) -> Tensor:
        """Pixels ``[b, 3, H, W]`` in 0..255 (multiples of 64) to y ``[b, c, H/16, W/16]``, before gains."""
        return haar_split(self.analysis(self.to_packet(pixels)))

    def to_packet(self, pixels: Tensor) -> Tensor:
        """Packet coefficients ``[b, 192, H/8, W/8]`` of pixels ``[b, 3, H, W]`` in 0..255."""
        with full_precision(pixels):
            return F.conv2d(F.pixel_unshuffle((pixels - 127.5) / PIXEL_UNIT, 8), self.packet)

    def synthesise(self, y: Tensor) -> Tensor:
        """y ``[b, c, H/16, W/16]`` after inverse gains to pixels ``[b, 3, H, W]``, unclipped."""
        x = self.synthesis(haar_merge(y))
        with full_precision(y):
            x = F.conv2d(x, self.packet.transpose(0, 1))
        return F.pixel_shuffle(x.contiguous(), 8) * PIXEL_UNIT + 127.5

    def synthesise_half(self, y: Tensor) -> Tensor:
        """Pixels of 2×2 averages ``[b, 3, H/2, W/2]``, unclipped, from y after inverse gains."""
        return F.pixel_shuffle(self.to_half(haar_merge(y)), 4) * PIXEL_UNIT + 127.5

    def synthesise_thumb(self, y: Tensor) -> Tensor:
        """Pixels of 16×16 averages ``[b, 3, H/16, W/16]``, unclipped, from the low band of y alone."""
        return self.to_thumb(y[:, : self.config.latent]) * PIXEL_UNIT + 127.5

    def synthesise_small(self, y: Tensor) -> tuple[Tensor, ...]:
        """Half and thumb, those that there are."""
        c = self.config
        half = (self.synthesise_half(y),) if c.half_width else ()
        return half + ((self.synthesise_thumb(y),) if c.thumb_width else ())
