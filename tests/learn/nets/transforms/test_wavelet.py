"""The Haar step and the packet are orthonormal and invertible."""

import torch

from bifocal.learn.nets.transforms.wavelet import haar_merge, haar_split, packet_matrix


def test_haar_is_inverted_and_keeps_energy() -> None:
    x = torch.randn(2, 3, 8, 12)
    bands = haar_split(x)
    assert bands.shape == (2, 12, 4, 6)
    assert torch.allclose(haar_merge(bands), x, atol=1e-6)
    assert torch.allclose(bands.square().sum(), x.square().sum(), rtol=1e-5)


def test_constant_picture_lives_in_the_low_band() -> None:
    bands = haar_split(torch.ones(1, 1, 4, 4))
    assert torch.equal(bands[:, 0], torch.full((1, 2, 2), 2.0))
    assert not bands[:, 1:].any()


def test_packet_is_orthonormal_and_begins_with_the_mean_of_luma() -> None:
    matrix = packet_matrix()
    assert torch.allclose(matrix @ matrix.T, torch.eye(192), atol=1e-5)
    assert torch.allclose(matrix[0], matrix[0, :1].expand(192))
