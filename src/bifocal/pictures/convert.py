"""Anything a user calls a picture to :class:`Picture`, and back to a Pillow image.

The rules (docs/pictures.md has them for users):

* 8-bit RGB and gray are taken as they are; black-and-white becomes gray, a palette and YCbCr become RGB.
* Transparency, of whatever kind (alpha channel, palette entries, one colour), becomes ``Picture.alpha``,
  unless every pixel is opaque.
* More than 8 bits a channel are rounded to 8 with a :class:`~bifocal.errors.PictureWarning`, or refused
  with ``strict=True``. CMYK, 32-bit integers, floating point and other colour spaces are refused; the
  message says how to convert.
* Orientation is applied here, once; pictures/metadata.py has the whole rule.
* The colour profile, EXIF and XMP are kept unread; only a profile for another colour space than that of the
  pixels is left out (pictures/metadata.py).
"""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import OptionError, PictureError, PictureWarning
from bifocal.pictures.arrays import check_depth, from_array, warn_of_depth
from bifocal.pictures.exif import EXIF_PREFIX
from bifocal.pictures.formats import MOST_METADATA
from bifocal.pictures.high_bit_depth import bits_per_channel, colour_of_16_bits, gray_of_16_bits, raw_mode
from bifocal.pictures.metadata import (
    matching_profile,
    orientation_in,
    profile_space,
)
from bifocal.types import Caption, Picture

if TYPE_CHECKING:
    from PIL import Image

_SCALE = "No value in it is known to be white: scale it to 0 to 255 and convert it to uint8 first"
_ADVICE = {
    "I": f"{_SCALE}. If 65535 is white, encode numpy.asarray(image).astype('uint16')",
    "F": _SCALE,
    "LAB": "convert it with ImageCms.profileToProfile(image, ImageCms.createProfile('LAB'), "
    "ImageCms.createProfile('sRGB'), outputMode='RGB')",
}
_GRAY_OF_16_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
#: Pillow mode to the one with the same pixels that is taken.
_SAME = {"1": "L", "P": "RGB", "PA": "RGBA", "RGBX": "RGB", "YCbCr": "RGB", "RGBa": "RGBA", "La": "LA"}
#: Pillow spreads gray values of PNGs with fewer than 8 bits to 0 to 255, but not their transparent value.
_SPREAD = {"L;2": 85, "L;4": 17}
#: Tags of a TIFF file that describe its picture, and not how its pixels are stored.
_TIFF_TAGS = frozenset(
    (270, 271, 272, 274, 282, 283, 296, 305, 306, 315, 316, 33432, 34665, 34853)
    # description, make, model, orientation, resolution, software, date, artist, host, copyright, EXIF, GPS
)
#: Formats that hold 8 bits a channel and nothing else.
_EIGHT_BIT_FORMATS = frozenset({"JPEG", "MPO", "WEBP"})


def from_open_image(
    image: Image.Image,
    *,
    file: IO[bytes] | None = None,
    source: str,
    metadata: Mapping[str, bytes] | None = None,
    name: str,
    strict: bool,
) -> Picture:
    """A Pillow image as a :class:`Picture`; Pillow's own errors pass through.

    :param file: what ``image`` was opened from by :mod:`bifocal.pictures.reading`: 16-bit colour is then
        read from it.
    :param source: the file to name in a command.
    """
    _check_mode(image, source)
    shallow = image.format in _EIGHT_BIT_FORMATS
    depth, spread = (8, 1) if shallow else (bits_per_channel(image, file), _SPREAD.get(raw_mode(image), 1))
    check_depth(depth, strict)
    planes = _colour_planes(image, file) if depth > 8 else None
    if planes is None:
        raw = "" if shallow else raw_mode(image)
        image.load()
        loaded = _with_valid_transparency(image, name)
        planes = (
            gray_of_16_bits(loaded, raw) if _is_gray_of_16_bits(image) else _eight_bit_planes(loaded, spread)
        )
    turn = _orientation(image) if metadata is None else orientation_in(metadata)
    picture = from_array(_turn(planes, turn))
    warn_of_depth(depth, name)
    kept = without_excess(read_metadata(image), name) if metadata is None else metadata
    if "icc" in kept:
        kept = matching_profile(kept, gray=picture.gray, name=name)
    return replace(picture, metadata=kept, caption=_caption(image, name))


