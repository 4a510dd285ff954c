"""Pictures recognised by the first bytes of a file, whatever its name."""

from __future__ import annotations

import os

from bifocal.errors import PictureError
from bifocal.pictures.files import MAX_PIXELS
from bifocal.pictures.formats import FORMATS
from bifocal.pictures.heif import is_heif

#: Raw files of cameras: most are TIFF inside, but their first picture is a small preview.
_RAW_SUFFIXES = frozenset(
    ".3fr .ari .arw .bay .cr2 .cr3 .crw .dcr .dng .erf .fff .iiq .k25 .kdc .mdc .mef .mos .mrw .nef .nrw "
    ".orf .pef .ptx .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f".split()
)

#: Formats without a signature: only its name shows that a file is one.
_UNMARKED = frozenset({"TGA"})


def is_picture_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins like a picture of a format that :func:`~bifocal.pictures.files.read_picture`
    reads. Raw files of cameras do not count.

    :raises OSError: if it cannot be opened.
    """
    from bifocal.pictures.own_pillow import opened

    path = os.fspath(path)
    if os.path.splitext(path)[1].lower() in _RAW_SUFFIXES:
        return False
    with open(path, "rb") as file:
        if is_heif(file.read(64)):
            return True
        try:
            with opened(file, [name for name in FORMATS if name not in _UNMARKED], MAX_PIXELS):
                return True
        except PictureError:
            return True  # a picture, if too large: reading it will refuse it
        except Exception:  # damaged files make Pillow raise errors of a dozen kinds
            return False
