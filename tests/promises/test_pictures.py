"""What we promise about pictures: transparency, orientation and metadata go through a stream unharmed."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

import bifocal
from bifocal.errors import DamagedStream, OptionError, PictureError, PictureWarning
from bifocal.pictures.exif import upright_exif
from bifocal.pictures.xmp import upright_xmp
from bifocal.stream import container
from tests.conftest import made_picture
from tests.stream.chunks.test_alpha import made_alpha

XMP = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    b'<?xpacket end="w"?>'
)


def made_exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "Maker of cameras"
    exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0x9003] = "2026:11:20 12:00:00"
    return exif.tobytes().removeprefix(b"Exif\0\0")


@cache
def icc() -> bytes:
    """A colour profile; it holds the second in which it is made."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def stored(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """How a camera would have stored an upright picture."""
    turned = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels),
        7: pixels.swapaxes(0, 1)[::-1, ::-1],
        8: np.rot90(pixels, -1),
    }
    return np.ascontiguousarray(turned[orientation])


# Transparency.


@pytest.mark.parametrize("kind", ["soft", "mask", "noise"])
@pytest.mark.parametrize("gray", [False, True])
def test_transparency_is_lossless_at_every_quality(tiny_model: bifocal.Model, kind: str, gray: bool) -> None:
    pixels = made_picture(70, 90)
    picture = bifocal.Picture(pixels[:, :, 0].copy() if gray else pixels, alpha=made_alpha(70, 90, kind))
    for quality in (1, 100):
        data = bifocal.encode(picture, quality, model=tiny_model, tile=64)
        back = bifocal.decode(data, model=tiny_model)
        assert back.alpha is not None and np.array_equal(back.alpha, picture.alpha)
        assert back.gray is gray and back.metadata == {}
        assert bifocal.info(data).alpha > 0 and bifocal.info(data).metadata == {}


def test_boxes_and_smaller_pictures_keep_their_transparency(tiny_model: bifocal.Model) -> None:
    picture = bifocal.Picture(made_picture(150, 201), alpha=made_alpha(150, 201))
    data = bifocal.encode(picture, model=tiny_model, tile=64)
    box = (30, 40, 171, 100)
    part = bifocal.decode(data, model=tiny_model, box=box)
    assert np.array_equal(part.alpha, picture.alpha[40:100, 30:171])
    assert part.pixels.shape[:2] == part.alpha.shape


def test_alpha_follows_every_scale(tiny_model: bifocal.Model) -> None:
    from bifocal.runtime.decoding import decode_transparency
    from bifocal.runtime.rendering import reduce_box

    alpha = made_alpha(150, 201)
    data = bifocal.encode(bifocal.Picture(made_picture(150, 201), alpha=alpha), model=tiny_model, tile=64)
    parsed = container.read(data)
    for reduction in (2, 4, 8, 16):
        for box in (None, (30, 40, 171, 101), (200, 149, 201, 150)):
            small = decode_transparency(parsed, box=box, reduction=reduction)
            left, top, right, bottom = reduce_box(box or (0, 0, 201, 150), reduction)
            assert small is not None and small.shape == (bottom - top, right - left)
            whole = np.pad(alpha, ((0, -150 % reduction), (0, -201 % reduction)), mode="edge").astype(float)
            means = whole.reshape(whole.shape[0] // reduction, reduction, -1, reduction).mean((1, 3))
            assert np.abs(small - means[top:bottom, left:right]).max() <= 0.5


def test_opaque_pictures_cost_nothing_more(tiny_model: bifocal.Model) -> None:
    pixels = made_picture(40, 50)
    opaque = np.dstack([pixels, np.full((40, 50), 255, np.uint8)])
    assert bifocal.encode(opaque, model=tiny_model) == bifocal.encode(pixels, model=tiny_model)


def test_what_nobody_sees_changes_nothing(tiny_model: bifocal.Model) -> None:
    """Noise under full transparency costs no byte more than a smooth surface does."""
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (128, 128, 3), np.uint8)
    pixels[:, :64] = 90
    alpha = np.zeros((128, 128), np.uint8)
    alpha[:, :64] = 255
    flat = np.full_like(pixels, 90)
    hidden = bifocal.encode(bifocal.Picture(pixels, alpha=alpha), model=tiny_model)
    assert hidden == bifocal.encode(bifocal.Picture(flat, alpha=alpha), model=tiny_model)


def test_damaged_transparency_is_never_a_picture(tiny_model: bifocal.Model) -> None:
    """Even with all checksums right: a chunk that is not this picture's alpha."""
    picture = bifocal.Picture(made_picture(30, 40), {"icc": b"x"}, made_alpha(30, 40))
    parsed = container.read(bifocal.encode(picture, model=tiny_model))
    tiles = [(bytes(parsed.payload(n)), tile.latent_crc) for n, tile in enumerate(parsed.tiles)]
    other = bifocal.encode(bifocal.Picture(made_picture(40, 30), alpha=made_alpha(40, 30)), model=tiny_model)
    chunk = container.read(other).metadata["alph"]
    with pytest.raises(DamagedStream, match="no plain gray PNG of 40×30"):
        bifocal.decode(container.write(parsed.header, {"alph": chunk}, tiles), model=tiny_model)


