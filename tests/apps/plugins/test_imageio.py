"""What imageio's users expect: arrays in, arrays out, properties and metadata from the header alone."""

from __future__ import annotations

import io
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

import bifocal
from tests.conftest import made_picture
from tests.promises.test_pictures import XMP, icc, made_exif, upright_exif
from tests.stream.chunks.test_alpha import made_alpha

RGBA = np.dstack([made_picture(50, 70), made_alpha(50, 70)])


@pytest.fixture(autouse=True)
def registered(tiny_installed: None) -> None:
    bifocal.register_imageio()


@pytest.mark.parametrize("planes", [0, 2, 3, 4])
def test_arrays_come_back(planes: int, tmp_path: Path) -> None:
    array = RGBA[:, :, 0] if planes == 0 else RGBA[:, :, 4 - planes :] if planes != 3 else RGBA[:, :, :3]
    iio.imwrite(tmp_path / "a.bfc", array, quality=90, model="tiny")
    back = iio.imread(tmp_path / "a.bfc")
    assert back.shape == array.shape and back.dtype == np.uint8
    assert (tmp_path / "a.bfc").read_bytes() == bifocal.encode(array, 90, model="tiny")
    if planes in (2, 4):
        assert np.array_equal(back[:, :, -1], array[:, :, -1])
    properties = iio.improps(tmp_path / "a.bfc")
    assert (properties.shape, properties.dtype, properties.is_batch) == (array.shape, np.uint8, False)
    assert iio.improps(tmp_path / "a.bfc", index=...).shape == iio.imread(tmp_path / "a.bfc", index=...).shape
    assert [frame.shape for frame in iio.imiter(tmp_path / "a.bfc")] == [array.shape]


def test_bytes_and_files_work_too() -> None:
    data = iio.imwrite("<bytes>", RGBA, extension=".bfc", model="tiny")
    assert data == bifocal.encode(RGBA, model="tiny")
    buffer = io.BytesIO()
    iio.imwrite(buffer, RGBA, extension=".bfc", model="tiny")
    assert buffer.getvalue() == data
    assert np.array_equal(iio.imread(data), iio.imread(io.BytesIO(data)))
    assert np.array_equal(
        iio.imread(data, plugin="bifocal", box=(3, 4, 40, 30)), iio.imread(data)[4:30, 3:40]
    )
    assert iio.imread(data, scale=1 / 2).shape == (25, 35, 4)


def test_the_second_interface_reads_and_writes_too(tmp_path: Path) -> None:
    import imageio.v2 as old

    old.imwrite(tmp_path / "a.bfc", RGBA, model="tiny")
    assert (tmp_path / "a.bfc").read_bytes() == bifocal.encode(RGBA, model="tiny")
    assert np.array_equal(np.asarray(old.imread(tmp_path / "a.bfc")), iio.imread(tmp_path / "a.bfc"))


def test_metadata_is_written_and_read(tmp_path: Path) -> None:
    metadata = {"icc": icc(), "exif": made_exif(6), "xmp": XMP}
    iio.imwrite(tmp_path / "a.bfc", RGBA, model="tiny", metadata=metadata, quality=44)
    applied = iio.immeta(tmp_path / "a.bfc")
    assert applied["quality"] == 44 and applied["icc_profile"] == icc()
    assert applied["exif"] == b"Exif\0\0" + upright_exif(made_exif(6))
    assert iio.immeta(tmp_path / "a.bfc", exclude_applied=False)["exif"] == made_exif(6)


def test_one_picture_is_one_picture(tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "a.bfc", [RGBA], model="tiny")
    with pytest.raises(bifocal.BifocalError, match="one at a time"):
        iio.imwrite(tmp_path / "b.bfc", [RGBA, RGBA], model="tiny")
    with pytest.raises(ValueError, match="index is 1"):
        iio.imread(tmp_path / "a.bfc", index=1)
    with pytest.raises(ValueError, match="index is"):
        iio.imread(tmp_path / "a.bfc", index=np.zeros(2))


def test_a_second_picture_is_refused_and_the_first_stays(tmp_path: Path) -> None:
    with iio.imopen(tmp_path / "a.bfc", "w", plugin="bifocal") as file:
        file.write(RGBA, model="tiny")
        with pytest.raises(bifocal.BifocalError, match="a stream holds one picture, and one is written"):
            file.write(RGBA, model="tiny")
    assert (tmp_path / "a.bfc").read_bytes() == bifocal.encode(RGBA, model="tiny")


def test_arrays_of_other_types_are_those_of_encode(tmp_path: Path) -> None:
    sixteen = RGBA.astype(np.uint16) * 257
    with pytest.warns(bifocal.errors.PictureWarning, match="16 bits"):
        iio.imwrite(tmp_path / "a.bfc", sixteen, model="tiny")
    assert (tmp_path / "a.bfc").read_bytes() == bifocal.encode(RGBA, model="tiny")
    with pytest.raises(bifocal.BifocalError, match="strict"):
        iio.imwrite(tmp_path / "b.bfc", sixteen, model="tiny", strict=True)
    iio.imwrite(tmp_path / "c.bfc", RGBA[:, :, 0] > 99, model="tiny")
    for wrong in (RGBA.astype(float), [[[1, 2], [3]]], np.zeros((2, 2, 7), np.uint8)):
        with pytest.raises(bifocal.BifocalError):
            iio.imwrite(tmp_path / "d.bfc", wrong, model="tiny")


def test_unknown_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no option 'qualty'. Did you mean quality\?"):
        iio.imwrite(tmp_path / "a.bfc", RGBA, model="tiny", qualty=3)
    data = bifocal.encode(RGBA, model="tiny")
    with pytest.raises(ValueError, match=r"no option 'bx'. Did you mean box\? Options are .*scale"):
        iio.imread(data, plugin="bifocal", bx=(0, 0, 9, 9))


def test_others_keep_their_formats(tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "a.png", RGBA)
    assert np.array_equal(iio.imread(tmp_path / "a.png"), RGBA)
    (tmp_path / "a.bfc").write_bytes((tmp_path / "a.png").read_bytes())  # a wrong suffix
    assert np.array_equal(iio.imread(tmp_path / "a.bfc"), RGBA)
    with pytest.raises(OSError, match="can not handle"):
        iio.imwrite(tmp_path / "b.png", RGBA, plugin="bifocal")


def test_damage_is_our_own_error(tmp_path: Path) -> None:
    data = bifocal.encode(RGBA, model="tiny")
    (tmp_path / "a.bfc").write_bytes(data[:-1])
    with pytest.raises(bifocal.BifocalError, match="ends inside"):
        iio.imread(tmp_path / "a.bfc")
