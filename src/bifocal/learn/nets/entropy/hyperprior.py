"""The float entropy path of WeConvene (arXiv 2407.09983): hyperprior and channel-wise prior, whole.

Wavelet blocks down to z, and two ways up to features, for means and for scales; then the slices of
``learn/nets/entropy/charm.py``. It stands where a codec otherwise has its integers (``learn/nets/codec.py``),
and no file can be coded with it. As published but for z, whose tables are the codec's and not a factorised
density, for large values of y, which enter by their logarithm, and for an offset of the features by quality,
since ours is one model for all rates.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from bifocal.learn.nets.entropy.charm import ChannelPrior, estimate_slices
from bifocal.learn.nets.entropy.exact import round_ste
from bifocal.learn.nets.entropy.prior import logistic_bits
from bifocal.learn.nets.transforms.residual import Bands, Residual, ResidualDown, ResidualUp, Subpixel
from bifocal.stream.plan import Plan


class FloatEntropyConfig(Protocol):
    """What a configuration says about its float prior; names as in :class:`FloatEntropy`."""

    @property
    def plan(self) -> Plan: ...
    @property
    def prior_width(self) -> int: ...
    @property
    def prior_hidden_1(self) -> int: ...
    @property
    def prior_hidden_2(self) -> int: ...
    @property
    def features(self) -> int: ...
    @property
    def blocks(self) -> int: ...
    @property
    def bands(self) -> Bands | None: ...
    @property
    def anchors(self) -> int: ...
    @property
    def family(self) -> str: ...


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


class FloatEntropy(nn.Module):
    """Estimates the rate of y with float networks. The first ``low`` channels of ``plan`` are the low band.

    ``width`` channels in the hyperprior and the gates, ``hidden`` in the heads; with ``gated_high`` false the
    high band has none ("simple" heads, 3DM-WeConvene's choice). The rate is that of a ``"gaussian"`` or
    ``"logistic"`` ``family``.
    """

    def __init__(
        self,
        plan: Plan,
        low: int,
        *,
        width: int,
        hidden: tuple[int, int],
        features: int,
        blocks: int,
        bands: Bands | None,
        anchors: int,
        family: str,
        gated_high: bool = True,
    ) -> None:
        super().__init__()
        z = plan.z_channels
        self.plan, self.family = plan, family
        self.hyper_analysis = hyper_analysis(plan.y_channels, width, z, blocks=blocks, bands=bands)
        self.hyper_mean = hyper_synthesis(z, width, features, blocks=blocks, bands=bands)
        self.hyper_scale = hyper_synthesis(z, width, features, blocks=blocks, bands=bands)
        self.low = ChannelPrior(plan, 0, low, features=features, inner=width, hidden=hidden)
        inner = width if gated_high else 0
        self.high = ChannelPrior(plan, low, plan.y_channels, features=features, inner=inner, hidden=hidden)
        self.offset = nn.Parameter(torch.zeros(anchors, 2 * features))

    def forward(
        self, y: Tensor, z_index: Tensor, anchors: Tensor, noise: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What :meth:`Codec.estimate` gives, for gained y ``[b, c, h, w]`` and tables ``z_index [b, z]``."""
        z = self.hyper_analysis(y.sign() * torch.log1p(y.abs())).float()
        z_hat = round_ste(z)
        index = z_index[:, :, None, None].expand_as(z)
        z_bits = logistic_bits(z + torch.rand_like(z) - 0.5 if noise else z_hat, index)
        mean, scale = (anchors @ self.offset)[:, :, None, None].chunk(2, 1)
        mean, scale = mean + self.hyper_mean(z_hat), scale + self.hyper_scale(z_hat)
        decoded, bits = estimate_slices(
            self.plan, (self.low, self.high), mean, scale, y, noise=noise, family=self.family
        )
        return decoded, bits.sum((2, 3)), z_bits.sum((1, 2, 3))


def float_entropy(config: FloatEntropyConfig, low: int, *, gated_high: bool = True) -> FloatEntropy:
    """The float entropy path of a configuration whose first ``low`` channels of y are the low band."""
    c = config
    return FloatEntropy(
        c.plan,
        low,
        width=c.prior_width,
        hidden=(c.prior_hidden_1, c.prior_hidden_2),
        features=c.features,
        blocks=c.blocks,
        bands=c.bands,
        anchors=c.anchors,
        family=c.family,
        gated_high=gated_high,
    )
