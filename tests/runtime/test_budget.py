"""Budgets of bytes and PSNR: met on the real stream, the best that meets them, and errors that name a way."""

from __future__ import annotations

import random

import numpy as np
import pytest

import bifocal
from bifocal.errors import OptionError
from bifocal.runtime.budget import decoded_psnr, fit_psnr, fit_size, parse_size
from bifocal.runtime.model import Model
from bifocal.types import Picture
from tests.conftest import made_picture


@pytest.mark.parametrize(
    ("text", "size"),
    [(7, 7), ("900", 900), ("50kB", 50_000), (" 50 KB ", 50_000), ("1.5MiB", 3 << 19), ("2gb", 2 * 10**9)],
)
def test_sizes(text: int | str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("size", ["", "kB", "-3kB", "5 cows", "1e3", 0, -1, 2.5, True, "0.1", "0"])
def test_sizes_that_are_none(size: object) -> None:
    with pytest.raises(OptionError, match="size"):
        parse_size(size)  # type: ignore[arg-type]


@pytest.mark.parametrize("start", [None, 1, 37, 50, 100])
def test_the_largest_quality_that_fits_is_found(start: int | None) -> None:
    for size in (101, 102, 150, 199, 200, 1000):
        assert fit_size(lambda quality: bytes(100 + quality), size, start=start)[0] == min(size - 100, 100)


def test_small_dips_do_not_hide_a_better_quality() -> None:
    sizes = {quality: 100 + quality for quality in range(1, 101)} | {51: 160}
    assert fit_size(lambda quality: bytes(sizes[quality]), 152)[0] == 52


def test_a_good_start_costs_few_streams() -> None:
    tried: list[int] = []

    def streams(quality: int) -> bytes:
        tried.append(quality)
        return bytes(100 + quality)

    assert fit_size(streams, 150, start=49)[0] == 50
    assert len(set(tried)) <= 5


@pytest.mark.parametrize("start", [None, 3, 60])
def test_the_smallest_quality_that_reaches_a_psnr(start: int | None) -> None:
    def reached(quality: int) -> float:
        return 20 + quality / 5

    for psnr in (20.2, 30.0, 30.1, 40.0):
        quality, _ = fit_psnr(lambda quality: bytes(quality), reached, psnr, start=start)
        assert reached(quality) >= psnr > reached(quality - 1)


@pytest.mark.parametrize("effort", [0, 1, 2])
def test_bytes_of_the_whole_stream(tiny_model: Model, effort: int) -> None:
    alpha = np.full((90, 120), 255, np.uint8)
    alpha[10:30, 10:30] = random.Random(0).randbytes(1)[0]
    picture = Picture(made_picture(90, 120), {"exif": bytes(500)}, alpha)
    settings = {"model": tiny_model, "tile": 64, "effort": effort}
    for size in (1500, "2kB", 4000):
        data = bifocal.encode(picture, size=size, **settings)
        quality = bifocal.info(data).quality
        assert len(data) <= parse_size(size)
        assert data == bifocal.encode(picture, quality, **settings)
        if quality < 100:
            assert len(bifocal.encode(picture, quality + 1, **settings)) > parse_size(size)


@pytest.mark.parametrize("effort", [0, 2])
def test_psnr_of_the_decoded_picture(tiny_model: Model, effort: int) -> None:
    pixels = made_picture(90, 120)
    settings = {"model": tiny_model, "effort": effort}

    def reached(data: bytes) -> float:
        error = np.square(bifocal.decode(data, model=tiny_model).pixels.astype(float) - pixels).mean()
        return 10 * np.log10(255**2 / error)

    data = bifocal.encode(pixels, psnr=24, **settings)
    assert reached(data) >= 24
    assert len(data) < 0.5 * len(bifocal.encode(pixels, 100, **settings))
    best = reached(bifocal.encode(pixels, 100, **settings))
    with pytest.raises(OptionError, match=f"{best:.2f} dB"):
        bifocal.encode(pixels, psnr=50, **settings)


def test_a_size_out_of_reach_names_the_smallest(tiny_model: Model) -> None:
    picture = Picture(made_picture(90, 120), {"exif": bytes(700)})
    least = len(bifocal.encode(picture, 1, model=tiny_model, effort=3))  # that of a size
    with pytest.raises(OptionError, match=f"{least:,}"):
        bifocal.encode(picture, size=600, model=tiny_model)
    assert len(bifocal.encode(picture, size=least, model=tiny_model)) <= least


def test_only_one_budget_at_a_time(tiny_model: Model) -> None:
    pixels = made_picture(8, 8)
    for two in ({"quality": 5, "size": 9}, {"size": 9, "psnr": 30}, {"quality": 5, "psnr": 30}):
        with pytest.raises(OptionError, match="exclude"):
            bifocal.encode(pixels, model=tiny_model, **two)
    for psnr in (-1, float("nan"), float("inf"), "much"):
        with pytest.raises(OptionError, match="decibels"):
            bifocal.encode(pixels, model=tiny_model, psnr=psnr)


def test_what_cannot_be_seen_does_not_count(tiny_model: Model) -> None:
    pixels = made_picture(64, 64)
    data = bifocal.encode(pixels, 60, model=tiny_model)
    wrong, seen = pixels.copy(), np.ones((64, 64), bool)
    wrong[:8], seen[:8] = 255 - wrong[:8], False
    plain, of_wrong = (decoded_psnr(data, p, tiny_model) for p in (pixels, wrong))
    assert of_wrong < plain < 2 + decoded_psnr(data, wrong, tiny_model, seen)
    assert decoded_psnr(data, pixels, tiny_model, np.zeros((64, 64), bool)) == np.inf
