"""The caption of a picture in a stream: text and its language. SPEC.md, section 4, is normative.

No latent and no pixel depends on it. So a chunk that is no caption costs the caption, and the picture opens.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Mapping

from bifocal.errors import DamagedStream, OptionError, PictureWarning
from bifocal.stream import container
from bifocal.types import MAX_CAPTION, Caption

_PLAIN, _DEFLATED = 0, 1


def encode_caption(caption: Caption) -> bytes:
    """The value of the chunk ``capt``: text as it is, or deflated where that is shorter.

    >>> encode_caption(Caption("a cup", "en"))
    b'\\x00\\x02ena cup'
    """
    text = caption.text.encode()
    packed = zlib.compress(text, 9)
    form, text = (_DEFLATED, packed) if len(packed) < len(text) else (_PLAIN, text)
    language = caption.language.encode("ascii")
    return bytes([form, len(language)]) + language + text


def decode_caption(chunk: bytes) -> Caption:
    """The caption of a chunk's value; nothing larger than a caption is inflated.

    :raises DamagedStream: if it is none.
    """
    if len(chunk) < 2 or chunk[0] > _DEFLATED or len(chunk) < 2 + chunk[1]:
        raise DamagedStream("the caption of this stream is cut short or of an unknown form.")
    language, text = chunk[2 : 2 + chunk[1]], chunk[2 + chunk[1] :]
    try:
        return Caption(_inflate(text) if chunk[0] == _DEFLATED else text.decode(), language.decode("ascii"))
    except (OptionError, UnicodeDecodeError, zlib.error) as error:
        raise DamagedStream(f"the caption of this stream is damaged: {error}") from error


def _inflate(packed: bytes) -> str:
    stream = zlib.decompressobj()
    text = stream.decompress(packed, MAX_CAPTION + 1)
    if len(text) > MAX_CAPTION or not stream.eof or stream.unused_data:
        raise zlib.error(f"it does not inflate to at most {MAX_CAPTION} bytes")
    return text.decode()


def read_caption(chunks: Mapping[str, bytes]) -> Caption | None:
    """The caption among the chunks of a stream; a :class:`PictureWarning` in place of one that is damaged."""
    chunk = chunks.get(container.CAPTION)
    if chunk is None:
        return None
    try:
        return decode_caption(chunk)
    except DamagedStream as error:
        warnings.warn(f"{error} It is left out.", PictureWarning, stacklevel=3)
        return None
