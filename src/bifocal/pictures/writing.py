"""Picture files written, through Pillow, whole or not at all.

Which metadata goes where, and the rule of orientation, is written down in pictures/metadata.py.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from bifocal.errors import OutputError, PictureWarning
from bifocal.pictures.formats import ALPHA_FORMATS, RGB_FORMATS, WRITE_FORMATS
from bifocal.pictures.metadata import matching_profile, save_settings
from bifocal.pictures.pillow_images import PictureLike, as_picture, to_pillow
from bifocal.storage.filesystem import write_atomically
from bifocal.types import Picture


def write_picture(
    picture: PictureLike,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    overwrite: bool = True,
) -> None:
    """Write a picture in the format that the suffix names, whole or not at all.

    PNG, PPM, BMP, TIFF, WebP, TGA and JPEG 2000 are written without loss, JPEG and AVIF at quality 95
    (4:4:4), GIF with 256 colours and a :class:`~bifocal.errors.PictureWarning`. Other formats are written as
    Pillow does; where that is not lossless, such a warning says so. Metadata that the format has no place for
    is left out with a warning; transparency is not.

    :param picture: a :class:`Picture`, or whatever :func:`bifocal.encode` takes.
    :param format: the suffix of another format, such as ``"webp"``, whatever the suffix of ``path``.
    :param overwrite: whether an existing file is replaced.
    :raises OutputError: if Pillow writes no such suffix, the format cannot hold the picture's transparency,
        or the file cannot be written, or exists and ``overwrite`` is False.
    """
    picture = as_picture(picture)
    if not isinstance(path, str | os.PathLike):
        raise OutputError(f"a {type(path).__name__} is not a path to write to. Give a str or a pathlib.Path.")
    name = os.fspath(path)
    kind, settings = format_to_write(name, format)
    write_atomically(name, encoded_picture(picture, kind, settings, name), overwrite=overwrite)


def format_to_write(path: str | os.PathLike[str], format: str | None = None) -> tuple[str, Mapping[str, Any]]:
    """Pillow's format and settings for a picture file; ``format`` is stronger than the suffix of ``path``.

    :raises OutputError: if there is none.
    """
    suffix = PurePath(path).suffix.lower() if format is None else f".{format.lower().lstrip('.')}"
    if suffix in WRITE_FORMATS:
        return WRITE_FORMATS[suffix]
    from bifocal.pictures.other_formats import pillow_format

    kind = pillow_format(suffix)
    if kind is None:
        known = " ".join(sorted(WRITE_FORMATS))
        raise OutputError(
            f"{os.fspath(path)}: cannot write a picture as '{suffix}'. Choose one of {known}, or another "
            "that Pillow writes."
        )
    return next((known for known in WRITE_FORMATS.values() if known[0] == kind), (kind, {}))


def encoded_picture(picture: Picture, kind: str, settings: Any, name: str) -> bytes:
    """The bytes of a file in Pillow's format ``kind``."""
    known = any(kind == format for format, _ in WRITE_FORMATS.values())
    if picture.alpha is not None and known and kind not in ALPHA_FORMATS:
        raise OutputError(
            f"{name}: the picture is transparent in places, and {kind} does not hold that. Choose .png, "
            ".webp or .tif."
        )
    gray = picture.gray and kind not in RGB_FORMATS
    metadata = matching_profile(picture.metadata, gray=gray, name=name)
    if picture.caption is not None and "xmp" not in metadata:
        from bifocal.pictures.xmp import xmp_of_caption

        metadata = {**metadata, "xmp": xmp_of_caption(picture.caption.text, picture.caption.language)}
    kept, left_out = save_settings(metadata, kind)
    if kind == "GIF" and not picture.gray:
        left_out.append("GIF holds 256 colours: others become the nearest of them")
    for reason in left_out:
        warnings.warn(f"{name}: {reason}.", PictureWarning, stacklevel=3)
    buffer = io.BytesIO()
    try:
        # some formats write what they find in image.info
        image = to_pillow(replace(picture, metadata={}, caption=None))
        if not known:
            from bifocal.pictures.other_formats import encode_as

            return encode_as(image, kind, name)
        image.save(buffer, kind, **{**settings, **kept})
    except KeyError as error:
        raise OutputError(f"{name}: this Pillow was built without {kind}. Choose another format.") from error
    except (MemoryError, OutputError, PictureWarning):
        raise
    except Exception as error:  # a side too long for the format is one of a dozen kinds
        raise OutputError(f"{name}: Pillow cannot write it as {kind}: {error}.") from error
    return buffer.getvalue()
