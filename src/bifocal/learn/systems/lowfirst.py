"""LowFirst: the default codec. A wavelet-domain latent whose low band is coded first and conditions the rest.

Its ideas and where they are from; the assembly is ours:

* low-frequency band first, high bands given it, in the Haar domain of the latent: WeConvene (2407.09983);
* four-step masks inside the bands: DCVC-DC (2302.14402);
* everything at one low resolution: DCVC-RT (2502.20762);
* linear wavelet shortcuts beside both transforms: AuxT (ICLR 2025), here with a three-level Haar packet and
  lapped 3×3 projections;
* integer networks for entropy coding: Ballé et al. (ICLR 2019), with the arithmetic of
  `learn/nets/entropy/exact.py`.

    pixels [b,3,H,W] ── packet ─► [b,192,H/8,·] ─┬─ 3×3 linear ───────────────┬─(+)─ Haar ─► y [b,256,H/16,·]
                                                 └─ 3×3, residual blocks, 3×3 ┘          LL 64 | LH HL HH 192
    y·gain ── 1×1, 3×3↓, 3×3↓ ─► z [b,64,H/64,·] ── exact: 1×1↑, 3×3, 1×1↑, 3×3 ─► features [b,96,H/16,·]
    groups: LL in 2 checkerboard steps, then LH|HL|HH in 4 mask steps;
            each: exact 1×1, 3×3, 1×1 of (features, decoded so far) ─► mean, table index
    ŷ/gain ── Haar⁻¹ ─► [b,64,H/8,W/8] ─┬─ 3×3 linear ───────────────┬─(+)─ packet⁻¹ ─► pixels
                                        └─ 3×3, residual blocks, 3×3 ┘
    half:  ŷ/gain ── Haar⁻¹ ─► [b,64,H/8,W/8] ── a small transform ─► [b,3,H/2,W/2]
    thumb: LL of ŷ/gain ─► [b,64,H/16,W/16] ── a tiny transform ─► [b,3,H/16,W/16]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bifocal.learn.nets.codec import PIXEL_UNIT, Codec
from bifocal.learn.nets.transforms.two_paths import TwoPaths
from bifocal.learn.nets.transforms.wavelet import haar_merge, haar_split, packet_matrix
from bifocal.stream.plan import Group, Plan


@dataclass(frozen=True)
class LowFirstConfig:
    """Sizes of the codec. Rates: lambda of R + lambda·255²·MSE goes log-linearly over qualities 1..100."""

    analysis_width: int = 128
    analysis_blocks: int = 4
    analysis_slope: float = 0.1
    synthesis_width: int = 128
    synthesis_blocks: int = 5
    half_width: int = 64
    half_blocks: int = 2
    thumb_width: int = 32
    thumb_blocks: int = 1
    latent: int = 64
    hyper: int = 64
    features: int = 96
    context: int = 128
    anchors: int = 12
    lambda_min: float = 0.0012
    lambda_max: float = 0.24

    @property
    def plan(self) -> Plan:
        low, all_ = self.latent, 4 * self.latent
        groups = [Group(0, low, 2, s) for s in range(2)] + [Group(low, all_, 4, s) for s in range(4)]
        return Plan(y_channels=all_, z_channels=self.hyper, groups=tuple(groups), skip=5)


def _packet_scale(channels: int) -> Tensor:
    """Rough inverse spread of packet coefficients, so that the deep path starts with inputs of order one."""
    order = torch.arange(channels, dtype=torch.float32)
    return 1 / (1 + 15 / (1 + order))


class LowFirst(Codec):
    """The codec in torch; what it shares with every other is :class:`~bifocal.learn.nets.codec.Codec`."""

    config: LowFirstConfig
    packet: Tensor

    def __init__(self, config: LowFirstConfig = LowFirstConfig()) -> None:
        super().__init__(config)
        c = config
        self.register_buffer("packet", packet_matrix()[:, :, None, None], persistent=False)
        self.analysis = TwoPaths(
            192, c.latent, c.analysis_width, c.analysis_blocks, _packet_scale(192), slope=c.analysis_slope
        )
        self.synthesis = TwoPaths(
            c.latent, 192, c.synthesis_width, c.synthesis_blocks, _packet_scale(c.latent)
        )
        scale = _packet_scale(c.latent)
        self.to_half = TwoPaths(c.latent, 48, c.half_width, c.half_blocks, scale)
        self.to_thumb = TwoPaths(c.latent, 3, c.thumb_width, c.thumb_blocks, scale / 2)
        inverse = packet_matrix().T.reshape(3, 8, 8, 192)[..., : c.latent]  # start as averages of the picture
        self.to_half.linear.weight.data[:, :, 1, 1] = (
            inverse.reshape(3, 4, 2, 4, 2, -1).mean((2, 4)).flatten(0, 2)
        )
        self.to_thumb.linear.weight.data[:, :, 1, 1] = inverse.mean((1, 2)) / 2  # LL: twice the mean of four

    def analyse(self, pixels: Tensor) -> Tensor:
        """Pixels ``[b, 3, H, W]`` in 0..255 (multiples of 64) to y ``[b, c, H/16, W/16]``, before gains."""
        return haar_split(self.analysis(self.to_packet(pixels)))

    def to_packet(self, pixels: Tensor) -> Tensor:
        """Packet coefficients ``[b, 192, H/8, W/8]`` of pixels ``[b, 3, H, W]`` in 0..255."""
        return F.conv2d(F.pixel_unshuffle((pixels - 127.5) / PIXEL_UNIT, 8), self.packet)

    def synthesise(self, y: Tensor) -> Tensor:
        """y ``[b, c, H/16, W/16]`` after inverse gains to pixels ``[b, 3, H, W]``, unclipped."""
        x = F.conv2d(self.synthesis(haar_merge(y)), self.packet.transpose(0, 1))
        return F.pixel_shuffle(x.contiguous(), 8) * PIXEL_UNIT + 127.5

    def synthesise_half(self, y: Tensor) -> Tensor:
        """Pixels of 2×2 averages ``[b, 3, H/2, W/2]``, unclipped, from y after inverse gains."""
        return F.pixel_shuffle(self.to_half(haar_merge(y)), 4) * PIXEL_UNIT + 127.5

    def synthesise_thumb(self, y: Tensor) -> Tensor:
        """Pixels of 16×16 averages ``[b, 3, H/16, W/16]``, unclipped, from the low band of y alone."""
        return self.to_thumb(y[:, : self.config.latent]) * PIXEL_UNIT + 127.5

    def synthesise_small(self, y: Tensor) -> tuple[Tensor, ...]:
        """Half and thumb."""
        return self.synthesise_half(y), self.synthesise_thumb(y)

    # -- what it says of itself ----------------------------------------------------------------------------

    def packing_extras(self) -> frozenset[str]:
        return frozenset({"half", "thumb", "adjoint", "int8"})

    def windows(self) -> Mapping[str, int]:
        return {"analysis": 80, "synthesis": 96, "half": 48, "thumb": 64}
