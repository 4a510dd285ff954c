"""Packing a detector: the container of a head with a graph from pixels or latents to boxes and scores.

What was beside the network in training, such as the branch for super-resolution, is not in the file. Batch
norms are folded into the convolutions before them.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.export import Dim

from bifocal.learn.nets.heads.detector import UNIT, BoxesOf, Detector, LatentDetector
from bifocal.learn.nets.heads.detector_blocks import ConvNorm
from bifocal.learn.packing.graphs import module_graph
from bifocal.learn.packing.heads import PackedHead, half_precision
from bifocal.runtime.heads.file import FORMAT
from bifocal.runtime.model import Model

#: Largest side of what a packed detector sees at once, in units: 1024 pixels of a picture that is halved.
WINDOW = 32
#: What a detector of pixels says of its codec, which it has none of.
NO_CODEC, NO_FINGERPRINT = "pixels", "0" * 16


def pack_detector(network: Detector, *, name: str, classes: tuple[str, ...], shrink: int) -> PackedHead:
    """Pack a detector of pixels, which it takes in 0..255 at ``shrink`` times the resolution that it sees.

    :raises ModelError: if it cannot become a graph, or a weight does not fit float16.
    """
    config, unit = network.config, UNIT * shrink
    spec = {
        "codec": NO_CODEC,
        "fingerprint": NO_FINGERPRINT,
        "reads": "pixels",
        "modalities": list(config.modalities),
        "channels": config.channels,
        "window": WINDOW,
        "token": unit,
        "stride": unit,
    }
    module = BoxesOf(folded(network), config.anchors, shrink)
    return _pack(module, name, classes, config.channels, unit, spec)


def pack_latent_detector(
    network: LatentDetector, *, name: str, classes: tuple[str, ...], base: Model
) -> PackedHead:
    """Pack a detector of the latents of ``base``; with two planes it also reads those of infrared.

    :raises ModelError: as for :func:`pack_detector`.
    """
    config, stride = network.config, base.entropy.plan.y_stride
    spec = {
        "codec": base.name,
        "fingerprint": base.entropy.fingerprint.hex(),
        "reads": "latents",
        "modalities": ["rgb", "ir"][: config.planes],
        "channels": config.channels,
        "window": 2 * WINDOW,
        "token": stride,
        "stride": stride,
    }
    module = BoxesOf(folded(network), config.anchors, 0)
    return _pack(module, name, classes, config.planes * config.channels, 1, spec)


def _pack(
    module: BoxesOf, name: str, classes: tuple[str, ...], channels: int, unit: int, spec: dict[str, Any]
) -> PackedHead:
    most = int(spec["window"])
    h, w = Dim("h", min=1, max=most), Dim("w", min=1, max=most)
    port = "y" if spec["reads"] == "latents" else "pixels"
    sides = {2: unit * h, 3: unit * w}
    example = torch.zeros(1, channels, 3 * unit, 4 * unit)
    graph, weights = module_graph(module, "detector", {port: example}, {port: sides}, ("boxes", "scores"))
    spec = {"format": FORMAT, "kind": "detect", "name": name, "classes": list(classes), "stages": [], **spec}
    return PackedHead((graph,), {key: half_precision(key, value) for key, value in weights.items()}, spec)


def folded(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode, each batch norm folded into the convolution before it."""
    network = copy.deepcopy(network).cpu().float().eval()
    for part in network.modules():
        if isinstance(part, ConvNorm) and isinstance(part.norm, nn.BatchNorm2d):
            part.conv = torch.nn.utils.fusion.fuse_conv_bn_eval(part.conv, part.norm)
            part.norm = nn.Identity()  # type: ignore[assignment]
    return network


def parameters(network: nn.Module) -> int:
    """How many parameters a detector has when it is packed."""
    return sum(p.numel() for p in folded(network).parameters())
