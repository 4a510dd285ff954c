"""Picture files, through Pillow: sizes checked before pixels are allocated, outputs whole or not at all."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from bifocal.errors import OutputError, PictureError
from bifocal.pictures.convert import from_pillow, to_pillow
from bifocal.types import Picture

if TYPE_CHECKING:
    from PIL import Image

#: Suffixes of files that are looked for in folders.
READ_SUFFIXES = frozenset(
    ".jpg .jpeg .png .webp .avif .bmp .gif .tif .tiff .ppm .pgm .pnm .pbm .jp2 .j2k .tga .qoi .mpo".split()
)

#: Suffix of an output file to Pillow's format and settings. PNG at level 3 is as small as at the default and
#: faster.
WRITE_FORMATS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    ".png": ("PNG", {"compress_level": 3}),
    ".ppm": ("PPM", {}),
    ".pgm": ("PPM", {}),
    ".pnm": ("PPM", {}),
    ".bmp": ("BMP", {}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".webp": ("WEBP", {"lossless": True}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
}

#: Largest picture read by default, in pixels. The header says the size; nothing is allocated beyond this.
MAX_PIXELS = 1 << 27

_MANY_FRAMES_ARE_ONE_PICTURE = ("MPO", "ICO", "ICNS")  # further frames are previews or gain maps


def is_picture_name(path: PurePath) -> bool:
    """Whether a file's name says that it is a picture that we read."""
    return path.suffix.lower() in READ_SUFFIXES


def read_picture(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read an RGB or gray picture file, upright, with its ICC profile.

    :param max_pixels: refuse a file whose header declares more pixels than this, before decoding it.
    :raises PictureError: if the file is no picture, is damaged, too large, or of a kind that Bifocal does not
        code.
    :raises OSError: if the file cannot be opened.
    """
    from PIL import Image

    path = Path(path)
    with path.open("rb") as file:
        try:
            with Image.open(file) as image:
                _check_header(image, path, max_pixels)
                image.load()
                return from_pillow(image)
        except PictureError as error:
            raise PictureError(f"{path}: {error}") from error
        except MemoryError:
            raise
        except Exception as error:  # damaged files make Pillow raise errors of a dozen kinds
            raise PictureError(
                f"{path} cannot be read as a picture ({error}). Is it complete, and a picture?"
            ) from error


def _check_header(image: Image.Image, path: Path, max_pixels: int) -> None:
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise PictureError(
            f"{image.width}×{image.height} is {pixels} pixels, above the limit of {max_pixels}. Scale the "
            "picture down or raise max_pixels."
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format not in _MANY_FRAMES_ARE_ONE_PICTURE:
        raise PictureError(
            f"it holds {frames} frames; Bifocal codes still pictures. Extract one frame first."
        )
    if any(";16" in str(tile[3]) or "I;16" in str(tile[3]) for tile in getattr(image, "tile", ())):
        raise PictureError("it has 16 bits a channel; Bifocal codes 8. Scale it to 8 bits first.")


def write_picture(picture: Picture, path: str | os.PathLike[str]) -> None:
    """Write a picture in the format that the suffix names; an existing file is replaced in one step.

    PNG, PPM, BMP, TIFF and WebP are written without loss, JPEG at quality 95 (4:4:4).

    :raises OutputError: if the suffix is none of these or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITE_FORMATS:
        known = " ".join(sorted(WRITE_FORMATS))
        raise OutputError(f"{path}: cannot write a picture as '{path.suffix}'. Choose one of {known}.")
    kind, settings = WRITE_FORMATS[path.suffix.lower()]
    image = to_pillow(picture)
    if "icc" in picture.metadata and kind in ("PNG", "TIFF", "WEBP", "JPEG"):
        settings = {**settings, "icc_profile": picture.metadata["icc"]}
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind, **settings)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: Pillow cannot write it as {kind}: {error}.") from error
    write_atomically(path, buffer.getvalue())


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file whole or not at all: beside its place first, then renamed into it.

    :raises OutputError: if it cannot be written; what stood there before is then untouched.
    """
    path = Path(path)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".part")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())  # mkstemp makes files that only their owner reads
        os.replace(name, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        if os.path.exists(name):
            os.unlink(name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
