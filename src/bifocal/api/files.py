"""``bifocal.encode_file`` and ``bifocal.decode_file``: whole files, here or at a URL."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bifocal.api.decoding import decode
from bifocal.api.encoding import Options, encoded
from bifocal.api.info import StreamInfo, describe, installed_name
from bifocal.errors import OptionError, OutputError, PictureError
from bifocal.pictures.formats import MAX_PIXELS, is_picture_name
from bifocal.pictures.quality_map import MapLike
from bifocal.runtime.encoding import TILE
from bifocal.runtime.model import DEFAULT_MODEL, MODELS, ModelLike, loaded_model
from bifocal.storage import filesystem
from bifocal.storage.filesystem import refuse_existing, write_atomically
from bifocal.stream.limits import DEFAULT_LIMITS, Limits
from bifocal.types import Caption, Picture


def encode_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
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
    captions: str | os.PathLike[str] | None = None,
    caption_from_metadata: bool = False,
    plane: str | os.PathLike[str] | None = None,
    max_pixels: int = MAX_PIXELS,
    overwrite: bool = False,
) -> StreamInfo:
    """Encode a picture file into a stream file, written whole or not at all; say what was written.

    Both may be URLs (``s3://…``, ``https://…``), with the ``remote`` extra. What is not said here is as for
    :func:`bifocal.encode`.

    :param captions: a file of captions, one picture a line: its name, a tab, the caption, and perhaps a tab
        and a language tag; that of ``source`` is taken, unless ``caption`` is given.
    :param caption_from_metadata: otherwise take the caption that the picture has in XMP, IPTC or EXIF.
    :param plane: a gray picture file of the same size, such as infrared or depth, to go with the picture.
    :param max_pixels: refuse a picture whose file declares more pixels, before it is decoded.
    :param overwrite: replace ``target`` if it exists.
    :raises OutputError: if ``target`` exists already, cannot be written, is ``source``, or is named like a
        picture.
    """
    from bifocal.pictures.reading import read_picture

    source, target = _as_path("source", source), _as_path("target", target)
    _refuse_target(source, target, overwrite)
    if Path(target).suffix != ".bfc" and is_picture_name(Path(target)):
        raise OutputError(f"{target} is named like a picture, but a stream is written. Call it .bfc.")
    with filesystem.fetched(source) as file:
        picture = read_picture(file, max_pixels=max_pixels, strict=strict or lossless is True)
        if plane is not None:
            picture = replace(picture, plane=read_plane(plane, max_pixels))
        loaded = loaded_model(model)
        if caption is None and (captions is not None or caption_from_metadata):
            caption = _found_caption(source, file, picture, captions, caption_from_metadata)
        coding = (quality, tile, strict, effort, size, psnr, quality_map)
        asked = Options(*coding, strip, metadata, lossless, caption)
        made = encoded(picture, loaded, asked)
    with filesystem.sent(target) as file:
        write_atomically(file, made.data, overwrite=overwrite)
    name = loaded.name if loaded.folder.parent == MODELS.resolve() else installed_name(made.header)
    return describe(made.header, made.metadata, len(made), made.tiles, made.lossless, name)


def decode_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    *,
    model: ModelLike | None = None,
    limits: Limits = DEFAULT_LIMITS,
    box: Sequence[int] | None = None,
    scale: float | Fraction | str = 1,
    backend: str | None = None,
    format: str | None = None,
    plane: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Picture:
    """Decode a stream file; with ``target``, write the picture too, in the format that its suffix names.

    ``box``, ``scale`` and ``backend`` as in :func:`bifocal.decode`; only the ranges of the file that they
    need are read. Both files may be URLs, with the ``remote`` extra.

    :param plane: a file for the plane that a stream has beside its picture.
    :param format: the suffix of another format, such as ``"webp"``, whatever the suffix of ``target``.
    :param overwrite: replace ``target`` if it exists.
    :raises OutputError: if ``target`` exists already, cannot be written, or is ``source``.
    """
    from bifocal.pictures.writing import format_to_write, write_picture

    source = _as_path("source", source)
    if target is not None:
        target = _as_path("target", target)
        _refuse_target(source, target, overwrite)
        format_to_write(target, format)
    if plane is not None:
        plane = _as_path("plane", plane)
        _refuse_target(source, plane, overwrite)
        if target is not None and _is_same(target, plane):
            raise OutputError(f"picture and plane cannot both become {plane}. Name another output.")
        format_to_write(plane, format)
    with filesystem.opened(source) as stream:
        picture = decode(stream, model=model, limits=limits, box=box, scale=scale, backend=backend)
    if plane is not None and picture.plane is None:
        raise OutputError(f"{source} has no plane beside its picture: leave {plane} out.")
    if target is not None:
        with filesystem.sent(target) as file:
            write_picture(picture, file, format=format, overwrite=overwrite)
    if plane is not None and picture.plane is not None:
        with filesystem.sent(plane) as file:
            write_picture(Picture(picture.plane), file, format=format, overwrite=overwrite)
    return picture


def read_plane(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """A gray picture file of 8 bits, or one stored as three channels, as a plane ``[h, w]``.

    :raises PictureError: if it cannot be read, has more than 8 bits, or is in colour.
    """
    from bifocal.pictures.reading import read_picture

    path = _as_path("plane", path)
    with filesystem.fetched(path) as file:
        pixels = read_picture(file, max_pixels=max_pixels, strict=True).pixels
    if pixels.ndim == 3 and (pixels != pixels[..., :1]).any():
        raise PictureError(f"{path} is in colour, and a plane is gray. Convert it first.")
    return pixels if pixels.ndim == 2 else pixels[..., 0]


def _found_caption(
    source: str, file: Path, picture: Picture, captions: str | os.PathLike[str] | None, from_metadata: bool
) -> Caption | None:
    """The caption of a picture file in a list, else in its metadata."""
    from bifocal.pictures.captions import CaptionFile, caption_of_file

    listed = None if captions is None else CaptionFile.read(captions).of(source)
    if listed is not None or not from_metadata:
        return listed
    return caption_of_file(file, picture.metadata)


def _as_path(what: str, path: str | os.PathLike[str]) -> str:
    """A path or URL as text.

    :raises OptionError: if it is none.
    """
    try:
        text = os.fsdecode(path)
    except TypeError:
        text = "\0"
    if "\0" in text:
        raise OptionError(f"{what} is {path!r}; give a path or a URL.")
    return text


def _refuse_target(source: str, target: str, overwrite: bool) -> None:
    """Refuse an output that is the input, or would replace a file unasked, before any work is done."""
    if _is_same(source, target):
        raise OutputError(f"{target} is the input; it is never overwritten. Name another output.")
    if not overwrite:
        refuse_existing(target)


def _is_same(one: str, other: str) -> bool:
    """Whether two paths or URLs are one file."""
    one, other = filesystem.plain(one), filesystem.plain(other)
    local = not filesystem.is_url(one) and not filesystem.is_url(other)
    return one == other or (local and os.path.realpath(one) == os.path.realpath(other))