def caption_info(caption: Caption | None) -> dict[str, str]:
    """A caption as it stands in ``image.info``."""
    return {} if caption is None else {"caption": caption.text, "caption_language": caption.language}


def _caption(image: Image.Image, name: str) -> Caption | None:
    """The caption in ``image.info``, where our plugin and the program put it."""
    text, language = image.info.get("caption"), image.info.get("caption_language")
    if not isinstance(text, str) or not text.strip():
        return None
    try:
        return Caption.of(text, language if isinstance(language, str) else "")
    except OptionError as error:
        warnings.warn(f"{name}: info['caption'] is left out: {error}", PictureWarning, stacklevel=5)
        return None


def _check_mode(image: Image.Image, source: str) -> None:
    mode = image.mode
    if mode in ("RGB", "L", "RGBA", "LA", *_SAME) or _is_gray_of_16_bits(image):
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
    """One line for a shell that makes an RGB picture, by the file's colour profile if it has one for ink."""
    target = f"{os.path.splitext(source)[0]}-rgb.png"
    if profile_space(image.info.get("icc_profile") or b"") == "CMYK":
        code = (
            "import io, sys; from PIL import Image, ImageCms; i = Image.open(sys.argv[1]); "
            "ImageCms.profileToProfile(i, io.BytesIO(i.info['icc_profile']), ImageCms.createProfile('sRGB'), "
            "outputMode='RGB').save(sys.argv[2])"
        )
    else:
        code = "import sys; from PIL import Image; Image.open(sys.argv[1]).convert('RGB').save(sys.argv[2])"
    return f'python -c "{code}" {_shell_word(source)} {_shell_word(target)}'


def _shell_word(text: str) -> str:
    """Text as one word for a POSIX shell, in one line.

    >>> print(_shell_word("a $5 b.jpg"), _shell_word("two\\nlines.jpg"))
    'a $5 b.jpg' "$(printf '%b' 'two\\0012lines.jpg')"
    """
    if text.isprintable():
        return shlex.quote(text)
    codes = (
        c if c.isprintable() and c != "\\" else "".join(f"\\0{b:03o}" for b in os.fsencode(c)) for c in text
    )
    return f"\"$(printf '%b' {shlex.quote(''.join(codes))})\""


def _is_gray_of_16_bits(image: Image.Image) -> bool:
    """Pillow opens 16-bit gray of PGM, and that of PNG in older releases, as 32-bit integers, 0 to 65535."""
    return image.mode in _GRAY_OF_16_BITS or (image.mode == "I" and image.format in ("PPM", "PNG"))


def _colour_planes(image: Image.Image, file: IO[bytes] | None) -> NDArray[np.uint8] | None:
    """8-bit planes of a colour picture with more; None where it is gray, or Pillow rounds well on its own."""
    if _is_gray_of_16_bits(image) or image.format in ("AVIF", "PPM"):
        return None
    planes = None if file is None else colour_of_16_bits(image, file)
    if planes is None:
        raise PictureError(
            "it has more than 8 bits a channel, of which Pillow would cut the lower ones off. "
            + ("Read it with bifocal.read_picture(path)." if file is None else "Save it as PNG first.")
        )
    return planes


def _eight_bit_planes(image: Image.Image, spread: int) -> NDArray[np.uint8]:
    """``[h, w]``, or ``[h, w, c]`` with 2 (gray, alpha), 3 or 4 planes, of a loaded 8-bit image."""
    clear = image.info.get("transparency")
    if image.mode in ("1", "L", "RGB") and clear is not None:
        planes = np.asarray(image.convert("L") if image.mode == "1" else image)
        planes = planes if planes.ndim == 3 else planes[:, :, None]
        clear = 255 * bool(clear) if image.mode == "1" else np.asarray(clear) * spread
        return np.dstack([planes, np.where((planes != clear).any(2), 255, 0).astype(np.uint8)])
    if image.mode == "P":
        palette = image.im.getpalettemode()
        if palette not in ("RGB", "RGBA"):
            raise PictureError(f"its palette is of mode {palette}. Convert it: image.convert('RGB').")
        return np.asarray(image.convert("RGB" if clear is None and palette == "RGB" else "RGBA"))
    return np.asarray(image.convert(_SAME[image.mode]) if image.mode in _SAME else image)


