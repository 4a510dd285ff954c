"""What a detector of latents learns from: views as real streams of random qualities, decoded to latents.

The codec is frozen. A view is encoded once, infrared as a gray picture beside it, and its latents after
inverse gains are kept in float16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bifocal.learn.data.detection.dataset import DetectionSet, Pixels
from bifocal.learn.data.detection.views import Augmentation, Batch, View, as_batch, view
from bifocal.runtime.encoding import Encoder
from bifocal.runtime.heads.windows import read_latents
from bifocal.runtime.model import Model
from bifocal.stream import container

TILE = 2048
#: Qualities of training views, from and to.
QUALITIES = (5, 95)


def planes(pixels: Pixels) -> list[Pixels]:
    """The pictures that a stream has of ``[h, w, c]``: colour or gray, and infrared as a plane."""
    if pixels.shape[2] == 1:
        return [pixels[..., 0]]
    return [pixels[..., :3]] if pixels.shape[2] == 3 else [pixels[..., :3], pixels[..., 3]]


def encode_planes(pixels: Pixels, model: Model, quality: int) -> bytes:
    """A stream of the channels of a picture, infrared in its plane."""
    first, *others = (np.ascontiguousarray(plane) for plane in planes(pixels))
    made = [Encoder(one, model, tile=TILE, lossless=False).encode(quality).data for one in others]
    chunks = {container.PLANE: made[0]} if made else {}
    return Encoder(first, model, tile=TILE, lossless=False).encode(quality, metadata=chunks).data


def latents_of(data: bytes, model: Model) -> NDArray[np.float32]:
    """The latents of a stream and of its plane, ``[planes·c, h, w]``, after inverse gains."""
    stream = container.read(data)
    beside = stream.metadata.get(container.PLANE)
    parts = [read_latents(one, model).y for one in (data, beside) if one is not None]
    return np.concatenate(parts)


class LatentViews:
    """Views of a data set as latents float16 ``[n, c, h, w]``, and what is in them."""

    def __init__(self, y: NDArray[np.float16], views: list[View]) -> None:
        self.y, self.views = y, views

    @classmethod
    def made(
        cls,
        data: DetectionSet,
        model: Model,
        count: int,
        side: int,
        seed: int,
        progress: Callable[[int, int], None] = lambda done, of: None,
    ) -> LatentViews:
        """``count`` views of each picture; a quality is drawn for each."""
        rng = np.random.default_rng(seed)
        views, made = [], []
        total = count * len(data)
        for number in range(total):
            one = view(data, number % len(data), side, rng, Augmentation())
            quality = int(rng.integers(QUALITIES[0], QUALITIES[1] + 1))
            made.append(latents_of(encode_planes(one.pixels, model, quality), model).astype(np.float16))
            views.append(one._replace(pixels=one.pixels[:1, :1]))  # only its boxes are needed further
            progress(number + 1, total)
        return cls(np.stack(made), views)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel."""
        y = self.y.astype(np.float32)
        return torch.from_numpy(y.mean((0, 2, 3))), torch.from_numpy(y.std((0, 2, 3)))

    def batches(self, size: int, seed: int) -> Iterator[Batch]:
        """Endless batches; ``pixels`` of a batch are latents."""
        rng = np.random.default_rng(seed)
        while True:
            chosen = rng.choice(len(self.views), size, replace=len(self.views) < size)
            batch = as_batch([self.views[k] for k in chosen])
            yield batch._replace(pixels=torch.from_numpy(self.y[chosen]).float())
