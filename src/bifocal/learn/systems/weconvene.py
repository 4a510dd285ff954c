"""WeConvene (arXiv 2407.09983): convolutions in the wavelet domain, and the low band of y coded first.

The paper's two ideas: residual blocks whose second convolution runs on the bands of a wavelet ("WeConv",
`learn/nets/transforms/residual.py`), and a channel-wise prior on the wavelet bands of the latent ("WeChARM"),
where slices of the high band see all of the low one. Two sizes of the one class here:

* :data:`PAPER`, the released model's numbers, float throughout (`learn/nets/entropy/charm.py`): 107 M
  parameters, 2343 kMAC a pixel. Counted and run, never packed. Left out: the second convolution that each
  "down" block of the released code owns and never runs (three of 147,584 parameters, which the published
  total counts) and its factorised prior of z (11,712), for which the codec's tables stand. High slices here
  are interleaved: slice i holds LH, HL and HH of the same channels, where the release cuts the 960 channels
  in a row.
* the small ones of the recipes, our choice: first stride in the first convolution; skips of strided blocks
  that see all four pixels, so that the transforms start as wavelet packets
  (`learn/nets/transforms/packets.py`); gains by quality, for one model of all rates; integers in place of the
  float prior, and no correction of rounding.

    pixels [b,3,H,W] ── ↓, RB, WeConv↓, RB, conv↓ ─► [b,c,H/8,·] ── DWT ─► y [b,4c,H/16,·]
    z, features: as in `learn/nets/codec.py`, or the paper's with `prior = "paper"`
    groups: slices of LL, each given those before it; then slices of LH|HL|HH given all of LL and those before
    ŷ ── DWT⁻¹ ─► [b,c,H/8,·] ── RBU, RB, WeConv↑, RB, WeConv↑, RB, subpixel conv ─► pixels

The ablation is by numbers: `transform = "residual"` leaves out the wavelet in the blocks, `slices_of =
"channels"` the one of y, which is then coded at H/8 by channels alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bifocal.errors import ModelError
from bifocal.learn.nets.codec import PIXEL_UNIT, Codec
from bifocal.learn.nets.entropy.hyperprior import float_entropy
from bifocal.learn.nets.transforms.lifting import WAVELETS
from bifocal.learn.nets.transforms.residual import Bands
from bifocal.learn.nets.transforms.stages import (
    analysis,
    band_gains,
    from_bands,
    start_as_packets,
    synthesis,
    to_bands,
)
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
    features: int = 40
    context: int = 48
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
        self.synthesis = synthesis(c.latent, (c.width, c.width, c.fine_width), blocks=c.blocks, bands=c.bands)
        if c.first_stride == 2:
            start_as_packets(self.analysis, self.synthesis)
        if c.slices_of == "wavelet":
            gains = band_gains(WAVELETS[c.wavelet], c.latent, c.slices)
            self.log_gain.data += gains
            self.log_inverse_gain.data -= gains
        if c.prior == "paper":
            self.use_float_prior(float_entropy(c, c.latent))

    # -- the transforms ------------------------------------------------------------------------------------

    def analyse(self, pixels: Tensor) -> Tensor:
        """Pixels ``[b, 3, H, W]`` to y ``[b, 4c, H/16, W/16]``, or ``[b, c, H/8, W/8]`` by channels."""
        x: Tensor = self.analysis((pixels - 127.5) / PIXEL_UNIT)
        if self.config.slices_of == "channels":
            return x
        return to_bands(x, WAVELETS[self.config.wavelet], self.config.slices)

    def synthesise(self, y: Tensor) -> Tensor:
        """The inverse of :meth:`analyse`: y after inverse gains to pixels, unclipped."""
        if self.config.slices_of == "wavelet":
            y = from_bands(y, WAVELETS[self.config.wavelet], self.config.slices)
        pixels: Tensor = self.synthesis(y)
        return pixels * PIXEL_UNIT + 127.5
