"""The lapped transform: coding gains as published, and two linear paths that undo each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bifocal.learn.nets.transforms.lapped import dct, lapped_kernels, lapped_matrices
from bifocal.learn.nets.transforms.wavelet import packet_matrix


def coding_gain(analysis: np.ndarray, synthesis: np.ndarray) -> float:
    """In dB, for a first-order process of correlation 0.95; both ``[blocks, 8, 8]`` as in lapped_matrices."""
    rows = np.concatenate(list(analysis), 1)
    columns = np.arange(rows.shape[1])
    covariance = 0.95 ** np.abs(columns[:, None] - columns)
    variance = np.diag(rows @ covariance @ rows.T)
    cost = (synthesis**2).sum((0, 1))
    return float(-10 * np.log10(np.prod(variance * cost) ** (1 / 8)))


def test_coding_gains_are_those_of_the_literature() -> None:
    block = dct(8)[None]
    assert coding_gain(block, block.transpose(0, 2, 1)) == pytest.approx(8.83, abs=0.01)
    assert coding_gain(*lapped_matrices(1.0)) == pytest.approx(9.22, abs=0.02)
    assert coding_gain(*lapped_matrices()) == pytest.approx(9.55, abs=0.02)


def test_the_linear_paths_undo_each_other_inside_a_picture() -> None:
    to, back = lapped_kernels(192)
    x = torch.randn(1, 192, 6, 7)
    again = F.conv2d(F.conv2d(x, to, padding=1), back, padding=1)
    assert torch.allclose(again[..., 1:-1, 1:-1], x[..., 1:-1, 1:-1], atol=1e-4)


def test_flat_pictures_have_one_coefficient_a_colour_plane() -> None:
    to, _ = lapped_kernels(192)
    flat = torch.ones(1, 192, 5, 5)
    coefficients = F.conv2d(F.conv2d(flat, packet_matrix()[:, :, None, None]), to, padding=1)[0, :, 2, 2]
    assert int((coefficients.abs() > 1e-4).sum()) == 1  # gray: luma only
