"""Pictures and latents: what they refuse, and when two are equal."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest

from bifocal.errors import LatentsError, PictureError
from bifocal.types import Latents, Picture

RGB = np.zeros((4, 5, 3), np.uint8)
LATENTS = Latents(
    np.zeros((2, 4, 4), np.int32), np.zeros((1, 1, 1), np.int32), 60, 50, False, 40, 64, "tiny", b"12345678"
)


def test_a_picture_knows_its_size_and_kind() -> None:
    picture = Picture(RGB)
    assert (picture.width, picture.height, picture.gray) == (5, 4, False)
    assert Picture(RGB[:, :, 0]).gray


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (RGB.astype(np.float32), "float32"),
        (RGB.tolist(), "list"),
        (np.zeros((4, 5, 4), np.uint8), "shape"),
        (np.zeros(4, np.uint8), "shape"),
        (np.zeros((0, 5, 3), np.uint8), "at least one pixel"),
    ],
)
def test_other_pictures_are_refused(pixels: Any, says: str) -> None:
    with pytest.raises(PictureError, match=says):
        Picture(pixels)


def test_pictures_are_equal_by_content() -> None:
    assert Picture(RGB) == Picture(RGB.copy())
    assert Picture(RGB) != Picture(RGB + np.uint8(1))
    assert Picture(RGB) != Picture(RGB, {"icc": b"x"})
    assert Picture(RGB) != RGB.tobytes()


def test_a_picture_is_an_array_to_others() -> None:
    assert np.shares_memory(np.asarray(Picture(RGB)), RGB)


def test_latents_are_equal_by_content_but_not_by_name() -> None:
    assert replace(LATENTS, model="other") == LATENTS
    for change in (
        {"width": 61},
        {"gray": True},
        {"quality": 41},
        {"tile": 128},
        {"fingerprint": b"87654321"},
    ):
        assert replace(LATENTS, **change) != LATENTS
    assert replace(LATENTS, y=LATENTS.y + np.int32(1)) != LATENTS
    assert LATENTS != 3


@pytest.mark.parametrize(
    "change",
    [
        {"y": np.zeros((2, 4, 4))},
        {"y": np.zeros((4, 4), np.int32)},
        {"z": np.zeros((1, 1, 1), np.int64)},
        {"z": [[[0]]]},
        {"width": 0},
        {"quality": 0},
        {"quality": 101},
    ],
)
def test_impossible_latents_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(LatentsError):
        replace(LATENTS, **change)


def test_both_are_frozen() -> None:
    for thing, name in ((Picture(RGB), "pixels"), (LATENTS, "y")):
        with pytest.raises(FrozenInstanceError):
            setattr(thing, name, None)
