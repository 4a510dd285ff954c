"""What the program does with its Pillow changes nothing in how we read, and the other way round."""

from __future__ import annotations

import io
import os
import threading
import warnings
import zlib
from pathlib import Path

import pytest
from PIL import Image, ImageFile, PngImagePlugin

from bifocal.errors import OptionError, PictureError, PictureWarning
from bifocal.pictures.pillow_images import as_picture
from bifocal.pictures.reading import read_picture
from bifocal.pictures.writing import write_picture
from bifocal.types import Picture
from tests.conftest import made_picture
from tests.pictures.test_high_bit_depth import png_chunk
from tests.promises.test_pictures_damage import FILES


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_half_a_file_is_refused_whatever_the_program_allows(
    name: str, part: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = FILES[name]
    with pytest.raises(PictureError):
        read_picture(io.BytesIO(data[: int(part * len(data))]))
    assert read_picture(io.BytesIO(data)).width > 0
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


@pytest.mark.parametrize("name", FILES)
def test_an_open_image_of_half_a_file_is_refused_whatever_the_program_allows(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = FILES[name]
    whole = as_picture(Image.open(io.BytesIO(data)))
    assert whole == as_picture(Image.open(io.BytesIO(data)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            half = Image.open(io.BytesIO(data[: len(data) * 9 // 10]))
        except OSError:  # Pillow itself refuses it, on opening
            return
        with pytest.raises(PictureError):
            as_picture(half)


def test_half_a_file_that_the_program_has_loaded_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``image.save`` loads an image before it asks us."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = FILES["jpeg"]
    for part, name in ((data, "whole.jpg"), (data[: len(data) // 2], "half.jpg")):
        (tmp_path / name).write_bytes(part)
    with Image.open(tmp_path / "half.jpg") as half:
        half.load()
        with pytest.raises(PictureError, match="truncated"):
            as_picture(half)
    with Image.open(tmp_path / "whole.jpg") as whole:
        whole.thumbnail((8, 8))
        assert max(as_picture(whole).pixels.shape) == 8


def test_damaged_pixels_are_refused_whatever_the_program_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is missing from the file, but its decoder fails half way."""
    buffer = io.BytesIO()
    Image.fromarray(made_picture(40, 40)).save(buffer, "TIFF", compression="packbits")
    data = bytearray(buffer.getvalue())
    data[2000:2400] = b"\x80" * 400
    refused = []
    for allowed in (False, True):
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", allowed)
        try:
            refused.append(read_picture(io.BytesIO(data)).pixels.tobytes())
        except PictureError:
            refused.append(b"")
    assert refused[0] == refused[1]


def test_threads_of_the_program_keep_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    half = FILES["jpeg"][: len(FILES["jpeg"]) // 2]
    wrong: list[object] = []

    def theirs() -> None:
        for _ in range(50):
            try:
                Image.open(io.BytesIO(half)).load()
            except OSError as error:
                wrong.append(error)

    def ours() -> None:
        for _ in range(50):
            try:
                wrong.append(read_picture(io.BytesIO(half)))
            except PictureError:
                pass

    threads = [threading.Thread(target=work) for work in (theirs, ours, theirs, ours)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("name", FILES)
def test_the_size_that_pillow_allows_does_not_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = read_picture(io.BytesIO(FILES[name]))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    assert read_picture(io.BytesIO(FILES[name])) == picture
    pixels = picture.width * picture.height
    assert read_picture(io.BytesIO(FILES[name]), max_pixels=pixels) == picture
    with pytest.raises(PictureError, match=f"{pixels} pixels, above the limit of {pixels - 1}"):
        read_picture(io.BytesIO(FILES[name]), max_pixels=pixels - 1)
    assert Image.MAX_IMAGE_PIXELS == 1


def test_threads_read_with_limits_of_their_own() -> None:
    wrong: list[object] = []

    def work(limit: int) -> None:
        for _ in range(30):
            try:
                read_picture(io.BytesIO(FILES["png"]), max_pixels=limit)
                wrong.extend([limit] * (limit < 47 * 61))
            except PictureError:
                wrong.extend([limit] * (limit >= 47 * 61))

    threads = [threading.Thread(target=work, args=(limit,)) for limit in (100, 47 * 61, 2000, 1 << 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, None, "many"])
def test_a_limit_is_a_number_of_pixels(limit: object) -> None:
    with pytest.raises(OptionError, match="max_pixels"):
        read_picture(io.BytesIO(FILES["png"]), max_pixels=limit)  # type: ignore[arg-type]


# Metadata in PNG.


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    """A small PNG with further chunks behind its header."""
    data = FILES["png"]
    return data[:33] + b"".join(png_chunk(*chunk) for chunk in chunks) + data[33:]


def test_a_large_profile_in_png_is_read() -> None:
    """Pillow refuses such a file: above 1 MiB it suspects a bomb."""
    profile = os.urandom(3 << 20)
    data = png_with((b"iCCP", b"name\0\0" + zlib.compress(profile, 1)))
    assert read_picture(io.BytesIO(data)).metadata == {"icc": profile}
    xmp, exif = b"x" * (2 << 20), b"MM\0*" + bytes(5 << 20)
    data = png_with(
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp)),
        (b"eXIf", exif),
    )
    assert read_picture(io.BytesIO(data)).metadata == {"xmp": xmp, "exif": exif}
    raw = b"\nexif\n%8d\n" % len(exif) + exif.hex().encode()
    data = png_with((b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw)))
    assert read_picture(io.BytesIO(data)).metadata == {"exif": exif}


@pytest.mark.parametrize("kind", ["too large", "damaged"])
def test_a_profile_that_cannot_be_had_is_left_out_with_a_warning(kind: str) -> None:
    packed = zlib.compress(bytes(17 << 20)) if kind == "too large" else b"no zlib stream"
    data = png_with((b"iCCP", b"name\0\0" + packed))
    with pytest.warns(PictureWarning, match=r"is left out\.$"):
        picture = read_picture(io.BytesIO(data))
    assert picture.metadata == {} and picture.width == 61


def test_more_metadata_than_a_stream_holds_is_left_out_with_a_warning() -> None:
    data = png_with((b"eXIf", b"MM\0*" + bytes(16 << 20)), (b"iCCP", b"name\0\0" + zlib.compress(b"profile")))
    with pytest.warns(
        PictureWarning, match=r"more than 16777216 bytes of metadata: exif, of 16777220 bytes, is left"
    ):
        picture = read_picture(io.BytesIO(data))
    assert picture.metadata == {"icc": b"profile"}


def test_text_that_is_no_metadata_is_not_even_unpacked() -> None:
    """A hundred comments of 16 MiB each, in a file of 2 MB."""
    bomb = (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(16 << 20)))
    plain = (b"tEXt", b"Comment\0" + b"words " * 1000)
    assert read_picture(io.BytesIO(png_with(*[bomb] * 100, plain))).metadata == {}


def test_a_png_that_we_write_can_be_opened_by_pillow(tmp_path: Path) -> None:
    picture = Picture(made_picture(5, 6), {"icc": os.urandom(PngImagePlugin.MAX_TEXT_CHUNK + 1)})
    with pytest.warns(PictureWarning, match=r"refuse the colour profile of more than 1048576 bytes"):
        write_picture(picture, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert "icc_profile" not in image.info
    for name in ("a.jpg", "a.webp", "a.tif", "a.avif"):
        write_picture(picture, tmp_path / name)
        assert read_picture(tmp_path / name).metadata == picture.metadata


def test_odd_exif_is_no_reason_to_fail_where_warnings_are_errors() -> None:
    """Pillow warns of two orientations in one tag, and of EXIF that is cut short."""
    two = b"\x01\x12\0\x03\0\0\0\x02\0\x06\0\x06"
    exif = b"MM\0*\0\0\0\x08\0\x02" + two + b"\x87\x69\0\x04\0\0\0\x09\0\xff\xff\xff"
    buffer = io.BytesIO()
    Image.fromarray(made_picture(20, 30)).save(buffer, "JPEG", exif=b"Exif\0\0" + exif)
    assert read_picture(io.BytesIO(buffer.getvalue())).width == 20
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(buffer.getvalue()))
    assert as_picture(image).width == 20