def test_the_key_of_transparency_is_not_for_metadata() -> None:
    with pytest.raises(PictureError, match="alpha"):
        bifocal.Picture(made_picture(4, 4), {"alph": b""})


# Orientation.


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_orientation_is_applied_once_on_the_whole_way(
    suffix: str, orientation: int, tiny_model: bifocal.Model, tmp_path: Path
) -> None:
    """File → picture → stream → picture → file → every reader that follows EXIF: upright each time."""
    upright = made_picture(48, 80)
    source = tmp_path / f"a{suffix}"
    lossless = {"lossless": True} if suffix == ".webp" else {"quality": 97} if suffix == ".jpg" else {}
    exif = b"Exif\0\0" + made_exif(orientation)  # JPEG needs the prefix, the others drop it
    Image.fromarray(stored(upright, orientation)).save(source, exif=exif, **lossless)
    picture = bifocal.read_picture(source)
    limit = 0 if suffix != ".jpg" else 60
    assert np.abs(picture.pixels.astype(int) - upright).max() <= limit
    decoded = bifocal.decode(bifocal.encode(picture, 95, model=tiny_model), model=tiny_model)
    assert decoded.metadata == picture.metadata
    for target in ("b.png", "b.webp", "b.tif", "b.jpg"):
        bifocal.write_picture(decoded, tmp_path / target)
        again = bifocal.read_picture(tmp_path / target)
        assert (again.width, again.height) == (80, 48)
        with Image.open(tmp_path / target) as image:
            assert image.size == (80, 48) and image.getexif().get(0x0112, 1) == 1
            assert image.getexif()[0x010F].rstrip("\0") == "Maker of cameras"
            assert ImageOps.exif_transpose(image).size == (80, 48)
        if target != "b.jpg":
            assert np.array_equal(again.pixels, decoded.pixels)


def test_orientation_in_xmp_is_applied_once_too(tmp_path: Path) -> None:
    """Pillow follows XMP where EXIF says nothing; so do we, and neutralise it."""
    upright = made_picture(6, 9)
    Image.fromarray(stored(upright, 6)).save(tmp_path / "a.webp", xmp=XMP, lossless=True)
    picture = bifocal.read_picture(tmp_path / "a.webp")
    assert np.array_equal(picture.pixels, upright) and picture.metadata["xmp"] == XMP
    for name in ("b.png", "b.webp", "b.tif"):
        bifocal.write_picture(picture, tmp_path / name)
        again = bifocal.read_picture(tmp_path / name)
        assert np.array_equal(again.pixels, upright)
        assert again.metadata["xmp"] == upright_xmp(XMP) == XMP.replace(b'"6"', b'"1"')


@pytest.mark.parametrize(
    "exif", [b"", b"II", b"MM\0*\0\0\0\x08", b"II*\0\xff\xff\xff\xff", bytes(100), b"Exif\0\0"]
)
def test_damaged_exif_stays_as_it_is(exif: bytes) -> None:
    assert upright_exif(exif) == exif


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_neutralised_in_place(orientation: int) -> None:
    for prefix in (b"", b"Exif\0\0"):
        changed = upright_exif(prefix + made_exif(orientation))
        assert len(changed) == len(prefix + made_exif(orientation))
        tags = Image.Exif()
        tags.load(changed)
        assert tags[0x0112] == 1 and tags[0x010F] == "Maker of cameras"


# Metadata.


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_metadata_is_kept_byte_for_byte(suffix: str, tiny_model: bifocal.Model, tmp_path: Path) -> None:
    kept = {"exif": made_exif(6), "icc": icc(), "xmp": XMP}
    picture = bifocal.Picture(made_picture(20, 30), kept)
    bifocal.write_picture(picture, tmp_path / f"a{suffix}")
    written = {"exif": upright_exif(kept["exif"]), "icc": kept["icc"], "xmp": upright_xmp(XMP)}
    read = bifocal.read_picture(tmp_path / f"a{suffix}")
    assert read.metadata == written
    data = bifocal.encode(read, model=tiny_model)
    assert bifocal.decode(data, model=tiny_model).metadata == written
    assert bifocal.info(data).metadata == {key: len(value) for key, value in written.items()}
    original = bifocal.encode(picture, model=tiny_model)
    assert bifocal.decode(original, model=tiny_model).metadata == kept


