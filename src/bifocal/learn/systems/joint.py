"""Joint: one latent for a picture and its label, a transformer between the two (after arXiv 2112.09300).

    pixels [b,3,H,W] ── conv5×5↓ … ─► y [b,c,H/16,·] ── the house's exact entropy path, one group ─► ŷ
    ŷ ── 1×1 ── + positions, class token ── all blocks, over the whole picture ── head ─► logits [b,classes]
    ŷ in squares of 64×64 pixels ── 1×1 ─► F0 ── + positions, class token ── the first blocks ─► F1, F2, F3
    F0..F3 ── one projection each, mixed ── deconv5×5↑ … ─► pixels

The published network stands in `studies/joint/paper.py`; transforms, trunk and aggregation here are its
own, at any size. Ours are the exact entropy path with gains by quality in place of its float hyperprior, and
the span of attention on the way to the picture: there every square of 64 pixels is a picture of its own, with
its own class token, so that a window of the runtime, which starts at a multiple of 64 pixels, gives the
pixels of the whole. At 64×64 this is the published network; a larger picture gives up attention between
squares (the deconvolutions still see across), while labels keep the whole picture. No context inside the
latent, as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bifocal.learn.nets.codec import PIXEL_UNIT, Codec
from bifocal.learn.nets.heads.aggregation import Aggregation, early_features, strided_decoder, strided_encoder
from bifocal.learn.nets.heads.vit import VisionTransformer, VitConfig
from bifocal.learn.nets.parameters import ParameterGroup, grouped
from bifocal.stream.limits import TILE_UNIT
from bifocal.stream.plan import Group, Plan


@dataclass(frozen=True)
class JointConfig:
    """Sizes. Positions are learned for ``grid × grid`` tokens; ``aggregated`` counts F0, F1 …
    (1: the picture is made without the transformer's blocks).

    Label and picture are weighed against bits as ``alpha·cross-entropy + lambda·255²·MSE + bits/pixel`` with
    ``alpha = label_weight·lambda``; the paper keeps 100 at all rates.
    """

    stages: int = 4
    width: int = 64
    latent: int = 96
    dim: int = 192
    depth: int = 6
    heads: int = 3
    grid: int = 8
    aggregated: int = 4
    classes: int = 10
    hyper: int = 32
    features: int = 64
    context: int = 96
    anchors: int = 6
    lambda_min: float = 0.001
    lambda_max: float = 0.02
    label_weight: float = 100.0

    @property
    def plan(self) -> Plan:
        stride = 1 << self.stages
        return Plan(
            y_channels=self.latent,
            z_channels=self.hyper,
            groups=(Group(0, self.latent, 1, 0),),
            y_stride=stride,
            z_stride=2 * stride,
            skip=5,
        )


class Joint(Codec):
    """The codec in torch. :meth:`labels` reads latents that :meth:`synthesise` makes the picture of."""

    config: JointConfig

    def __init__(self, config: JointConfig = JointConfig()) -> None:
        super().__init__(config)
        c = config
        self.span = TILE_UNIT >> c.stages  # tokens a side that attend to each other on the way to the picture
        self.analysis = strided_encoder(c.stages, c.width, c.latent)
        sizes = VitConfig(dim=c.dim, depth=c.depth, heads=c.heads, grid=c.grid, classes=c.classes)
        self.trunk = VisionTransformer(nn.Conv2d(c.latent, c.dim, 1), sizes)
        self.aggregation = Aggregation(c.dim, c.aggregated)
        self.synthesis = strided_decoder(c.stages, c.width, c.dim)

    def analyse(self, pixels: Tensor) -> Tensor:
        """Pixels ``[b, 3, H, W]`` in 0..255 (multiples of 64) to y ``[b, c, H/s, W/s]``, before gains."""
        return self.analysis((pixels - 127.5) / PIXEL_UNIT)

    def labels(self, y: Tensor) -> Tensor:
        """Logits ``[b, classes]`` of y ``[b, c, h, w]`` after inverse gains, any h and w."""
        return self.trunk(y)

    def synthesise(self, y: Tensor) -> Tensor:
        """Pixels ``[b, 3, H, W]``, unclipped, of y ``[b, c, H/s, W/s]`` after inverse gains."""
        s, (b, _, h, w) = self.span, y.shape
        squares = y.unflatten(3, (-1, s)).unflatten(2, (-1, s)).permute(0, 2, 4, 1, 3, 5)
        features, _ = early_features(self.trunk, squares.flatten(0, 2), self.config.aggregated)
        mixed = self.aggregation(features)  # [b·squares, s·s, d]
        x = mixed.reshape(b, h // s, w // s, s, s, -1).permute(0, 5, 1, 3, 2, 4)
        return self.synthesis(x.reshape(b, -1, h, w)) * PIXEL_UNIT + 127.5

    def parameter_groups(self) -> tuple[ParameterGroup, ...]:
        return grouped(self, matrices=[self.trunk.blocks, self.aggregation])

    def packing_extras(self) -> frozenset[str]:
        return frozenset({"labels"})

    @torch.no_grad()
    def scale_gains(self, pixels: Tensor, steps: float = 2.0) -> None:
        """Set gains so that channels of y deviate by ``steps`` steps on ``pixels`` at middle quality.

        The scale of y is arbitrary until a rate is asked of it, as after a step of training without one.
        """
        deviation = self.analyse(pixels).float().transpose(0, 1).flatten(1).std(1).clamp_min(1e-4)
        shift = (steps / deviation).log() - self.log_gain.mean(0)
        self.log_gain.add_(shift)
        self.log_inverse_gain.copy_(-self.log_gain)
