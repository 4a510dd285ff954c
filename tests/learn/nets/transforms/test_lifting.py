"""Wavelets by lifting: invertible at any shape and dtype, right in the middle, exact on integers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bifocal.learn.nets.transforms.lifting import (
    CDF53,
    CDF97,
    HAAR,
    Wavelet,
    decompose,
    merge,
    recompose,
    split,
    synthesis_gains,
)
from bifocal.learn.nets.transforms.wavelet import haar_split

ALL = [HAAR, CDF53, CDF97]
sizes = st.integers(1, 19)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(ALL), sizes, sizes, sizes, st.integers(1, 4), st.booleans(), st.integers(0, 99))
def test_any_shape_comes_back(
    wavelet: Wavelet, c: int, h: int, w: int, levels: int, channels: bool, seed: int
) -> None:
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, c, h, w)))
    axes = (1, 2, 3) if channels else (2, 3)
    pyramid = decompose(x, wavelet, levels=levels, axes=axes)
    assert torch.allclose(recompose(pyramid, wavelet, axes=axes), x, atol=1e-9)
    assert pyramid.low.numel() + sum(b.numel() for bands in pyramid.high for b in bands) == x.numel()


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([HAAR, CDF53]), sizes, sizes, st.integers(1, 4), st.integers(0, 99))
def test_integers_come_back_exactly(wavelet: Wavelet, h: int, w: int, levels: int, seed: int) -> None:
    x = torch.from_numpy(np.random.default_rng(seed).integers(-999, 1000, (1, 1, h, w)))
    pyramid = decompose(x, wavelet, levels=levels, integer=True)
    assert torch.equal(recompose(pyramid, wavelet, integer=True), x)
    for dtype in (torch.int32, torch.float32):  # floats that hold integers give the same integers
        other = decompose(x.to(dtype), wavelet, levels=levels, integer=True)
        assert other.low.dtype == dtype and torch.equal(other.low.long(), pyramid.low)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("wavelet", ALL, ids=lambda w: w.name)
def test_dtype_is_kept(wavelet: Wavelet, dtype: torch.dtype) -> None:
    low, high = split(torch.ones(3, 8, dtype=dtype), 1, wavelet)
    assert low.dtype == high.dtype == dtype
    tolerance = {torch.float16: 0.01, torch.bfloat16: 0.06}.get(dtype, 1e-5)
    assert torch.allclose(merge(low, high, 1, wavelet), torch.ones(3, 8, dtype=dtype), atol=tolerance)
    assert torch.allclose(low.float(), torch.full((3, 4), 2**0.5), atol=tolerance)


@pytest.mark.parametrize(("wavelet", "name"), [(HAAR, "haar"), (CDF53, "bior2.2"), (CDF97, "bior4.4")])
def test_interior_agrees_with_pywavelets(wavelet: Wavelet, name: str) -> None:
    pywt = pytest.importorskip("pywt")
    x = np.random.default_rng(0).normal(size=64)
    low, high = split(torch.from_numpy(x), 0, wavelet)
    theirs = pywt.dwt(x, name, mode="reflect")
    shift = (len(theirs[0]) - 32) // 2
    for mine, other in zip((low, high), theirs, strict=True):
        candidates = [np.abs(mine.numpy()[4:-4] - other[4 + s : 28 + s]).max() for s in range(2 * shift + 1)]
        assert min(candidates) < 1e-9


def test_haar_is_the_short_formula() -> None:
    x = torch.randn(2, 3, 8, 12)
    pyramid = decompose(x)
    assert torch.allclose(torch.cat([pyramid.low, *pyramid.high[0]], 1), haar_split(x), atol=1e-6)


def test_reversible_five_three_is_that_of_jpeg_2000() -> None:
    """Worked by hand from ISO 15444-1, equations F-5: d = x1 − ⌊(x0+x2)/2⌋, s = x0 + ⌊(d+d'+2)/4⌋."""
    low, high = split(torch.tensor([1, 5, 2, -7, 3, 3]), 0, CDF53, integer=True)
    assert high.tolist() == [5 - 1, -7 - 2, 3 - 3]
    assert low.tolist() == [1 + (4 + 4 + 2) // 4, 2 + (4 - 9 + 2) // 4, 3 + (-9 + 0 + 2) // 4]


def test_nine_seven_has_no_integer_form() -> None:
    with pytest.raises(ValueError, match="Haar or 5/3"):
        split(torch.zeros(4), 0, CDF97, integer=True)


def test_gains_are_the_energy_that_noise_in_a_band_becomes() -> None:
    assert all(abs(g - 1) < 1e-12 for band in synthesis_gains(HAAR, levels=3) for g in band)
    torch.manual_seed(0)
    for wavelet in (CDF53, CDF97):
        gains = synthesis_gains(wavelet, levels=2)
        zero = decompose(torch.zeros(1, 1, 512, 512), wavelet, levels=2)
        for level, bands in enumerate(zero.high):
            for k, band in enumerate(bands):
                noisy = [list(b) for b in zero.high]
                noisy[level][k] = torch.randn(band.shape)
                energy = recompose(type(zero)(zero.low, tuple(map(tuple, noisy))), wavelet).square().sum()
                measured = (energy / band.numel()).sqrt()
                assert abs(float(measured) / gains[1 + level][k] - 1) < 0.02


@pytest.mark.parametrize("wavelet", ALL, ids=lambda w: w.name)
@pytest.mark.parametrize("size", [(6, 8, 10), (5, 7, 9)])
def test_layout_in_memory_is_kept_and_changes_nothing(wavelet: Wavelet, size: tuple[int, ...]) -> None:
    x = torch.randn(2, *size)
    last = x.contiguous(memory_format=torch.channels_last)
    for axes in ((2, 3), (1, 2, 3)):
        plain, other = (decompose(t, wavelet, levels=2, axes=axes) for t in (x, last))
        assert torch.allclose(plain.low, other.low, atol=1e-6)
        back = recompose(other, wavelet, axes=axes)
        assert torch.allclose(back, x, atol=1e-5)
    assert back.is_contiguous(memory_format=torch.channels_last)


def test_haar_of_whole_pairs_is_its_lifting_steps() -> None:
    slow = Wavelet("haar by steps", HAAR.steps, HAAR.low)
    x = torch.randn(3, 8, 10, dtype=torch.float64)
    for axis in (0, 1, 2):
        halves = split(x, axis, HAAR)
        for fast, step in zip(halves, split(x, axis, slow), strict=True):
            assert torch.allclose(fast, step)
        assert torch.allclose(merge(*halves, axis, slow), x)
