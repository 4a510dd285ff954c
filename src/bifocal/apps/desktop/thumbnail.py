"""Thumbnails of streams: decoded at a fraction of the size, from the low band where that is enough."""

from __future__ import annotations

import io
import os

from bifocal.apps.plugins.pillow import BifocalImageFile
from bifocal.errors import NotAStream, OptionError
from bifocal.storage.filesystem import write_atomically

LARGEST = 4096


def write_thumbnail(source: str | os.PathLike[str], target: str | os.PathLike[str], size: int) -> None:
    """Write a PNG of at most ``size`` pixels a side, whatever the suffix of ``target``.

    The stream is decoded at 1/2, 1/4, 1/8 or 1/16 of its size, if that is still at least twice what is asked
    for and its model can, and then scaled down.

    :raises OptionError: if ``size`` is not between 1 and 4096.
    :raises NotAStream: if the file is no stream.
    :raises OSError: if the stream is damaged, or its model is not installed.
    :raises OutputError: if the thumbnail cannot be written.
    """
    if not 1 <= size <= LARGEST:
        raise OptionError(f"a thumbnail of {size} pixels cannot be made. Choose 1 to {LARGEST}.")
    try:
        image = BifocalImageFile(os.fspath(source))
    except SyntaxError as error:
        raise NotAStream(f"{os.fspath(source)}: {error}") from error
    buffer = io.BytesIO()
    with image:
        image.thumbnail((size, size))
        image.save(buffer, "PNG", icc_profile=image.info.get("icc_profile"))
    write_atomically(target, buffer.getvalue())
