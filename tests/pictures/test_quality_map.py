"""Quality maps: what is taken for one, how it is stretched, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bifocal.errors import OptionError, PictureError
from bifocal.pictures.quality_map import read_map


def test_arrays_of_every_kind_say_the_same() -> None:
    mask = np.zeros((6, 8), bool)
    mask[2:4] = True
    for given in (mask, mask.astype(float), mask.astype(np.float16), mask.astype(np.uint8) * 255):
        weights = read_map(given, 8, 6)
        assert weights.dtype == np.float32 and (weights == mask).all()


def test_a_map_of_another_size_is_stretched() -> None:
    small = np.array([[0.0, 1.0]])
    weights = read_map(small, 40, 10)
    assert weights.shape == (10, 40)
    assert weights[0, 0] == 0 and weights[0, -1] == 1
    assert (np.diff(weights, axis=1) >= 0).all() and 0.4 < weights.mean() < 0.6
    assert read_map(np.eye(400), 4, 4).shape == (4, 4)


def test_a_picture_file_is_one(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.new("L", (20, 10), 51).save(path)
    assert read_map(path, 20, 10) == pytest.approx(0.2)
    Image.new("RGB", (20, 10), (0, 255, 0)).save(path)
    assert read_map(str(path), 5, 5) == pytest.approx(85 / 255)


@pytest.mark.parametrize(
    "given",
    [
        np.zeros((3, 3)),
        np.full((3, 3), 1.5),
        np.full((3, 3), -0.1),
        np.full((3, 3), np.nan),
        np.ones((3, 3), np.int64),
        np.ones((3, 3, 3)),
        np.ones((0, 3)),
        [[1, 0], [1]],
        {"a": 1},
    ],
)
def test_what_is_no_map(given: np.ndarray) -> None:
    with pytest.raises(OptionError, match="quality map"):
        read_map(given, 3, 3)


def test_a_file_that_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(b"nothing")
    with pytest.raises(PictureError):
        read_map(path, 3, 3)
