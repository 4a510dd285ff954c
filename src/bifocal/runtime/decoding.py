"""Decoding a stream, a box of it, or a smaller picture: only tiles that are needed are read and decoded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from numbers import Real
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import OptionError
from bifocal.runtime.model import Model
from bifocal.runtime.rendering import REDUCTIONS, reduce_box, render
from bifocal.runtime.windows import Box
from bifocal.stream.chunks.alpha import decode_alpha
from bifocal.stream.chunks.restoration import Region, Restoration, decode_restorations
from bifocal.stream.container import ALPHA, RESTORATION, Container
from bifocal.stream.latents import StoredLatents
from bifocal.stream.limits import TILE_UNIT
from bifocal.stream.plan import low_groups
from bifocal.stream.tiles import TileReader, Watch

#: How a scale is written: short, since a Fraction of "1e999999999" would fill the memory.
_NUMBER = re.compile(r"[1-9]\d?/[1-9]\d?|[01]?\.\d{1,9}|1")


def decode_pixels(
    stream: Container,
    model: Model | None,
    *,
    box: Box | None = None,
    reduction: int = 1,
    watch: Watch | None = None,
    count: bool = False,
) -> NDArray[np.uint8]:
    """Pixels uint8 ``[h, w, 3]`` or ``[h, w]`` of a stream; see :func:`bifocal.decode`.

    ``watch`` is called with every tile that is decoded, once (see
    :class:`~bifocal.stream.tiles.TileReader`), and with what its positions cost if ``count``. ``model`` may
    be None for a stream whose tiles are all stored without loss.
    """
    header = stream.header
    some_stored = any(tile.lossless for tile in stream.tiles)
    if model is None or some_stored and watch is None and all(tile.lossless for tile in stream.tiles):
        return _only_stored(stream, box, reduction)
    plan = model.entropy.plan
    low = low_groups(plan) if reduction == REDUCTIONS[-1] else None
    channels = None if low is None else plan.groups[0].stop
    tiles = TileReader(
        stream,
        model.entropy,
        model.engine,
        groups=low,
        channels=channels,
        watch=watch,
        count=count,
        stored_latents=_stored_latents(stream, model) if some_stored else None,
    )
    pixels = render(
        model,
        tiles,
        width=header.width,
        height=header.height,
        quality=header.quality,
        gray=header.gray,
        box=box,
        reduction=reduction,
        restorations=restorations(stream) if reduction == 1 else (),
    )
    if some_stored:
        from bifocal.runtime.lossless import paste_stored

        paste_stored(stream, pixels, box, reduction)
    return pixels


def restorations(stream: Container) -> list[tuple[Region, Restoration]]:
    """The regions of the padded picture that have a restoration filter, and the filters."""
    if (chunk := stream.metadata.get(RESTORATION)) is None:
        return []
    places = [
        (t.left * TILE_UNIT, t.top * TILE_UNIT, t.right * TILE_UNIT, t.bottom * TILE_UNIT)
        for t in stream.tiles
        if not t.lossless
    ]
    return decode_restorations(chunk, places)


def _stored_latents(stream: Container, model: Model) -> StoredLatents:
    from bifocal.runtime.lossless import latents_of_stored

    return latents_of_stored(stream, model)


def _only_stored(stream: Container, box: Box | None, reduction: int) -> NDArray[np.uint8]:
    """A picture whose tiles are all stored without loss: no network runs."""
    from bifocal.runtime.lossless import paste_stored

    header = stream.header
    left, top, right, bottom = reduce_box(box or (0, 0, header.width, header.height), reduction)
    pixels = np.empty((bottom - top, right - left, *(() if header.gray else (3,))), np.uint8)
    paste_stored(stream, pixels, box, reduction)
    return pixels


def decode_transparency(
    stream: Container, *, box: Box | None = None, reduction: int = 1
) -> NDArray[np.uint8] | None:
    """Alpha uint8 ``[h, w]`` of the same pixels; None if the stream has none. Smaller alpha is averaged."""
    header, chunk = stream.header, stream.metadata.get(ALPHA)
    if chunk is None:
        return None
    part = reduce_box(box or (0, 0, header.width, header.height), reduction)
    left, top, right, bottom = (side * reduction for side in part)
    seen = left, top, min(right, header.width), min(bottom, header.height)
    alpha = decode_alpha(chunk, header.width, header.height, header.tile, seen)
    if reduction == 1:
        return alpha
    below, beside = bottom - seen[3], right - seen[2]  # the last row and column of averages reach outside
    alpha = np.pad(alpha, ((0, below), (0, beside)), mode="edge")
    blocks = alpha.reshape(part[3] - part[1], reduction, part[2] - part[0], reduction)
    return np.asarray((blocks.sum((1, 3), dtype=np.uint32) + reduction**2 // 2) // reduction**2, np.uint8)


def check_box(box: Sequence[int] | None, width: int, height: int) -> Box | None:
    """``box`` as four whole numbers inside a picture of ``width × height`` pixels.

    :raises OptionError: if it is not inside, or empty.

    >>> check_box([0, 0, 10, 5], 10, 5)
    (0, 0, 10, 5)
    """
    if box is None:
        return None
    try:
        left, top, right, bottom = (index(side) for side in box if not isinstance(side, bool))
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"box is {box!r}; give left, top, right and bottom as whole numbers of pixels."
        ) from error
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise OptionError(
            f"box {left},{top},{right},{bottom} is not inside the picture of {width}×{height} pixels, or is "
            f"empty. Left and top begin at 0; right is at most {width}, bottom at most {height}."
        )
    return left, top, right, bottom


def check_scale(scale: float | Fraction | str) -> int:
    """By how much a ``scale``, a number or text such as ``1/2`` or ``0.5``, divides both sides of a picture.

    :raises OptionError: if there is no such scale.

    >>> check_scale(1), check_scale(0.5), check_scale("1/16")
    (1, 2, 16)
    """
    wanted: Any = Fraction(scale) if isinstance(scale, str) and _NUMBER.fullmatch(scale.strip()) else scale
    if not isinstance(wanted, bool) and isinstance(wanted, Real):
        for reduction in REDUCTIONS:
            if wanted == Fraction(1, reduction):
                return reduction
    known = ", ".join(f"1/{reduction}" for reduction in REDUCTIONS[1:])
    raise OptionError(f"scale is {scale}; choose 1 or one of {known}. Resize the result for other sizes.")


def read_box(text: str) -> list[int]:
    """A box written as four numbers with commas; whether it lies in a picture, :func:`check_box` says.

    :raises OptionError: if it is not four whole numbers.

    >>> read_box("0,0,640,480")
    [0, 0, 640, 480]
    """
    try:
        left, top, right, bottom = map(int, text.split(","))
    except ValueError as error:
        raise OptionError(
            f"box '{text}' is not LEFT,TOP,RIGHT,BOTTOM: write four whole numbers of pixels, such as "
            "0,0,640,480."
        ) from error
    return [left, top, right, bottom]