def _with_valid_transparency(image: Image.Image, name: str) -> Image.Image:
    """The loaded image, or a copy without an ``info["transparency"]`` that is of no use in its mode.

    Conversions leave such values behind, and Pillow itself fails on them.
    """
    clear, mode = image.info.get("transparency"), image.mode
    if mode == "P":
        valid = isinstance(clear, bytes) or (isinstance(clear, Integral) and 0 <= int(clear) < 256)
    elif mode == "RGB":
        valid = isinstance(clear, tuple) and len(clear) == 3 and all(isinstance(v, Integral) for v in clear)
    else:
        valid = isinstance(clear, Integral) or mode not in ("1", "L", "I", *_GRAY_OF_16_BITS)
    if clear is None or valid:
        return image
    image = image.copy()
    del image.info["transparency"]
    warnings.warn(
        f"{name}: info['transparency'] is {clear!r}, which means nothing in mode {mode}; it is ignored.",
        PictureWarning,
        stacklevel=5,
    )
    return image


def _orientation(image: Image.Image) -> int:
    """1 to 8, from EXIF or, without it, XMP. For a loaded TIFF, which Pillow has turned, 1."""
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:  # Pillow raises a dozen kinds for odd EXIF, and warnings can be errors
        return orientation_in(read_metadata(image))
    return next((turn for turn in range(2, 9) if turn == value), 1)


def _turn(planes: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Upright pixels; an orientation that does not exist turns nothing."""
    if orientation in (5, 6, 7, 8):
        planes = planes.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        planes = planes[:, ::-1]
    if orientation in (3, 4, 7, 8):
        planes = planes[::-1]
    return np.ascontiguousarray(planes)


def read_metadata(image: Image.Image) -> dict[str, bytes]:
    """``icc``, ``exif`` and ``xmp`` of a loaded Pillow image, those that are there, byte for byte.

    TIFF keeps its EXIF among its own tags: those that describe the picture become an EXIF block.
    """
    found = {"icc": image.info.get("icc_profile"), "exif": _exif(image), "xmp": image.info.get("xmp")}
    return {key: _bytes(value) for key, value in found.items() if value}


def _bytes(value: Any) -> bytes:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)


def _exif(image: Image.Image) -> bytes:
    exif = image.info.get("exif")
    if not exif and image.format == "PNG":
        exif = _raw_profile(image.info.get("Raw profile type exif", ""))
    if not exif and image.format == "TIFF":
        exif = _exif_of_tiff(image)
    return _bytes(exif or b"").removeprefix(EXIF_PREFIX)


def _raw_profile(text: Any) -> bytes:
    """EXIF as ImageMagick wrote it into PNG: a name, a length, then lines of hexadecimal digits."""
    lines = str(text).strip().split("\n")[2:]
    try:
        return bytes.fromhex("".join(lines))
    except ValueError:
        return b""


def _exif_of_tiff(image: Image.Image) -> bytes:
    from PIL import Image as pillow

    try:
        tags = image.getexif()
        exif = pillow.Exif()
        for tag in _TIFF_TAGS & set(tags):
            exif[tag] = tags.get_ifd(tag) if tag in (34665, 34853) else tags[tag]
        return exif.tobytes() if len(exif) else b""
    except Exception:  # odd tags make Pillow raise a dozen kinds; without EXIF it is still a picture
        return b""


def without_excess(metadata: Mapping[str, bytes], name: str) -> Mapping[str, bytes]:
    """Metadata without its largest pieces, if all together are more than a stream holds.

    What is left out is said with a :class:`~bifocal.errors.PictureWarning`.
    """
    kept = dict(metadata)
    while sum(map(len, kept.values())) > MOST_METADATA:
        largest = max(kept, key=lambda key: len(kept[key]))
        warnings.warn(
            f"{name} has more than {MOST_METADATA} bytes of metadata: {largest}, of {len(kept.pop(largest))} "
            "bytes, is left out.",
            PictureWarning,
            stacklevel=4,
        )
    return kept
