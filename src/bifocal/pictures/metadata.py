"""EXIF, XMP and colour profiles: out of a file, kept byte for byte in a stream, into a file again.

The rule of orientation, which nothing in Bifocal breaks:

1. Pixels of a :class:`~bifocal.types.Picture`, and so of a stream, are upright. Orientation is applied once,
   when a file is read.
2. ``metadata["exif"]`` and ``metadata["xmp"]`` are the bytes of the source, orientation included: history,
   not an instruction.
3. Whoever hands them out beside upright pixels (a written PNG, JPEG, WebP or TIFF, a Pillow image's ``info``)
   sets their Orientation to 1, in place, with :func:`upright_exif` and :func:`upright_xmp`. So no reader
   turns a picture twice.

A conversion of the pixels can leave the colour profile of the old ones behind: that of inks beside RGB, or
that of RGB beside gray. A reader that follows it shows wrong colours, so it is left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from bifocal.errors import OptionError, PictureWarning
from bifocal.pictures.exif import EXIF_PREFIX, orientation_of, upright_exif, without_gps
from bifocal.pictures.xmp import orientation_of_xmp, upright_xmp, without_gps_properties

if TYPE_CHECKING:
    from PIL import Image

_TIFF_XMP = 700

#: What can be removed by name.
STRIP = ("all", "gps", "exif", "xmp", "icc", "caption")


def orientation_in(metadata: Mapping[str, bytes]) -> int:
    """1 to 8, from EXIF or, where that has none, from XMP."""
    return orientation_of(metadata.get("exif", b"")) or orientation_of_xmp(metadata.get("xmp", b""))


def profile_space(icc: bytes) -> str:
    """The colour space that a profile is meant for, such as RGB, GRAY or CMYK; empty if it is no profile.

    It is in bytes 16 to 19 of the header (ICC.1:2022, 7.2.6).
    """
    if len(icc) < 128 or icc[36:40] != b"acsp":
        return ""
    return icc[16:20].decode("latin-1").strip()


def matching_profile(metadata: Mapping[str, bytes], *, gray: bool, name: str) -> Mapping[str, bytes]:
    """Metadata for pixels that are gray or RGB, without a profile for another kind.

    A profile is left out with a :class:`~bifocal.errors.PictureWarning`. Bytes that are no profile stay.
    """
    space, wanted = profile_space(metadata.get("icc", b"")), "GRAY" if gray else "RGB"
    if space in ("", wanted):
        return metadata
    warnings.warn(
        f"{name}: its colour profile is for {space}, and its pixels are {wanted}: the profile is left out.",
        PictureWarning,
        stacklevel=4,
    )
    return {key: value for key, value in metadata.items() if key != "icc"}


def strip_metadata(metadata: Mapping[str, bytes], what: Iterable[str]) -> dict[str, bytes]:
    """Metadata without what is named: ``all``, ``exif``, ``xmp``, ``icc``, or ``gps``;
    a ``caption`` is no piece of it (:func:`strips_caption`).

    ``gps`` removes the position from EXIF and XMP and leaves the rest as it is. If it cannot be removed for
    certain, the whole piece is left out, with a :class:`~bifocal.errors.PictureWarning`. The colour profile,
    without which colours change, is removed by ``icc`` and ``all`` only.

    :raises OptionError: if there is no such name.

    >>> strip_metadata({"icc": b"profile", "xmp": b"<x/>"}, ["xmp"])
    {'icc': b'profile'}
    """
    if not isinstance(what, Iterable):
        raise OptionError(f"what to strip is {what!r}; give names from {', '.join(STRIP)}.")
    names = {str(name) for name in (what.split(",") if isinstance(what, str) else what)}
    unknown = sorted(names - set(STRIP))
    if unknown:
        raise OptionError(f"there is no metadata '{unknown[0]}' to strip. Choose from {', '.join(STRIP)}.")
    if "all" in names:
        return {}
    kept = {}
    for key, value in metadata.items():
        rest = _without_position(key, value) if "gps" in names and key not in names else value
        if key not in names and rest is not None:
            kept[key] = rest
    return kept


def strips_caption(what: Iterable[str]) -> bool:
    """Whether the caption of a picture is among what is to be removed."""
    return not {"all", "caption"}.isdisjoint(what.split(",") if isinstance(what, str) else what)


def _without_position(key: str, value: bytes) -> bytes | None:
    """A piece of metadata without a position; None, and a warning, if that cannot be made certain."""
    remove = {"exif": without_gps, "xmp": without_gps_properties}.get(key)
    rest = remove(value) if remove else value
    if rest is None:
        warnings.warn(
            f"{key.upper()} is not readable enough to remove a position from it: it is left out.",
            PictureWarning,
            stacklevel=3,
        )
    return rest


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
#: Pillow, and programs built on it, cannot open a PNG with a larger colour profile.
_PNG_PROFILE_ROOM = 1 << 20


def _setting(key: str, value: bytes, kind: str) -> dict[str, Any] | str:
    """Keyword arguments for one piece, or why it cannot be written."""
    name = {"icc_profile": "the colour profile", "exif": "EXIF", "xmp": "XMP"}[key]
    if kind not in ("PNG", "JPEG", "WEBP", "TIFF", "AVIF"):
        return f"{kind} holds no metadata: {name} of {len(value)} bytes is left out"
    if kind == "JPEG" and len(value) > _JPEG_ROOM[key]:
        return f"JPEG holds {_JPEG_ROOM[key]} bytes of it: {name} of {len(value)} bytes is left out"
    if kind == "PNG" and key == "icc_profile" and len(value) > _PNG_PROFILE_ROOM:
        return f"readers of PNG refuse {name} of more than {_PNG_PROFILE_ROOM} bytes: it is left out"
    if key == "exif" and kind in ("TIFF", "AVIF") and not _loads(value):  # Pillow takes it apart for these
        return f"{name} is damaged and is left out"
    if kind == "TIFF" and key == "exif":  # libtiff, which compresses, cannot write EXIF's own directories
        return {"exif": value, "compression": "raw"}
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
    """Whether Pillow can take EXIF apart, as it must to write TIFF and AVIF."""
    try:
        return bool(_loaded(exif).tobytes())
    except Exception:  # a dozen kinds, for what is simply damaged
        return False


def _loaded(exif: bytes) -> Image.Exif:
    from PIL import Image

    tags = Image.Exif()
    tags.load(exif)
    return tags
