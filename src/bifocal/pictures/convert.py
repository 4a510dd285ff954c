"""Anything a user calls a picture to :class:`Picture`, and back to a Pillow image.

The rules, in one place (docs/pictures.md says them for users):

* 8-bit RGB and gray are taken as they are; black-and-white becomes gray, a palette becomes RGB.
* Transparency, of whatever kind (alpha channel, palette entries, one colour), becomes ``Picture.alpha``;
  where it is opaque everywhere it says nothing and is dropped.
* More than 8 bits a channel are rounded to 8 with a :class:`~bifocal.errors.PictureWarning`, or refused with
  ``strict=True``. CMYK, 32-bit integers, floating point and other colour spaces are refused, saying how to
  convert.
* Orientation is applied here, once; pictures/metadata.py has the whole rule.
* The colour profile, EXIF and XMP travel along unread.
"""

from __future__ import annotations

import sys
import warnings
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import PictureError, PictureWarning
from bifocal.pictures.high_bit_depth import bits, colour_sixteen, gray_sixteen, raw_mode
from bifocal.pictures.metadata import pillow_info, read_metadata
from bifocal.types import Picture

if TYPE_CHECKING:
    from PIL import Image

#: What :func:`bifocal.encode` takes: a Picture, a uint8 array ``[h, w, 3]`` (RGB), ``[h, w, 4]`` (RGBA) or
#: ``[h, w]`` (gray), or a Pillow image.
PictureLike: TypeAlias = "Picture | NDArray[np.uint8] | Image.Image"

_SCALE = "No value in it is known to be white: scale it to 0 to 255 and convert it to uint8 first"
_ADVICE = {"I": _SCALE, "F": _SCALE}
#: Pillow mode to the one with the same pixels that is taken.
_SAME = {"1": "L", "P": "RGB", "RGBX": "RGB", "PA": "RGBA", "RGBa": "RGBA", "La": "LA"}
#: Pillow spreads gray values of PNGs with fewer than 8 bits to 0 to 255, but not their transparent value.
_SPREAD = {"L;2": 85, "L;4": 17}


def as_picture(picture: PictureLike, *, strict: bool = False) -> Picture:
    """Return ``picture`` as a :class:`Picture`; the pixels of arrays are shared, not copied.

    >>> as_picture(np.zeros((4, 6, 3), np.uint8)).width
    6

    :param strict: refuse what would otherwise be rounded to 8 bits with a warning.
    :raises PictureError: if it is no picture, or one of a kind that Bifocal does not code (see the module's
        rules).
    """
    if isinstance(picture, Picture):
        return picture
    if isinstance(picture, np.ndarray):
        return _from_array(picture)
    if _is_pillow(picture):
        return from_pillow(picture, strict=strict)
    raise PictureError(
        f"a {type(picture).__name__} is not a picture. Give a uint8 array [h, w, 3], [h, w, 4] or [h, w], a "
        "Pillow image, or read a file with bifocal.read_picture(path)."
    )


def _is_pillow(picture: object) -> bool:
    module = sys.modules.get("PIL.Image")  # who holds a Pillow image has imported it; nobody else should pay
    return module is not None and isinstance(picture, module.Image)


def _from_array(array: NDArray[Any], metadata: dict[str, bytes] | None = None) -> Picture:
    """``[h, w]``, ``[h, w, 1]`` gray, ``[h, w, 2]`` gray and alpha, ``[h, w, 3]`` RGB, ``[h, w, 4]`` RGBA."""
    alpha = None
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] in (2, 4) and array.size:
        array, alpha = array[:, :, :-1], array[:, :, -1]
        alpha = None if alpha.min() == 255 else np.ascontiguousarray(alpha)
        array = np.ascontiguousarray(array)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return Picture(array, metadata or {}, alpha)


def from_pillow(
    image: Image.Image, *, file: IO[bytes] | None = None, name: str = "this picture", strict: bool = False
) -> Picture:
    """A Pillow image as a :class:`Picture`, upright, with its transparency and metadata.

    :param file: what ``image`` was opened from, if it is not loaded yet: 16-bit colour is then read from it.
    :param name: what warnings call it.
    :raises PictureError: see :func:`as_picture`.
    """
    _check_mode(image, name if file is not None else getattr(image, "filename", "") or "picture.tif")
    depth, spread = bits(image, file), _SPREAD.get(raw_mode(image), 1)
    if depth > 8 and strict:
        raise PictureError(
            f"it has {depth} bits a channel; Bifocal codes 8, and strict=True (--strict) refuses to round. "
            "Leave strict out to have it rounded."
        )
    planes = _deep_planes(image, file) if depth > 8 else None
    if planes is None:
        image.load()
        planes = _eight_bit_planes(image, spread)
    picture = _from_array(_turn(planes, _orientation(image)), read_metadata(image))
    if depth > 8:
        warnings.warn(
            f"{name} has {depth} bits a channel; it is coded at 8, rounded (strict refuses instead).",
            PictureWarning,
            stacklevel=3,
        )
    return picture


