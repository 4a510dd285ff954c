"""Captions from outside a stream: in picture files, in lists, and on the way through Pillow."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

import bifocal
from bifocal.errors import OptionError, PictureWarning
from bifocal.pictures.captions import CaptionFile, caption_in, caption_of_file
from bifocal.pictures.xmp import xmp_of_caption
from bifocal.types import Caption
from tests.conftest import made_picture


def exif_of(**texts: object) -> bytes:
    tags = Image.Exif()
    if "description" in texts:
        tags[0x010E] = texts["description"]
    if "comment" in texts:
        tags.get_ifd(0x8769)[0x9286] = texts["comment"]
    return tags.tobytes().removeprefix(b"Exif\0\0")


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ({"exif": exif_of(description="a red cup")}, "a red cup"),
        ({"exif": exif_of(comment=b"ASCII\0\0\0a blue cup")}, "a blue cup"),
        ({"exif": exif_of(description="OLYMPUS DIGITAL CAMERA         ")}, None),
        ({"exif": exif_of(description="DCIM\\100MEDIA\\DJI_0001.JPG")}, None),
        ({"exif": exif_of(description="a cup")[:-3]}, None),
        ({"exif": b"junk"}, None),
        ({"xmp": b"\xff\xfe\0"}, None),
        ({"xmp": xmp_of_caption("kočka & <pes>", "cs")}, "kočka & <pes>"),
        ({"iptc": b"\x1c\x02\x05\x00\x01x\x1c\x02\x78\x00\x05K\xf6ln!"}, "Köln!"),
        ({"iptc": b"\x1c\x02\x78\x00"}, None),
        ({"xmp": xmp_of_caption("x" * 70_000, "")}, None),
    ],
)
@pytest.mark.filterwarnings("ignore::bifocal.errors.PictureWarning")
def test_the_caption_in_metadata_is_found(metadata: dict[str, bytes], text: str | None) -> None:
    found = caption_in(metadata)
    assert (found and found.text) == text


def test_the_caption_of_a_jpeg_in_iptc_is_found(tmp_path: Path) -> None:
    record = b"\x1c\x02\x78\x00\x05a cup"
    block = b"8BIM\x04\x04\0\0" + len(record).to_bytes(4, "big") + record + b"\0"
    segment = b"Photoshop 3.0\0" + block
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    data = buffer.getvalue()
    segment = b"\xff\xed" + (len(segment) + 2).to_bytes(2, "big") + segment
    (tmp_path / "a.jpg").write_bytes(data[:2] + segment + data[2:])
    assert caption_of_file(tmp_path / "a.jpg", {}) == Caption("a cup")
    assert caption_of_file(tmp_path / "none.jpg", {}) is None


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("a.jpg\ta cup\n", "a cup"),
        ("\ufefffile\tcaption\r\nin/a.jpg\ta cup\ten\r\n\r\n", "a cup"),
        ("b.jpg\tno\na.jpg\t\n", None),
        (".\\in\\a.jpg\ta \x1b[31mcup", "a [31mcup"),
        ("", None),
    ],
)
def test_a_list_names_captions(tmp_path: Path, data: str, text: str | None) -> None:
    for code in ("utf-8", "utf-16"):
        path = tmp_path / code
        path.write_bytes(data.encode(code))
        found = CaptionFile.read(path).of("photos/in/a.jpg")
        assert (found and found.text) == text
    assert CaptionFile.read(path).of("other.jpg") is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"a.jpg\tcaf\xe9\n", "line 1: it is not UTF-8"),
        (b"a.jpg\tx\nb.jpg x\n", "line 2: it is not NAME"),
        (b"a.jpg\tx\ta\tb\n", "line 1"),
        (b"\tx\n", "line 1"),
        (b"a.jpg\tx\na.jpg\ty\n", "line 2.*another caption"),
        (b"a.jpg\tx\tnot a tag\n", "line 1.*no language tag"),
        (b"a.jpg\t" + b"x" * 70_000, "line 1.*Shorten it"),
        (b"\xff\xfea", "not UTF-8"),
        (b"a\0.jpg\tx\n\x00\xd8", "not UTF-8"),
    ],
)
def test_a_list_that_is_wrong_is_refused_with_its_line(tmp_path: Path, data: bytes, why: str) -> None:
    (tmp_path / "list").write_bytes(data)
    with pytest.raises(OptionError, match=why):
        CaptionFile.read(tmp_path / "list")
    with pytest.raises(OptionError, match="No such file"):
        CaptionFile.read(tmp_path / "none")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_a_decoded_file_says_the_caption_too(suffix: str, tiny_model: bifocal.Model, tmp_path: Path) -> None:
    caption = Caption("<b>Tasse</b> & Löffel", "de")
    (tmp_path / "a.bfc").write_bytes(bifocal.encode(made_picture(40, 60), model=tiny_model, caption=caption))
    bifocal.decode_file(tmp_path / "a.bfc", tmp_path / f"a.{suffix}", model=tiny_model)
    options = {"caption_from_metadata": True, "model": tiny_model}
    assert bifocal.encode_file(tmp_path / f"a.{suffix}", tmp_path / "b.bfc", **options).caption == caption
    listed = tmp_path / "list.tsv"
    listed.write_text(f"a.{suffix}\ta cup\n")
    again = bifocal.encode_file(tmp_path / f"a.{suffix}", tmp_path / "c.bfc", captions=listed, **options)
    assert again.caption == Caption("a cup")
    assert bifocal.encode_file(tmp_path / f"a.{suffix}", tmp_path / "d.bfc", model=tiny_model).caption is None


def test_a_caption_passes_through_pillow(tiny_model: bifocal.Model, tmp_path: Path) -> None:
    bifocal.register_pillow()
    caption = Caption("eine Tasse", "de")
    data = bifocal.encode(made_picture(40, 60), model=tiny_model, caption=caption)
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["caption"] == "eine Tasse" and image.info["caption_language"] == "de"
        image.model = tiny_model  # type: ignore[attr-defined]
        image.save(tmp_path / "a.bfc", model=tiny_model)
        image.save(tmp_path / "b.bfc", model=tiny_model, caption="a cup")
    assert bifocal.info((tmp_path / "a.bfc").read_bytes()).caption == caption
    assert bifocal.info((tmp_path / "b.bfc").read_bytes()).caption == Caption("a cup")
    image = Image.new("RGB", (8, 8))
    image.info["caption"] = "x" * 70_000
    with pytest.warns(PictureWarning, match="left out"):
        assert bifocal.info(bifocal.encode(image, model=tiny_model)).caption is None
