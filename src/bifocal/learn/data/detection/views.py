"""The views of a data set that a detector is trained on: mosaics of four pictures, scaled and flipped.

A mosaic (Bochkovskiy et al., arXiv 2004.10934) puts parts of four pictures around a random centre, all at one
random scale. Colours are changed a little in hue, saturation and value; infrared is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from bifocal.learn.data.detection.dataset import Annotated, DetectionSet, Pixels

#: What lies outside of a picture: middle gray.
OUTSIDE = 114
#: Pillow's modes of so many plain channels: four must not be mistaken for colour with alpha.
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
#: Of an object at least this share has to be in the view, and so many pixels a side.
_SEEN, _LEAST = 0.3, 2.0


@dataclass(frozen=True)
class Augmentation:
    """How views differ from pictures; the defaults are those of arXiv 2209.13351.

    ``mosaic`` is the share of views that are mosaics, ``shift`` how far their centre moves, ``scale`` how
    much larger or smaller pictures are shown, ``flip`` the share that is mirrored, and ``hue``,
    ``saturation`` and ``value`` how much colours change, each as a share.
    """

    mosaic: float = 1.0
    shift: float = 0.1
    scale: float = 0.5
    flip: float = 0.5
    hue: float = 0.015
    saturation: float = 0.7
    value: float = 0.4


class View(NamedTuple):
    """``pixels`` uint8 ``[side, side, c]``, ``boxes`` float32 ``[n, 4]`` corners, ``labels``, ``ignored``."""

    pixels: Pixels
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    ignored: NDArray[np.float32]


class Batch(NamedTuple):
    """Views as tensors: ``pixels`` uint8 ``[n, c, side, side]``; ``targets`` float ``[m, 6]``: view, class,
    centre, width and height in pixels; ``ignored`` ``[k, 5]``: view and corners."""

    pixels: Tensor
    targets: Tensor
    ignored: Tensor


def batches(
    data: DetectionSet, size: int, side: int, seed: int, how: Augmentation | None = None
) -> Iterator[Batch]:
    """Endless batches of ``size`` views of ``side`` pixels."""
    rng = np.random.default_rng(seed)
    how = how or Augmentation()
    order: list[int] = []
    while True:
        views = []
        for _ in range(size):
            if not order:
                order = rng.permutation(len(data)).tolist()
            views.append(view(data, order.pop(), side, rng, how))
        yield as_batch(views)


def as_batch(views: list[View]) -> Batch:
    """Views of one size as tensors."""
    pixels = torch.from_numpy(np.stack([one.pixels for one in views]).transpose(0, 3, 1, 2).copy())
    targets, ignored = [np.zeros((0, 6), np.float32)], [np.zeros((0, 5), np.float32)]
    for number, one in enumerate(views):
        sides, centres = one.boxes[:, 2:] - one.boxes[:, :2], (one.boxes[:, 2:] + one.boxes[:, :2]) / 2
        which = np.full((len(one.boxes), 1), number)
        targets.append(np.hstack([which, one.labels[:, None], centres, sides]).astype(np.float32))
        which = np.full((len(one.ignored), 1), number)
        ignored.append(np.hstack([which, one.ignored]).astype(np.float32))
    return Batch(pixels, torch.from_numpy(np.vstack(targets)), torch.from_numpy(np.vstack(ignored)))


def view(data: DetectionSet, number: int, side: int, rng: np.random.Generator, how: Augmentation) -> View:
    """One view, of picture ``number`` and, in a mosaic, of three others."""
    canvas = np.full(
        (side, side, sum({"rgb": 3, "ir": 1}[name] for name in data.modalities)), OUTSIDE, np.uint8
    )
    scale = rng.uniform(1 - how.scale, 1 + how.scale)
    if rng.random() < how.mosaic:
        x, y = (int(side * rng.uniform(0.5 - 2 * how.shift, 0.5 + 2 * how.shift)) for _ in range(2))
        cells = [(0, 0, x, y), (x, 0, side, y), (0, y, x, side), (x, y, side, side)]
        chosen = [number, *rng.integers(len(data), size=3).tolist()]
    else:
        cells, chosen = [(0, 0, side, side)], [number]
    parts = [
        _paste(canvas, cell, data.pixels(which), data.pictures[which], scale, rng)
        for cell, which in zip(cells, chosen, strict=True)
    ]
    made = View(canvas, *(np.concatenate(each) for each in zip(*parts, strict=True)))
    if rng.random() < how.flip:
        made = _mirrored(made)
    if "rgb" in data.modalities:
        canvas[..., :3] = _recoloured(made.pixels[..., :3], rng, how)
        made = made._replace(pixels=np.concatenate([canvas[..., :3], made.pixels[..., 3:]], axis=2))
    return made


def _paste(
    canvas: Pixels,
    cell: tuple[int, int, int, int],
    pixels: Pixels,
    picture: Annotated,
    scale: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Fill a cell of a canvas with a random part of a picture; its boxes there, labels, ignored regions."""
    left, top, right, bottom = cell
    h, w = pixels.shape[:2]
    part_w, part_h = min(w, (right - left) / scale), min(h, (bottom - top) / scale)
    x, y = rng.uniform(0, w - part_w), rng.uniform(0, h - part_h)
    width, height = max(1, round(part_w * scale)), max(1, round(part_h * scale))
    width, height = min(width, right - left), min(height, bottom - top)
    image = Image.frombytes(_MODES[pixels.shape[2]], (w, h), pixels.tobytes())
    part = image.resize((width, height), Image.Resampling.BILINEAR, box=(x, y, x + part_w, y + part_h))
    # a picture that does not fill its cell touches the centre of the mosaic, or the middle of a whole view
    across = right - width if left == 0 and right < canvas.shape[1] else left
    down = bottom - height if top == 0 and bottom < canvas.shape[0] else top
    canvas[down : down + height, across : across + width] = np.asarray(part).reshape(height, width, -1)
    gain = np.array([width / part_w, height / part_h] * 2, np.float32)
    moved = np.array([x, y] * 2, np.float32), np.array([across, down] * 2, np.float32)
    limits = np.array([across, down] * 2), np.array([across + width, down + height] * 2)
    boxes, seen = _cut((picture.boxes - moved[0]) * gain + moved[1], *limits)
    ignored, regions = _cut((picture.ignored - moved[0]) * gain + moved[1], *limits)
    return boxes[seen], picture.labels[seen], ignored[regions]


