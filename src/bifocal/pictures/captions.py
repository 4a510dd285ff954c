"""Captions from outside a stream: what a picture file says of itself, and files of captions for many.

A picture file has a place for a caption in each of three standards; the first that is filled counts: XMP's
``dc:description``, IPTC's caption (2:120), EXIF's ImageDescription and UserComment. What cameras write there
by default is no caption.
"""

from __future__ import annotations

import html
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from bifocal.errors import OptionError, PictureWarning
from bifocal.pictures.exif import text_of
from bifocal.types import Caption

_DESCRIPTION = re.compile(
    r"<dc:description[^>]*>\s*<rdf:Alt[^>]*>\s*<rdf:li(?P<about>[^>]*)>(?P<text>[^<]*)</rdf:li>"
)
_ATTRIBUTE = re.compile(r"\sdc:description\s*=\s*(?:\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)')")
_LANGUAGE = re.compile(r"xml:lang\s*=\s*[\"']([\w-]+)")
_BY_DEFAULT = re.compile(
    r"(?:[\w ]+ )?DIGITAL CAMERA|SONY DSC|\W*DCIM.*|default|untitled|(?:IMG|DSC)[_\d]*", re.IGNORECASE
)
_IMAGE_DESCRIPTION, _USER_COMMENT = 0x010E, 0x9286
_COMMENT_CODES = {b"ASCII\0\0\0": "utf-8", b"UNICODE\0": "utf-16"}
_IPTC, _IPTC_CAPTION = 0x0404, b"\x1c\x02\x78"
#: More than this a file of captions has not.
MOST_BYTES = 1 << 28
_HEADINGS = ("file", "name", "filename", "path", "picture")


def caption_in(metadata: Mapping[str, bytes]) -> Caption | None:
    """The caption in XMP or EXIF, as a :class:`~bifocal.types.Picture` or a stream holds them; None without.

    >>> caption_in({"xmp": b'<x dc:description="a cup &amp; a spoon"/>'})
    Caption(text='a cup & a spoon', language='')
    """
    texts: list[tuple[str, str]] = []
    if "xmp" in metadata:
        texts += _from_xmp(metadata["xmp"])
    if "iptc" in metadata:
        texts += _from_iptc(metadata["iptc"])
    if "exif" in metadata:
        texts += _from_exif(metadata["exif"])
    return next((found for text, language in texts if (found := _caption(text, language))), None)


def caption_of_file(path: str | os.PathLike[str], metadata: Mapping[str, bytes]) -> Caption | None:
    """The caption in a picture file whose EXIF and XMP are those of ``metadata``; IPTC is read here."""
    from bifocal.pictures.formats import FORMATS, MAX_PIXELS
    from bifocal.pictures.reading import opened

    found = dict(metadata)
    try:
        with open(path, "rb") as file, opened(file, FORMATS, MAX_PIXELS) as (image, _):
            blocks = image.info.get("photoshop")
            if isinstance(blocks, Mapping) and isinstance(blocks.get(_IPTC), bytes):
                found["iptc"] = blocks[_IPTC]
    except Exception:  # what cannot be opened has no IPTC; whether it is a picture is seen elsewhere
        pass
    return caption_in(found)


def _from_xmp(xmp: bytes) -> Iterator[tuple[str, str]]:
    text = xmp.decode("utf-8", "replace")
    if found := _DESCRIPTION.search(text):
        named = _LANGUAGE.search(found["about"])
        language = named[1] if named and named[1] != "x-default" else ""
        yield html.unescape(found["text"]), language
    if found := _ATTRIBUTE.search(text):
        yield html.unescape(found["double"] or found["single"] or ""), ""


def _from_iptc(records: bytes) -> Iterator[tuple[str, str]]:
    at = records.find(_IPTC_CAPTION)
    if at >= 0 and len(records) >= at + 5:
        size = int.from_bytes(records[at + 3 : at + 5], "big")
        yield _decoded(records[at + 5 : at + 5 + size]), ""


