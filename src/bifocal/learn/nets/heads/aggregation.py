"""Convolutions around a transformer on latents, and the way from its early blocks back to a picture.

The blocks of arXiv 2112.09300 (Bai et al., AAAI 2022): a stack of strided 5×5 convolutions instead of a patch
stem, its mirror, and between them the aggregation of what the first transformer blocks have made of the
latents.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bifocal.learn.nets.heads.vit import VisionTransformer

SLOPE = 0.01  # of negative units, as in the paper


def strided_encoder(stages: int, width: int, outputs: int) -> nn.Sequential:
    """``[b, 3, H, W]`` to ``[b, outputs, H/2^stages, W/2^stages]``: 5×5 convolutions of stride 2.

    Leaky ReLUs stand between them and none after the last.

    >>> strided_encoder(4, 8, 12)(torch.zeros(1, 3, 64, 32)).shape
    torch.Size([1, 12, 4, 2])
    """
    layers: list[nn.Module] = []
    for i in range(stages):
        last = i + 1 == stages
        layer = nn.Conv2d(3 if i == 0 else width, outputs if last else width, 5, 2, 2)
        layers.append(_even(layer, 25 * layer.in_channels, last))
        layers += [] if last else [nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers)


def strided_decoder(stages: int, width: int, inputs: int) -> nn.Sequential:
    """The mirror of :func:`strided_encoder`: transposed 5×5 convolutions, each doubling both sides.

    >>> strided_decoder(4, 8, 12)(torch.zeros(1, 12, 4, 2)).shape
    torch.Size([1, 3, 64, 32])
    """
    layers: list[nn.Module] = []
    for i in range(stages):
        last = i + 1 == stages
        sizes = inputs if i == 0 else width, 3 if last else width
        layer = nn.ConvTranspose2d(*sizes, 5, 2, 2, output_padding=1)
        layers.append(_even(layer, 25 * layer.in_channels / 4, last))  # a quarter of the taps meets a value
        layers += [] if last else [nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers)


def _even(layer: nn.Conv2d | nn.ConvTranspose2d, inputs: float, last: bool) -> nn.Module:
    """Start a layer so that values keep their spread from layer to layer: He et al. (arXiv 1502.01852)."""
    nn.init.normal_(layer.weight, std=((1.0 if last else 2.0) / inputs) ** 0.5)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def early_features(trunk: VisionTransformer, y: Tensor, count: int) -> tuple[list[Tensor], Tensor]:
    """What ``trunk`` makes of latents ``y [b, c, h, w]`` early on: ``count`` features, then tokens.

    The features ``F_0 … F_(count-1)``, each ``[b, h·w, d]``, are the embedding before positions and class
    token, then the patch tokens after each of the first ``count - 1`` blocks. The tokens ``[b, 1 + h·w, d]``,
    class token first, are what the next block takes: see :func:`late_logits`.
    """
    embedded = trunk.patch_embed(y)
    tokens = trunk._pos_embed(embedded)
    features = [embedded.flatten(1, 2)]
    for block in trunk.blocks[: count - 1]:
        tokens = block(tokens)
        features.append(tokens[:, 1:])
    return features, tokens


def late_logits(trunk: VisionTransformer, tokens: Tensor, count: int) -> Tensor:
    """Logits ``[b, classes]`` from the tokens that :func:`early_features` gave for the same ``count``."""
    for block in trunk.blocks[count - 1 :]:
        tokens = block(tokens)
    return trunk.classify(tokens)


class Aggregation(nn.Module):
    """Features ``F_0 …`` of the transformer, each ``[b, n, d]``, to one ``[b, n, d]``.

    Each is projected to its share of the channels; the shares, side by side, are mixed by a linear layer.

    :raises ValueError: if ``count`` does not divide ``dim``.
    """

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        if dim % count:
            raise ValueError(f"{count} features cannot share {dim} channels equally.")
        self.count = count
        self.project = nn.ModuleList(nn.Linear(dim, dim // count) for _ in range(count))
        self.mix = nn.Linear(dim, dim)

    def forward(self, features: list[Tensor]) -> Tensor:
        parts = [project(x) for project, x in zip(self.project, features, strict=True)]
        return self.mix(torch.cat(parts, -1))