def _cut(
    boxes: NDArray[np.float32], first: NDArray[np.int64], last: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    inside = np.clip(boxes, first, last).astype(np.float32)
    whole, left = boxes[:, 2:] - boxes[:, :2], inside[:, 2:] - inside[:, :2]
    seen = (left.min(1, initial=np.inf) >= _LEAST) & (left.prod(1) >= _SEEN * whole.prod(1))
    return inside, seen


def _mirrored(one: View) -> View:
    side = one.pixels.shape[1]

    def turned(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.stack([side - boxes[:, 2], boxes[:, 1], side - boxes[:, 0], boxes[:, 3]], axis=1)

    return View(one.pixels[:, ::-1], turned(one.boxes), one.labels, turned(one.ignored))


def _recoloured(colours: Pixels, rng: np.random.Generator, how: Augmentation) -> Pixels:
    gains = 1 + rng.uniform(-1, 1, 3) * (how.hue, how.saturation, how.value)
    steps = np.arange(256)
    tables = [steps * gains[0] % 256, *(np.clip(steps * gain, 0, 255) for gain in gains[1:])]
    image = Image.fromarray(np.ascontiguousarray(colours)).convert("HSV")
    changed = image.point(np.concatenate(tables).astype(np.uint8).tolist())
    return np.asarray(changed.convert("RGB"))
