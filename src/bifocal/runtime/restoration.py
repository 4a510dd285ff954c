"""Restoring decoded pixels by small filters that the encoder fits to each picture, one for each region.

A colour is corrected by sums of differences to its neighbours, plain and clipped, each times a coefficient:
what clipped differences miss is edges, so noise is smoothed and edges are not. Least squares give the
coefficients, from parts of the picture decoded as a decoder will. Filters fitted in the encoder are AV1's
and VVC's (Karczewicz et al., VVC In-Loop Filters, IEEE T-CSVT 31, 2021, from which the clipped differences
are); as a step after a learned synthesis, and its form, they are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from bifocal.runtime.engines.onnxruntime import available_threads
from bifocal.runtime.model import Model
from bifocal.runtime.windows import Box
from bifocal.stream.chunks.restoration import CLIP_UNIT, FEATURES, UNIT, Restoration, regions

#: How far the filter reaches, in pixels.
REACH = 2
#: Each pair of opposite neighbours (down, right), by feature; each feature is computed plain, then clipped.
_PAIRS = (((0, 1), (1, 0)), ((1, 1), (1, -1)), ((0, 2), (2, 0)))
#: Rows that are filtered at once: what they need stays in the processor's cache.
_STRIP = 16
#: Side of the windows that are decoded to fit a filter, and how many pixels around them are decoded, too.
WINDOW, HALO = 192, 16
#: Keeps coefficients small where features are nearly equal, as a share of their energy.
_RIDGE = 1e-4


#: A part of a picture as it decodes, float32 ``[3, h, w]`` in 0..255, as it should, and what errors count
#: ``[h, w]``.
_Window = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


def restore(pixels: NDArray[np.float32], filter_: Restoration) -> NDArray[np.float32]:
    """The restored pixels float32 ``[3, h, w]``, unclipped; beyond its edges a picture goes on as it ends."""
    _, h, w = pixels.shape
    padded = np.pad(np.clip(pixels, 0, 255), ((0, 0), (REACH, REACH), (REACH, REACH)), mode="edge")
    matrix = (filter_.coefficients.astype(np.float32) * np.float32(UNIT)).reshape(3, 3 * FEATURES)
    out = np.empty((3, h, w), np.float32)

    def one(top: int) -> None:
        rows = min(_STRIP, h - top)
        strip = padded[:, top : top + rows + 2 * REACH]
        change = matrix @ _features(strip, filter_.clip * CLIP_UNIT).reshape(3 * FEATURES, -1)
        inside = strip[:, REACH:-REACH, REACH:-REACH]
        np.add(inside, change.reshape(3, rows, w), out=out[:, top : top + rows])

    with ThreadPoolExecutor(available_threads()) as pool:
        list(pool.map(one, range(0, h, _STRIP)))
    return out


def _features(padded: NDArray[np.float32], clip: float) -> NDArray[np.float32]:
    """Features ``[3, 6, h, w]`` of pixels ``[3, h + 4, w + 4]``."""
    _, h, w = padded.shape
    h, w = h - 2 * REACH, w - 2 * REACH
    made = np.empty((3, FEATURES, h, w), np.float32)
    limit = np.float32(clip)
    for number, pairs in enumerate(_PAIRS):
        for first, (down, right) in enumerate(pairs):
            # differences forward; those backward are the same ones, seen from the other end
            top, left, right_of = REACH - down, REACH - max(right, 0), REACH - min(right, 0)
            here = padded[:, top : REACH + h, left : right_of + w]
            there = padded[:, top + down : REACH + h + down, left + right : right_of + w + right]
            difference = there - here
            for row in (number, number + 3):
                if row > 2:
                    np.clip(difference, -limit, limit, out=difference)
                now = difference[:, down:, REACH - left : REACH - left + w]
                before = difference[:, :h, REACH - left - right : REACH - left - right + w]
                if first:
                    made[:, row] += now
                    made[:, row] -= before
                else:
                    np.subtract(now, before, out=made[:, row])
    return made


def fit_tile(
    decoded: Callable[[slice, slice], NDArray[np.float32]],
    pixels: NDArray[np.uint8],
    weight: NDArray[np.float32],
    *,
    price: float,
    side: int,
    share: float,
) -> list[Restoration | None]:
    """A filter for each region of a tile, or None where none is worth its bytes.

    ``decoded`` gives rows and columns of the tile as they decode, float32 ``[3, h, w]`` in 0..255;
    ``pixels`` ``[16h, 16w, 3]`` is what the tile should look like, ``weight`` ``[16h, 16w]`` what errors
    count, ``price`` bits for a unit of squared error of one pixel, the mean of its colours. Regions are
    ``side`` pixels wide and high; a filter is fitted to a ``share`` of its region.
    """
    made: list[Restoration | None] = []
    for left, top, right, bottom in regions(weight.shape[1], weight.shape[0], side):
        windows = []
        for box in _spread(right - left, bottom - top, share):
            rows, columns = slice(top + box[1], top + box[3]), slice(left + box[0], left + box[2])
            target = pixels[rows, columns].transpose(2, 0, 1).astype(np.float32)
            windows.append((decoded(rows, columns), target, weight[rows, columns]))
        scale = (right - left) * (bottom - top) / sum(counts.size for *_, counts in windows)
        made.append(_fit(windows, scale * price))
    return made


def _spread(width: int, height: int, share: float) -> list[Box]:
    """Windows spread over a region, about a ``share`` of all that there are, the first among them.

    >>> _spread(768, 192, 0.5)
    [(0, 0, 192, 192), (384, 0, 576, 192)]
    """
    golden = (math.sqrt(5) - 1) / 2
    return [box for k, box in enumerate(regions(width, height, WINDOW)) if k * golden % 1 < share]


def _fit(windows: list[_Window], price: float) -> Restoration | None:
    """The filter that lowers the weighted error of windows most, if that is worth its bytes.

    ``price`` is bits for a unit of squared error of one pixel, the mean of its colours.
    """
    count = 3 * sum(float(weight.sum()) for *_, weight in windows)
    energy = sum(
        float(np.vdot(np.square(target - decoded).sum(axis=0), weight)) for decoded, target, weight in windows
    )
    if not count or not energy:
        return None
    clip = min(max(round(math.sqrt(energy / count) / CLIP_UNIT), 1), 255)
    gram, along = np.zeros((3 * FEATURES, 3 * FEATURES)), np.zeros((3 * FEATURES, 3))
    for decoded, target, weight in windows:
        padded = np.pad(decoded, ((0, 0), (REACH, REACH), (REACH, REACH)), mode="edge")
        rows = _features(padded, clip * CLIP_UNIT).reshape(3 * FEATURES, -1)
        weighted = rows * weight.reshape(-1)
        gram += weighted @ rows.T
        along += weighted @ (target - decoded).reshape(3, -1).T
    best, least = None, 0.0
    for alone in (True, False):
        made = Restoration(clip, _solved(gram, along, alone))
        a = made.coefficients.reshape(3, -1).astype(float) * UNIT
        change = float(np.einsum("ci,ij,cj->", a, gram, a) - 2 * np.einsum("ci,ic->", a, along))
        cost = 8 * len(made.encode()) + price * change / 3
        if cost < least:
            best, least = made, cost
    return best


def _solved(gram: NDArray[np.float64], along: NDArray[np.float64], alone: bool) -> NDArray[np.int8]:
    """Coefficients by least squares, ``alone`` from the features of the colour itself."""
    made = np.zeros((3, 3 * FEATURES))
    ridge = np.diag(_RIDGE * gram.diagonal() + 1e-9)
    for colour in range(3):
        part = slice(FEATURES * colour, FEATURES * (colour + 1)) if alone else slice(None)
        made[colour, part] = np.linalg.solve((gram + ridge)[part, part], along[part, colour])
    whole = np.clip(np.rint(made / UNIT), -127, 127)
    return whole.reshape(3, 3, FEATURES).astype(np.int8)


def decode_part(
    model: Model, y: NDArray[np.int32], quality: int, rows: slice, columns: slice
) -> NDArray[np.float32]:
    """Pixels float32 ``[3, h, w]`` of a part of a tile with the latents ``y`` int32 ``[c, h, w]``, clipped to
    0..255."""
    stride = model.entropy.plan.y_stride
    first, above = max(columns.start - HALO, 0) // stride, max(rows.start - HALO, 0) // stride
    last, below = -(-(columns.stop + HALO) // stride), -(-(rows.stop + HALO) // stride)
    feeds = {"y": model.to_float(y[:, above:below, first:last], quality)[None]}
    pixels = model.run("synthesis", ["pixels"], feeds)[0][0]
    down, across = above * stride, first * stride
    window: NDArray[np.float32] = np.clip(
        pixels[:, rows.start - down : rows.stop - down, columns.start - across : columns.stop - across],
        0,
        255,
    )
    return window
