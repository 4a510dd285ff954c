"""``bifocal.detect``: where objects are, in pictures and in streams."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from bifocal.api.decoding import decode, stream_model
from bifocal.errors import OptionError
from bifocal.pictures.arrays import from_array
from bifocal.runtime.heads.detect import LEAST_SCORE, Threshold, as_boxes, channels_of, check_detector
from bifocal.runtime.heads.detect import detect_pixels as _detect_pixels
from bifocal.runtime.heads.run import HeadLike, loaded_head
from bifocal.runtime.model import ModelLike
from bifocal.storage.paths import is_stream_name
from bifocal.stream import container
from bifocal.stream.limits import DEFAULT_LIMITS, Limits
from bifocal.stream.source import as_source
from bifocal.types import Boxes, Picture

if TYPE_CHECKING:
    from bifocal.pictures.pillow_images import PictureLike

    Seen = PictureLike | bytes | str | os.PathLike[str] | IO[bytes]


def detect(
    picture: Seen,
    *,
    detector: HeadLike,
    ir: PictureLike | str | os.PathLike[str] | None = None,
    at_least: float = LEAST_SCORE,
    model: ModelLike | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Boxes:
    """Find objects in a picture, or in a stream.

    :param picture: an array, Pillow image or :class:`Picture`, the bytes of a stream, a binary file of one,
        or the path of either. A detector that reads latents takes streams only, and rebuilds no picture.
    :param detector: a ``.bfd`` file by ``bifocal-train detect``, or a loaded :class:`Head`.
    :param ir: the infrared of the same pixels, for a detector that reads it; by default the picture's own
        plane, or that in the stream.
    :param at_least: leave out boxes below this score.
    :param model: the model that made the stream; found among the installed ones by default.
    :param limits: what to refuse of a stream before any work is done.
    :raises HeadError: if there is no such detector, it is damaged, or it reads what is not given.
    :raises PictureError: if the picture cannot be read, or infrared has more than 8 bits.
    :raises StreamError: if the stream is damaged, cut short, beyond ``limits`` or not Bifocal's.
    """
    head, threshold = loaded_head(detector), Threshold.of(at_least)
    if head.spec.kind == "detect" and head.spec.reads == "latents":
        return _from_latents(picture, head, threshold, ir, model, limits)
    check_detector(head.spec, "pixels")
    seen = _as_picture(picture, model, limits)
    infrared = seen.plane if "ir" in head.spec.modalities else None
    if ir is not None:
        given = _as_picture(ir, model, limits, strict=True)
        infrared = given.pixels
    pixels = channels_of(head.spec, seen.pixels, infrared)
    return as_boxes(_detect_pixels(head, pixels, threshold), head, seen.width, seen.height)


def _from_latents(
    data: object, head: HeadLike, threshold: Threshold, ir: object, model: ModelLike | None, limits: Limits
) -> Boxes:
    from bifocal.runtime.heads.detect_latents import detect_latents

    reader = loaded_head(head)
    if ir is not None:
        raise OptionError("this detector reads streams: infrared is the plane of a stream. Leave ir out.")
    if isinstance(data, str | os.PathLike):
        if not is_stream_name(Path(data)):
            raise OptionError(f"detector {reader.name} reads .bfc streams. Encode {os.fspath(data)} first.")
        with open(data, "rb") as file:
            return _from_latents(file, reader, threshold, None, model, limits)
    if isinstance(data, np.ndarray | Picture) or not (isinstance(data, bytes) or hasattr(data, "read")):
        raise OptionError(f"detector {reader.name} reads streams, not pictures. Encode the picture first.")
    stream = container.read(as_source(data, limits), limits)
    found = detect_latents(reader, stream, stream_model(stream.header, model), threshold)
    return as_boxes(found, reader, stream.header.width, stream.header.height)


def _as_picture(given: Seen, model: ModelLike | None, limits: Limits, *, strict: bool = False) -> Picture:
    """A picture by whatever it was given as."""
    if isinstance(given, np.ndarray):
        return from_array(given, strict=strict)
    if isinstance(given, bytes | bytearray | memoryview):
        return decode(bytes(given), model=model, limits=limits)
    if isinstance(given, str | os.PathLike):
        if is_stream_name(Path(given)):
            with open(given, "rb") as file:
                return decode(file, model=model, limits=limits)
        from bifocal.pictures.reading import read_picture

        return read_picture(given, strict=strict)
    if hasattr(given, "read") and not hasattr(given, "getbands"):
        return decode(given, model=model, limits=limits)
    from bifocal.pictures.pillow_images import as_picture

    return as_picture(given, strict=strict)  # type: ignore[arg-type]
