"""A reader of captions written from section 4 of SPEC.md, in plain Python, beside ``spec_decoder.py``."""

from __future__ import annotations

import re
import unicodedata
import zlib

from tests.conformance.spec_decoder import Reader, Stream, require

LARGEST = 65536


def read_caption(stream: Stream) -> tuple[str, str]:
    """The text and the language of the chunk `capt` of section 4."""
    reader = Reader(stream.metadata["capt"])
    form, size = reader.take(2)
    require(form <= 1 and size <= 35, "form or size of the tag")
    language = reader.take(size)
    require(re.fullmatch(rb"[A-Za-z0-9-]*", language) is not None, "a language tag")
    value = reader.data[reader.at :]
    if form:
        inflate = zlib.decompressobj()
        value = inflate.decompress(value, LARGEST + 1)
        require(inflate.eof and not inflate.unused_data, "one whole zlib stream")
    text = value.decode("utf-8")
    require(1 <= len(value) <= LARGEST and text.strip() != "", "size of the text")
    require(all(unicodedata.category(c) != "Cc" for c in text), "a control character")
    return text, language.decode("ascii")
