"""The hyperprior of WeConvene (arXiv 2407.09983): wavelet blocks down to z, and two ways up to features.

For the float entropy path of ``nets/charm.py``; files are coded with the integers of ``nets/codec.py``.
"""

from __future__ import annotations

from torch import nn

from bifocal.nets.residual import Bands, Residual, ResidualDown, ResidualUp, Subpixel


def hyper_analysis(
    channels: int, width: int, hyper: int, *, blocks: int, bands: Bands | None
) -> nn.Sequential:
    """y ``[b, channels, h, w]`` to z ``[b, hyper, h/4, w/4]``, not rounded."""
    return nn.Sequential(
        ResidualDown(channels, width, bands=bands),
        *[Residual(width) for _ in range(blocks)],
        nn.Conv2d(width, hyper, 3, 2, 1),
    )


def hyper_synthesis(
    hyper: int, width: int, features: int, *, blocks: int, bands: Bands | None
) -> nn.Sequential:
    """Rounded z ``[b, hyper, h/4, w/4]`` to features ``[b, features, h, w]`` for means, or for scales."""
    return nn.Sequential(
        ResidualUp(hyper, width, bands=bands),
        *[Residual(width) for _ in range(blocks)],
        Subpixel(width, features),
    )
