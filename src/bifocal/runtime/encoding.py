"""Encoding a picture block by block: its latents are never in memory as a whole, unless kept on purpose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from bifocal.runtime.model import BLOCK, FloatLatents, Model, Transformed
from bifocal.runtime.search import LEVELS, Level, check_effort, search_tile
from bifocal.runtime.windows import Box, boxes, padded_size
from bifocal.stream import container
from bifocal.stream.container import Header
from bifocal.stream.latents import CodedTile
from bifocal.stream.limits import TILE_UNIT


class Encoder:
    """A picture that can be encoded at any quality, again and again.

    ``pixels`` uint8 ``[h, w, 3]`` or ``[h, w]``; ``tile`` is the side of a tile in pixels. With ``keep``,
    what the analysis network makes of the pixels (about 4.5 bytes a pixel) stays in memory, so that every
    quality after the first costs half the time.

    :raises OptionError: if a picture of this size cannot be written, or not in such tiles.
    """

    def __init__(self, pixels: NDArray[np.uint8], model: Model, *, tile: int, keep: bool = False) -> None:
        self._height, self._width = pixels.shape[:2]
        container.check_options(self._width, self._height, 1, tile)
        self._pixels, self._model, self._tile, self._keep = pixels, model, tile, keep
        self._kept: dict[Box, Transformed] = {}

    def encode(
        self,
        quality: int,
        *,
        metadata: Mapping[str, bytes] | None = None,
        effort: int = 0,
        weights: NDArray[np.float32] | None = None,
    ) -> bytes:
        """The stream at ``quality`` (1 to 100), searched for with ``effort`` 0 to 9.

        ``weights`` float32 ``[h, w]`` in 0..1 say what an error counts at each pixel; with them, effort is at
        least 1.

        :raises OptionError: if ``quality`` or ``effort`` does not exist or the metadata cannot be written.
        :raises ModelError: if the effort needs a graph that the model lacks.
        """
        effort = check_effort(effort)
        if weights is not None:  # plain rounding has no use for them
            effort = max(effort, 1)
        width, height, tile, entropy = self._width, self._height, self._tile, self._model.entropy
        container.check_options(width, height, quality, tile)
        in_row = -(-width // tile)
        coded = {
            top // tile * in_row + left // tile: (made.payload, made.latent_crc)
            for (left, top), made in self._tiles(quality, LEVELS[effort], weights)
        }
        header = Header(
            entropy.wire_id,
            entropy.fingerprint,
            entropy.release,
            width,
            height,
            self._pixels.ndim == 2,
            quality,
            tile,
        )
        return container.write(header, metadata or {}, [coded[number] for number in range(len(coded))])

    def _tiles(
        self, quality: int, level: Level, weights: NDArray[np.float32] | None
    ) -> Iterator[tuple[tuple[int, int], CodedTile]]:
        """The left and top of every tile, and the tile, coded: block by block, not in stream order."""
        w, h = padded_size(self._width, TILE_UNIT), padded_size(self._height, TILE_UNIT)
        model, plan = self._model, self._model.entropy.plan
        for block in boxes(w, h, self._tile * max(1, BLOCK // self._tile)):
            latents = model.at_quality(self._transformed(block), quality)
            for left, top, right, bottom in boxes(block[2] - block[0], block[3] - block[1], self._tile):
                y, z = (
                    part[:, top // stride : bottom // stride, left // stride : right // stride]
                    for part, stride in zip(latents, (plan.y_stride, plan.z_stride), strict=True)
                )
                box = block[0] + left, block[1] + top, block[0] + right, block[1] + bottom
                yield (
                    box[:2],
                    search_tile(
                        FloatLatents(y, z), self._pixels, box, level, weights, quality=quality, model=model
                    ),
                )

    def _transformed(self, block: Box) -> Transformed:
        made = self._kept.get(block) or self._model.transform(self._pixels, block)
        if self._keep:
            self._kept[block] = made
        return made
