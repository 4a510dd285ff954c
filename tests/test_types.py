"""Pictures and latents: what they refuse, and when two are equal."""

from __future__ import annotations

import io
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bifocal.errors import LatentsError, PictureError
from bifocal.types import Labels, Latents, Picture

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


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"metadata": {"xmp": "text"}}, r"'xmp' is a str; it must be bytes. For text: .encode\(\)"),
        ({"metadata": {7: b""}}, "key 7 is not text"),
        ({"metadata": [b"exif"]}, "metadata is a list"),
        ({"metadata": None}, "metadata is a NoneType"),
        ({"alpha": [[255] * 5] * 4}, "alpha is a list"),
        ({"alpha": np.zeros((4, 4), np.uint8)}, r"must be uint8 \[4, 5\]"),
        ({"alpha": np.zeros((4, 5))}, "float64"),
    ],
)
def test_other_alpha_and_metadata_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(PictureError, match=says):
        Picture(RGB, **arguments)


def test_representations_are_short() -> None:
    alpha = np.zeros((4, 5), np.uint8)
    assert repr(Picture(RGB, {"icc": b"x", "exif": b"y"})) == "Picture(5×4 RGB, exif icc)"
    assert repr(Picture(RGB[:, :, 0], alpha=alpha)) == "Picture(5×4 gray with alpha)"
    assert repr(LATENTS) == "Latents(60×50 RGB, quality 40, y 2×4×4, z 1×1×1, tiny)"
    names = tuple(f"class {n}" for n in range(1000))
    labels = Labels(names, np.full(1000, 0.001, np.float32), "head")
    assert repr(labels) == "Labels(class 0 0.1 %, class 1 0.1 %, class 2 0.1 %, … 997 more, by head)"


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 1200), (40, 60)])
@pytest.mark.parametrize("kind", ["gray", "RGB", "alpha"])
def test_a_notebook_shows_a_small_png(size: tuple[int, int], kind: str) -> None:
    pixels = np.full(size if kind == "gray" else (*size, 3), 200, np.uint8)
    picture = Picture(pixels, {"icc": b"profile"}, np.full(size, 255, np.uint8) if kind == "alpha" else None)
    with Image.open(io.BytesIO(picture._repr_png_())) as shown:
        factor = min(1, 1024 / max(size))
        assert shown.size == tuple(max(1, round(side * factor)) for side in (size[1], size[0]))
        assert shown.mode == {"gray": "L", "RGB": "RGB", "alpha": "RGBA"}[kind]
        assert shown.getpixel((0, 0)) == {"gray": 200, "RGB": (200,) * 3, "alpha": (200, 200, 200, 255)}[kind]
        assert shown.info["icc_profile"] == b"profile"


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
