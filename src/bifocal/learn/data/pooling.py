"""Views of several sizes to the fixed grid of a head, in torch, with the weights of the runtime."""

from __future__ import annotations

import torch
from torch import Tensor

from bifocal.runtime.heads.pooling import pooling_weights


def pooled_to(y: Tensor, grid: int, *, magnitudes: bool = False) -> Tensor:
    """Latents ``[..., c, h, w]``, and behind them their ``magnitudes`` if wanted, at most ``grid`` a side.

    It is what a head with this grid sees of a picture that ends where its positions end
    (:func:`bifocal.runtime.heads.pooling.pooled`).

    Pool what a decoder would have, so after quantisation, and also views that are no larger than the grid.

    >>> pooled_to(torch.arange(4.0).reshape(1, 1, 4), 2).tolist()
    [[[0.5, 2.5]]]
    """
    down, across = (torch.tensor(pooling_weights(side, 1, grid)).to(y) for side in y.shape[-2:])
    if magnitudes:
        y = torch.cat([y, y.abs()], dim=-3)
    return down @ y @ across.T
