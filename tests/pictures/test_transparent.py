"""Invisible colours become smooth; visible ones are untouched."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bifocal.pictures.transparent import fill_transparent
from tests.conftest import made_picture


@given(st.integers(1, 40), st.integers(1, 40), st.booleans(), st.integers(0, 9))
def test_visible_pixels_keep_their_colours(h: int, w: int, gray: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (h, w) if gray else (h, w, 3), np.uint8)
    alpha = (rng.integers(0, 256, (h, w)) * (rng.random((h, w)) < 0.4)).astype(np.uint8)
    filled = fill_transparent(pixels, alpha)
    assert np.array_equal(filled[alpha > 0], pixels[alpha > 0])
    if (alpha > 0).any():  # nothing outside the range of what is visible is made up
        low, high = pixels[alpha > 0].min(0), pixels[alpha > 0].max(0)
        assert (filled >= low).all() and (filled <= high).all()


def test_nothing_to_hide_costs_nothing() -> None:
    pixels = made_picture(5, 6)
    assert fill_transparent(pixels, None) is pixels
    assert fill_transparent(pixels, np.ones((5, 6), np.uint8)) is pixels


def test_noise_under_transparency_becomes_smooth() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    pixels[:, :32] = 90
    alpha = np.zeros((64, 64), np.uint8)
    alpha[:, :32] = 255
    assert (fill_transparent(pixels, alpha) == 90).all()
    assert (fill_transparent(pixels, np.zeros_like(alpha)) == 128).all()


def test_far_blocks_take_the_mean_of_what_is_visible() -> None:
    pixels = np.zeros((1, 3000), np.uint8)
    alpha = np.zeros((1, 3000), np.uint8)
    pixels[0, :2], alpha[0, :2] = (10, 20), 255
    assert fill_transparent(pixels, alpha)[0, -1] == 15
