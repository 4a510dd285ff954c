"""Pixels to float latents, in windows: an encoder's first half.

It has two steps: :func:`transform`, which is costly and into which no quality enters, and :func:`at_quality`,
so that an encoder that searches for a quality pays for the first once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bifocal.runtime.model import Model
from bifocal.runtime.windows import Box, boxes, cut_padded, padded_size, windows
from bifocal.stream.limits import TILE_UNIT

#: Side of the blocks in which a picture is analysed, in pixels.
BLOCK = 2048
#: Pixels of y beyond a box that the hyper-latent of the box depends on.
MARGIN = 64


class FloatLatents(NamedTuple):
    """Analysis of a picture: ``y`` in steps ``[c, H/16, W/16]`` and ``z`` ``[c, H/64, W/64]``, float32."""

    y: NDArray[np.float32]
    z: NDArray[np.float32]


class Transformed(NamedTuple):
    """A box of a picture after the costly step of analysis.

    ``y`` float32 ``[c, h, w]``, before gains, with a margin around the box; ``box`` (left, top, right,
    bottom) is the box inside it, in pixels of the picture counted from the corner of ``y``.
    """

    y: NDArray[np.float32]
    box: Box


def float_latents(model: Model, pixels: NDArray[np.uint8], quality: int) -> FloatLatents:
    """Latents of a whole picture ``[h, w, 3]`` or ``[h, w]``, padded right and below, with a quality's gain.

    :raises OptionError: if ``quality`` is not 1 to 100.
    """
    plan = model.entropy.plan
    h, w = (padded_size(side, TILE_UNIT) for side in pixels.shape[:2])
    y = np.empty((plan.y_channels, h // plan.y_stride, w // plan.y_stride), np.float32)
    z = np.empty((plan.z_channels, h // plan.z_stride, w // plan.z_stride), np.float32)
    for box in boxes(w, h, BLOCK):
        parts = at_quality(model, transform(model, pixels, box), quality)
        for whole, part, stride in zip((y, z), parts, (plan.y_stride, plan.z_stride), strict=True):
            whole[:, box[1] // stride : box[3] // stride, box[0] // stride : box[2] // stride] = part
    return FloatLatents(y, z)


def transform(model: Model, pixels: NDArray[np.uint8], box: Box) -> Transformed:
    """The step of analysis that no quality enters, for a ``box`` of the padded picture.

    :param pixels: uint8 ``[h, w, 3]`` or ``[h, w]``, the whole picture, not padded.
    :param box: left, top, right, bottom in pixels, multiples of 64 inside the padded picture.
    """
    plan = model.entropy.plan
    h, w = (padded_size(side, TILE_UNIT) for side in pixels.shape[:2])
    left, top, right, bottom = box
    outer = max(left - MARGIN, 0), max(top - MARGIN, 0), min(right + MARGIN, w), min(bottom + MARGIN, h)
    shape = ((outer[3] - outer[1]) // plan.y_stride, (outer[2] - outer[0]) // plan.y_stride)
    y = np.empty((plan.y_channels, *shape), np.float32)
    core, halo = model.window("analysis")
    for rows, columns in windows(h, w, core=core, halo=halo, multiple=TILE_UNIT, box=outer):
        window = in_colour(cut_padded(pixels, rows.outer(1), columns.outer(1)))
        feeds = {"pixels": np.ascontiguousarray(window.transpose(2, 0, 1)[None], np.float32)}
        part = model.run("analysis", ["y"], feeds)[0][0]
        into = (
            slice((span.start - start) // plan.y_stride, (span.stop - start) // plan.y_stride)
            for span, start in ((rows, outer[1]), (columns, outer[0]))
        )
        y[:, *into] = part[:, rows.inner(plan.y_stride), columns.inner(plan.y_stride)]
    return Transformed(y, (left - outer[0], top - outer[1], right - outer[0], bottom - outer[1]))


def at_quality(model: Model, transformed: Transformed, quality: int) -> FloatLatents:
    """The latents of the box of ``transformed`` at a quality: cheap beside :func:`transform`.

    :raises OptionError: if ``quality`` is not 1 to 100.
    """
    plan = model.entropy.plan
    y = transformed.y * model.gain("gain", quality)
    z = model.run("hyper_analysis", ["z"], {"y": y[None]})[0][0]
    left, top, right, bottom = transformed.box
    y, z = (
        whole[:, top // stride : bottom // stride, left // stride : right // stride]
        for whole, stride in ((y, plan.y_stride), (z, plan.z_stride))
    )
    return FloatLatents(y, z)


def in_colour(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``[h, w, 3]`` of ``[h, w, 3]`` or ``[h, w]``: gray is coded as a picture without colour."""
    return pixels if pixels.ndim == 3 else np.broadcast_to(pixels[:, :, None], (*pixels.shape, 3))
