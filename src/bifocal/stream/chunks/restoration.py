"""The restoration filters of a picture: some integers for each region. SPEC.md, section 4, is normative.

Only the pixels of a decoded picture depend on them, no latent does: a reader of latents skips the chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import DamagedStream
from bifocal.stream.limits import TILE_UNIT

#: Features of each colour: differences to the 4 nearest, 4 diagonal and 4 next but one neighbours, plain and
#: then clipped.
FEATURES = 6
#: Coefficients are stored in this unit, as signed bytes.
UNIT = 2.0**-8
#: The clip of differences is stored in this unit of a level.
CLIP_UNIT = 2.0**-2
#: Left, top, right and bottom of a region in pixels.
Region = tuple[int, int, int, int]
_NONE, _OWN, _ALL = 0, 1, 2
#: Bytes of an entry by its first one.
_SIZES = {bytes([_NONE]): 1, bytes([_OWN]): 2 + 3 * FEATURES, bytes([_ALL]): 2 + 9 * FEATURES}


@dataclass(frozen=True, eq=False)
class Restoration:
    """A filter: ``clip`` 1 to 255 in ``CLIP_UNIT``, and ``coefficients`` int8 ``[3, 3, 6]`` in ``UNIT``: what
    is added to a colour for each feature of each colour."""

    clip: int
    coefficients: NDArray[np.int8]

    def encode(self) -> bytes:
        """Its bytes in the chunk ``filt``: fewer if each colour is restored from itself alone.

        >>> coefficients = np.zeros((3, 3, 6), np.int8)
        >>> coefficients[1, 1, 2] = -3
        >>> len(Restoration(9, coefficients).encode())
        20
        """
        own = self.coefficients[[0, 1, 2], [0, 1, 2]]
        alone = np.count_nonzero(own) == np.count_nonzero(self.coefficients)
        kind, written = (_OWN, own) if alone else (_ALL, self.coefficients)
        return bytes([kind, self.clip]) + written.tobytes()


def regions(width: int, height: int, side: int) -> Iterator[Region]:
    """The regions of a tile of ``width × height`` pixels, row by row.

    >>> list(regions(320, 64, 256))
    [(0, 0, 256, 64), (256, 0, 320, 64)]
    """
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield left, top, min(left + side, width), min(top + side, height)


def encode_restorations(side: int, filters: Sequence[Restoration | None]) -> bytes:
    """The value of the chunk ``filt`` for the filters of all regions of all tiles of latents, in order; empty
    if there is none. ``side`` is that of regions in pixels, a multiple of 64."""
    if not any(filters):
        return b""
    return bytes([side // TILE_UNIT]) + b"".join(f.encode() if f else bytes([_NONE]) for f in filters)


def decode_restorations(chunk: bytes, tiles: Sequence[Region]) -> list[tuple[Region, Restoration]]:
    """The regions with a filter, in pixels of the padded picture, and their filters.

    ``tiles`` are those of latents, in order.

    :raises DamagedStream: if the chunk is not one of this picture.
    """
    side, at, found = (chunk[0] if chunk else 0) * TILE_UNIT, 1, []
    if not side:
        raise _damaged()
    for left, top, right, bottom in tiles:
        for region in regions(right - left, bottom - top, side):
            size = _SIZES.get(chunk[at : at + 1], 0)
            entry = chunk[at : at + size]
            if not entry or len(entry) < size or (size > 1 and not entry[1]):
                raise _damaged()
            at += size
            if size > 1:
                place = region[0] + left, region[1] + top, region[2] + left, region[3] + top
                found.append((place, _filter(entry)))
    if at != len(chunk):
        raise _damaged()
    return found


def _filter(entry: bytes) -> Restoration:
    coefficients, values = np.zeros((3, 3, FEATURES), np.int8), np.frombuffer(entry[2:], np.int8)
    if entry[0] == _OWN:
        coefficients[[0, 1, 2], [0, 1, 2]] = values.reshape(3, FEATURES)
    else:
        coefficients[:] = values.reshape(coefficients.shape)
    return Restoration(entry[1], coefficients)


def _damaged() -> DamagedStream:
    return DamagedStream(
        "the restoration filters are damaged: they do not fit the picture. Fetch the file again."
    )
