"""Whatever a caller has as a picture (an array, an image of the program's Pillow), and back to Pillow.

What is taken, and what is refused, is written down in pictures/convert.py.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import PictureError, PictureWarning, reason
from bifocal.pictures.arrays import from_array
from bifocal.pictures.convert import caption_info, from_open_image
from bifocal.pictures.metadata import pillow_info
from bifocal.types import Picture

if TYPE_CHECKING:
    from PIL import Image

#: What :func:`bifocal.encode` takes: a Picture, a Pillow image, or an array ``[h, w, 3]`` (RGB), ``[h, w,
#: 4]`` (RGBA), ``[h, w]`` (gray) or ``[h, w, 2]`` (gray and alpha) of uint8, uint16 (rounded to 8 bits) or
#: bool.
PictureLike: TypeAlias = "Picture | NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.bool_] | Image.Image"


def as_picture(picture: PictureLike, *, strict: bool = False) -> Picture:
    """Return ``picture`` as a :class:`Picture`; the pixels of uint8 arrays are shared, not copied.

    >>> as_picture(np.zeros((4, 6, 3), np.uint8)).width
    6

    :param strict: refuse what would otherwise be rounded to 8 bits with a warning.
    :raises PictureError: if it is no picture, or one of a kind that Bifocal does not code (see the module's
        rules).
    """
    if isinstance(picture, Picture):
        return picture
    if isinstance(picture, np.ndarray):
        return from_array(picture, strict=strict)
    if _is_pillow(picture):
        return from_pillow(picture, strict=strict)
    if isinstance(picture, str | os.PathLike):
        path = os.fspath(picture)
        raise PictureError(
            f"{path!r} is a path, not a picture. For a file, call bifocal.encode_file({path!r}, 'NAME.bfc'), "
            f"or read it first: bifocal.read_picture({path!r})."
        )
    raise PictureError(
        f"a {type(picture).__name__} is not a picture. Give a uint8 array [h, w, 3], [h, w, 4] or [h, w], a "
        "Pillow image, or read a file with bifocal.read_picture(path)."
    )


def _is_pillow(picture: object) -> bool:
    module = sys.modules.get("PIL.Image")  # imported already by whoever holds an image of it
    return module is not None and isinstance(picture, module.Image)


def from_pillow(
    image: Image.Image,
    *,
    metadata: Mapping[str, bytes] | None = None,
    name: str = "this picture",
    strict: bool = False,
) -> Picture:
    """An image of the program's Pillow as a :class:`Picture`, upright, with its transparency and metadata.

    Pillow loads the image if it is not loaded yet, as the program has set Pillow up; but half a file is
    refused, whatever the program allows.

    :param metadata: instead of the image's own; its orientation is then the one that is applied.
    :param name: what warnings call it.
    :raises PictureError: see :func:`as_picture`; also if it cannot be loaded.
    """
    source = getattr(image, "filename", "") or "picture.tif"
    try:
        _refuse_half_file(image)
        return from_open_image(image, source=os.fsdecode(source), metadata=metadata, name=name, strict=strict)
    except (PictureError, PictureWarning, MemoryError):
        raise
    except Exception as error:  # Pillow raises errors of a dozen kinds for what is damaged or closed
        raise PictureError(f"Pillow cannot load this image: {reason(error)}.") from error


def _refuse_half_file(image: Any) -> None:
    """Raise Pillow's error for an image that lacks pixels, which the program's Pillow leaves out, or has left
    out, with ``LOAD_TRUNCATED_IMAGES``.

    Pillow lets go of a file when it has loaded it: one that has a name is then opened again.
    """
    if not getattr(sys.modules.get("PIL.ImageFile"), "LOAD_TRUNCATED_IMAGES", False):
        return
    if image.format in (None, "BIFOCAL"):  # made by the program, or read by us
        return
    waits = getattr(image, "tile", None) or image.format == "ICO"  # Pillow loads an icon when it opens it
    file, name = getattr(image, "fp", None), getattr(image, "filename", "")
    if waits and file:
        _check_whole(image, file)
    elif name and os.path.isfile(name):
        with suppress(OSError), open(name, "rb") as again:
            file = io.BytesIO(again.read())
        if file is not None:
            _check_whole(image, file)


def _check_whole(image: Any, file: Any) -> None:
    """Load what ``image`` was opened from, by the copy of Pillow that takes no half file.

    Its size is no matter: the program has opened it, and may have asked for a smaller one since.
    """
    from bifocal.pictures.reading import opened

    kind = {"MPO": "JPEG"}.get(image.format, image.format)  # opened as JPEG, which finds more pictures in it
    at = file.tell()
    try:
        with opened(file, [kind], sys.maxsize) as (own, _):
            own.seek(image.tell())
            own.load()
    finally:
        file.seek(at)


def to_pillow(picture: PictureLike) -> Image.Image:
    """The Pillow image of a :class:`Picture`: mode RGB, RGBA, L or LA, with upright metadata in ``info``.

    :raises PictureError: if it is no picture.

    >>> to_pillow(Picture(np.zeros((4, 6), np.uint8))).mode
    'L'
    """
    from PIL import Image

    picture = as_picture(picture)
    array = picture.pixels
    if picture.alpha is not None:
        array = np.dstack([array, picture.alpha])
    image = Image.fromarray(np.ascontiguousarray(array))
    image.info.update(pillow_info(picture.metadata) | caption_info(picture.caption))
    return image
