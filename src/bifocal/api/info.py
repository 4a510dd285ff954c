"""``bifocal.info``: what is in a stream, without decoding it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bifocal.errors import ModelMissing
from bifocal.runtime.cards import find_card
from bifocal.stream import container
from bifocal.stream.limits import DEFAULT_LIMITS, Limits
from bifocal.stream.source import StreamLike, as_source
from bifocal.types import Caption


@dataclass(frozen=True, repr=False)
class StreamInfo:
    """What a stream says of itself.

    ``width`` and ``height`` in pixels, ``quality`` 1 to 100, ``tile`` the side of its ``tiles`` in pixels;
    ``bytes`` of the whole stream and ``bpp``, its bits per pixel; ``metadata`` the size of each chunk in
    bytes, ``alpha`` that of its transparency, 0 for an opaque picture, ``plane`` that of one more
    plane, such as infrared, 0 without; ``lossless`` how many of its tiles are
    stored without loss; ``caption`` what it says of its picture, or None; ``model`` the name of the installed
    model that reads it, or None; ``release`` the Bifocal release that first shipped that model.
    """

    width: int
    height: int
    gray: bool
    quality: int
    bytes: int
    bpp: float
    tile: int
    tiles: int
    metadata: Mapping[str, int]
    alpha: int
    model: str | None
    wire_id: int
    fingerprint: str
    release: str
    lossless: int = 0
    plane: int = 0
    caption: Caption | None = None

    def __repr__(self) -> str:
        model = self.model or f"model {self.fingerprint}, not installed"
        return (
            f"<bifocal.StreamInfo {self.width}×{self.height}, quality {self.quality}, {self.bytes} bytes, "
            f"{self.bpp:.3f} bpp, {model}>"
        )


def info(data: StreamLike, *, limits: Limits = DEFAULT_LIMITS) -> StreamInfo:
    """Say what is in a stream or a binary file, from its header and index alone: no network runs.

    :raises StreamError: if the header or index is damaged or the stream is not Bifocal's.

    >>> import bifocal, numpy
    >>> info(bifocal.encode(numpy.zeros((30, 50), numpy.uint8), quality=7)).quality
    7
    """
    source = as_source(data, limits)
    stream = container.read(source, limits)
    lossless = sum(tile.lossless for tile in stream.tiles)
    name = installed_name(stream.header)
    return describe(stream.header, stream.metadata, len(source), len(stream.tiles), lossless, name)


def describe(
    header: container.Header,
    chunks: Mapping[str, bytes],
    size: int,
    tiles: int,
    lossless: int,
    model: str | None,
) -> StreamInfo:
    """What is known of a stream of ``size`` bytes, read or just written, as users get it."""
    sizes, caption = {key: len(value) for key, value in chunks.items()}, None
    if container.CAPTION in chunks:
        from bifocal.stream.chunks.caption import read_caption

        caption = read_caption(chunks)
    return StreamInfo(
        width=header.width,
        height=header.height,
        gray=header.gray,
        quality=header.quality,
        bytes=size,
        bpp=8 * size / (header.width * header.height),
        tile=header.tile,
        tiles=tiles,
        metadata={key: count for key, count in sizes.items() if key not in container.PARTS},
        alpha=sizes.get(container.ALPHA, 0),
        model=model,
        wire_id=header.wire_id,
        fingerprint=header.fingerprint.hex(),
        release=".".join(map(str, header.release)),
        lossless=lossless,
        plane=sizes.get(container.PLANE, 0),
        caption=caption,
    )


def installed_name(header: container.Header) -> str | None:
    """The name of the installed model that reads a stream, if there is one."""
    try:
        return find_card(header.wire_id, header.fingerprint, header.release).name
    except ModelMissing:
        return None
