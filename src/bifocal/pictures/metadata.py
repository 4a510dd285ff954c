"""EXIF, XMP and colour profiles: out of a file, kept byte for byte in a stream, into a file again.

The rule of orientation, which nothing in Bifocal breaks:

1. Pixels of a :class:`~bifocal.types.Picture`, and so of a stream, are upright. Orientation is applied once,
   when a file is read.
2. ``metadata["exif"]`` and ``metadata["xmp"]`` are the bytes of the source, orientation included: history,
   not an instruction.
3. Whoever hands them out beside upright pixels (a written PNG, JPEG, WebP or TIFF, a Pillow image's ``info``)
   sets their Orientation to 1, in place, with :func:`upright_exif` and :func:`upright_xmp`. So no reader
   turns a picture twice.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

#: What JPEG puts before EXIF; streams hold EXIF without it.
EXIF_PREFIX = b"Exif\0\0"

_ORIENTATION = 0x0112
_TIFF_XMP = 700
_TURNED = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)[2-8]")
_NUMBERS = {1: "B", 3: "H", 4: "I"}  # EXIF types: byte, short, long

#: Tags of a TIFF file that say something about its picture, and not how its pixels are stored.
_TIFF_TAGS = frozenset(
    (270, 271, 272, 274, 282, 283, 296, 305, 306, 315, 316, 33432, 34665, 34853)
    # description, make, model, orientation, resolution, software, date, artist, host, copyright, EXIF, GPS
)


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


def upright_exif(exif: bytes) -> bytes:
    """The same EXIF with Orientation 1: one number changed in place, nothing moved.

    Without that tag, or if it is no EXIF, it comes back as it is.

    >>> exif = b"II*\\0\\x08\\0\\0\\0\\x01\\0\\x12\\x01\\x03\\0\\x01\\0\\0\\0\\x06\\0\\0\\0\\0\\0\\0\\0"
    >>> upright_exif(exif) == exif.replace(b"\\x06\\0\\0\\0\\0", b"\\x01\\0\\0\\0\\0")
    True
    """
    changed = bytearray(exif)
    for place, number in _orientations(exif):
        changed[place : place + struct.calcsize(number)] = struct.pack(number, 1)
    return bytes(changed)


def _orientations(exif: bytes) -> Iterator[tuple[int, str]]:
    """Where EXIF's first directory keeps an orientation, and as which kind of number."""
    start = len(EXIF_PREFIX) if exif.startswith(EXIF_PREFIX) else 0
    end = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[start : start + 4])
    if end is None or len(exif) < start + 8:
        return
    at = start + struct.unpack_from(f"{end}I", exif, start + 4)[0]
    if at + 2 > len(exif):
        return
    (count,) = struct.unpack_from(f"{end}H", exif, at)
    for entry in range(at + 2, min(at + 2 + 12 * count, len(exif) - 11), 12):
        tag, kind, values = struct.unpack_from(f"{end}HHI", exif, entry)
        if tag == _ORIENTATION and values == 1 and kind in _NUMBERS:
            yield entry + 8, end + _NUMBERS[kind]


def upright_xmp(xmp: bytes) -> bytes:
    """The same XMP packet with ``tiff:Orientation`` 1, its length unchanged.

    >>> upright_xmp(b'<rdf:Description tiff:Orientation="6"/>')
    b'<rdf:Description tiff:Orientation="1"/>'
    """
    return _TURNED.sub(rb"\g<1>1", xmp)


def pillow_info(metadata: Mapping[str, bytes]) -> dict[str, bytes]:
    """Metadata as Pillow names it in ``image.info``, beside pixels that are upright."""
    info = {}
    if "icc" in metadata:
        info["icc_profile"] = metadata["icc"]
    if "exif" in metadata:
        info["exif"] = EXIF_PREFIX + upright_exif(metadata["exif"])
    if "xmp" in metadata:
        info["xmp"] = upright_xmp(metadata["xmp"])
    return info


def save_settings(metadata: Mapping[str, bytes], kind: str) -> tuple[dict[str, Any], list[str]]:
    """What Pillow's ``save`` takes to write metadata in a format, and a reason for each piece left out."""
    settings: dict[str, Any] = {}
    left_out = []
    for key, value in pillow_info(metadata).items():
        setting = _setting(key, value, kind)
        if isinstance(setting, str):
            left_out.append(setting)
        else:
            settings |= setting
    if {"exif", "tiffinfo"} <= set(settings):  # Pillow writes one of them: XMP becomes one more tag of EXIF
        settings["exif"] = _loaded(settings["exif"])
        settings["exif"][_TIFF_XMP] = settings.pop("tiffinfo")[_TIFF_XMP]
    return settings, left_out


#: Most bytes that a JPEG holds of each: one segment, or 255 for a colour profile.
_JPEG_ROOM = {"icc_profile": 255 * 65_519, "exif": 65_533, "xmp": 65_504}


def _setting(key: str, value: bytes, kind: str) -> dict[str, Any] | str:
    """Keyword arguments for one piece, or why it cannot be written."""
    name = {"icc_profile": "the colour profile", "exif": "EXIF", "xmp": "XMP"}[key]
    if kind not in ("PNG", "JPEG", "WEBP", "TIFF"):
        return f"{kind} holds no metadata: {name} of {len(value)} bytes is left out"
    if kind == "JPEG" and len(value) > _JPEG_ROOM[key]:
        return f"JPEG holds {_JPEG_ROOM[key]} bytes of it: {name} of {len(value)} bytes is left out"
    if kind == "TIFF" and key == "exif":  # libtiff, which compresses, cannot write EXIF's own directories
        settings = {"exif": value, "compression": "raw"}
        return settings if _loads(value) else f"{name} is damaged and is left out"
    if kind == "TIFF" and key == "xmp":
        return {"tiffinfo": {_TIFF_XMP: value}}
    if kind == "PNG" and key == "xmp":
        from PIL.PngImagePlugin import PngInfo

        text = PngInfo()
        try:
            text.add_itxt("XML:com.adobe.xmp", value.decode())
        except UnicodeDecodeError:
            return f"{name} is not UTF-8, as PNG needs, and is left out"
        return {"pnginfo": text}
    return {key: value}


def _loads(exif: bytes) -> bool:
    """Whether Pillow can take EXIF apart, as it must to write TIFF."""
    try:
        return bool(_loaded(exif).tobytes())
    except Exception:  # a dozen kinds, for what is simply damaged
        return False


def _loaded(exif: bytes) -> Image.Exif:
    from PIL import Image

    tags = Image.Exif()
    tags.load(exif)
    return tags
