"""What a stream may declare, and the only way its bytes are read.

A declared number is read with a ceiling, and compared with the bytes that are really there, before anything
is allocated for it. The format's own ceilings are constants, the same for everyone; a reader's
:class:`Limits` may be tighter, so that a server opens only what it can afford.
"""

from __future__ import annotations

from dataclasses import dataclass

from bifocal.errors import DamagedStream, LimitExceeded, OptionError, TruncatedStream
from bifocal.stream.source import Source

#: Largest width or height that the format can express.
MAX_SIDE = (1 << 24) - 1
#: Sides of tiles are multiples of this many pixels; pictures are coded padded to one.
TILE_UNIT = 64
#: Largest area of a tile, in pixels of the padded picture that it covers: one network call stays affordable.
MAX_TILE_PIXELS = 1 << 22
#: Largest tile side that can be declared; the area above still holds.
MAX_TILE_SIDE = 1 << 16
#: Most payload bytes for a pixel of a tile: four times what one escaped symbol for every pixel takes.
MAX_PAYLOAD_PER_PIXEL = 32
#: Most metadata chunks in a stream.
MAX_CHUNKS = 32
#: Largest magnitude of a coded symbol; a decoded latent stays far inside int32.
MAX_SYMBOL = 1 << 24


@dataclass(frozen=True)
class Limits:
    """What this reader agrees to open.

    ``pixels`` bounds the area of the picture padded to multiples of 64, and with it all work and memory;
    ``metadata_bytes`` bounds all chunks together, except alpha, which the picture's size bounds;
    ``stream_bytes`` bounds the whole stream.

    >>> Limits(pixels=1_000_000).pixels
    1000000
    """

    pixels: int = 1 << 27
    metadata_bytes: int = 1 << 24
    stream_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise OptionError(f"Limits.{name} is {value!r}; give a whole number, 0 or more.")


#: 134 megapixels, 16 MiB of metadata, 1 GiB of stream.
DEFAULT_LIMITS = Limits()


def largest_alpha_png(h: int, w: int) -> int:
    """Most bytes of the alpha of a tile of ``h × w`` visible pixels: twice what storing it takes."""
    return 2 * h * (w + 1) + 128


def largest_alpha_chunk(width: int, height: int, tile: int) -> int:
    """Most bytes of all alpha of a picture: the above and a size of at most five bytes, for every tile."""
    rows, columns = -(-height // tile), -(-width // tile)
    return 2 * height * (width + columns) + (128 + 5) * rows * columns


class Reader:
    """Takes fields from bytes in order; it never reads past their end and says which field was missing."""

    def __init__(self, data: Source) -> None:
        self.data: Source = memoryview(data) if isinstance(data, bytes | bytearray) else data
        self.position = 0

    @property
    def remaining(self) -> int:
        return len(self.data) - self.position

    def take(self, count: int, what: str) -> bytes | memoryview:
        if count > self.remaining:
            raise TruncatedStream(
                f"the stream ends inside its {what}: {count} bytes are declared, {self.remaining} are left. "
                "Fetch the file again; it is incomplete."
            )
        self.position += count
        return self.data[self.position - count : self.position]

    def byte(self, what: str) -> int:
        return self.take(1, what)[0]

    def uint32(self, what: str) -> int:
        return int.from_bytes(self.take(4, what), "little")

    def varint(self, ceiling: int, what: str) -> int:
        """An LEB128 integer of at most 5 bytes, in its shortest form, at most ``ceiling``."""
        value = 0
        for i in range(5):
            byte = self.byte(what)
            value |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                if byte == 0 and i:
                    raise DamagedStream(
                        f"the {what} is not written in its shortest form: the stream is damaged."
                    )
                if value > ceiling:
                    raise LimitExceeded(
                        f"the {what} is {value}; at most {ceiling} is read. Raise the limit or refuse."
                    )
                return value
        raise DamagedStream(f"the {what} is an integer of more than 5 bytes: the stream is damaged.")
