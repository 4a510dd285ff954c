"""Joint compression and analysis with transformers, as published (arXiv 2112.09300; Bai et al., AAAI 2022).

    pixels [b,3,H,W] ── 4 × conv5×5↓ ─► y [b,192,H/16,·] ── conv3, conv5↓, conv5 ─► z [b,128,H/32,·]    edge
    ẑ ── conv5, deconv5↑, conv3 ─► σ | μ of y;   ŷ = round(y − μ) + μ                           edge and cloud
    ŷ ── 1×1 ─► tokens ── + positions, class token ── 12 blocks, 384 wide, 6 heads ── head ─► logits     cloud
         └ F0          └ F1, F2, F3 after blocks 1, 2, 3
    F0..F3 ── 384→96 each, mixed 384→384 ── 4 × deconv5×5↑ ─► pixels                                    cloud

Sizes, layers and equations are those of the authors' code, with its float entropy model, so this is here to
be counted and trained against and is never packed; `learn/systems/joint.py` is the codec that writes files.
Ours: positions are interpolated for other sizes than 224×224 (sides are multiples of 32). Not here:
drop-path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bifocal.learn.nets.entropy.factorised import FactorisedDensity, gaussian_bits
from bifocal.learn.nets.heads.aggregation import (
    SLOPE,
    Aggregation,
    early_features,
    late_logits,
    strided_decoder,
    strided_encoder,
)
from bifocal.learn.nets.heads.vit import VisionTransformer, VitConfig

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels in 0..1
STAGES = 4


@dataclass(frozen=True)
class PaperJointConfig:
    """The published sizes; ``aggregated`` counts F0, F1 …, so 1 leaves the transformer's blocks out."""

    width: int = 128
    latent: int = 192
    hyper: int = 128
    dim: int = 384
    depth: int = 12
    heads: int = 6
    grid: int = 14
    aggregated: int = 4
    classes: int = 1000


class PaperCoded(NamedTuple):
    """``output [b, 3, H, W]`` in 0..255, unclipped; ``logits [b, classes]``; ``bits [b]`` of y and z."""

    output: Tensor
    logits: Tensor
    bits: Tensor


class PaperJoint(nn.Module):
    """The published network: :meth:`forward` trains it, :meth:`send` and the readers deploy it."""

    def __init__(self, config: PaperJointConfig = PaperJointConfig()) -> None:
        super().__init__()
        c = self.config = config
        self.register_buffer("mean", 255 * torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", 255 * torch.tensor(STD)[:, None, None], persistent=False)
        self.encoder = strided_encoder(STAGES, c.width, c.latent)
        self.hyper_analysis = nn.Sequential(
            nn.Conv2d(c.latent, c.hyper, 3, 1, 1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(c.hyper, c.hyper, 5, 2, 2),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(c.hyper, c.hyper, 5, 1, 2),
        )
        middle = c.latent * 3 // 2
        self.hyper_synthesis = nn.Sequential(
            nn.Conv2d(c.hyper, c.latent, 5, 1, 2),
            nn.LeakyReLU(SLOPE),
            nn.ConvTranspose2d(c.latent, middle, 5, 2, 2, output_padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(middle, 2 * c.latent, 3, 1, 1),
        )
        self.density = FactorisedDensity(c.hyper)
        sizes = VitConfig(dim=c.dim, depth=c.depth, heads=c.heads, grid=c.grid, classes=c.classes)
        self.trunk = VisionTransformer(nn.Conv2d(c.latent, c.dim, 1), sizes)
        self.aggregation = Aggregation(c.dim, c.aggregated)
        self.decoder = strided_decoder(STAGES, c.width, c.dim)

    mean: Tensor
    std: Tensor

    # -- edge ----------------------------------------------------------------------------------------------

    def analyse(self, pixels: Tensor) -> Tensor:
        """Pixels ``[b, 3, H, W]`` in 0..255 to y ``[b, 192, H/16, W/16]``."""
        return self.encoder((pixels - self.mean) / self.std)

    def send(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """What a camera computes and sends: the residual ``round(y − μ)``, and ẑ, which goes first."""
        y = self.analyse(pixels)
        z = self.density.round(self.hyper_analysis(y), noise=False)
        return torch.round(y - self.moments(z)[1]), z

    # -- edge and cloud ------------------------------------------------------------------------------------

    def moments(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Deviation and mean of y from ẑ; the network gives them in this order."""
        sigma, mu = self.hyper_synthesis(z).chunk(2, 1)
        return sigma, mu

    # -- cloud ---------------------------------------------------------------------------------------------

    def receive(self, residual: Tensor, z: Tensor) -> Tensor:
        """ŷ of what :meth:`send` gave."""
        return residual + self.moments(z)[1]

    def labels(self, y_hat: Tensor) -> Tensor:
        """Logits ``[b, classes]`` from ŷ: no decoder runs."""
        return self.trunk(y_hat)

    def synthesise(self, y_hat: Tensor) -> Tensor:
        """The picture ``[b, 3, H, W]``, unclipped, from ŷ: three of the twelve blocks run."""
        return self._picture(early_features(self.trunk, y_hat, self.config.aggregated)[0], y_hat)

    def both(self, y_hat: Tensor) -> tuple[Tensor, Tensor]:
        """Picture and logits; the early blocks run once."""
        features, tokens = early_features(self.trunk, y_hat, self.config.aggregated)
        return self._picture(features, y_hat), late_logits(self.trunk, tokens, self.config.aggregated)

    def _picture(self, features: list[Tensor], y_hat: Tensor) -> Tensor:
        x = self.aggregation(features).transpose(1, 2).unflatten(2, y_hat.shape[-2:])
        return self.decoder(x) * self.std + self.mean

    # -- training ------------------------------------------------------------------------------------------

    def forward(self, pixels: Tensor, *, noise: bool, entropy: bool = True) -> PaperCoded:
        """Step 1 of the training has no entropy model (``entropy=False``: latents pass as they are, 0 bits).

        In step 2 noise stands for rounding, both for the rate and in what is passed on.
        """
        y = self.analyse(pixels)
        if not entropy:
            return PaperCoded(*self.both(y), torch.zeros(len(y), device=y.device))
        z = self.density.round(self.hyper_analysis(y), noise=noise)
        sigma, mu = self.moments(z)
        y_hat = y + torch.rand_like(y) - 0.5 if noise else torch.round(y - mu) + mu
        bits = gaussian_bits(y_hat - mu, sigma).sum((1, 2, 3)) + self.density.bits(z).sum((1, 2, 3))
        return PaperCoded(*self.both(y_hat), bits)