def test_metadata_of_tiff_is_kept_as_far_as_it_is_metadata(tmp_path: Path) -> None:
    picture = bifocal.Picture(made_picture(20, 30), {"exif": made_exif(8), "icc": icc(), "xmp": XMP})
    bifocal.write_picture(picture, tmp_path / "a.tif")
    back = bifocal.read_picture(tmp_path / "a.tif")
    assert back.metadata["icc"] == icc() and back.metadata["xmp"] == upright_xmp(XMP)
    tags = Image.Exif()
    tags.load(back.metadata["exif"])
    assert tags[0x010F] == "Maker of cameras" and tags.get(0x0112, 1) == 1
    assert tags.get_ifd(0x8769)[0x9003] == "2026:11:20 12:00:00"
    assert not {256, 257, 273, 279} & set(tags)  # how the pixels lie in that file is not metadata


def test_exif_in_a_raw_profile_of_png_is_found() -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    exif = b"Exif\0\0" + made_exif(3)
    info.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{exif.hex()}\n")
    buffer = io.BytesIO()
    upright = made_picture(5, 6)
    Image.fromarray(stored(upright, 3)).save(buffer, "PNG", pnginfo=info)
    picture = bifocal.read_picture(buffer)
    assert picture.metadata["exif"] == made_exif(3) and np.array_equal(picture.pixels, upright)


def test_pillow_gets_metadata_that_turns_nothing_twice() -> None:
    picture = bifocal.Picture(made_picture(6, 9), {"exif": made_exif(6), "xmp": XMP, "icc": icc()})
    image = bifocal.to_pillow(picture)
    assert image.getexif()[0x0112] == 1 and image.info["icc_profile"] == icc()
    assert np.array_equal(np.asarray(ImageOps.exif_transpose(image)), picture.pixels)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=image.info["exif"], xmp=image.info["xmp"])
    assert bifocal.read_picture(buffer).metadata["exif"] == upright_exif(made_exif(6))


@pytest.mark.parametrize(
    ("name", "metadata", "says"),
    [
        ("a.ppm", {"icc": b"p" * 300}, r"PPM holds no metadata: the colour profile of 300 bytes is left out"),
        ("a.bmp", {"exif": b"II*\0"}, "BMP holds no metadata: EXIF"),
        ("a.jpg", {"exif": bytes(65_530)}, "JPEG holds 65533 bytes of it: EXIF of 65536"),
        ("a.jpg", {"xmp": bytes(65_505)}, "JPEG holds 65504 bytes of it: XMP of 65505"),
        ("a.png", {"xmp": b"\xff\xfe"}, "not UTF-8"),
        ("a.tif", {"exif": b"no exif at all"}, "EXIF is damaged"),
    ],
)
def test_metadata_that_has_no_place_is_left_out_with_a_warning(
    name: str, metadata: dict[str, bytes], says: str, tmp_path: Path
) -> None:
    picture = bifocal.Picture(made_picture(5, 6), metadata)
    with pytest.warns(PictureWarning, match=says):
        bifocal.write_picture(picture, tmp_path / name)
    assert bifocal.read_picture(tmp_path / name).width == 6


@pytest.mark.parametrize("key", ["exif", "xmp"])
def test_the_largest_metadata_that_jpeg_holds_is_written(key: str, tmp_path: Path) -> None:
    room = {"exif": 65_533 - 6, "xmp": 65_504}[key]
    bifocal.write_picture(bifocal.Picture(made_picture(5, 6), {key: b"x" * room}), tmp_path / "a.jpg")
    assert bifocal.read_picture(tmp_path / "a.jpg").metadata == {key: b"x" * room}


def test_more_metadata_than_a_stream_holds_is_refused(tiny_model: bifocal.Model) -> None:
    picture = bifocal.Picture(made_picture(5, 6), {"xmp": bytes((1 << 24) + 1)})
    with pytest.raises(OptionError, match=r"16777217 bytes of metadata \(xmp\).*Leave some out"):
        bifocal.encode(picture, model=tiny_model)


# Sixteen bits.


def test_sixteen_bits_are_said_and_strictly_refused(tiny_model: bifocal.Model, tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / "a.png")
    with pytest.warns(PictureWarning, match=r"a\.png has 16 bits"):
        bifocal.encode_file(tmp_path / "a.png", tmp_path / "a.bfc", model=tiny_model)
    assert abs(int(bifocal.decode_file(tmp_path / "a.bfc", model=tiny_model).pixels[0, 0]) - 156) <= 8
    with pytest.raises(PictureError, match="strict"):
        bifocal.encode_file(tmp_path / "a.png", tmp_path / "b.bfc", model=tiny_model, strict=True)
    assert not (tmp_path / "b.bfc").exists()
    with Image.open(tmp_path / "a.png") as image, pytest.raises(PictureError, match="strict"):
        bifocal.encode(image, model=tiny_model, strict=True)
