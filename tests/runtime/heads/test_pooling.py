"""Pooling to a grid: exact shares, the picture's true size, the same through tiles, files and training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import bifocal
from bifocal.runtime.heads.pooling import GridMean, pooled, pooling_weights
from bifocal.runtime.heads.windows import read_latents
from tests.conftest import made_picture
from tests.tiny_head import CHANNELS, CLASSES, bits_head, dense_head, matrix, selecting_head, telling_head


def by_pixels(y: NDArray[np.float32], size: tuple[int, int], grid: int) -> NDArray[np.float64]:
    """Pooling by brute force: every position becomes its pixels, each of them ``grid`` times a side."""
    fine = y.astype(np.float64)
    for axis, side in ((1, size[0]), (2, size[1])):
        if fine.shape[axis] > grid:
            shown = np.take(np.repeat(fine, 16 * grid, axis), np.arange(side * grid), axis)
            fine = np.stack([part.mean(axis) for part in np.split(shown, grid, axis)], axis)
    return fine


@pytest.mark.parametrize("size", [(1, 1), (64, 200), (130, 300), (97, 33)])
def test_cells_are_means_over_equal_shares_of_the_picture(size: tuple[int, int]) -> None:
    shape = (3, -(-size[0] // 16), -(-size[1] // 16))
    y = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(pooled(y, *size, 16, 4), by_pixels(y, size, 4), atol=1e-5)


def test_parts_add_up_to_the_whole() -> None:
    y = np.random.default_rng(0).normal(size=(2, 7, 9)).astype(np.float32)
    mean = GridMean(100, 144, 16, 4)
    parts = [(slice(0, 4), slice(0, 9)), (slice(4, 7), slice(0, 5)), (slice(4, 7), slice(5, 9))]
    made = []
    for rows, columns in parts:
        values = y[:, rows, columns]
        made.append(mean.add(mean.part(values, rows.start, columns.start), values[0].size))
    assert made[0] is None and made[1] is None and made[2] is not None
    np.testing.assert_allclose(made[2], pooled(y, 100, 144, 16, 4), atol=1e-5)


@pytest.mark.parametrize("tile", [64, 2048])
def test_a_head_with_a_grid_sees_the_whole_picture_at_once(
    tiny_model: bifocal.Model, tmp_path: Path, tile: int
) -> None:
    fingerprint = tiny_model.entropy.fingerprint
    data = bifocal.encode(made_picture(130, 300), 50, model=tiny_model, tile=tile)
    head = bifocal.Head.load(telling_head(tmp_path / "a.bfh", fingerprint, grid=4), threads=1)
    labels = bifocal.analyse(data, head=head, model=tiny_model, evidence=True)
    y = by_pixels(read_latents(data, tiny_model, CHANNELS).y, (130, 300), 4)
    logits = y.mean(axis=(1, 2)) @ matrix().astype(np.float64)
    expected = np.exp(logits - logits.max())
    np.testing.assert_allclose(
        [labels.probabilities[labels.names.index(name)] for name in CLASSES],
        expected / expected.sum(),
        rtol=2e-4,
    )
    assert labels.evidence is not None and labels.evidence.shape == (3, 9, 19)
    both = bifocal.decode_and_analyse(data, head=head, model=tiny_model, evidence=True)[1]
    assert both.names == labels.names
    np.testing.assert_allclose(both.probabilities, labels.probabilities, rtol=1e-4)


def test_selectors_and_bits_work_on_the_grid(tiny_model: bifocal.Model, tmp_path: Path) -> None:
    fingerprint = tiny_model.entropy.fingerprint
    data = bifocal.encode(made_picture(130, 300), 50, model=tiny_model, tile=64)
    for path in (
        selecting_head(tmp_path / "a.bfh", fingerprint, grid=4),
        bits_head(tmp_path / "b.bfh", fingerprint, least=4.0, grid=4),
    ):
        labels = bifocal.analyse(data, head=path, model=tiny_model)
        assert all(kept.shape == (9, 19) for kept in labels.kept) and labels.kept


@pytest.mark.parametrize("tile", [64, 2048])
def test_a_head_may_read_magnitudes(tiny_model: bifocal.Model, tmp_path: Path, tile: int) -> None:
    data = bifocal.encode(made_picture(130, 300), 50, model=tiny_model, tile=tile)
    path = dense_head(
        tmp_path / "a.bfh", tiny_model.entropy.fingerprint, inputs=2 * CHANNELS, grid=4, magnitudes=True
    )
    labels = bifocal.analyse(data, head=path, model=tiny_model)
    y = read_latents(data, tiny_model, CHANNELS).y
    both = np.concatenate([by_pixels(y, (130, 300), 4), by_pixels(np.abs(y), (130, 300), 4)])
    logits = both.mean(axis=(1, 2)) @ matrix(2 * CHANNELS).astype(np.float64)
    assert labels.name == CLASSES[int(logits.argmax())]
    expected = np.exp(logits - logits.max())
    np.testing.assert_allclose(max(labels.probabilities), max(expected / expected.sum()), rtol=1e-3)


def test_a_grid_wider_than_the_picture_changes_nothing(tiny_model: bifocal.Model, tmp_path: Path) -> None:
    fingerprint = tiny_model.entropy.fingerprint
    data = bifocal.encode(made_picture(50, 120), 50, model=tiny_model)
    heads = [dense_head(tmp_path / f"{grid}.bfh", fingerprint, grid=grid) for grid in (0, 8)]
    first, second = (bifocal.analyse(data, head=head, model=tiny_model) for head in heads)
    assert first == second


def test_weights_are_shared_and_cannot_be_changed() -> None:
    weights = pooling_weights(768, 16, 8)
    assert weights is pooling_weights(768, 16, 8) and not weights.flags.writeable
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
