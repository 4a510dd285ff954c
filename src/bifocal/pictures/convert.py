"""Anything a user calls a picture to :class:`Picture`, and back to a Pillow image.

The rules, in one place:

* 8-bit RGB and gray are taken as they are; black-and-white becomes gray, a palette becomes RGB.
* An alpha channel is dropped if it is fully opaque, because then it says nothing; otherwise the picture is
  refused.
* More than 8 bits a channel, CMYK and other colour spaces are refused, saying how to convert: never silently.
* The EXIF orientation of a Pillow image is applied here, once. EXIF itself is not kept, so nothing is turned
  twice.
* An ICC profile travels along unread, as ``metadata["icc"]``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import PictureError
from bifocal.types import Picture

if TYPE_CHECKING:
    from PIL import Image

#: What :func:`bifocal.encode` takes: a Picture, a uint8 array ``[h, w, 3]`` or ``[h, w]``, or a Pillow image.
PictureLike: TypeAlias = "Picture | NDArray[np.uint8] | Image.Image"

_ADVICE = {
    "CMYK": "convert it with its colour profile, or roughly with image.convert('RGB')",
    "I": "scale it to 8 bits first",
    "F": "scale it to 8 bits first",
}


def as_picture(picture: PictureLike) -> Picture:
    """Return ``picture`` as a :class:`Picture`; the pixels of arrays are shared, not copied.

    >>> as_picture(np.zeros((4, 6, 3), np.uint8)).width
    6

    :raises PictureError: if it is no picture, or one of a kind that Bifocal does not code (see the module's
        rules).
    """
    if isinstance(picture, Picture):
        return picture
    if isinstance(picture, np.ndarray):
        pixels = picture[:, :, 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
        return Picture(pixels)
    if _is_pillow(picture):
        return from_pillow(picture)
    raise PictureError(
        f"a {type(picture).__name__} is not a picture. Give a uint8 array [h, w, 3] or [h, w], a Pillow "
        "image, or read a file with bifocal.read_picture(path)."
    )


def _is_pillow(picture: object) -> bool:
    module = sys.modules.get("PIL.Image")  # who holds a Pillow image has imported it; nobody else should pay
    return module is not None and isinstance(picture, module.Image)


def from_pillow(image: Image.Image) -> Picture:
    """A Pillow image as a :class:`Picture`, upright, with its ICC profile.

    :raises PictureError: see :func:`as_picture`.
    """
    profile = image.info.get("icc_profile")
    image = _to_rgb_or_gray(_upright(image))
    metadata = {"icc": bytes(profile)} if profile else {}
    return Picture(np.asarray(image), metadata)


def to_pillow(picture: Picture) -> Image.Image:
    """The Pillow image of a :class:`Picture`: mode RGB or L, ICC profile in ``image.info``.

    >>> to_pillow(Picture(np.zeros((4, 6), np.uint8))).mode
    'L'
    """
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(picture.pixels))
    if "icc" in picture.metadata:
        image.info["icc_profile"] = picture.metadata["icc"]
    return image


def _upright(image: Image.Image) -> Image.Image:
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except OSError:
        raise  # the pixels themselves could not be read
    except Exception:  # Pillow's EXIF parser raises a dozen kinds; with broken EXIF it is still a picture
        return image


def _to_rgb_or_gray(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode in ("RGB", "L"):
        return image
    if mode == "1":
        return image.convert("L")
    if image.has_transparency_data and mode in ("P", "PA", "RGBA", "LA", "RGB", "L"):
        image = image.convert("LA" if mode in ("L", "LA") else "RGBA")
        lowest = image.getchannel("A").getextrema()[0]
        if lowest != 255:
            raise PictureError(
                f"this picture is transparent in places (mode {mode}); Bifocal codes RGB and gray only. "
                "Put it on a background first, or drop the transparency with image.convert('RGB')."
            )
        return image.convert("L" if image.mode == "LA" else "RGB")
    if mode == "P":
        return image.convert("RGB")
    advice = _ADVICE.get(mode.split(";")[0], "convert it with image.convert('RGB')")
    raise PictureError(
        f"this picture has pixels of mode {mode}; Bifocal codes 8-bit RGB and gray only: {advice}."
    )
