"""Where objects are, by a detector: windows of a picture or of latents, and their boxes brought together.

A detector is a head of kind "detect" (:mod:`bifocal.runtime.heads.file`), of one graph. Large pictures are
seen in windows that overlap; an object counts where its centre is in a window's core, and boxes near a seam
are compared once more. So memory is bounded by a window, whatever the picture.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import HeadError, OptionError
from bifocal.runtime.heads.boxes import Found, distinct, joined, suppress
from bifocal.runtime.heads.file import HeadSpec
from bifocal.runtime.heads.run import Head
from bifocal.runtime.windows import cut_padded, padded_size, windows
from bifocal.types import Boxes

#: Boxes from this score on are given, and of those of a class that overlap by more one is kept.
LEAST_SCORE, MOST_OVERLAP = 0.25, 0.6
#: Units by which windows of a picture overlap on each side, and how many pixels from a seam are near it.
HALO, SEAM = 2, 32
#: Colours whose channels differ by more than this are no infrared stored as three channels.
_GRAY = 24


class Threshold(NamedTuple):
    """Which boxes are given: those of at least this ``score``, and at which ``overlap`` two are one."""

    score: float = LEAST_SCORE
    overlap: float = MOST_OVERLAP

    @classmethod
    def of(cls, score: float, overlap: float = MOST_OVERLAP) -> Threshold:
        """Checked.

        :raises OptionError: if a number is not between 0 and 1.
        """
        for name, value in (("at_least", score), ("overlap", overlap)):
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                raise OptionError(f"{name} is {value!r}; it has to be a number from 0 to 1.")
        return cls(float(score), float(overlap))


def check_detector(spec: HeadSpec, reads: str) -> None:
    """Raise :class:`HeadError` unless a head is a detector that reads ``pixels`` or ``latents``."""
    if spec.kind != "detect":
        raise HeadError(
            f"{spec.name} is a head that gives no boxes. Name a detector: `bifocal-train detect` makes one "
            "from your own pictures."
        )
    if spec.reads != reads:
        raise HeadError(f"detector {spec.name} reads {spec.reads}, not {reads}. Name one that does.")


def channels_of(
    spec: HeadSpec, pixels: NDArray[np.uint8], infrared: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """The channels that a detector reads, uint8 ``[h, w, c]``, of a picture and its infrared.

    :raises HeadError: if it reads what is not given, or not what is.
    :raises OptionError: if both have not the same size.
    """
    if "ir" not in spec.modalities and infrared is not None:
        raise HeadError(f"detector {spec.name} reads colour alone. Leave the infrared picture out.")
    if spec.modalities == ("ir",):
        return _as_infrared(spec, pixels if infrared is None else infrared)
    colours = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    if "ir" not in spec.modalities:
        return colours
    if infrared is None:
        raise HeadError(
            f"detector {spec.name} reads colour and infrared, and there is no infrared here. Give the second "
            "picture too (ir=…, --ir), or name a detector of colour alone."
        )
    if infrared.shape[:2] != pixels.shape[:2]:
        (h, w), (rows, columns) = pixels.shape[:2], infrared.shape[:2]
        raise OptionError(
            f"the picture has {w}×{h} pixels and its infrared {columns}×{rows}. Both have to show the same "
            "pixels: scale one of them first."
        )
    return np.concatenate([colours, _as_infrared(spec, infrared)], axis=2)


def _as_infrared(spec: HeadSpec, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.ndim == 2:
        return pixels[..., None]
    sample = pixels[:: max(1, len(pixels) // 64)].astype(np.int16)
    if np.abs(sample - sample[..., :1]).max() > _GRAY:
        raise HeadError(
            f"detector {spec.name} reads infrared, and this picture is in colour. Give the infrared picture, "
            "or name a detector of colour."
        )
    return pixels[..., :1]


def detect_pixels(head: Head, pixels: NDArray[np.uint8], threshold: Threshold | None = None) -> Found:
    """Boxes in a picture ``[h, w, c]`` of the channels that the detector reads, window by window.

    :raises HeadError: if it is no detector of pixels, or its graph fails.
    """
    spec, wanted = head.spec, threshold or Threshold()
    check_detector(spec, "pixels")
    height, width = pixels.shape[:2]
    unit, halo = spec.stride, HALO * spec.stride
    halo = halo if spec.window > 2 * HALO else 0
    parts: list[Part] = []
    padded, inner = (padded_size(height, unit), padded_size(width, unit)), spec.window * unit - 2 * halo
    for rows, columns in windows(*padded, core=inner, halo=halo, multiple=unit):
        seen = cut_padded(pixels, rows.outer(1), columns.outer(1))
        found = answer(head, seen.transpose(2, 0, 1).astype(np.float32), wanted)
        core = (columns.start, rows.start, columns.stop, rows.stop)
        parts.append(Part.of(found, columns.outer_start, rows.outer_start, core))
    return merged(parts, width, height, wanted.overlap)


def answer(head: Head, values: NDArray[np.float32], wanted: Threshold) -> Found:
    """The boxes in one window, in pixels from its corner; every number of the answer checked."""
    arrays = head.run(values).arrays
    corners, scores = arrays["boxes"], arrays.get("scores")
    side = 1 if head.spec.reads == "pixels" else head.spec.stride
    h, w = (side * n for n in values.shape[1:])
    fits = (
        scores is not None and corners.ndim == scores.ndim == 3 and corners.shape[0] == scores.shape[0] == 1
    )
    if not fits or corners.shape[2] != 4 or scores is None or corners.shape[1] != scores.shape[1]:
        raise HeadError(f"detector {head.name} gives no scores for its boxes. Export it again.")
    if not (np.isfinite(corners).all() and np.isfinite(scores).all()):
        raise HeadError(f"detector {head.name} gives numbers that are not finite. Train or export it again.")
    found = corners[0].astype(np.float32), scores[0].astype(np.float32)
    return suppress(*found, w, h, least=wanted.score, overlap=wanted.overlap)


class Part(NamedTuple):
    """The boxes of one window, in pixels of the picture, and its core: left, top, right, bottom."""

    found: Found
    core: tuple[int, int, int, int]

    @classmethod
    def of(cls, found: Found, left: int, top: int, core: tuple[int, int, int, int]) -> Part:
        """Boxes in pixels from the corner ``left, top`` of a window, those whose centre is in its core."""
        corners = found.corners + np.array([left, top] * 2, np.float32)
        centres = (corners[:, :2] + corners[:, 2:]) / 2
        inside = ((centres >= core[:2]) & (centres < core[2:])).all(1)
        return cls(found._replace(corners=corners).rows(inside), core)


def merged(parts: list[Part], width: int, height: int, overlap: float, *, contained: bool = False) -> Found:
    """The boxes of all windows as one list, the likeliest first; those near a seam are compared once more.

    ``contained`` is for windows without a halo: an object that a seam cuts has a box on both sides, of which
    the smaller lies mostly in the larger.
    """
    sure, unsure = [], []
    for found, (left, top, right, bottom) in parts:
        inner = np.array(
            [left + SEAM * (left > 0), top + SEAM * (top > 0), right - SEAM * (right < width)]
            + [bottom - SEAM * (bottom < height)]
        )
        near = (found.corners[:, :2] < inner[:2]).any(1) | (found.corners[:, 2:] > inner[2:]).any(1)
        sure.append(found.rows(~near))
        unsure.append(found.rows(near))
    together = joined([*sure, distinct(joined(unsure), overlap, contained=contained)])
    limits = np.array([width, height] * 2, np.float32)
    found = together._replace(corners=np.minimum(together.corners, limits))
    found = found.rows((found.corners[:, 2:] > found.corners[:, :2]).all(1))
    return found.rows(np.argsort(-found.scores, kind="stable"))


def as_boxes(found: Found, head: Head, width: int, height: int) -> Boxes:
    """Boxes with the names of their classes."""
    names = tuple(head.spec.classes[label] for label in found.labels)
    return Boxes(names, found.corners, found.scores, width, height, head.name)