def _from_exif(exif: bytes) -> Iterator[tuple[str, str]]:
    yield _decoded(text_of(exif, _IMAGE_DESCRIPTION)), ""
    comment = text_of(exif, _USER_COMMENT)
    if (code := _COMMENT_CODES.get(comment[:8])) is not None:
        yield comment[8:].decode(code, "replace"), ""


def _decoded(text: bytes) -> str:
    """Text without a declared encoding: UTF-8 if it is valid, else the old 8-bit one."""
    text = text.rstrip(b"\0 ")
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _caption(text: str, language: str) -> Caption | None:
    if not text.strip("\0 \r\n\t") or _BY_DEFAULT.fullmatch(text.strip()):
        return None
    try:
        return Caption.of(text, language if len(language) <= 35 else "")
    except OptionError as error:
        warnings.warn(f"a caption in its metadata is left out: {error}", PictureWarning, stacklevel=3)
        return None


@dataclass(frozen=True)
class CaptionFile:
    """Captions by the name of their picture: a path, or the end of one."""

    captions: Mapping[str, Caption]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> CaptionFile:
        """Read a text file: in each line a file name, a tab, a caption, and perhaps a tab and a language tag.

        UTF-8, or UTF-16 with a mark. Empty lines, and names without a caption, count as nothing.

        :raises OptionError: if a line is not like that, is not UTF-8, or names a file a second time with
            another caption; it says which.
        """
        try:
            state = os.stat(path)
            return _read(os.fspath(path), state.st_size, state.st_mtime_ns)
        except OSError as error:
            raise OptionError(f"captions {os.fspath(path)}: {error.strerror}.") from error

    def of(self, path: str) -> Caption | None:
        """The caption of a file by its path, else by the longest end of it that is named.

        >>> CaptionFile({"a/x.jpg": Caption("one"), "x.jpg": Caption("two")}).of("photos/a/x.jpg")
        Caption(text='one', language='')
        """
        name = self.name_of(path)
        return None if name is None else self.captions[name]

    def name_of(self, path: str) -> str | None:
        """By which name a file has its caption; None if it has none."""
        rest = path.replace(os.sep, "/")
        while rest:
            if rest in self.captions:
                return rest
            rest = rest.partition("/")[2]
        return None

    def without_file(self, paths: Iterable[str]) -> list[str]:
        """The names that none of these files has."""
        used = {self.name_of(path) for path in paths}
        return [name for name in self.captions if name not in used]


@lru_cache(maxsize=4)
def _read(path: str, size: int, _changed: int) -> CaptionFile:
    if size > MOST_BYTES:
        raise OptionError(f"captions {path}: {size} bytes are no list of captions. Name another file.")
    with open(path, "rb") as file:
        lines = _lines(file.read(), path)
    captions: dict[str, Caption] = {}
    for number, line in enumerate(lines, 1):
        name, *fields = line.split("\t")
        name = name.strip().replace("\\", "/").removeprefix("./")
        if not line.strip() or (number == 1 and name.lower() in _HEADINGS):
            continue
        if not name or not 1 <= len(fields) <= 2:
            raise OptionError(
                f"captions {path}, line {number}: it is not NAME, a tab, CAPTION, and perhaps a tab and a "
                "language. Mend the line."
            )
        if not fields[0].strip():
            continue
        try:
            caption = Caption.of(fields[0], "".join(fields[1:]).strip())
        except OptionError as error:
            raise OptionError(f"captions {path}, line {number}: {error}") from error
        if captions.setdefault(name, caption) != caption:
            raise OptionError(f"captions {path}, line {number}: {name!r} has another caption already.")
    return CaptionFile(captions)


def _lines(data: bytes, path: str) -> list[str]:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        code = "utf-16"
    else:
        code = "utf-8-sig"
    try:
        return re.split(r"\r\n|\n|\r", data.decode(code))
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise OptionError(
            f"captions {path}, line {line}: it is not UTF-8. Convert the file: "
            "iconv -f ISO-8859-1 -t UTF-8 OLD > NEW."
        ) from error
