"""WeConvene (arXiv 2407.09983): convolutions in the wavelet domain, and the low band of y coded first.

The paper's two ideas: residual blocks whose second convolution runs on the bands of a wavelet ("WeConv",
`nets/residual.py`), and a channel-wise prior on the wavelet bands of the latent ("WeChARM"), where slices of
the high band see all of the low one. Two sizes of the one class here:

* :data:`PAPER`, the released model's numbers, float throughout (`nets/charm.py`): 107 M parameters, 2343 kMAC
  a pixel. Counted and run, never packed. Left out: the second convolution that each "down" block of the
  released code owns and never runs (three of 147,584 parameters, which the published total counts) and its
  factorised prior of z (11,712), for which the codec's tables stand. High slices here are interleaved: slice
  i holds LH, HL and HH of the same channels, where the release cuts the 960 channels in a row.
* the small ones of the recipes: first stride in the first convolution, integers in place of the float prior.

    pixels [b,3,H,W] ── ↓, RB, WeConv↓, RB, conv↓ ─► [b,c,H/8,·] ── DWT ─► y [b,4c,H/16,·]
    z, features: as in `nets/codec.py`, or the paper's with `prior = "paper"`
    groups: slices of LL, each given those before it; then slices of LH|HL|HH given all of LL and those before
    ŷ ── DWT⁻¹ ─► [b,c,H/8,·] ── RBU, RB, WeConv↑, RB, WeConv↑, RB, subpixel conv ─► pixels

The ablation is by numbers: `transform = "residual"` leaves out the wavelet in the blocks, `slices_of =
"channels"` the one of y, which is then coded at H/8 by channels alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bifocal.errors import ModelError
from bifocal.nets.charm import ChannelPrior, estimate_slices
from bifocal.nets.codec import PIXEL_UNIT, Codec
from bifocal.nets.exact import ExactConv, round_ste
from bifocal.nets.hyperprior import hyper_analysis, hyper_synthesis
from bifocal.nets.lifting import WAVELETS, Pyramid, decompose, recompose, synthesis_gains
from bifocal.nets.prior import logistic_bits
from bifocal.nets.residual import Bands, analysis, synthesis
from bifocal.stream.plan import Group, Plan


@dataclass(frozen=True)
class WeConveneConfig:
    """Sizes. ``fine_width`` channels above H/4, ``width`` from there on; ``latent`` channels at H/8.

    ``transform``: ``"wavelet"`` or ``"residual"``. ``slices_of``: ``"wavelet"`` or ``"channels"``, in
    ``slices`` a band. ``prior``: ``"exact"``, or the ``"paper"``'s float one, ``prior_width`` and
    ``prior_hidden_*`` channels wide, its rate that of a ``"gaussian"`` or ``"logistic"`` ``family``.
    """

    width: int = 32
    fine_width: int = 16
    blocks: int = 1
    first_stride: int = 2
    latent: int = 48
    transform: str = "wavelet"
    slices_of: str = "wavelet"
    wavelet: str = "haar"
    slices: int = 4
    prior: str = "exact"
    prior_width: int = 32
    prior_hidden_1: int = 56
    prior_hidden_2: int = 32
    family: str = "logistic"
    hyper: int = 32
    features: int = 48
    context: int = 64
    anchors: int = 12
    lambda_min: float = 0.0012
    lambda_max: float = 0.24

    @property
    def bands(self) -> Bands | None:
        return Bands(wavelet=self.wavelet) if self.transform == "wavelet" else None

    @property
    def plan(self) -> Plan:
        c, n, skip = self.latent, self.slices, 0 if self.prior == "paper" else 5
        low = [Group(i * c // n, (i + 1) * c // n, 1, 0) for i in range(n)]
        if self.slices_of == "channels":
            return Plan(c, self.hyper, tuple(low), y_stride=8, skip=skip)
        high = [Group(c + 3 * g.start, c + 3 * g.stop, 1, 0) for g in low]
        return Plan(4 * c, self.hyper, (*low, *high), skip=skip)


#: The released model, Haar, as its authors and others count it.
PAPER = WeConveneConfig(
    width=128,
    fine_width=128,
    blocks=3,
    first_stride=1,
    latent=320,
    slices=5,
    prior="paper",
    prior_width=128,
    prior_hidden_1=224,
    prior_hidden_2=128,
    family="gaussian",
    hyper=192,
    features=320,
)


class WeConvene(Codec):
    """The codec in torch, of any row of the ablation."""

    config: WeConveneConfig

    def __init__(self, config: WeConveneConfig = WeConveneConfig()) -> None:
        for given, known in (
            (config.transform, ("wavelet", "residual")),
            (config.slices_of, ("wavelet", "channels")),
            (config.prior, ("exact", "paper")),
        ):
            if given not in known:
                raise ModelError(f"WeConvene knows no {given!r} here. Choose {known[0]!r} or {known[1]!r}.")
        super().__init__(config)
        c = config
        fine = (c.fine_width, c.width) if c.first_stride == 2 else (c.fine_width, c.width, c.width)
        self.analysis = analysis(fine, c.latent, blocks=c.blocks, first_stride=c.first_stride, bands=c.bands)
        self.analysis[-1].weight.data *= 8  # so that quarter steps at the lowest quality code something
        self.synthesis = synthesis(c.latent, (c.width, c.width, c.fine_width), blocks=c.blocks, bands=c.bands)
        if c.slices_of == "wavelet":  # a band whose errors count more is quantised more finely
            low, high = synthesis_gains(WAVELETS[c.wavelet])
            gains = torch.tensor([low[0], *high]).log()
            gains = torch.cat([gains[:1].expand(c.latent), gains[1:].repeat_interleave(c.latent)])
            self.log_gain.data += self._interleaved(gains[None, :, None, None])[:, :, 0, 0]
            self.log_inverse_gain.data -= self._interleaved(gains[None, :, None, None])[:, :, 0, 0]
        if c.prior == "paper":
            self._float_prior()

    def _float_prior(self) -> None:
        """The paper's hyperprior and channel-wise prior, in place of those that every codec here has."""
        c, p = self.config, self.plan
        del self.hyper_synthesis, self.predictors
        width, blocks, bands = c.prior_width, c.blocks, c.bands
        self.hyper_analysis = hyper_analysis(p.y_channels, width, c.hyper, blocks=blocks, bands=bands)
        self.hyper_mean = hyper_synthesis(c.hyper, width, c.features, blocks=blocks, bands=bands)
        self.hyper_scale = hyper_synthesis(c.hyper, width, c.features, blocks=blocks, bands=bands)
        hidden = (c.prior_hidden_1, c.prior_hidden_2)
        self.low_prior, self.high_prior = (
            ChannelPrior(p, *ends, features=c.features, inner=width, hidden=hidden)
            for ends in ((0, c.latent), (c.latent, p.y_channels))
        )
        #: The released models are for one rate each; ours learns an offset of the features a quality.
        self.feature_offset = nn.Parameter(torch.zeros(c.anchors, 2 * c.features))

    # -- the transforms ------------------------------------------------------------------------------------

    def analyse(self, pixels: Tensor) -> Tensor:
        """Pixels ``[b, 3, H, W]`` to y ``[b, 4c, H/16, W/16]``, or ``[b, c, H/8, W/8]`` by channels."""
        x: Tensor = self.analysis((pixels - 127.5) / PIXEL_UNIT)
        if self.config.slices_of == "channels":
            return x
        bands = decompose(x.float(), WAVELETS[self.config.wavelet])
        return self._interleaved(torch.cat([bands.low, *bands.high[0]], 1))

    def synthesise(self, y: Tensor) -> Tensor:
        """The inverse of :meth:`analyse`: y after inverse gains to pixels, unclipped."""
        c = self.config.latent
        if self.config.slices_of == "wavelet":
            n = self.config.slices
            high = y[:, c:].unflatten(1, (n, 3, c // n)).transpose(1, 2).flatten(1, 3)
            lh, hl, hh = high.chunk(3, 1)
            y = recompose(Pyramid(y[:, :c], ((lh, hl, hh),)), WAVELETS[self.config.wavelet])
        pixels: Tensor = self.synthesis(y)
        return pixels * PIXEL_UNIT + 127.5

    def _interleaved(self, bands: Tensor) -> Tensor:
        """LL | LH | HL | HH to LL and then slices of LH|HL|HH of the same channels."""
        c, n = self.config.latent, self.config.slices
        high = bands[:, c:].unflatten(1, (3, n, c // n)).transpose(1, 2).flatten(1, 3)
        return torch.cat([bands[:, :c], high], 1)

    # -- the float entropy path ----------------------------------------------------------------------------

    @property
    def exact_layers(self) -> dict[str, list[ExactConv]]:
        """As every codec's. Raises :class:`ModelError` where the prior is the paper's: it has no integers."""
        if self.config.prior == "paper":
            raise ModelError(
                "The paper's prior is a float network: another machine could not open its files, so it is "
                'trained and measured by its estimate but never packed. Pack one with prior = "exact".'
            )
        return super().exact_layers

    def estimate(
        self, y: Tensor, anchors: Tensor, *, exact: bool, noise: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See :meth:`Codec.estimate`; the paper's prior has no exact form and ignores ``exact``."""
        if self.config.prior == "exact":
            return super().estimate(y, anchors, exact=exact, noise=noise)
        z = self.hyper_latent(y).float()
        z_index = (anchors @ self.z_index)[:, :, None, None].expand_as(z)
        z_bits = logistic_bits(z + torch.rand_like(z) - 0.5 if noise else round_ste(z), z_index)
        z_hat = round_ste(z)
        mean_offset, scale_offset = (anchors @ self.feature_offset)[:, :, None, None].chunk(2, 1)
        mean, scale = self.hyper_mean(z_hat) + mean_offset, self.hyper_scale(z_hat) + scale_offset
        priors = (self.low_prior, self.high_prior)
        decoded, bits = estimate_slices(
            self.plan, priors, mean, scale, y, noise=noise, family=self.config.family
        )
        return decoded, bits.sum((2, 3)), z_bits.sum((1, 2, 3))
