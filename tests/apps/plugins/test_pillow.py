"""What Pillow's users expect of a format, promise by promise."""

from __future__ import annotations

import copy
import gc
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

import bifocal
from bifocal.runtime import model as runtime_model
from bifocal.stream.tiles import TileReader
from tests.conftest import made_picture
from tests.promises.test_pictures import XMP, icc, made_exif, stored, upright_exif
from tests.stream.chunks.test_alpha import made_alpha


@pytest.fixture(autouse=True)
def registered(tiny_installed: None) -> None:
    bifocal.register_pillow()


def stream(picture: object, quality: int = 60) -> bytes:
    return bifocal.encode(picture, quality, model="tiny")  # type: ignore[arg-type]


PIXELS = made_picture(70, 90)
ALPHA = made_alpha(70, 90)
KINDS = {
    "L": bifocal.Picture(PIXELS[:, :, 0].copy()),
    "LA": bifocal.Picture(PIXELS[:, :, 0].copy(), alpha=ALPHA),
    "RGB": bifocal.Picture(PIXELS),
    "RGBA": bifocal.Picture(PIXELS, alpha=ALPHA),
}


@pytest.mark.parametrize("mode", KINDS)
def test_opening_tells_size_mode_and_metadata_without_decoding(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = {"icc": icc(), "exif": made_exif(6), "xmp": XMP}
    picture = bifocal.Picture(KINDS[mode].pixels, metadata, KINDS[mode].alpha)
    (tmp_path / "a.bfc").write_bytes(stream(picture))

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a tile was decoded")

    monkeypatch.setattr(TileReader, "__init__", fail)
    with Image.open(tmp_path / "a.bfc") as image:
        assert (image.format, image.mode, image.size) == ("BIFOCAL", mode, (90, 70))
        assert image.info["icc_profile"] == icc()
        assert image.getexif()[0x010F] == "Maker of cameras"
        assert image.get_format_mimetype() == "image/x-bifocal"
        image.verify()


@pytest.mark.parametrize("mode", KINDS)
def test_pixels_are_those_of_decode(mode: str, tmp_path: Path) -> None:
    (tmp_path / "a.bfc").write_bytes(stream(KINDS[mode]))
    decoded = bifocal.decode((tmp_path / "a.bfc").read_bytes())
    with Image.open(tmp_path / "a.bfc") as image:
        assert np.array_equal(np.asarray(image), np.asarray(bifocal.to_pillow(decoded)))
        if "A" in mode:
            assert np.array_equal(np.asarray(image)[:, :, -1], ALPHA)
        assert image.convert("RGB").rotate(90, expand=True).size == (70, 90)


def test_the_suffix_and_the_type_are_known() -> None:
    assert Image.registered_extensions()[".bfc"] == "BIFOCAL"
    assert Image.MIME["BIFOCAL"] == "image/x-bifocal"
    bifocal.register_pillow()
    assert Image.ID.count("BIFOCAL") == 1


# Orientation and metadata.


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once_from_photo_to_photo(orientation: int, tmp_path: Path) -> None:
    exif = b"Exif\0\0" + made_exif(orientation)
    Image.fromarray(stored(PIXELS, orientation)).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        image.save(tmp_path / "a.bfc", quality=95, model="tiny")
        assert image.getexif()[0x0112] == orientation  # the user's image is left alone
    with Image.open(tmp_path / "a.bfc") as image:
        assert image.size == (90, 70) and image.getexif()[0x0112] == 1
        upright = ImageOps.exif_transpose(image)
        assert np.array_equal(np.asarray(upright), np.asarray(image))
        image.save(tmp_path / "b.jpg", exif=image.info["exif"])
    with Image.open(tmp_path / "b.jpg") as image:
        assert ImageOps.exif_transpose(image).size == (90, 70)
    with Image.open(tmp_path / "a.bfc") as image:
        image.save(tmp_path / "c.bfc", quality=95, model="tiny")
    assert bifocal.decode_file(tmp_path / "c.bfc").pixels.shape == (70, 90, 3)
    assert bifocal.decode_file(tmp_path / "a.bfc").metadata["exif"] == made_exif(orientation)


def test_metadata_is_kept_unless_the_caller_gives_another(tmp_path: Path) -> None:
    image = Image.fromarray(PIXELS)
    image.info |= {
        "icc_profile": icc(),
        "exif": b"Exif\0\0" + made_exif(1),
        "xmp": XMP.replace(b'"6"', b'"1"'),
    }
    kept = {"icc": icc(), "exif": made_exif(1), "xmp": XMP.replace(b'"6"', b'"1"')}

    def saved(**settings: object) -> dict[str, bytes]:
        image.save(tmp_path / "a.bfc", model="tiny", **settings)
        return dict(bifocal.decode_file(tmp_path / "a.bfc").metadata)

    assert saved() == kept
    assert saved(exif=b"", icc_profile=None, xmp=b"") == {}
    assert saved(xmp=b"<x/>") == kept | {"xmp": b"<x/>"}
    tags = Image.Exif()
    tags[0x010E] = "another"
    assert saved(exif=tags, icc_profile=b"p", xmp=b"<y/>") == {
        "exif": tags.tobytes().removeprefix(b"Exif\0\0"),
        "icc": b"p",
        "xmp": b"<y/>",
    }
    assert saved(exif=made_exif(6))["exif"] == made_exif(6)
    with Image.open(tmp_path / "a.bfc") as turned:  # this EXIF says: turn, and so it was done
        assert turned.size == (70, 90)
        assert turned.info["exif"] == b"Exif\0\0" + upright_exif(made_exif(6))


# Files.


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files as Linux lists them")
@pytest.mark.parametrize(
    "use",
    [
        lambda path: Image.open(path).load(),
        lambda path: Image.open(path).close(),
        lambda path: Image.open(path).verify(),
        lambda path: Image.open(path).copy(),
        lambda path: Image.open(path).thumbnail((20, 20)),
        lambda path: Image.open(path).__exit__(None, None, None),
    ],
    ids=["load", "close", "verify", "copy", "thumbnail", "with"],
)
def test_no_file_stays_open(use: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "a.bfc").write_bytes(stream(PIXELS))
    use(tmp_path / "a.bfc")
    before = open_files()
    for _ in range(3):
        use(tmp_path / "a.bfc")
    assert open_files() == before


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files as Linux lists them")
def test_no_file_stays_open_after_a_refusal(tmp_path: Path) -> None:
    data = stream(PIXELS)
    (tmp_path / "cut.bfc").write_bytes(data[:40])
    (tmp_path / "bad.bfc").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    before = open_files()
    for _ in range(3):
        with pytest.raises(OSError):
            Image.open(tmp_path / "cut.bfc")
        with Image.open(tmp_path / "bad.bfc") as image, pytest.raises(OSError):
            image.load()
    assert open_files() == before


def test_a_file_object_of_the_user_stays_open() -> None:
    buffer = io.BytesIO(stream(PIXELS))
    with Image.open(buffer) as image:
        image.load()
    assert not buffer.closed
    assert Image.open(buffer).size == (90, 70)  # Pillow starts at the beginning


def test_an_image_outlives_its_with_once_loaded(tmp_path: Path) -> None:
    (tmp_path / "a.bfc").write_bytes(stream(PIXELS))
    with Image.open(tmp_path / "a.bfc") as image:
        image.load()
    assert image.getpixel((3, 3))
    with Image.open(tmp_path / "a.bfc") as image:
        pass
    with pytest.raises(ValueError, match="closed image"):
        image.load()


def test_memory_comes_back() -> None:
    """Fifty opens and loads leave no image behind."""
    data = stream(PIXELS)
    for _ in range(50):
        Image.open(io.BytesIO(data)).load()
    gc.collect()
    kind = type(Image.open(io.BytesIO(data)))
    assert sum(type(thing) is kind for thing in gc.get_objects()) <= 1


def test_a_stream_may_arrive_in_pieces() -> None:
    parser, data = ImageFile.Parser(), stream(KINDS["RGBA"])
    for start in range(0, len(data), 500):
        parser.feed(data[start : start + 500])
    assert np.array_equal(np.asarray(parser.close()), np.asarray(Image.open(io.BytesIO(data))))


# Damage.


def test_every_truncation_is_an_oserror() -> None:
    data = stream(KINDS["RGBA"])
    for cut in range(0, len(data), 13):
        with pytest.raises(OSError):  # UnidentifiedImageError is one
            Image.open(io.BytesIO(data[:cut])).load()


def test_what_is_no_stream_is_left_to_others() -> None:
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(b"\x89BFD" + bytes(100)))
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "PNG")
    assert Image.open(buffer).format == "PNG"


