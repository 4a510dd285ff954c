"""Large pictures to measure with: photographs side by side, or waves and noise made by code."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from bifocal.measure import MeasureError
from bifocal.measure.metrics import Pixels

CELL = (512, 768)
#: Where the first cell is cut, so that its borders do not fall on those of tiles.
SHIFT = (123, 211)


def mosaic(pictures: Sequence[Pixels], height: int, width: int) -> Pixels:
    """Photographs ``[h, w, 3]`` in cells of 768×512, upright ones turned, again and again and mirrored.

    Photographs smaller than a cell are left out; MeasureError if none is left.
    """
    turned = [np.rot90(p) if p.shape[0] > p.shape[1] else p for p in pictures]
    cells = [p[: CELL[0], : CELL[1]] for p in turned if p.shape[0] >= CELL[0] and p.shape[1] >= CELL[1]]
    if not cells:
        raise MeasureError(f"No picture has {CELL[1]}×{CELL[0]} pixels. Give larger ones.")
    down, across = (-(-(size + SHIFT[i]) // CELL[i]) for i, size in enumerate((height, width)))
    out = np.empty((height, width, 3), np.uint8)
    for (i, j), number in zip(itertools.product(range(down), range(across)), itertools.count(), strict=False):
        cell = cells[number % len(cells)]
        cell = cell[:, ::-1] if number // len(cells) % 2 else cell
        top, left = i * CELL[0] - SHIFT[0], j * CELL[1] - SHIFT[1]
        part = out[max(top, 0) : top + CELL[0], max(left, 0) : left + CELL[1]]
        skip = max(-top, 0), max(-left, 0)
        part[:] = cell[skip[0] : skip[0] + part.shape[0], skip[1] : skip[1] + part.shape[1]]
    return out


def made(height: int, width: int) -> Pixels:
    """Waves of many lengths, edges and a little noise: about as many bits a pixel as a photograph."""
    rng = np.random.default_rng(0)
    out = np.empty((height, width, 3), np.uint8)
    columns = np.arange(width, dtype=np.float32)
    waves = [(2.0**-k, *rng.uniform(-1, 1, 2), *rng.uniform(0, 6.3, 3)) for k in range(2, 9)]
    for top in range(0, height, 64):
        rows = np.arange(top, min(top + 64, height), dtype=np.float32)[:, None]
        field = np.zeros((len(rows), width, 3), np.float32)
        for length, a, b, *phases in waves:
            angle = (rows * a + columns * b) * length
            field += np.stack([np.sin(angle + phase) for phase in phases], 2) * (0.06 / length) ** 0.5
        field += np.sign(np.sin(rows / 90) * np.sin(columns / 70))[:, :, None]
        field += rng.normal(0, 0.06, field.shape).astype(np.float32)
        out[top : top + 64] = np.clip(127 + 40 * field, 0, 255)
    return out
