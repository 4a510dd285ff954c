"""Many overlapping boxes to one for each object, in NumPy: what every detector's answers go through."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Of so many boxes, the likeliest, the overlapping ones are taken out.
MOST_CANDIDATES = 4096


class Found(NamedTuple):
    """Boxes, the likeliest first: ``corners`` float32 ``[n, 4]`` in pixels, ``labels`` int64, ``scores``."""

    corners: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]

    def rows(self, which: NDArray[Any] | np.bool_) -> Found:
        """Some of them."""
        return Found(self.corners[which], self.labels[which], self.scores[which])


#: No boxes.
NOTHING = Found(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32))


def suppress(
    corners: NDArray[np.float32],
    scores: NDArray[np.float32],
    width: int,
    height: int,
    *,
    least: float,
    overlap: float,
) -> Found:
    """What a network answers, ``corners [k, 4]`` and ``scores [k, classes]``, as one box for each object.

    Boxes are cut at the edges of ``width × height`` pixels; of those of a class whose IoU is above
    ``overlap`` the likeliest is kept.
    """
    row, label = np.nonzero(scores >= least)
    score = scores[row, label].astype(np.float32)
    if len(score) > MOST_CANDIDATES:
        best = np.argpartition(-score, MOST_CANDIDATES)[:MOST_CANDIDATES]
        row, label, score = row[best], label[best], score[best]
    inside = np.clip(corners[row], 0, [width, height, width, height]).astype(np.float32)
    found = Found(inside, label.astype(np.int64), score)
    return distinct(found.rows((inside[:, 2:] - inside[:, :2] > 0).all(1)), overlap)


def distinct(found: Found, overlap: float, *, contained: bool = False) -> Found:
    """Those that no likelier box of their class overlaps by more than ``overlap``, the likeliest first.

    Overlap is IoU, or with ``contained`` the share of the smaller box, for parts of an object that was cut.

    >>> corners = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], np.float32)
    >>> distinct(Found(corners, np.zeros(3, np.int64), np.array([0.5, 0.9, 0.4], np.float32)), 0.6).scores
    array([0.9, 0.4], dtype=float32)
    """
    found = found.rows(np.argsort(-found.scores, kind="stable"))
    # boxes of different classes never meet once each class is moved to a plane of its own
    span = float(found.corners.max(initial=0)) + 1
    boxes = found.corners.astype(np.float64) + (found.labels * span)[:, None]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    left = np.ones(len(boxes), bool)
    for k in range(len(boxes)):
        if not left[k]:
            continue
        later = k + 1 + np.flatnonzero(left[k + 1 :])
        first = np.maximum(boxes[k, :2], boxes[later, :2])
        last = np.minimum(boxes[k, 2:], boxes[later, 2:])
        both = (last - first).clip(0).prod(1)
        least = np.minimum(areas[k], areas[later]) if contained else areas[k] + areas[later] - both
        left[later[both > overlap * least]] = False
    return found.rows(left)


def joined(parts: list[Found]) -> Found:
    """Boxes of several parts, together."""
    return Found(*(np.concatenate(each) for each in zip(*parts, strict=True))) if parts else NOTHING
