"""The residual network of heads on latents, on pixels instead: what a head is compared with."""

from __future__ import annotations

import torch
from torch import nn

from bifocal.learn.nets.heads.latent_stem import LatentResNet, LatentResNetConfig

#: Pixels a side of one position of the network.
STRIDE = 16


def pixel_network(classes: int) -> LatentResNet:
    """Pixels ``[b, 3, H, W]`` in 0..255 to logits ``[b, classes]``."""
    config = LatentResNetConfig(channels=3, low=3, classes=classes)
    network = LatentResNet(config, torch.full((3,), 127.5), torch.full((3,), 64.0))
    # patches of 4×4, as a shuffle and a product: many times faster in training than a strided convolution
    front: list[nn.Module] = [nn.PixelUnshuffle(4), nn.Conv2d(48, 32, 1, bias=False)]
    front += [nn.BatchNorm2d(32), nn.ReLU()]
    front += [nn.Conv2d(32, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    front += [nn.Conv2d(64, config.width, 3, 2, 1, bias=False)]
    network.stem.add_module("first", nn.Sequential(*front))  # in place of the first convolution
    return network
