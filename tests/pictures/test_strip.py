"""Positions and other metadata are removed on request; what stays is valid, and stays as it was."""

from __future__ import annotations

import struct
from xml.etree import ElementTree

import pytest
from PIL import ExifTags, Image, TiffImagePlugin

from bifocal.errors import OptionError, PictureWarning
from bifocal.pictures.exif import without_gps
from bifocal.pictures.metadata import strip_metadata
from bifocal.pictures.xmp import without_gps_properties

DEGREES = tuple(TiffImagePlugin.IFDRational(*value) for value in ((52, 1), (31, 1), (1234, 100)))
MAKER_NOTE = bytes(range(200))


def exif_with_position() -> bytes:
    """EXIF as Pillow writes it: camera, times, a maker note, and a position."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker of cameras"
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Copyright] = "someone with a long name"
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    inner[ExifTags.Base.DateTimeOriginal] = "2026:11:20 12:00:00"
    inner[ExifTags.Base.MakerNote] = MAKER_NOTE
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitudeRef] = "N"
    gps[ExifTags.GPS.GPSLatitude] = DEGREES
    gps[ExifTags.GPS.GPSAreaInformation] = b"ASCII\0\0\0a garden gate"
    return exif.tobytes().removeprefix(b"Exif\0\0")


XMP = (
    "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
    '<rdf:Description xmlns:dc="dc" xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="52,31.5N"\n'
    " exif:GPSLongitude='13,24E' exif:ISO=\"100\"><exif:GPSAltitude>34/1</exif:GPSAltitude>\n"
    "<exif:GPSTimeStamp/><dc:title>Straße ☃</dc:title></rdf:Description></rdf:RDF></x:xmpmeta>"
)


@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_a_position_is_removed_from_exif_and_the_rest_stays(prefix: bytes) -> None:
    before, after = exif_with_position(), without_gps(prefix + exif_with_position())
    assert after is not None and len(after) == len(prefix + before)
    assert b"garden" in before and b"garden" not in after
    assert struct.pack(">II", 617, 50) in before and struct.pack(">II", 617, 50) not in after
    tags = Image.Exif()
    tags.load(after)
    assert tags.get_ifd(ExifTags.IFD.GPSInfo) == {} and ExifTags.IFD.GPSInfo not in tags
    assert tags[ExifTags.Base.Make] == "Maker of cameras" and tags[ExifTags.Base.Orientation] == 6
    assert tags[ExifTags.Base.Copyright] == "someone with a long name"
    inner = tags.get_ifd(ExifTags.IFD.Exif)
    assert inner[ExifTags.Base.MakerNote] == MAKER_NOTE
    assert inner[ExifTags.Base.DateTimeOriginal] == "2026:11:20 12:00:00"
    assert after.index(MAKER_NOTE) == (prefix + before).index(MAKER_NOTE)  # nothing was moved


def test_exif_without_a_position_stays_as_it_is() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    data = exif.tobytes().removeprefix(b"Exif\0\0")
    assert without_gps(data) == data


def test_the_link_to_the_thumbnail_stays() -> None:
    """A directory of two entries, the second of them GPS, and the offset of the next directory behind it."""
    entry = struct.Struct("<HHII")
    main = b"II*\0" + struct.pack("<IH", 8, 2) + entry.pack(0x0100, 4, 1, 7) + entry.pack(0x8825, 4, 1, 38)
    gps = struct.pack("<H", 1) + entry.pack(0x0006, 4, 1, 99) + bytes(4)
    thumbnail = struct.pack("<H", 1) + entry.pack(0x0201, 4, 1, 500) + bytes(4)
    after = without_gps(main + struct.pack("<I", 38 + 18) + gps + thumbnail)
    kept = struct.pack("<H", 1) + entry.pack(0x0100, 4, 1, 7) + struct.pack("<I", 56) + bytes(12)
    assert after == main[:8] + kept + bytes(18) + thumbnail


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_position_is_removed_from_xmp_and_the_rest_stays(encoding: str) -> None:
    after = without_gps_properties(XMP.encode(encoding))
    assert after is not None
    text = after.decode(encoding)
    assert "GPS" not in text and ' exif:ISO="100">' in text and "<dc:title>Straße ☃</dc:title>" in text
    assert ElementTree.fromstring(text.removeprefix("\ufeff")).tag == "{adobe:ns:meta/}xmpmeta"
    assert without_gps_properties(after) == after


@pytest.mark.parametrize(
    "position",
    [" geo:lat=\"52.5\" geo:long='13.4'", ' drone-dji:Latitude="+52.5"', ' drone-dji:GpsLongtitude="13.4"'],
)
def test_a_position_is_known_by_any_name_of_it(position: str) -> None:
    after = without_gps_properties(f"<rdf:Description{position} tiff:Make='x' xmp:Latency='3'/>".encode())
    assert after == b"<rdf:Description tiff:Make='x' xmp:Latency='3'/>"
    name, _, value = position.split()[0].partition("=")
    after = without_gps_properties(f"<d><{name}>{value}</{name}><e/></d>".encode())
    assert after == b"<d><e/></d>"


@pytest.mark.parametrize("packet", [XMP.encode(), b"<a exif:GPSLatitude='x'>" * 9])
def test_xmp_inside_exif_is_searched_too(packet: bytes) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker of cameras"
    exif[0x02BC] = packet
    after = without_gps(exif.tobytes().removeprefix(b"Exif\0\0"))
    assert after is not None and b"GPS" not in after and b"Maker of cameras" in after
    exif[0x02BC] = b"<x:xmpmeta>no position</x:xmpmeta>"
    data = exif.tobytes().removeprefix(b"Exif\0\0")
    assert without_gps(data) == data


def test_each_name_removes_its_piece() -> None:
    metadata = {"icc": b"profile", "exif": exif_with_position(), "xmp": XMP.encode()}
    assert strip_metadata(metadata, []) == metadata
    assert strip_metadata(metadata, ["all"]) == {}
    assert set(strip_metadata(metadata, ["exif", "xmp"])) == {"icc"}
    assert set(strip_metadata(metadata, ("icc",))) == {"exif", "xmp"}
    assert set(strip_metadata(metadata, "icc,xmp")) == {"exif"}
    stripped = strip_metadata(metadata, ["gps"])
    assert list(stripped) == ["icc", "exif", "xmp"] and stripped["icc"] == b"profile"
    assert b"garden" not in stripped["exif"] and b"GPS" not in stripped["xmp"]
    with pytest.raises(OptionError, match="no metadata 'position' to strip. Choose from all, gps, exif"):
        strip_metadata(metadata, ["gps", "position"])
    with pytest.raises(OptionError, match="what to strip is True; give names from all, gps"):
        strip_metadata(metadata, True)  # type: ignore[arg-type]


def test_what_cannot_be_searched_for_a_position_is_left_out_with_a_warning() -> None:
    endless = b"II*\0" + struct.pack("<IH", 8, 60000) + struct.pack("<HHII", 0x014A, 4, 1, 9) * 5
    for key, value in (
        ("exif", b"no exif at all"),
        ("exif", endless + struct.pack("<HHII", 0x8825, 4, 1, 8) * 200),
        ("xmp", b"<exif:GPSLatitude>52N" * 3),
        ("xmp", b"<a b='<exif&#58;GPSLatitude'/>"),
        ("xmp", b"<!DOCTYPE a [<!ENTITY p '52N'>]><a exif:GPSLatitude='&p;'/>"),
    ):
        with pytest.warns(PictureWarning, match=f"{key.upper()} is not readable enough"):
            assert strip_metadata({key: value, "icc": b"x"}, ["gps"]) == {"icc": b"x"}


def test_a_block_made_to_cost_time_does_not() -> None:
    entries = b"".join(struct.pack("<HHII", 0x014A, 4, 60, 8 + 12 * n) for n in range(5000))
    data = b"II*\0" + struct.pack("<IH", 8, 5000) + entries
    assert without_gps(data) is None
    entries = b"".join(struct.pack("<HHII", 0x02BC, 7, 40_000, 8 + 12 * n) for n in range(5000))
    assert without_gps(b"II*\0" + struct.pack("<IH", 8, 5000) + entries) is None
    assert without_gps_properties(b"<x:GPSa>" * 200_000) is None
