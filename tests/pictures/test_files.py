"""Picture files: read with care, written whole."""

from __future__ import annotations

import io
import os
import stat
import struct
import warnings
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from PIL import Image

from bifocal.errors import OutputError, PictureError, PictureWarning
from bifocal.pictures.formats import WRITE_FORMATS
from bifocal.pictures.reading import read_picture
from bifocal.pictures.writing import write_picture
from bifocal.storage.filesystem import write_atomically
from bifocal.types import Picture
from tests.conftest import made_picture


def closed_file() -> io.BytesIO:
    file = io.BytesIO(b"data")
    file.close()
    return file


def pipe() -> IO[bytes]:
    reading, writing = os.pipe()
    os.close(writing)
    return os.fdopen(reading, "rb")


#: Suffixes by which pixels come back only nearly as they were.
LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".avif", ".gif"})
LOSSLESS = sorted(set(WRITE_FORMATS) - LOSSY_SUFFIXES)


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("gray", [False, True])
def test_lossless_formats_give_the_pixels_back(suffix: str, gray: bool, tmp_path: Path) -> None:
    pixels = made_picture(17, 23)
    picture = Picture(pixels[:, :, 1].copy() if gray else pixels)
    write_picture(picture, tmp_path / f"a{suffix}")
    back = read_picture(tmp_path / f"a{suffix}")
    if suffix == ".webp" and gray:  # WebP has no gray
        assert np.array_equal(back.pixels[:, :, 0], picture.pixels)
    else:
        assert np.array_equal(back.pixels, picture.pixels)


def test_other_formats_of_pillow_are_written_and_read_back(tmp_path: Path) -> None:
    rgb, gray = made_picture(17, 23), made_picture(17, 23)[:, :, 1].copy()
    for picture in (Picture(rgb), Picture(gray), Picture(rgb, alpha=gray)):
        write_picture(picture, tmp_path / "a.sgi")
        with Image.open(tmp_path / "a.sgi") as back:
            assert np.array_equal(np.asarray(back.convert("RGB"))[..., 1], rgb[..., 1])
    with pytest.warns(PictureWarning, match="PDF is not lossless"):
        write_picture(Picture(rgb), tmp_path / "a.pdf")
    for picture, suffix in (
        (Picture(rgb, alpha=gray), "pdf"),
        (Picture(np.zeros((8, 257), np.uint8)), "ico"),
        (Picture(rgb), "icns"),  # would be made larger
        (Picture(gray), "pbm"),
        (Picture(gray), "bfc"),
    ):
        with pytest.raises(OutputError):
            write_picture(picture, tmp_path / f"b.{suffix}")
        assert not (tmp_path / f"b.{suffix}").exists()


def test_damaged_exif_does_not_keep_a_picture_from_being_written(tmp_path: Path) -> None:
    for suffix in ("avif", "tif"):
        with pytest.warns(PictureWarning, match="EXIF is damaged"):
            write_picture(Picture(made_picture(17, 23), {"exif": b"II*\0"}), tmp_path / f"a.{suffix}")


def test_the_colour_profile_travels(tmp_path: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        write_picture(Picture(made_picture(8, 8), {"icc": profile}), tmp_path / f"a{suffix}")
        assert read_picture(tmp_path / f"a{suffix}").metadata == {"icc": profile}


def test_the_declared_size_is_checked_before_decoding(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "bomb.png").write_bytes(data + struct.pack(">I", 0) + b"IDAT")
    with pytest.raises(PictureError, match="pixels"):
        read_picture(tmp_path / "bomb.png")
    write_picture(Picture(made_picture(20, 20)), tmp_path / "a.png")
    with pytest.raises(PictureError, match="20×20 is 400 pixels, above the limit of 399"):
        read_picture(tmp_path / "a.png", max_pixels=399)


@pytest.mark.parametrize("keep", [0, 8, 40, 200, 600])
def test_a_truncated_file_is_a_picture_error(keep: int, tmp_path: Path) -> None:
    write_picture(Picture(made_picture(40, 40)), tmp_path / "a.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:keep])
    with pytest.raises(PictureError, match=r"cut\.jpg"):
        read_picture(tmp_path / "cut.jpg")


def test_animations_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(made_picture(8, 8, seed=seed)) for seed in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(PictureError, match="3 frames"):
        read_picture(tmp_path / "a.gif")


@pytest.mark.parametrize("suffix", sorted(LOSSY_SUFFIXES))
@pytest.mark.parametrize("gray", [False, True])
def test_lossy_formats_come_near(suffix: str, gray: bool, tmp_path: Path) -> None:
    pixels = made_picture(40, 50)
    picture = Picture(pixels[:, :, 1].copy() if gray else pixels)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        write_picture(picture, tmp_path / f"a{suffix}")
    assert [str(each.message).endswith("nearest of them.") for each in said] == [True] * (
        suffix == ".gif" and not gray
    )
    back = read_picture(tmp_path / f"a{suffix}").pixels.reshape(40, 50, -1).astype(int)
    error = np.abs(back - picture.pixels.reshape(40, 50, -1)).mean()
    assert error < (0.1 if gray else 12) if suffix == ".gif" else error < 4


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".avif", ".jp2", ".j2k", ".tga"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_pictures_of_one_row_are_written_too(suffix: str, size: tuple[int, int], tmp_path: Path) -> None:
    alpha = np.full(size, 9, np.uint8)
    write_picture(Picture(made_picture(*size), alpha=alpha), tmp_path / f"a{suffix}")
    back = read_picture(tmp_path / f"a{suffix}")
    assert back.pixels.shape[:2] == size and back.alpha is not None and np.abs(back.alpha - 9.0).max() <= 4


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".jp2", ".j2c", ".tga"])
@pytest.mark.parametrize("gray", [False, True])
def test_transparency_is_written_and_read(suffix: str, gray: bool, tmp_path: Path) -> None:
    pixels = made_picture(9, 12)
    alpha = np.arange(108, dtype=np.uint8).reshape(9, 12)
    picture = Picture(pixels[:, :, 0].copy() if gray else pixels, alpha=alpha)
    write_picture(picture, tmp_path / f"a{suffix}")
    back = read_picture(tmp_path / f"a{suffix}")
    assert np.array_equal(back.alpha, alpha)
    if suffix == ".webp" and gray:  # WebP has no gray
        back = Picture(back.pixels[:, :, 0].copy(), alpha=back.alpha)
    assert back == picture  # colours under alpha 0, too


