"""Decoded latents to pixels: the whole picture, a box of it, or a smaller one, window by window.

Latents are fetched as they are needed, so memory stays bounded for pictures of any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import LatentsError, ModelError
from bifocal.runtime.model import Model
from bifocal.runtime.restoration import REACH, restore
from bifocal.runtime.windows import Box, Span, padded_size, windows
from bifocal.stream.chunks.restoration import Region, Restoration
from bifocal.stream.limits import TILE_UNIT
from bifocal.types import Latents

#: For each reduction: the network, the side in pixels of what one pixel of it shows, and of its averages.
_REDUCED = {
    1: ("synthesis", 1, 1),
    2: ("half", 2, 1),
    4: ("half", 2, 2),
    8: ("half", 2, 4),
    16: ("thumb", 16, 1),
}
#: By how much both sides of a picture may be divided.
REDUCTIONS = tuple(_REDUCED)


class Fetch(Protocol):
    """Gives decoded y, int32 ``[c, h, w]``, for rows and columns of y; asked for from top to bottom."""

    def __call__(self, rows: slice, columns: slice) -> NDArray[np.int32]: ...


def available_reductions(folder: Path) -> tuple[int, ...]:
    """Those of ``REDUCTIONS`` that the model in ``folder`` has a network for."""
    return tuple(n for n, (name, *_) in _REDUCED.items() if (folder / f"{name}.onnx").exists())


def synthesise(model: Model, latents: Latents) -> NDArray[np.uint8]:
    """The picture of decoded ``latents``: uint8 ``[h, w, 3]``, or ``[h, w]`` if they are of a gray one.

    :raises LatentsError: if they are another model's.
    """
    if latents.fingerprint != model.entropy.fingerprint:
        raise LatentsError(
            f"these latents are of model {latents.model} ({latents.fingerprint.hex()}), not of "
            f"{model.name} ({model.entropy.fingerprint.hex()}). Synthesise them with the model that made "
            "them."
        )
    return render(
        model,
        lambda rows, columns: latents.y[:, rows, columns],
        width=latents.width,
        height=latents.height,
        quality=latents.quality,
        gray=latents.gray,
    )


def render(
    model: Model,
    fetch: Fetch,
    *,
    width: int,
    height: int,
    quality: int,
    gray: bool,
    box: Box | None = None,
    reduction: int = 1,
    restorations: Sequence[tuple[Region, Restoration]] = (),
) -> NDArray[np.uint8]:
    """Pixels of a picture, or of a ``box`` of it, from latents that ``fetch`` gives window by window.

    A window depends on the size of the picture and never on the box, so the pixels of a box are those of
    the whole. With ``reduction`` (one of ``REDUCTIONS``) both sides are divided by it, rounded up, and
    the box outwards. For 16, ``fetch`` gives the channels of the first band alone. Filters, ``restorations``,
    are for regions of the full size, in pixels of the padded picture.

    :raises ModelError: if the model lacks the network of this reduction.
    """
    name, stride, average = _REDUCED[reduction]
    if reduction not in available_reductions(model.folder):
        raise ModelError(
            f"model {model.name} has no {name} network and cannot decode at this scale. Decode at scale 1 "
            "and resize, or pack it again from a checkpoint that has one."
        )
    unit, (core, halo) = model.entropy.plan.y_stride, model.window(name)
    left, top, right, bottom = reduce_box(box or (0, 0, width, height), reduction)
    pixels = np.empty((bottom - top, right - left) if gray else (bottom - top, right - left, 3), np.uint8)
    h, w = padded_size(height, TILE_UNIT), padded_size(width, TILE_UNIT)
    for rows, columns in windows(h, w, core=core, halo=halo, multiple=TILE_UNIT):
        of_rows, into_rows = _overlap(rows.core(reduction), top, bottom)
        of_columns, into_columns = _overlap(columns.core(reduction), left, right)
        if of_rows.start >= of_rows.stop or of_columns.start >= of_columns.stop:
            continue
        y = model.to_float(fetch(rows.outer(unit), columns.outer(unit)), quality)
        image = model.run(name, ["pixels"], {"y": y[None]})[0][0]
        if restorations:
            image = _restored(image, rows, columns, restorations)
        else:
            image = _average(image[:, rows.inner(stride), columns.inner(stride)], average)
        image = image[:, of_rows, of_columns]
        if gray:
            image = image.mean(axis=0)
        np.rint(image, out=image)
        np.clip(image, 0, 255, out=image)
        pixels[into_rows, into_columns] = image if gray else image.transpose(1, 2, 0)
    return pixels


def _restored(
    image: NDArray[np.float32],
    rows: Span,
    columns: Span,
    restorations: Sequence[tuple[Region, Restoration]],
) -> NDArray[np.float32]:
    """The core of a window, restored by regions. Filters look beyond these, not beyond the picture."""
    core = image[:, rows.inner(1), columns.inner(1)].copy()
    for (left, top, right, bottom), restoration in restorations:
        into, wider, inside = [], [], []
        for span, first, last in ((rows, top, bottom), (columns, left, right)):
            first, last = max(first, span.start), min(last, span.stop)
            begin, end = max(first - REACH, span.outer_start), min(last + REACH, span.outer_stop)
            into.append(slice(first - span.start, last - span.start))
            wider.append(slice(begin - span.outer_start, end - span.outer_start))
            inside.append(slice(first - begin, last - begin))
        if all(part.start < part.stop for part in into):
            core[:, *into] = restore(image[:, *wider], restoration)[:, *inside]
    return core


def _average(image: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Means of ``side × side`` pixels of ``[3, h, w]``."""
    if side == 1:
        return image
    _, h, w = image.shape
    means: NDArray[np.float32] = image.reshape(3, h // side, side, w // side, side).mean(axis=(2, 4))
    return means


def reduce_box(box: Box, reduction: int) -> Box:
    """A box in pixels of the reduced picture, rounded outwards.

    >>> reduce_box((3, 0, 9, 5), 2)
    (1, 0, 5, 3)
    """
    left, top, right, bottom = box
    return left // reduction, top // reduction, -(-right // reduction), -(-bottom // reduction)


def _overlap(core: slice, start: int, stop: int) -> tuple[slice, slice]:
    """Where a core meets ``start..stop``: counted from the core's start, and from ``start``."""
    first, last = max(core.start, start), min(core.stop, stop)
    return slice(first - core.start, last - core.start), slice(first - start, last - start)
