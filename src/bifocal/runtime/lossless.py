"""Tiles that are stored without loss: their pixels in a decoded picture, and latents of them for readers."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import DamagedStream, PictureError
from bifocal.pictures.lossless import decode_lossless
from bifocal.runtime.analysis import float_latents
from bifocal.runtime.model import Model
from bifocal.runtime.rendering import reduce_box
from bifocal.runtime.windows import Box
from bifocal.stream.container import Container
from bifocal.stream.latents import StoredLatents
from bifocal.stream.limits import TILE_UNIT


def stored_pixels(stream: Container, number: int) -> NDArray[np.uint8]:
    """Pixels uint8 ``[h, w, 3]`` or ``[h, w]`` of a tile that is stored without loss, its visible part.

    :raises DamagedStream: if it is damaged.
    """
    header, tile = stream.header, stream.tiles[number]
    h = min(tile.bottom * TILE_UNIT, header.height) - tile.top * TILE_UNIT
    w = min(tile.right * TILE_UNIT, header.width) - tile.left * TILE_UNIT
    what = f"tile {number} of {len(stream.tiles)}, which is stored without loss, is damaged"
    try:
        pixels = decode_lossless(bytes(stream.payload(number)), h, w, gray=header.gray)
    except PictureError as error:
        raise DamagedStream(f"{what}: {error}. Fetch the file again.") from error
    if zlib.crc32(pixels.tobytes()) != tile.latent_crc:
        raise DamagedStream(f"{what}: it decodes to other pixels. Fetch the file again.")
    return pixels


def latents_of_stored(stream: Container, model: Model) -> StoredLatents:
    """What makes latents of stored tiles for readers: the analysis, rounded as symbols would be.

    They are no part of the stream: two machines may differ by a step.
    """

    def latents(number: int) -> NDArray[np.int32]:
        latents = float_latents(model, stored_pixels(stream, number), stream.header.quality)
        return np.rint(latents.y).astype(np.int32) << model.entropy.plan.fraction

    return latents


def paste_stored(stream: Container, pixels: NDArray[np.uint8], box: Box | None, reduction: int) -> None:
    """Put the pixels of stored tiles into a decoded picture, or a ``box`` of it; means of them if smaller.

    ``pixels`` are those of the box, reduced and rounded outwards as :func:`~bifocal.runtime.rendering.render`
    does.
    """
    header = stream.header
    left, top, right, bottom = reduce_box(box or (0, 0, header.width, header.height), reduction)
    for number, tile in enumerate(stream.tiles):
        if not tile.lossless:
            continue
        above, beside = tile.top * TILE_UNIT // reduction, tile.left * TILE_UNIT // reduction
        below, beyond = tile.bottom * TILE_UNIT // reduction, tile.right * TILE_UNIT // reduction
        rows, columns = (
            slice(max(above, top), min(below, bottom)),
            slice(max(beside, left), min(beyond, right)),
        )
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        part = reduced(stored_pixels(stream, number), reduction)
        pixels[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = part[
            rows.start - above : rows.stop - above, columns.start - beside : columns.stop - beside
        ]


def reduced(pixels: NDArray[np.uint8], reduction: int) -> NDArray[np.uint8]:
    """Means of ``reduction × reduction`` pixels, the last row and column repeated where some are missing."""
    if reduction == 1:
        return pixels
    h, w = pixels.shape[:2]
    missing = [(0, -h % reduction), (0, -w % reduction), (0, 0)][: pixels.ndim]
    blocks = np.pad(pixels, missing, mode="edge")
    h, w = (side // reduction for side in blocks.shape[:2])
    sums = blocks.reshape(h, reduction, w, reduction, -1).sum((1, 3), dtype=np.uint32)
    means: NDArray[np.uint8] = ((sums + reduction**2 // 2) // reduction**2).astype(np.uint8)
    return means.reshape(h, w, *pixels.shape[2:])
