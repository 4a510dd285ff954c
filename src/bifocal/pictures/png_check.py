"""What Pillow does not check: whether the compressed pixels of a PNG are the ones that were written.

Pillow decodes a PNG without a look at the checksums of its pixel data, so a damaged file can come out as a
plausible picture with garbage in it. Files cut short need no check here: for every format that we read,
Pillow gives all pixels or an error (tests/promises/test_pictures_damage.py cuts them everywhere).
"""

from __future__ import annotations

import zlib
from typing import IO

from bifocal.errors import PictureError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_STEP = 1 << 20


def check_png(file: IO[bytes]) -> None:
    """Check the CRC of every critical chunk of a PNG; leaves ``file`` at its beginning.

    A file that ends after its pixels, before ``IEND``, passes: nothing of the picture is missing.

    :raises PictureError: if a chunk is damaged or cut short.
    """
    file.seek(len(_SIGNATURE))
    while len(head := file.read(8)) == 8:
        size, name = int.from_bytes(head[:4], "big"), head[4:]
        if name[:1].islower():
            file.seek(size + 4, 1)  # ancillary: not pixels
            continue
        crc = zlib.crc32(name)
        while size > 0:
            part = file.read(min(size, _STEP))
            if not part:
                raise PictureError(
                    f"the file ends inside its {name.decode('latin-1')} chunk: it is cut short."
                )
            crc, size = zlib.crc32(part, crc), size - len(part)
        if name == b"IEND":
            break
        if int.from_bytes(file.read(4), "big") != crc:
            raise PictureError(
                f"the checksum of its {name.decode('latin-1')} chunk differs: the file is damaged. "
                "Fetch it again."
            )
    file.seek(0)
