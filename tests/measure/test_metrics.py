"""PSNR and MS-SSIM against hand-computed values, a reference implementation, and what must always hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bifocal.measure import MeasureError
from bifocal.measure.metrics import SMALLEST_SIDE, ms_ssim, ms_ssim_db, psnr

Pixels = np.ndarray


def pattern(h: int, w: int, seed: int) -> tuple[Pixels, Pixels]:
    """A textured picture and a disturbed copy, the same wherever they are made."""
    i, j, c = np.arange(h)[:, None, None], np.arange(w)[None, :, None], np.arange(3)[None, None, :]
    a = ((i * i // 7 + j * 3 + (i * j) // 11 + c * 40 + seed * 13) % 256).astype(np.uint8)
    noise = (i * 5 + j * 7 + c * 3) % 23 - 11
    return a, np.clip(a.astype(int) + noise, 0, 255).astype(np.uint8)


def test_psnr_of_known_errors() -> None:
    black = np.zeros((2, 2, 3), np.uint8)
    assert psnr(black, black) == math.inf
    assert psnr(black, black + 255) == 0.0
    one_off = black.copy()
    one_off[0, 0, 1] = 6  # squared error 36 over 12 samples: a mean of 3
    assert psnr(black, one_off) == pytest.approx(10 * math.log10(255**2 / 3), abs=1e-12)


def test_psnr_averages_over_channels_and_rows_together() -> None:
    a, b = pattern(300, 17, 1)
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    assert psnr(a, b) == pytest.approx(10 * math.log10(255**2 / error), abs=1e-9)


@pytest.mark.parametrize(
    ("h", "w", "value"),
    [  # pytorch-msssim 1.0.0 in double precision (its window is float32), data_range=255
        (161, 161, 0.9988967882100152),
        (176, 163, 0.9989004518080016),
        (200, 321, 0.9989242109816052),
        (256, 192, 0.9987968935726127),
    ],
)
def test_ms_ssim_agrees_with_the_convention_of_the_published_tables(h: int, w: int, value: float) -> None:
    assert ms_ssim(*pattern(h, w, h)) == pytest.approx(value, abs=2e-8)


def test_ms_ssim_of_flat_pictures_is_the_luminance_term_alone() -> None:
    c1 = 2.55**2
    luminance = (2 * 100 * 110 + c1) / (100**2 + 110**2 + c1)
    # contrast is 1 at every scale; 176 halves evenly: no zero row enters, one luminance term counts
    flat_a, flat_b = np.full((176, 176), 100, np.uint8), np.full((176, 176), 110, np.uint8)
    assert ms_ssim(flat_a, flat_b) == pytest.approx(luminance**0.1333, abs=1e-9)


def test_ms_ssim_is_one_for_equal_pictures_and_symmetric() -> None:
    a, b = pattern(180, 170, 3)
    assert ms_ssim(a, a) == 1.0
    assert ms_ssim(a, b) == pytest.approx(ms_ssim(b, a), abs=1e-12)
    assert ms_ssim(a, 255 - a) < 0.2


def test_gray_is_one_channel() -> None:
    a, b = pattern(170, 170, 5)
    gray_a, gray_b = np.ascontiguousarray(a[:, :, 0]), np.ascontiguousarray(b[:, :, 0])
    tripled = ms_ssim(np.repeat(gray_a[:, :, None], 3, 2), np.repeat(gray_b[:, :, None], 3, 2))
    assert ms_ssim(gray_a, gray_b) == pytest.approx(tripled, abs=1e-12)


def test_more_noise_scores_lower() -> None:
    a, _ = pattern(200, 200, 0)
    noise = np.random.default_rng(0).normal(size=a.shape)
    noisy = [np.clip(a + s * noise, 0, 255).astype(np.uint8) for s in (2, 8, 32)]
    for metric in (psnr, ms_ssim):
        scores = [metric(a, b) for b in noisy]
        assert scores == sorted(scores, reverse=True)


def test_ms_ssim_refuses_pictures_whose_fifth_scale_holds_no_window() -> None:
    assert SMALLEST_SIDE == 161
    small = np.zeros((160, 400, 3), np.uint8)
    with pytest.raises(MeasureError, match="at least 161"):
        ms_ssim(small, small)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32)),
        (np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2, 4), np.uint8)),
        (np.zeros((0, 2), np.uint8), np.zeros((0, 2), np.uint8)),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8)),
    ],
)
def test_what_cannot_be_compared_is_refused(a: Pixels, b: Pixels) -> None:
    for metric in (psnr, ms_ssim):
        with pytest.raises(MeasureError):
            metric(a, b)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_psnr_is_symmetric_and_bounded_below(h: int, w: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 256, (2, h, w, 3), np.uint8)
    assert psnr(a, b) == psnr(b, a) >= 0.0


def test_ms_ssim_in_decibels() -> None:
    assert ms_ssim_db(0.99) == pytest.approx(20.0)
    assert ms_ssim_db(1.0) == math.inf
