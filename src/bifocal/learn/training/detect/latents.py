"""Teaching a detector that reads streams: the latents of picture and plane, and no picture rebuilt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bifocal.errors import OptionError
from bifocal.learn.data.detection.dataset import DetectionSet
from bifocal.learn.data.detection.latents import LatentViews, encode_planes, latents_of
from bifocal.learn.data.detection.views import Batch
from bifocal.learn.nets.heads.detector import BoxesOf, LatentDetector, LatentDetectorConfig
from bifocal.learn.packing.detectors import pack_latent_detector
from bifocal.learn.packing.heads import PackedHead
from bifocal.learn.training.detect.judging import LEAST_SCORE, MOST_OVERLAP
from bifocal.learn.training.detect.recipe import DetectRecipe
from bifocal.learn.training.detect.run import DetectorRun
from bifocal.runtime.heads.boxes import Found, suppress
from bifocal.runtime.heads.detect import Threshold
from bifocal.runtime.heads.detect_latents import detect_latents
from bifocal.runtime.heads.run import Head
from bifocal.runtime.model import Model
from bifocal.stream import container

#: Held pictures are judged as streams of this quality.
QUALITY = 60


class LatentRun(DetectorRun):
    """One detector of the latents of ``model``: as the detector of pixels, but for what it reads."""

    def __init__(
        self,
        recipe: DetectRecipe,
        train: DetectionSet,
        held: DetectionSet,
        out: Path,
        report: Path,
        device: str,
        log: Callable[[str], None],
        *,
        model: Model,
        views: int,
    ) -> None:
        if recipe.sr:
            raise OptionError("super-resolution is for detectors of pixels: leave it off.")
        self.model = model
        log(f"encoding {views * len(train):,} views")
        self.made = LatentViews.made(train, model, views, recipe.side, recipe.seed)
        self.statistics = self.made.statistics()
        self._streams: dict[tuple[Path, int], bytes] = {}
        super().__init__(replace(recipe, shrink=1), train, held, out, report, device, log)

    def make_network(self) -> nn.Module:
        config = self.recipe.config
        sizes = LatentDetectorConfig(
            config.classes,
            self.model.entropy.plan.y_channels,
            len(config.modalities),
            width=3 * config.width,
            depth=config.depth,
            anchors=config.anchors,
        )
        return LatentDetector(sizes, *self.statistics)

    def feed(self, seed: int) -> Iterator[Batch]:
        return self.made.batches(self.recipe.batch, seed)

    def pack(self, network: nn.Module) -> PackedHead:
        assert isinstance(network, LatentDetector)
        return pack_latent_detector(network, name=self.out.stem, classes=self.data.classes, base=self.model)

    def streams(self, data: DetectionSet, quality: int = QUALITY) -> list[bytes]:
        """The pictures as streams, encoded once."""
        for k, picture in enumerate(data.pictures):
            if (picture.file, quality) not in self._streams:
                made = encode_planes(data.pixels(k), self.model, quality)
                self._streams[picture.file, quality] = made
        return [self._streams[picture.file, quality] for picture in data.pictures]

    @torch.no_grad()
    def find(self, network: nn.Module, data: DetectionSet) -> list[Found]:
        module, found = BoxesOf(network, self.recipe.config.anchors, 0), []
        for picture, stream in zip(data.pictures, self.streams(data), strict=True):
            y = torch.from_numpy(latents_of(stream, self.model)[None].astype(np.float32))
            corners, scores = (part[0].numpy() for part in module(y))
            sizes = picture.width, picture.height
            found.append(suppress(corners, scores, *sizes, least=LEAST_SCORE, overlap=MOST_OVERLAP))
        return found

    def find_packed(self, head: Head, data: DetectionSet) -> list[Found]:
        wanted = Threshold(LEAST_SCORE)
        opened = (container.read(stream) for stream in self.streams(data))
        return [detect_latents(head, stream, self.model, wanted) for stream in opened]
