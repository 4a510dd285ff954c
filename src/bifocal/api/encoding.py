"""``bifocal.encode``. What few pictures need is imported when it is needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bifocal.pictures.arrays import from_array
from bifocal.runtime.encoding import (
    BUDGET_EFFORT,
    EFFORT,
    QUALITY,
    TILE,
    Encoded,
    Encoder,
    check_effort,
    check_lossless,
    check_quality,
    check_tile,
)
from bifocal.runtime.engines.onnxruntime import REFERENCE
from bifocal.runtime.model import DEFAULT_MODEL, Model, ModelLike, loaded_model
from bifocal.stream import container
from bifocal.types import Caption, Picture

if TYPE_CHECKING:
    from bifocal.pictures.pillow_images import PictureLike
    from bifocal.pictures.quality_map import MapLike
    from bifocal.runtime.budget import Budget


def encode(
    picture: PictureLike,
    quality: int | None = None,
    *,
    model: ModelLike = DEFAULT_MODEL,
    tile: int = TILE,
    strict: bool = False,
    effort: int | None = None,
    size: int | str | None = None,
    psnr: float | None = None,
    quality_map: MapLike | None = None,
    strip: str | Iterable[str] = (),
    metadata: Mapping[str, bytes] | None = None,
    lossless: bool | None = None,
    caption: str | Caption | None = None,
) -> bytes:
    """Encode a picture as a Bifocal stream.

    Say how good or how large it shall be by one of ``quality``, ``size`` and ``psnr``; without any, the
    quality is 60. Transparency is coded without loss; colours under fully transparent pixels are not kept.
    One more plane is coded as a gray picture of the same quality.

    :param picture: uint8 array ``[h, w, 3]`` (RGB), ``[h, w, 4]`` (RGBA) or ``[h, w]`` (gray), Pillow image
        or :class:`Picture`.
    :param quality: 1 (smallest file) to 100 (best picture).
    :param size: the most bytes that the whole stream may have, or text such as ``"50kB"`` or ``"1MiB"``;
        the best quality that fits is taken.
    :param psnr: the least PSNR in dB of the decoded picture; the smallest stream that reaches it is taken.
    :param effort: 0 (fastest) to 9: how hard to search for fewer bits at the same quality; docs/effort.md
        says what each gains and costs. Decoding is the same. By default 1, and 3 for a ``size`` or ``psnr``.
    :param quality_map: where errors count, array ``[h, w]`` of floats 0 to 1, bool or uint8, or a picture
        file: the quality is meant for pixels at 1, and bits are saved elsewhere. Stretched to the picture.
    :param tile: side of the independently coded tiles in pixels, a multiple of 64; no tile may exceed 4 Mi
        pixels.
    :param strict: refuse a picture of more than 8 bits a channel, which is otherwise rounded to 8 with a
        :class:`~bifocal.errors.PictureWarning`.
    :param strip: metadata to leave out: ``"all"``, or one or several of ``"gps"``, ``"exif"``, ``"xmp"``,
        ``"icc"`` and ``"caption"``.
    :param metadata: what the stream holds instead of the picture's own metadata, as in
        ``Picture.metadata``.
    :param lossless: True stores the exact pixels, whatever the quality, and refuses a picture that would have
        to be rounded; False never does. By default drawn
        content (screens, charts, pixel art) is stored so where it takes at most 1.2 times the bytes.
    :param caption: what the picture shows, as text or a :class:`Caption` with its language, in place of the
        picture's own. It travels in the stream, where :func:`bifocal.info` and ``bifocal search`` read it.
    :raises PictureError: if the picture is of a kind that is not coded (CMYK, floating point).
    :raises OptionError: if an argument is out of range, two of ``quality``, ``size`` and ``psnr`` are given,
        or no quality meets ``size`` or ``psnr``: then the message says which can be met.
    :raises ModelError: if the model was packed without what this effort needs.

    >>> import numpy
    >>> len(encode(numpy.zeros((64, 64), numpy.uint8), quality=10)) < 200
    True
    """
    coding = (quality, tile, strict, effort, size, psnr, quality_map)
    asked = Options(*coding, strip, metadata, lossless, caption)
    return encoded(picture, loaded_model(model), asked).data


@dataclass(frozen=True)
class Options:
    """What is asked of an encoder: the arguments of :func:`encode` but the picture and the model."""

    quality: int | None
    tile: int
    strict: bool
    effort: int | None
    size: int | str | None
    psnr: float | None
    quality_map: MapLike | None
    strip: str | Iterable[str]
    metadata: Mapping[str, bytes] | None
    lossless: bool | None
    caption: str | Caption | None = None


def encoded(picture: PictureLike, model: Model, asked: Options) -> Encoded:
    """:func:`encode`, with what is known of the stream beside its bytes."""
    budget = _checked_budget(asked.quality, asked.size, asked.psnr)
    free_size, even = isinstance(budget, int), asked.quality_map is None
    usual = EFFORT if free_size or not model.has_adjoint else BUDGET_EFFORT
    effort = usual if asked.effort is None else check_effort(asked.effort)
    tile = check_tile(asked.tile)
    taken = _as_picture(picture, asked.strict or asked.lossless is True)
    if asked.strip or asked.metadata is not None:
        taken = _with_metadata(taken, asked.strip, asked.metadata)
    if asked.caption is not None:
        given = asked.caption
        taken = replace(taken, caption=given if isinstance(given, Caption) else Caption.of(given))
    exact = check_lossless(asked.lossless, free_size=free_size, even=even)
    model = model.on(REFERENCE)  # bytes never depend on what decodes
    return _encode(taken, budget, model, tile, effort, asked.quality_map, exact)


def _encode(
    picture: Picture,
    budget: int | Budget,
    model: Model,
    tile: int,
    effort: int,
    quality_map: MapLike | None,
    lossless: bool | None,
) -> Encoded:
    """The stream of a picture at a quality, or within a budget of bytes or PSNR."""
    pixels, chunks, weights = picture.pixels, picture.metadata, None
    if picture.alpha is not None:
        from bifocal.pictures.transparent import fill_transparent
        from bifocal.stream.chunks.alpha import encode_alpha

        pixels = fill_transparent(pixels, picture.alpha)
        if alpha := encode_alpha(picture.alpha, tile):
            chunks = {**chunks, container.ALPHA: alpha}
    if picture.plane is not None:  # within a budget it has the quality that is asked for otherwise
        beside = Encoder(picture.plane, model, tile=tile, lossless=lossless)
        quality = budget if isinstance(budget, int) else QUALITY
        chunks = {**chunks, container.PLANE: beside.encode(quality, effort=effort).data}
    if picture.caption is not None:
        from bifocal.stream.chunks.caption import encode_caption

        chunks = {**chunks, container.CAPTION: encode_caption(picture.caption)}
    if quality_map is not None:
        from bifocal.pictures.quality_map import read_map

        weights = read_map(quality_map, picture.width, picture.height)
    if isinstance(budget, int):
        encoder = Encoder(pixels, model, tile=tile, weights=weights, lossless=lossless)
        return encoder.encode(budget, metadata=chunks, effort=effort)
    from bifocal.runtime.budget import decoded_psnr, encode_within

    encoder = Encoder(pixels, model, tile=tile, weights=weights, keep=True, lossless=lossless)
    seen = None if picture.alpha is None else picture.alpha > 0
    return encode_within(
        lambda quality, effort: encoder.encode(quality, metadata=chunks, effort=effort),
        effort,
        budget,
        lambda made: decoded_psnr(made.data, pixels, model, seen),
    )


def _checked_budget(quality: int | None, size: int | str | None, psnr: float | None) -> int | Budget:
    """The quality that is asked for, or the budget that decides about it."""
    if size is None and psnr is None:
        return QUALITY if quality is None else check_quality(quality)
    from bifocal.runtime.budget import check_budget

    return check_budget(quality, size, psnr)


def _as_picture(picture: PictureLike, strict: bool) -> Picture:
    if isinstance(picture, np.ndarray):
        return from_array(picture, strict=strict)
    if isinstance(picture, Picture):
        return picture
    from bifocal.pictures.pillow_images import as_picture

    return as_picture(picture, strict=strict)


def _with_metadata(
    picture: Picture, strip: str | Iterable[str], metadata: Mapping[str, bytes] | None
) -> Picture:
    """The picture with other metadata, and without that which is stripped."""
    given = picture.metadata if metadata is None else metadata
    caption = picture.caption
    if strip:
        from bifocal.pictures.metadata import strip_metadata, strips_caption

        given = strip_metadata(given, strip)
        caption = None if strips_caption(strip) else caption
    return replace(picture, metadata=given, caption=caption)
