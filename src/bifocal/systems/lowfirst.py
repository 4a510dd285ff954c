"""LowFirst: the default codec. A wavelet-domain latent whose low band is coded first and conditions the rest.

Its ideas and where they are from; the assembly is ours:

* low-frequency band first, high bands given it, in the Haar domain of the latent: WeConvene (2407.09983);
* four-step masks inside the bands: DCVC-DC (2302.14402);
* everything at one low resolution: DCVC-RT (2502.20762);
* linear wavelet shortcuts beside both transforms: AuxT (ICLR 2025), here with a three-level Haar packet and
  lapped 3×3 projections;
* integer networks for entropy coding: Ballé et al. (ICLR 2019), with the arithmetic of `nets/exact.py`.

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

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.nets.blocks import ResidualBlock, conv3, rectify
from bifocal.nets.coding import Estimate
from bifocal.nets.exact import ExactConv, Range, round_ste
from bifocal.nets.prior import TABLES, UNIT_INDEX, logistic_bits
from bifocal.nets.wavelet import haar_merge, haar_split, packet_matrix
from bifocal.stream.plan import Group, Plan, code_groups

QUALITIES = 100
PIXEL_UNIT = 32.0  # transforms see (pixel - 127.5)/32
ACTIVATION = Range(0, 511, 4)  # hidden activations and hyper features of exact networks
HYPER = Range(-127, 127, 0)
CONTEXT = Range(-1023, 1023, 4)
HEAD = Range(-32767, 32767, 4)
DECODER_PARTS = ("hyper_synthesis", "predictors", "synthesis")
MEAN_FRACTION, INDEX_FRACTION = 6, 3  # a mean row counts in 1/16 step = 1/64 unit; an index is eight a unit


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


def quality_lambda(config: LowFirstConfig, quality: Tensor) -> Tensor:
    """Lagrange multiplier of each quality (1..100), for MSE on pixels in [0, 1] times 255²."""
    ratio = math.log(config.lambda_max / config.lambda_min)
    return config.lambda_min * torch.exp(ratio * (quality.float() - 1) / (QUALITIES - 1))


def quality_anchors(quality: Tensor, anchors: int) -> Tensor:
    """Linear interpolation weights of qualities ``[b]`` over evenly spaced anchors: ``[b, anchors]``."""
    place = (quality.float() - 1) / (QUALITIES - 1) * (anchors - 1)
    return (1 - (place[:, None] - torch.arange(anchors, device=quality.device)).abs()).clamp_min(0)


class Transform(nn.Module):
    """A linear lapped path and a deep path side by side, both on ``[b, c, H/8, W/8]``."""

    def __init__(
        self, inputs: int, outputs: int, width: int, blocks: int, scale: Tensor, *, slope: float = 0.0
    ) -> None:
        super().__init__()
        self.slope = slope
        self.linear = nn.Conv2d(inputs, outputs, 3, 1, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)  # type: ignore[arg-type]
        n = min(inputs, outputs)
        self.linear.weight.data[:n, :n, 1, 1] = torch.eye(n)
        self.register_buffer("scale", scale.reshape(1, -1, 1, 1))
        self.stem = conv3(inputs, width)
        self.blocks = nn.Sequential(*[ResidualBlock(width, slope=slope) for _ in range(blocks)])
        self.tail = conv3(width, outputs, gain=0.05)

    scale: Tensor

    def forward(self, x: Tensor) -> Tensor:
        deep = self.tail(rectify(self.blocks(self.stem(x * self.scale)), self.slope))
        return self.linear(x) + deep


def _packet_scale(channels: int) -> Tensor:
    """Rough inverse spread of packet coefficients, so that the deep path starts with inputs of order one."""
    order = torch.arange(channels, dtype=torch.float32)
    return 1 / (1 + 15 / (1 + order))


class LowFirst(nn.Module):
    """The codec in torch: :meth:`forward` for training, the parts for packing."""

    def __init__(self, config: LowFirstConfig = LowFirstConfig()) -> None:
        super().__init__()
        c, p = config, config.plan
        self.config, self.plan = c, p
        self.register_buffer("packet", packet_matrix()[:, :, None, None], persistent=False)
        self.analysis = Transform(
            192, c.latent, c.analysis_width, c.analysis_blocks, _packet_scale(192), slope=c.analysis_slope
        )
        self.synthesis = Transform(
            c.latent, 192, c.synthesis_width, c.synthesis_blocks, _packet_scale(c.latent)
        )
        scale = _packet_scale(c.latent)
        self.to_half = Transform(c.latent, 48, c.half_width, c.half_blocks, scale)
        self.to_thumb = Transform(c.latent, 3, c.thumb_width, c.thumb_blocks, scale / 2)
        inverse = packet_matrix().T.reshape(3, 8, 8, 192)[..., : c.latent]  # start as averages of the picture
        self.to_half.linear.weight.data[:, :, 1, 1] = (
            inverse.reshape(3, 4, 2, 4, 2, -1).mean((2, 4)).flatten(0, 2)
        )
        self.to_thumb.linear.weight.data[:, :, 1, 1] = inverse.mean((1, 2)) / 2  # LL: twice the mean of four
        self.hyper_analysis = nn.Sequential(
            nn.Conv2d(p.y_channels, c.features, 1),
            nn.ReLU(),
            conv3(c.features, c.features, stride=2),
            nn.ReLU(),
            conv3(c.features, c.hyper, stride=2),
        )
        f, a = c.features, ACTIVATION
        self.hyper_synthesis = nn.ModuleList(
            [
                ExactConv(
                    c.hyper, 4 * f, 1, source=HYPER, out=a, shuffle=True, qualities=c.anchors, gain=0.5
                ),
                ExactConv(f, f, 3, source=a, out=a),
                ExactConv(f, 4 * f, 1, source=a, out=a, shuffle=True),
                ExactConv(f, f, 3, source=a, out=a, qualities=c.anchors),
            ]
        )
        self.predictors = nn.ModuleList([self._predictor(g) for g in p.groups])
        quality = torch.linspace(1, QUALITIES, c.anchors)
        gain = 0.5 * torch.log(quality_lambda(c, quality) / 0.01) - 0.35
        self.log_gain = nn.Parameter(gain[:, None].repeat(1, p.y_channels))
        self.log_inverse_gain = nn.Parameter(-gain[:, None].repeat(1, p.y_channels))
        self.z_index = nn.Parameter(torch.full((c.anchors, c.hyper), UNIT_INDEX))

    packet: Tensor

    def _predictor(self, group: Group) -> nn.ModuleList:
        c, p = self.config, self.plan
        source_max = torch.cat([torch.full((c.features,), 511), torch.full((p.y_channels,), 1023)])
        rows = torch.tensor([MEAN_FRACTION, INDEX_FRACTION]).repeat_interleave(group.channels)
        first = ExactConv(
            c.features + p.y_channels,
            c.context,
            1,
            source=CONTEXT,
            out=ACTIVATION,
            source_max=source_max,
            qualities=c.anchors,
        )
        first.weight.data[:, c.features + c.latent :] *= 3  # high bands are a step or so: make them heard
        second = ExactConv(c.context, c.context, 3, source=ACTIVATION, out=ACTIVATION)
        head = ExactConv(
            c.context,
            2 * group.channels,
            1,
            source=ACTIVATION,
            out=HEAD,
            relu=False,
            row_fraction=rows,
            gain=0.1,
        )
        head.bias.data[group.channels :] = UNIT_INDEX / 2**INDEX_FRACTION
        return nn.ModuleList([first, second, head])

    @property
    def exact_layers(self) -> dict[str, list[ExactConv]]:
        """The networks that the entropy decoder needs, by the names they are packed under."""
        nets = {"hyper": self.hyper_synthesis} | {
            f"predict.{k}": net for k, net in enumerate(self.predictors)
        }
        return {name: [m for m in net.children() if isinstance(m, ExactConv)] for name, net in nets.items()}

    # -- the parts -----------------------------------------------------------------------------------------

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

    def hyper_latent(self, y: Tensor) -> Tensor:
        """Hyper-latent z of the gained y, before rounding; large values enter by their logarithm."""
        return self.hyper_analysis(y.sign() * torch.log1p(y.abs()))

    def hyper_features(self, z: Tensor, anchors: Tensor, exact: bool) -> Tensor:
        x = HYPER.clip(z)
        for layer in self.exact_layers["hyper"]:
            x = layer(x, anchors, exact)
        return x

    def predict(self, k: int, x: Tensor, anchors: Tensor, exact: bool) -> tuple[Tensor, Tensor]:
        """Mean (steps) and table index of group ``k`` from features and context ``x``."""
        for layer in self.exact_layers[f"predict.{k}"]:
            x = layer(x, anchors, exact)
        mu, index = x.float().chunk(2, 1)
        index = (index * 2**INDEX_FRACTION).clamp(0, TABLES - 1)
        return mu * 2 ** (MEAN_FRACTION - self.plan.fraction), index

    def gains(self, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """Gain and inverse gain for interpolation weights ``anchors [b, a]``: each ``[b, c, 1, 1]``."""
        gain, inverse = (anchors @ self.log_gain).exp(), (anchors @ self.log_inverse_gain).exp()
        return gain[:, :, None, None], inverse[:, :, None, None]

    # -- training ------------------------------------------------------------------------------------------

    def forward(
        self, pixels: Tensor, quality: Tensor, *, exact: bool, noise: bool
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Reconstruction ``[b, 3, H, W]`` (0..255, unclipped), bits per picture ``[b]``, half and thumb.

        ``exact`` runs the entropy networks on their integers (never under autocast); ``noise`` estimates
        the rate with uniform noise, as training does, instead of rounding. Half and thumb learn from
        the latents without changing them: no gradient passes to anything but their own networks.
        """
        anchors = quality_anchors(quality, self.config.anchors)
        gain, inverse = self.gains(anchors)
        y = self.analyse(pixels).float() * gain
        z = self.hyper_latent(y).float()
        z_index = (anchors @ self.z_index)[:, :, None, None].expand_as(z)
        z_bits = logistic_bits(z + torch.rand_like(z) - 0.5 if noise else round_ste(z), z_index)
        device = pixels.device.type
        with torch.autocast(
            device, enabled=torch.is_autocast_enabled(device) and not exact, dtype=torch.bfloat16
        ):
            features = self.hyper_features(round_ste(z), anchors, exact)
            driver = Estimate(self.plan, lambda k, x: self.predict(k, x, anchors, exact), features, y, exact)
            decoded = code_groups(self.plan, driver)
        bits = driver.bits(decoded, noise).sum((1, 2, 3)) + z_bits.sum((1, 2, 3))
        y_hat = decoded * inverse
        fixed = y_hat.detach()
        small = self.synthesise_half(fixed).float(), self.synthesise_thumb(fixed).float()
        return self.synthesise(y_hat).float(), bits, small