def to_pillow(picture: Picture) -> Image.Image:
    """The Pillow image of a :class:`Picture`: mode RGB, RGBA, L or LA, with upright metadata in ``info``.

    >>> to_pillow(Picture(np.zeros((4, 6), np.uint8))).mode
    'L'
    """
    from PIL import Image

    array = picture.pixels
    if picture.alpha is not None:
        array = np.dstack([array, picture.alpha])
    image = Image.fromarray(np.ascontiguousarray(array))
    image.info.update(pillow_info(picture.metadata))
    return image


def _check_mode(image: Image.Image, source: str) -> None:
    mode = image.mode
    if mode in ("RGB", "L", "RGBA", "LA", *_SAME) or mode.startswith("I;16"):
        return
    if mode == "I" and image.format in ("PPM", "PNG"):  # 16 bits, 0 to 65535
        return
    if mode == "CMYK":
        raise PictureError(
            f"its colours are CMYK, ink and not light. Convert it: {_cmyk_command(image, source)}"
        )
    advice = _ADVICE.get(mode, "convert it with image.convert('RGB')")
    raise PictureError(
        f"this picture has pixels of mode {mode}; Bifocal codes 8-bit RGB and gray only: {advice}."
    )


def _cmyk_command(image: Image.Image, source: str) -> str:
    """One line for a shell that makes an RGB picture, with the colour profile of the file if it has one."""
    target = f"{source.rpartition('.')[0] or source}-rgb.png"
    if not image.info.get("icc_profile"):
        return f"python -c \"from PIL import Image; Image.open('{source}').convert('RGB').save('{target}')\""
    return (
        f"python -c \"import io; from PIL import Image, ImageCms; i = Image.open('{source}'); "
        "ImageCms.profileToProfile(i, io.BytesIO(i.info['icc_profile']), ImageCms.createProfile('sRGB'), "
        f"outputMode='RGB').save('{target}')\""
    )


def _deep_planes(image: Image.Image, file: IO[bytes] | None) -> NDArray[np.uint8] | None:
    """8-bit planes of a picture with more; None where Pillow rounds well on its own."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        raw = raw_mode(image)
        image.load()
        return gray_sixteen(image, white=4095 if raw == "I;12" else 65535)
    if image.format in ("AVIF", "PPM"):
        return None
    planes = None if file is None else colour_sixteen(image, file)
    if planes is None:
        raise PictureError(
            "it has more than 8 bits a channel, of which Pillow would cut the lower ones off. "
            + ("Read it with bifocal.read_picture(path)." if file is None else "Save it as PNG first.")
        )
    return planes


def _eight_bit_planes(image: Image.Image, spread: int) -> NDArray[np.uint8]:
    """``[h, w]``, or ``[h, w, c]`` with 2 (gray, alpha), 3 or 4 planes, of a loaded 8-bit image."""
    clear = image.info.get("transparency")
    if image.mode in ("RGB", "L") and clear is not None:
        planes = np.asarray(image)
        planes = planes if planes.ndim == 3 else planes[:, :, None]
        seen = (planes != np.asarray(clear) * spread).any(2)
        return np.dstack([planes, np.where(seen, 255, 0).astype(np.uint8)])
    if image.mode in ("1", "P") and clear is not None:
        return np.asarray(image.convert("LA" if image.mode == "1" else "RGBA"))
    return np.asarray(image.convert(_SAME[image.mode]) if image.mode in _SAME else image)


def _orientation(image: Image.Image) -> int:
    """1 to 8, from EXIF or, without it, XMP. Pillow has already turned a loaded TIFF, and says 1."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # Pillow's EXIF parser raises a dozen kinds; with broken EXIF it is still a picture
        return 1


def _turn(planes: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Upright pixels; an orientation that does not exist turns nothing."""
    if orientation in (5, 6, 7, 8):
        planes = planes.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        planes = planes[:, ::-1]
    if orientation in (3, 4, 7, 8):
        planes = planes[::-1]
    return np.ascontiguousarray(planes)
