"""``bifocal.decode``, and finding the model of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from bifocal.runtime.cards import find_card
from bifocal.runtime.decoding import check_box, check_scale, decode_pixels, decode_transparency
from bifocal.runtime.model import Model, ModelLike, loaded_model
from bifocal.runtime.windows import Box
from bifocal.stream import container
from bifocal.stream.chunks.plane import plane_of
from bifocal.stream.limits import DEFAULT_LIMITS, Limits
from bifocal.stream.source import StreamLike, as_source
from bifocal.types import Caption, Picture


def decode(
    data: StreamLike,
    *,
    model: ModelLike | None = None,
    limits: Limits = DEFAULT_LIMITS,
    box: Sequence[int] | None = None,
    scale: float | Fraction | str = 1,
    backend: str | None = None,
) -> Picture:
    """Decode a Bifocal stream, a part of it, or a smaller picture.

    Pixels of the result are uint8, ``[h, w, 3]`` (RGB) or ``[h, w]`` (gray); NumPy takes the picture itself
    for that array, and :func:`bifocal.to_pillow` makes a Pillow image of it, colour profile included.

    :param data: the bytes of a stream, or a binary file. Of a file that can seek only what is needed is read;
        one that cannot, such as a pipe, is read to its end first.
    :param model: the model that made the stream; found among the installed ones by default.
    :param limits: what to refuse before any work is done.
    :param box: (left, top, right, bottom) in pixels of the full picture. The result holds the very pixels
        that decoding everything gives there; tiles that do not matter to them are neither read nor decoded.
    :param scale: 1, or 1/2, 1/4, 1/8 or 1/16 of the full size, rounded up, as a number or as text such as
        ``"1/2"``; a box is then rounded outwards.
    :param backend: what computes the pixels, such as "openvino"; the model's own, ONNX Runtime, by default.
    :raises OptionError: if ``box`` is not inside the picture, there is no such ``scale``, or the backend does
        not exist or is not installed.
    :raises StreamError: if the stream is damaged, cut short, beyond ``limits`` or not Bifocal's.
    :raises ModelMissing: if its model is not installed; the message says which release has it.
    :raises ModelError: if its model cannot decode at ``scale``.

    >>> import bifocal, numpy
    >>> data = bifocal.encode(numpy.full((30, 50, 3), 90, numpy.uint8))
    >>> decode(data).pixels.shape, decode(data, box=(10, 0, 26, 8)).pixels.shape
    ((30, 50, 3), (8, 16, 3))
    """
    stream = container.read(as_source(data, limits), limits)
    header = stream.header
    box, reduction = check_box(box, header.width, header.height), check_scale(scale)
    stored = all(tile.lossless for tile in stream.tiles)
    loaded = None if stored else stream_model(header, model)  # pixels that are stored need no network
    alpha = decode_transparency(stream, box=box, reduction=reduction)
    loaded = loaded if backend is None or loaded is None else loaded.on(backend)
    pixels = decode_pixels(stream, loaded, box=box, reduction=reduction)
    plane = decode_plane(stream, model, limits, box, reduction, backend)
    return Picture(pixels, picture_metadata(stream), alpha, plane, picture_caption(stream))


def decode_plane(
    stream: container.Container,
    model: ModelLike | None = None,
    limits: Limits = DEFAULT_LIMITS,
    box: Box | None = None,
    reduction: int = 1,
    backend: str | None = None,
) -> NDArray[np.uint8] | None:
    """One more plane uint8 ``[h, w]`` of the same pixels; None if the stream has none."""
    beside = plane_of(stream, limits)
    if beside is None:
        return None
    stored = all(tile.lossless for tile in beside.tiles)
    loaded = None if stored else stream_model(beside.header, model)
    loaded = loaded if backend is None or loaded is None else loaded.on(backend)
    return decode_pixels(beside, loaded, box=box, reduction=reduction)


def stream_model(header: container.Header, model: ModelLike | None) -> Model:
    """The model of a stream: the one given, or the installed one that the header names.

    :raises ModelMissing: if it is not installed.
    """
    if model is not None:
        return loaded_model(model)
    return loaded_model(find_card(header.wire_id, header.fingerprint, header.release).folder)


def picture_metadata(stream: container.Container) -> dict[str, bytes]:
    """What a stream holds beside the picture, whose parts are transparency, restoration and a plane."""
    return {
        key: value
        for key, value in stream.metadata.items()
        if key not in container.PARTS and key != container.CAPTION
    }


def picture_caption(stream: container.Container) -> Caption | None:
    """What a stream says of its picture; a warning in place of a damaged caption."""
    if container.CAPTION not in stream.metadata:
        return None
    from bifocal.stream.chunks.caption import read_caption  # most streams have none

    return read_caption(stream.metadata)
