"""A classifier on latents: a small convolutional stem in place of patches, then a plain transformer.

A transformer alone learns little from ten thousand pictures; a few convolutions before it supply what it
would have to learn (early convolutions: Xiao et al., arXiv 2106.14881). The stem is a residual network
(He et al., arXiv 1512.03385) at the resolution of the latents, so one place of y is one token and tokens can
be pruned. Sizes and the position of the cut are our choice.

    y [b,c,h,w] ─ scale ─┬─ low channels: 3×3 ──(+)─ norm, ReLU ─ residual blocks ─ 3×3 ─► [b,d,h,w]
                         └─ the others: 1×1 ────┘                      transformer ─► logits
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from bifocal.nets.blocks import conv3
from bifocal.nets.vit import VisionTransformer, VitConfig


@dataclass(frozen=True)
class LatentClassifierConfig:
    """Sizes: ``channels`` of y that are read, the first ``low`` of them with 3×3 kernels; ``width`` and
    ``blocks`` of the stem; the rest as in :class:`~bifocal.nets.vit.VitConfig`."""

    channels: int = 64
    low: int = 64
    width: int = 192
    blocks: int = 2
    dim: int = 192
    depth: int = 4
    heads: int = 6
    mlp_ratio: float = 2.0
    grid: int = 8
    classes: int = 10


class NormBlock(nn.Module):
    """``relu(x + norm(conv3(relu(norm(conv3(x))))))`` on ``[b, c, h, w]``; at the start the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.first_norm = _conv(channels, channels), nn.BatchNorm2d(channels)
        self.second, self.second_norm = _conv(channels, channels), nn.BatchNorm2d(channels)
        nn.init.zeros_(self.second_norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first_norm(self.first(x)).relu()
        return (x + self.second_norm(self.second(y))).relu()


class LatentStem(nn.Module):
    """y ``[b, c, h, w]`` after inverse gains to a map ``[b, d, h, w]``.

    ``mean`` and ``std`` ``[c]`` are those of the channels over the training pictures.
    """

    def __init__(self, config: LatentClassifierConfig, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        c = config
        self.register_buffer("mean", mean.reshape(-1, 1, 1))
        self.register_buffer("std", std.reshape(-1, 1, 1).clamp_min(1e-3))
        self.low = min(c.low, c.channels)
        self.first, self.norm = _conv(self.low, c.width), nn.BatchNorm2d(c.width)
        self.others = (
            nn.Conv2d(c.channels - self.low, c.width, 1, bias=False) if c.channels > self.low else None
        )
        self.blocks = nn.Sequential(*[NormBlock(c.width) for _ in range(c.blocks)])
        self.last = conv3(c.width, c.dim)

    mean: Tensor
    std: Tensor

    def forward(self, y: Tensor) -> Tensor:
        x = (y - self.mean) / self.std
        first = self.first(x[:, : self.low])
        if self.others is not None:
            first = first + self.others(x[:, self.low :])
        return self.last(self.blocks(self.norm(first).relu()))


def latent_classifier(config: LatentClassifierConfig, mean: Tensor, std: Tensor) -> VisionTransformer:
    """The whole network: y ``[b, channels, h, w]`` of any size to logits ``[b, classes]``.

    >>> import torch
    >>> model = latent_classifier(LatentClassifierConfig(classes=3), torch.zeros(64), torch.ones(64)).eval()
    >>> model(torch.zeros(2, 64, 5, 9)).shape
    torch.Size([2, 3])
    """
    c = config
    trunk = VitConfig(c.dim, c.depth, c.heads, c.mlp_ratio, c.grid, c.classes)
    return VisionTransformer(LatentStem(c, mean, std), trunk)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)  # a norm follows, and has the bias
