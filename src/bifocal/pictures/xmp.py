"""XMP packets, changed as text: everything that is not meant stays byte for byte.

A packet is XML (ISO 16684-1), nearly always in UTF-8; a property is an attribute or an element.
"""

from __future__ import annotations

import re
from xml.sax.saxutils import escape, quoteattr

_TURNED = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)[2-8]")
_FIRST = re.compile(rb"tiff:Orientation(?:=\"|>)([0-9])")
#: Names of properties that hold a position: those of EXIF, of makers and of the W3C's geo vocabulary.
_POSITION = r"(?:[\w.-]+:)?(?:GPS\w*|lat|long?|latitude|longt?itude|lat_?long?)"
_GPS_ATTRIBUTE = re.compile(rf"\s{_POSITION}\s*=\s*(?:\"[^\"]*\"|'[^']*')", re.IGNORECASE)
_GPS_ELEMENT = re.compile(rf"<({_POSITION})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_GPS_LEFT = re.compile(r"GPS_?-?(?:L(?:at|on)|Dest|Alt)", re.IGNORECASE)
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"<\0": "utf-16-le", b"\0<": "utf-16-be"}


def orientation_of_xmp(xmp: bytes) -> int:
    """The orientation, 1 to 8, as Pillow reads it where EXIF has none; 1 without.

    >>> orientation_of_xmp(b'<rdf:Description tiff:Orientation="6"/>')
    6
    """
    match = _FIRST.search(xmp)
    return int(match[1]) if match and b"2" <= match[1] <= b"8" else 1


def upright_xmp(xmp: bytes) -> bytes:
    """The same XMP packet with ``tiff:Orientation`` 1, its length unchanged.

    >>> upright_xmp(b'<rdf:Description tiff:Orientation="6"/>')
    b'<rdf:Description tiff:Orientation="1"/>'
    """
    return _TURNED.sub(rb"\g<1>1", xmp)


def xmp_of_caption(text: str, language: str) -> bytes:
    """A packet that holds a caption and nothing else, as ``dc:description``.

    >>> b">a &lt;b&gt;</rdf:li>" in xmp_of_caption("a <b>", "en")
    True
    """
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>'
        f"<rdf:li xml:lang={quoteattr(language or 'x-default')}>{escape(text)}</rdf:li>"
        '</rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()


def without_gps_properties(xmp: bytes) -> bytes | None:
    """The same packet without its properties of a position, such as exif:GPSLatitude and geo:lat; None if
    some cannot be removed.

    >>> without_gps_properties(b'<rdf:Description exif:GPSLatitude="52,1.5N" tiff:Make="x"/>')
    b'<rdf:Description tiff:Make="x"/>'
    """
    encoding = next((name for mark, name in _MARKS.items() if xmp.startswith(mark)), "utf-8")
    errors = "surrogateescape" if encoding == "utf-8" else "surrogatepass"
    try:
        text = xmp.decode(encoding, errors)
        kept = _without_gps_elements(_GPS_ATTRIBUTE.sub("", text))
        if kept is None or _GPS_LEFT.search(kept) or "<!ENTITY" in kept:  # a value may stand elsewhere
            return None
        return xmp if kept == text else kept.encode(encoding, errors)
    except UnicodeError:
        return None


def _without_gps_elements(text: str) -> str | None:
    parts, at = [], 0
    while found := _GPS_ELEMENT.search(text, at):
        parts.append(text[at : found.start()])
        at = found.end()
        if not found[0].endswith("/>"):
            closing = re.compile(rf"</{re.escape(found[1])}\s*>").search(text, at)
            if closing is None:
                return None
            at = closing.end()
    return "".join([*parts, text[at:]])
