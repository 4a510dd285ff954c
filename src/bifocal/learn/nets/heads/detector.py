"""A detector of small objects from the air, after SuperYOLO (Zhang et al., arXiv 2209.13351).

    pixels ─ fusion 1/1 ─ 1/2 ─ 1/4 (low tap) ─ 1/8 ─ 1/16 ─ pooling (high tap)
                                   │             │       │
                     one head ◄─ join ◄── up ◄─ join ◄─ up

Nothing is thrown away before the first convolution, and the only grid of answers is at a quarter of the
resolution, which suits objects of a few pixels. The taps feed a branch that learns to enlarge the picture
(:mod:`bifocal.learn.nets.heads.super_resolution`), in training alone. Written from the equations of the
paper; the sizes of :data:`PAPER` are its, those of :data:`SLIM` are ours.

:class:`LatentDetector` has the same neck and head on the latents of a stream.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bifocal.learn.nets.heads.detector_blocks import ConvNorm, CrossStage, PixelFusion, PyramidPooling
from bifocal.learn.nets.parameters import ParameterGroup, grouped

#: Pixels of the network's input a side that one cell of the answer covers, and what sides are a multiple of.
CELL, UNIT = 4, 16
#: Width and height in pixels of the boxes that answers are relative to.
ANCHORS = ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0))
#: Ways to bring colour and infrared together.
FUSIONS = ("mf", "concat")
#: Share of cells that hold an object, as an untrained network says.
_PRIOR = 0.01


@dataclass(frozen=True)
class DetectorConfig:
    """Sizes: ``width`` channels at half the resolution, twice as many at each further one; ``depth`` blocks
    at a quarter. ``modalities`` are rgb, ir or both; ``fusion`` says how both are brought together."""

    classes: int = 8
    modalities: tuple[str, ...] = ("rgb", "ir")
    fusion: str = "mf"
    width: int = 64
    depth: int = 3
    anchors: tuple[tuple[float, float], ...] = ANCHORS

    @property
    def channels(self) -> int:
        """Channels of the input."""
        return sum({"rgb": 3, "ir": 1}[name] for name in self.modalities)

    @property
    def taps(self) -> tuple[int, int]:
        """Channels of the low and of the high tap."""
        return 2 * self.width, 8 * self.width


#: The network of the paper, and one that trains on a processor.
PAPER, SLIM = DetectorConfig(), DetectorConfig(width=16, depth=2)


class Features(NamedTuple):
    """What a detector gives in training: ``answers`` ``[n, anchors, 5 + classes, h/4, w/4]``, and the maps
    that its branch for super-resolution takes."""

    answers: Tensor
    low: Tensor
    high: Tensor


class Neck(nn.Module):
    """Maps at 1/4, 1/8 and 1/16 brought together at 1/4, and the one head on it.

    The outputs are centre, size, objectness and classes of each anchor, without any activation.
    """

    def __init__(self, widths: tuple[int, int, int], classes: int, anchors: int) -> None:
        super().__init__()
        low, middle, high = widths
        self.outputs = 5 + classes
        self.deep = CrossStage(high, high, shortcut=False)
        self.narrow_deep, self.join_deep = (
            ConvNorm(high, middle),
            CrossStage(2 * middle, middle, shortcut=False),
        )
        self.narrow, self.join = ConvNorm(middle, low), CrossStage(2 * low, low, shortcut=False)
        self.head = nn.Conv2d(low, anchors * self.outputs, 1)
        self.up = nn.Upsample(scale_factor=2.0)
        with torch.no_grad():
            bias = self.head.bias.view(anchors, -1)  # type: ignore[union-attr]
            bias[:, 4] = math.log(_PRIOR / (1 - _PRIOR))
            bias[:, 5:] = -math.log(max(1, classes - 1))

    def forward(self, low: Tensor, middle: Tensor, high: Tensor) -> Tensor:
        x = self.narrow_deep(self.deep(high))
        x = self.narrow(self.join_deep(torch.cat([self.up(x), middle], 1)))
        x = self.head(self.join(torch.cat([self.up(x), low], 1)))
        return x.unflatten(1, (-1, self.outputs))


class Detector(nn.Module):
    """Pixels ``[n, c, h, w]`` in 0..1, sides multiples of 16, to ``[n, a, 5 + classes, h/4, w/4]``."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        fused = config.fusion == "mf" and config.channels == 4
        self.fusion = PixelFusion(w) if fused else ConvNorm(config.channels, w // 2, 3)
        self.at_2 = nn.Sequential(ConvNorm(w if fused else w // 2, w, 3, 2), CrossStage(w, w))
        self.at_4 = nn.Sequential(ConvNorm(w, 2 * w, 3, 2), CrossStage(2 * w, 2 * w, config.depth))
        self.at_8 = nn.Sequential(ConvNorm(2 * w, 4 * w, 3, 2), CrossStage(4 * w, 4 * w, config.depth))
        self.at_16 = nn.Sequential(ConvNorm(4 * w, 8 * w, 3, 2), PyramidPooling(8 * w))
        self.neck = Neck((2 * w, 4 * w, 8 * w), config.classes, len(config.anchors))

    def features(self, x: Tensor) -> Features:
        """The answers, and the taps of the branch for super-resolution."""
        low = self.at_4(self.at_2(self.fusion(x)))
        middle = self.at_8(low)
        high = self.at_16(middle)
        return Features(self.neck(low, middle, high), low, high)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x).answers

    def parameter_groups(self) -> tuple[ParameterGroup, ...]:
        """Kernels, and the rest: norms, the last layer."""
        return grouped(self, plain=[self.neck.head])


@dataclass(frozen=True)
class LatentDetectorConfig:
    """Sizes of the detector on latents: ``channels`` of y of each plane, ``planes`` of a picture (colour,
    and maybe infrared), ``width`` channels at 1/8 of the resolution."""

    classes: int = 1
    channels: int = 256
    planes: int = 1
    width: int = 48
    depth: int = 2
    anchors: tuple[tuple[float, float], ...] = ANCHORS


class LatentDetector(nn.Module):
    """y ``[n, planes·channels, h, w]`` at 1/16 after inverse gains, low bands and high, to answers at 1/4.

    ``mean`` and ``std`` ``[planes·channels]`` are those of the channels over the training pictures. A 1×1
    convolution and a pixel shuffle bring the bands together at 1/8, as the inverse wavelet step would; no
    picture is rebuilt.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: LatentDetectorConfig, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.config = config
        w = config.width
        self.register_buffer("mean", mean.reshape(-1, 1, 1))
        self.register_buffer("std", std.reshape(-1, 1, 1).clamp_min(1e-3))
        self.into = nn.Sequential(ConvNorm(config.planes * config.channels, 4 * w), nn.PixelShuffle(2))
        self.at_8 = nn.Sequential(ConvNorm(w, w, 3), CrossStage(w, w, config.depth))
        self.at_16 = nn.Sequential(ConvNorm(w, 2 * w, 3, 2), PyramidPooling(2 * w))
        self.at_4 = nn.Sequential(ConvNorm(w, 2 * w), nn.PixelShuffle(2), ConvNorm(w // 2, w // 2, 3))
        self.neck = Neck((w // 2, w, 2 * w), config.classes, len(config.anchors))

    def forward(self, y: Tensor) -> Tensor:
        middle = self.at_8(self.into((y - self.mean) / self.std))
        answers: Tensor = self.neck(self.at_4(middle), middle, self.at_16(middle))
        return answers

    def parameter_groups(self) -> tuple[ParameterGroup, ...]:
        """Kernels, and the rest: norms, the last layer."""
        return grouped(self, plain=[self.neck.head])


class BoxesOf(nn.Module):
    """A detector whose answers are boxes: corners ``[n, k, 4]`` in pixels of its input, and ``scores`` ``[n,
    k, classes]``; k runs over anchors and cells. This is what is packed.

    ``shrink`` averages squares of so many pixels of the given picture first, whose values are 0..255.
    """

    grid_anchors: Tensor

    def __init__(self, network: nn.Module, anchors: tuple[tuple[float, float], ...], shrink: int = 1) -> None:
        super().__init__()
        self.network, self.shrink = network, shrink
        self.register_buffer("grid_anchors", torch.tensor(anchors).reshape(1, -1, 2, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.shrink:
            x = x / 255
        if self.shrink > 1:
            x = nn.functional.avg_pool2d(x, self.shrink)
        return boxes_and_scores(self.network(x), self.grid_anchors, max(1, self.shrink))


def decode(answers: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and size of the boxes in pixels of the network's input, each ``[n, a, 2, h, w]``.

    A centre may leave its cell by half a cell, and a side be up to four times that of its anchor, which is
    ``anchors [1, a, 2, 1, 1]``.
    """
    h, w = answers.shape[-2:]
    rows, columns = (torch.arange(n, device=answers.device, dtype=torch.float32) for n in (h, w))
    down, across = rows[:, None].expand(h, w), columns[None, :].expand(h, w)
    cells = torch.stack([across, down])
    centre = (2 * answers[:, :, :2].float().sigmoid() - 0.5 + cells) * CELL
    size = (2 * answers[:, :, 2:4].float().sigmoid()).square() * anchors
    return centre, size


def boxes_and_scores(answers: Tensor, anchors: Tensor, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Corners ``[n, k, 4]``, times ``scale``, and scores ``[n, k, classes]``: objectness times class."""
    centre, size = decode(answers, anchors)
    corners = torch.cat([centre - size / 2, centre + size / 2], 2) * scale
    scores = answers[:, :, 4:5].float().sigmoid() * answers[:, :, 5:].float().sigmoid()
    return tuple(x.permute(0, 1, 3, 4, 2).flatten(1, 3) for x in (corners, scores))  # type: ignore[return-value]