@pytest.mark.parametrize("suffix", [".jpg", ".ppm", ".bmp", ".gif"])
def test_transparency_is_never_dropped_silently(suffix: str, tmp_path: Path) -> None:
    picture = Picture(made_picture(4, 4), alpha=np.zeros((4, 4), np.uint8))
    with pytest.raises(OutputError, match=r"transparent.*\.png"):
        write_picture(picture, tmp_path / f"a{suffix}")
    assert not list(tmp_path.iterdir())


def test_a_file_object_is_read_as_a_path_is(tmp_path: Path) -> None:
    write_picture(Picture(made_picture(9, 12)), tmp_path / "a.png")
    with (tmp_path / "a.png").open("rb") as file:
        assert read_picture(file) == read_picture(tmp_path / "a.png")
        assert not file.closed


def test_the_content_counts_and_not_the_suffix(tmp_path: Path) -> None:
    write_picture(Picture(made_picture(9, 12)), tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert read_picture(tmp_path / "a.jpg").width == 12


@pytest.mark.parametrize("data", [b"", b"text and no picture", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_picture_says_what_would_be(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(PictureError, match=r"a\.jpg is no picture that can be read: JPEG, PNG"):
        read_picture(tmp_path / "a.jpg")


def test_what_encode_takes_is_written(tmp_path: Path) -> None:
    pixels = made_picture(5, 6)
    write_picture(pixels, tmp_path / "a.png")
    write_picture(Image.fromarray(pixels), tmp_path / "b.png")
    assert read_picture(tmp_path / "a.png") == read_picture(tmp_path / "b.png") == Picture(pixels)
    with pytest.raises(PictureError, match="not a picture"):
        write_picture(b"pixels", tmp_path / "c.png")  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="not a path"):
        write_picture(pixels, 7)  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="exists"):
        write_picture(pixels, tmp_path / "a.png", overwrite=False)


def test_a_side_too_long_for_a_format_is_an_output_error(tmp_path: Path) -> None:
    for name in ("a.webp", "a.jpg"):
        with pytest.raises(OutputError, match="Pillow cannot write it as"):
            write_picture(np.zeros((1, 70_000), np.uint8), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "source",
    [7, None, b"\x89PNG", io.StringIO("text"), closed_file(), pipe()],
    ids=lambda s: type(s).__name__,
)
def test_what_is_no_path_and_no_binary_file_is_refused(source: object) -> None:
    with pytest.raises(PictureError, match=r"not a path and not an open binary file.*BytesIO"):
        read_picture(source)  # type: ignore[arg-type]


def test_a_name_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(PictureError, match="not a name that a file can have"):
        read_picture("a\0b.png")


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write a picture as '\.xyz'"):
        write_picture(Picture(made_picture(8, 8)), tmp_path / "a.xyz")


def test_writing_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    write_atomically(path, b"first")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OutputError, match="No space left"):
        write_atomically(path, b"second")
    assert path.read_bytes() == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_outputs_have_ordinary_permissions(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"")
    (tmp_path / "b").write_bytes(b"")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


def test_a_missing_folder_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_atomically(tmp_path / "no" / "a.bfc", b"")
