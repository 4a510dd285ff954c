"""Haar wavelets on feature maps, orthonormal, exactly invertible up to float rounding.

The two-dimensional Haar step is its own short formula: sums and differences of the four pixels of a 2×2
block, halved. Bands come band-major, ``LL | LH | HL | HH``, as in WeConvene (arXiv 2407.09983).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def haar_split(x: Tensor) -> Tensor:
    """One Haar step: ``[b, c, h, w]`` (h, w even) to ``[b, 4c, h/2, w/2]``, bands ``LL | LH | HL | HH``.

    >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
    >>> torch.allclose(haar_merge(haar_split(x)), x)
    True
    """
    p, q = x[..., 0::2, 0::2], x[..., 0::2, 1::2]
    r, s = x[..., 1::2, 0::2], x[..., 1::2, 1::2]
    top, bottom, left, right = p + q, r + s, p - q, r - s
    return torch.cat([top + bottom, left + right, top - bottom, left - right], 1) * 0.5


def haar_merge(bands: Tensor) -> Tensor:
    """Inverse of :func:`haar_split`: ``[b, 4c, h, w]`` to ``[b, c, 2h, 2w]``."""
    ll, lh, hl, hh = bands.chunk(4, 1)
    top, bottom, left, right = ll + hl, ll - hl, lh + hh, lh - hh
    b, c, h, w = ll.shape
    pixels = torch.stack([top + left, top - left, bottom + right, bottom - right], 2) * 0.5
    return torch.nn.functional.pixel_shuffle(pixels.reshape(b, 4 * c, h, w), 2)


#: One luma and two chroma planes as orthonormal sums of red, green and blue.
LUMA_CHROMA = np.array([[1, 1, 1], [1, 0, -1], [-1, 2, -1]]) / np.sqrt([[3.0], [2.0], [6.0]])


def packet_order() -> list[tuple[int, int, int]]:
    """Colour plane and frequencies (row, column) of the 192 coefficients of an 8×8 block.

    Those which carry most of a photograph come first: by frequency, chroma counted as twice as far out as
    luma.
    """
    rows = [
        (float(np.hypot(i, j) + 0.25 * max(i, j)) * (1.0 if c == 0 else 2.0) + 1.5 * (c > 0), c, i, j)
        for c in range(3)
        for i in range(8)
        for j in range(8)
    ]
    return [(c, i, j) for _, c, i, j in sorted(rows)]


def packet_matrix() -> Tensor:
    """The three-level Haar packet of an 8×8 RGB block as an orthonormal matrix ``[192, 192]``.

    Columns follow ``pixel_unshuffle(8)`` (colour, row, column). Rows are wavelet packets of one luma and two
    chroma planes in :func:`packet_order`; the sequency of a packet's function is its frequency.
    """
    haar = np.array([[1.0]])
    for _ in range(3):  # the Walsh–Hadamard matrix is the three-level packet of the Haar filters
        haar = np.block([[haar, haar], [haar, -haar]]) / np.sqrt(2.0)
    haar = haar[np.argsort((np.diff(np.sign(haar), axis=1) != 0).sum(1), kind="stable")]
    matrix = [np.kron(LUMA_CHROMA[c], np.kron(haar[i], haar[j])) for c, i, j in packet_order()]
    return torch.tensor(np.stack(matrix), dtype=torch.float32)