def test_damage_is_found_by_load_and_by_verify() -> None:
    data = stream(PIXELS)
    bad = io.BytesIO(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(OSError, match="damaged: its checksum differs"):
        Image.open(bad).load()
    with pytest.raises(OSError, match="damaged: its checksum differs"):
        Image.open(bad).verify()
    good = Image.open(io.BytesIO(data))
    good.load()
    with pytest.raises(RuntimeError, match="directly after open"):
        good.verify()


def test_a_missing_model_is_said_when_pixels_are_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    image = Image.open(io.BytesIO(stream(PIXELS)))
    given = Image.open(io.BytesIO(stream(PIXELS)))
    given.model = runtime_model.MODELS / "tiny"  # type: ignore[attr-defined]
    monkeypatch.setattr(runtime_model, "MODELS", tmp_path)
    assert image.size == (90, 70)
    with pytest.raises(OSError, match="not installed here"):
        image.load()
    assert given.getpixel((0, 0))


# Smaller pictures.


def test_thumbnails_decode_no_more_than_they_need() -> None:
    image = Image.open(io.BytesIO(stream(made_picture(256, 512))))
    image.thumbnail((64, 64))
    assert image.size == (64, 32)
    scaled = bifocal.decode(stream(made_picture(256, 512)), scale=1 / 4)  # twice what is asked for, or more
    wanted = Image.fromarray(scaled.pixels).resize((64, 32), Image.Resampling.BICUBIC, reducing_gap=2.0)
    assert np.abs(np.asarray(image).astype(int) - np.asarray(wanted)).max() <= 2


def test_draft_is_like_that_of_jpeg() -> None:
    data = stream(bifocal.Picture(made_picture(130, 201), alpha=made_alpha(130, 201)))
    image = Image.open(io.BytesIO(data))
    assert image.draft(None, (60, 40)) == ("RGBA", (0, 0, 201 / 2, 130 / 2))
    assert image.size == (101, 65)
    assert np.asarray(image).shape == (65, 101, 4)
    assert image.draft(None, (10, 10)) is None  # it is loaded
    image = Image.open(io.BytesIO(data))
    assert (
        image.draft("L", None) is None and image.draft("L", (200, 130)) is None and image.size == (201, 130)
    )


# Copies, threads.


@pytest.mark.parametrize("mode", KINDS)
def test_images_are_copied_and_pickled(mode: str) -> None:
    image = Image.open(io.BytesIO(stream(KINDS[mode])))
    again = Image.open(io.BytesIO(stream(KINDS[mode])))
    unpickled = type(again).__new__(type(again))
    unpickled.__setstate__(again.__getstate__())
    for other in (image.copy(), copy.copy(again), copy.deepcopy(again), unpickled):
        assert np.array_equal(np.asarray(other), np.asarray(image)) and other.mode == mode


def test_threads_decode_at_once_and_share_an_image() -> None:
    pictures = [made_picture(60 + n, 80, seed=n) for n in range(6)]
    streams = [stream(pixels) for pixels in pictures]
    wanted = [bifocal.decode(data).pixels for data in streams]
    shared = [Image.open(io.BytesIO(data)) for data in streams]
    wrong: list[object] = []

    def work() -> None:
        for n, data in enumerate(streams):
            for image in (Image.open(io.BytesIO(data)), shared[n]):
                if not np.array_equal(np.asarray(image), wanted[n]):
                    wrong.append(n)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
