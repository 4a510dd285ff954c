"""Where objects are, by the latents of a stream: no picture is rebuilt, and no synthesis weights are read.

A detector of colour and infrared reads the latents of both: those of the picture, and those of the plane that
its stream has beside it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bifocal.errors import HeadError
from bifocal.runtime.heads.boxes import Found
from bifocal.runtime.heads.detect import Part, Threshold, answer, check_detector, merged
from bifocal.runtime.heads.file import HeadSpec
from bifocal.runtime.heads.run import Head
from bifocal.runtime.heads.windows import HeadWindows, Window, stream_tiles
from bifocal.runtime.model import Model
from bifocal.stream.chunks.plane import plane_of
from bifocal.stream.container import Container


def detect_latents(head: Head, stream: Container, model: Model, threshold: Threshold | None = None) -> Found:
    """Boxes in the picture of a stream of ``model``, window by window.

    :raises HeadError: if the head is no detector of latents, is for streams of another model, or reads
        a plane that the stream has not.
    :raises StreamError: if a tile is damaged.
    """
    spec, wanted = head.spec, threshold or Threshold()
    check_detector(spec, "latents")
    streams = [stream]
    if len(spec.modalities) > 1:
        if (beside := plane_of(stream)) is None:
            raise HeadError(
                f"detector {spec.name} reads colour and infrared, and this stream has no plane beside its "
                "picture. Encode it with one (bifocal encode --plane), or name a detector of colour alone."
            )
        if beside.header.tile != stream.header.tile:
            raise HeadError("the plane of this stream has other tiles than its picture. Encode it again.")
        streams.append(beside)
    parts = []
    for windows in zip(*(_windows(one, spec, model) for one in streams), strict=True):
        values = np.concatenate([window.values for window in windows])
        row, column = (side * spec.stride for side in windows[0][2:4])
        h, w = (side * spec.stride for side in values.shape[1:])
        found = answer(head, values, wanted)
        parts.append(Part.of(found, column, row, (column, row, column + w, row + h)))
    size = stream.header.width, stream.header.height
    return merged(parts, *size, wanted.overlap, contained=True)


def _windows(stream: Container, spec: HeadSpec, model: Model) -> Iterator[Window]:
    walker = HeadWindows.of(stream.header, spec, model)
    for tile in stream_tiles(stream, model, spec):
        yield from walker.of_tile(tile)
