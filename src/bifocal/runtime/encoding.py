"""Pixels to a stream, block by block: nothing of a large picture is in memory as a whole."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from operator import index
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import OptionError
from bifocal.runtime.analysis import BLOCK, FloatLatents, Transformed, at_quality, in_colour, transform
from bifocal.runtime.model import Model
from bifocal.runtime.restoration import decode_part, fit_tile
from bifocal.runtime.windows import Box, boxes, cut_padded, padded_size
from bifocal.stream import container
from bifocal.stream.chunks.restoration import Restoration, encode_restorations
from bifocal.stream.container import LATENTS, WEBP, Header
from bifocal.stream.drivers import BITS_PER_SQUARE, RateDistortion, nearest
from bifocal.stream.latents import CodedTile, encode_tile
from bifocal.stream.limits import TILE_UNIT

#: By effort 0 to 9, how many rounds of :mod:`bifocal.runtime.search` follow the first coding. Effort 0 rounds
#: every latent; the others weigh each symbol's error against its bits. That gains nothing without rounds if
#: a model has reconstruction points (0.00 % on validation): there effort 1 rounds, too. An effort with more
#: rounds begins with those of the one below, so that it never finds anything worse.
ROUNDS = (0, 0, 1, 2, 3, 5, 8, 12, 18, 30)
#: Wire ids whose streams may have restoration filters: readers of the others know none.
RESTORED = frozenset({2})
#: Side of the regions of a tile that have a filter each, and what share of them is decoded to fit it: without
#: and with rounds of search.
REGION = ((2048, 0.25), (256, 1.0))
#: What an encoder takes unless others are asked for: quality, effort, and the side of a tile in pixels, such
#: that pictures of up to four megapixels are one tile. For a size or a PSNR it tries many qualities anyhow:
#: then a search by the gradient adds little to the time, and takes another effort.
QUALITY, EFFORT, TILE = 60, 1, 2048
BUDGET_EFFORT = 3

#: A picture is drawn rather than photographed where this share of pixels equals the left neighbour. A tile is
#: then stored without loss if that takes at most so many times the bytes of its latents.
FLAT_SHARE, WORTH_OF_EXACT = 0.3, 1.2
#: A WebP picture has no longer side.
MAX_WEBP_SIDE = 16383

#: What an error is worth in the first coding, times what it is worth by itself: choosing one symbol after the
#: other overlooks that a cheap symbol misleads the prediction of later ones.
FIRST_WORTH = 4.0
#: No block of latents counts less than this beside one of full weight, so that nothing is divided by zero.
LEAST_SHARE = 0.05


#: Rows and columns of a tile as they decode, float32 ``[3, h, w]`` in 0..255.
_Decoded = Callable[[slice, slice], NDArray[np.float32]]


@dataclass(frozen=True)
class Encoded:
    """A stream as it was written: its bytes, its header and chunks, and how many of its ``tiles`` are stored
    without loss."""

    data: bytes
    header: Header
    metadata: Mapping[str, bytes]
    tiles: int
    lossless: int

    def __len__(self) -> int:
        return len(self.data)


def check_quality(quality: SupportsIndex) -> int:
    """``quality`` as a whole number.

    :raises OptionError: if there is no such quality.

    >>> check_quality(60)
    60
    """
    if (known := _whole(quality)) is None or not 1 <= known <= 100:
        raise OptionError(
            f"quality is {quality!r}; choose a whole number from 1 (smallest file) to 100 (best picture)."
        )
    return known


def check_effort(effort: SupportsIndex) -> int:
    """``effort`` as a whole number.

    :raises OptionError: if there is no such effort.
    """
    if (known := _whole(effort)) is None or not 0 <= known < len(ROUNDS):
        raise OptionError(
            f"effort is {effort!r}; choose a whole number from 0 (fastest) to {len(ROUNDS) - 1} (smallest)."
        )
    return known


def check_tile(tile: SupportsIndex) -> int:
    """``tile`` as a whole number; whether a picture can be written in such tiles, :class:`Encoder` says.

    :raises OptionError: if it is none.
    """
    if (known := _whole(tile)) is None:
        raise OptionError(
            f"tile is {tile!r}; give the side of a tile as a whole number of pixels, such as 2048."
        )
    return known


def check_lossless(lossless: bool | None, *, free_size: bool, even: bool = True) -> bool | None:
    """``lossless`` as it is; ``free_size`` says that neither a size nor a PSNR is asked for, ``even`` that no
    map of qualities is.

    :raises OptionError: if it is neither True, False nor None, or True for a picture of a certain size or
        with a map.
    """
    if lossless is not None and not isinstance(lossless, bool):
        raise OptionError(f"lossless is {lossless!r}; say True or False, or leave it out.")
    if lossless and not free_size:
        raise OptionError("exact pixels take as many bytes as they take: leave out size and psnr.")
    if lossless and not even:
        raise OptionError("exact pixels are exact everywhere: leave out the quality map.")
    return lossless


def _whole(value: SupportsIndex) -> int | None:
    """A whole number, of whatever kind; None for anything else, True and False among it."""
    try:
        return None if isinstance(value, bool) else index(value)
    except TypeError:
        return None


class Encoder:
    """A picture that can be encoded at any quality, again and again.

    ``pixels`` uint8 ``[h, w, 3]`` or ``[h, w]``; ``tile`` is the side of a tile in pixels; ``weights``
    float32 ``[h, w]`` in 0..1 say what an error counts at each pixel. With ``keep``, what the analysis
    network makes of the pixels (about 4.5 bytes a pixel) stays in memory, so that every quality after the
    first costs half the time. ``lossless`` True stores every tile without loss, whatever the quality; False
    none; None those where it costs little: :data:`WORTH_OF_EXACT`.

    :raises OptionError: if a picture of this size cannot be written, or not in such tiles.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        model: Model,
        *,
        tile: int,
        weights: NDArray[np.float32] | None = None,
        keep: bool = False,
        lossless: bool | None = None,
    ) -> None:
        self._height, self._width = pixels.shape[:2]
        container.check_options(self._width, self._height, 1, tile)
        if lossless and min(tile, max(self._width, self._height)) > MAX_WEBP_SIDE:
            raise OptionError(
                f"a tile of {tile} pixels a side is too large to be stored without loss: choose at most "
                f"{MAX_WEBP_SIDE}, such as 2048."
            )
        self._pixels, self._model, self._tile = pixels, model, tile
        self._weights, self._keep, self._lossless = weights, keep, lossless
        self._stored: dict[Box, tuple[bytes, int] | None] = {}
        self._kept: dict[Box, Transformed] = {}

    def encode(
        self, quality: int, *, metadata: Mapping[str, bytes] | None = None, effort: int = 0
    ) -> Encoded:
        """The stream at ``quality`` (1 to 100), with ``effort`` 0 to 9; with weights, at least 1.

        :raises OptionError: if ``quality`` or ``effort`` does not exist or the metadata cannot be written.
        :raises ModelError: if the effort needs a graph that the model lacks.
        """
        quality, effort = check_quality(quality), check_effort(effort)
        if self._weights is not None:  # plain rounding has no use for them
            effort = max(effort, 1)
        width, height, tile, entropy = self._width, self._height, self._tile, self._model.entropy
        in_row = -(-width // tile)
        coded: dict[int, tuple[bytes, int, int]] = {}
        filters: dict[int, list[Restoration | None]] = {}
        restored = effort > 0 and entropy.wire_id in RESTORED and self._model.has_prices
        for box, lossy, decoded in self._tiles(quality, effort):
            number = box[1] // tile * in_row + box[0] // tile
            stored = self._stored_tile(box)
            if stored and (lossy is None or len(stored[0]) <= WORTH_OF_EXACT * len(lossy.payload)):
                coded[number] = (*stored, WEBP)
            elif lossy:
                coded[number] = (lossy.payload, lossy.latent_crc, LATENTS)
                if restored:
                    filters[number] = self._filters(decoded, box, quality, effort)
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
        tiles = [coded[number] for number in range(len(coded))]
        codings = [coding for *_, coding in tiles]
        chunks = dict(metadata or {})
        chunks.pop(container.RESTORATION, None)
        in_order = [f for number in sorted(filters) for f in filters[number]]
        if in_order and (restorations := encode_restorations(REGION[ROUNDS[effort] > 0][0], in_order)):
            chunks[container.RESTORATION] = restorations
        data = container.write(header, chunks, [(payload, crc) for payload, crc, _ in tiles], codings)
        return Encoded(data, header, chunks, len(tiles), codings.count(WEBP))

    def _filters(self, decoded: _Decoded, box: Box, quality: int, effort: int) -> list[Restoration | None]:
        """The restoration filters of a tile at ``box`` of the padded picture."""
        side, share = REGION[ROUNDS[effort] > 0]
        left, top, right, bottom = box
        return fit_tile(
            decoded,
            in_colour(cut_padded(self._pixels, slice(top, bottom), slice(left, right))),
            _weight_of(box, self._pixels.shape[:2], self._weights),
            price=self._model.price(quality),
            side=side,
            share=share,
        )

    def _stored_tile(self, box: Box) -> tuple[bytes, int] | None:
        """The tile at ``box`` as a WebP file and the CRC of its pixels, if it may be stored so."""
        if self._lossless is False:
            return None
        if box not in self._stored:
            pixels = self._pixels[box[1] : box[3], box[0] : box[2]]
            fits = max(pixels.shape[:2]) <= MAX_WEBP_SIDE
            self._stored[box] = None
            if self._lossless or (fits and _is_flat(pixels)):
                from bifocal.pictures.lossless import encode_lossless

                crc = zlib.crc32(np.ascontiguousarray(pixels).tobytes())
                self._stored[box] = encode_lossless(pixels), crc
        return self._stored[box]

    def _tiles(self, quality: int, effort: int) -> Iterator[tuple[Box, CodedTile | None, _Decoded]]:
        """The box of every tile; the tile, coded, if latents may be needed; and how to decode a part of it:
        block by block, not in stream order."""
        w, h = padded_size(self._width, TILE_UNIT), padded_size(self._height, TILE_UNIT)
        if self._lossless:
            yield from ((box, None, _nothing) for box in boxes(w, h, self._tile))
            return
        plan = self._model.entropy.plan
        for block in boxes(w, h, self._tile * max(1, BLOCK // self._tile)):
            latents = at_quality(self._model, self._transformed(block), quality)
            for left, top, right, bottom in boxes(block[2] - block[0], block[3] - block[1], self._tile):
                y, z = (
                    part[:, top // stride : bottom // stride, left // stride : right // stride]
                    for part, stride in zip(latents, (plan.y_stride, plan.z_stride), strict=True)
                )
                box = block[0] + left, block[1] + top, block[0] + right, block[1] + bottom
                yield box, *self._code(FloatLatents(y, z), box, quality, effort)

    def _transformed(self, block: Box) -> Transformed:
        made = self._kept.get(block) or transform(self._model, self._pixels, block)
        if self._keep:
            self._kept[block] = made
        return made

    def _code(self, latents: FloatLatents, box: Box, quality: int, effort: int) -> tuple[CodedTile, _Decoded]:
        """The tile at ``box`` of the padded picture, with the symbols that the effort finds, and how to
        decode a part of it."""
        model, entropy = self._model, self._model.entropy
        weight = _weight_of(box, self._pixels.shape[:2], self._weights)
        share = _shares(weight, entropy.plan.y_stride)
        weighed = RateDistortion(entropy, share * np.float32(FIRST_WORTH * BITS_PER_SQUARE))
        rounds = entropy.reconstruction is not None and self._weights is None and not ROUNDS[effort]
        made = encode_tile(
            *latents,
            quality=quality,
            model=entropy,
            engine=model.engine,
            quantise=nearest if rounds or not effort else weighed,
        )
        if not ROUNDS[effort]:
            return made, partial(decode_part, model, made.y, quality)
        from bifocal.runtime.search import Aim, search

        left, top, right, bottom = box
        pixels = in_colour(cut_padded(self._pixels, slice(top, bottom), slice(left, right)))
        inside = left > 0, top > 0, right < self._width, bottom < self._height
        aim = Aim(pixels, weight, share, inside)
        best, found = search(model, made, latents.y, aim, rounds=ROUNDS[effort], quality=quality)
        return best, lambda rows, columns: found[:, rows, columns]


def _nothing(rows: slice, columns: slice) -> NDArray[np.float32]:
    return np.empty((3, 0, 0), np.float32)


def _is_flat(pixels: NDArray[np.uint8]) -> bool:
    same = pixels[:, 1:] == pixels[:, :-1]
    same = same if pixels.ndim == 2 else same.all(axis=2)
    return bool(same.size) and float(same.mean()) >= FLAT_SHARE


def _weight_of(box: Box, size: tuple[int, ...], weights: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """What an error counts at each pixel of a box of a padded picture of ``size``; padding counts nothing."""
    left, top, right, bottom = box
    height, width = size
    weight = np.zeros((bottom - top, right - left), np.float32)
    inside = 1.0 if weights is None else weights[top:bottom, left:right]
    weight[: height - top, : width - left] = inside
    return weight


def _shares(weight: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
    """For each position of y ``[h/16, w/16]`` the mean weight of its pixels, but at least ``LEAST_SHARE``."""
    h, w = len(weight) // stride, weight.shape[1] // stride
    means: NDArray[np.float32] = weight.reshape(h, stride, w, stride).mean(axis=(1, 3))
    return np.maximum(means, LEAST_SHARE)
