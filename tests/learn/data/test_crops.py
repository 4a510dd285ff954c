"""The pictures a codec is trained on: scaled ones, and those made by code."""

from __future__ import annotations

import numpy as np

from bifocal.learn.data.crops import Corpus
from bifocal.learn.data.drawn import SIDE, drawn_picture


def corpus() -> Corpus:
    rng = np.random.default_rng(0)
    pictures = tuple(rng.integers(0, 256, size, np.uint8) for size in ((200, 300, 3), (130, 400, 3)))
    return Corpus(pictures, pictures[:1], ("a", "b"))


def test_pictures_are_scaled_by_a_factor_of_their_own_and_never_below_a_crop() -> None:
    found = corpus().varied(smallest=0.5, drawn=0, side=128, seed=1)
    for picture, source in zip(found.train, corpus().train, strict=True):
        assert 128 <= min(picture.shape[:2]) <= min(source.shape[:2])
        assert 0.5 <= picture.shape[1] / source.shape[1] <= 1
    assert found.train[0].shape != corpus().train[0].shape
    assert np.array_equal(found.validation[0], corpus().validation[0])


def test_the_share_of_drawn_pictures_counts_pixels() -> None:
    found = corpus().varied(smallest=1, drawn=0.8, side=128, seed=1)
    drawn = (len(found.train) - 2) * SIDE**2
    pixels = sum(p.shape[0] * p.shape[1] for p in found.train)
    assert abs(drawn / pixels - 0.8) < 0.2
    assert len(found.names) == len(found.train)


def test_nothing_varies_unless_asked() -> None:
    found = corpus().varied(smallest=1, drawn=0, side=128, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(found.train, corpus().train, strict=True))


def test_a_drawn_picture_is_its_seed() -> None:
    first, again, other = (drawn_picture(seed) for seed in (3, 3, 4))
    assert first.shape == (SIDE, SIDE, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
