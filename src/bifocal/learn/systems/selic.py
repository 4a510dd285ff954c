"""SELIC: a caption's features are fused with the latent before it is coded (arXiv 2504.01279).

The encoder describes the picture, encodes the caption, and fuses a vector of fixed size with y; the decoder
needs no text. There is no public code. What is fused where, the sizes and the base codec are our
reconstruction: one latent of the dual-branch codec (`learn/systems/dual.py` with ``low`` = 0).

    pixels ── analysis ─► y [b,high,H/8,·] ─┬─────────────────────────────► + ─► fold, exact entropy path ─► ŷ
    features ── linear, normalised, broadcast ─┴ 1×1, residual block, 1×1 (0) ─┘
    ŷ ── synthesis ─► pixels

The last layer starts at zero, so every arm starts as the same codec. ``source`` says what is fused:

    none         nothing
    constant     a learned vector: what the added layers are worth without any caption
    text         features of the caption, a sentence vector; the learned vector where none is given
    pooled       the mean of y over the picture, through a branch with as many weights as the projection
    transmitted  nothing in the encoder: the caption travels in the file, and the decoder uses it

A caption is made of the picture by whoever writes it, so ``text`` knows nothing that the encoder could not
see: ``pooled`` is the arm to compare with. In ``transmitted`` the caption is a bag of hashed words, ``text``
counts of them. Tables of the words add to the first bias of the hyper-synthesis and to the synthesis. The
former must be the same integers on every machine: entries lie on a grid of 1/256 and are only added, clipped
and rounded to the grid of the bias, so that :func:`with_caption` gives the entropy model of a caption. No
field of the stream changes. A reader makes that model of the base model and the caption in the file, if it
knows this system; the command ``decode`` does not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.errors import ModelError
from bifocal.learn.nets.codec import HYPER, PIXEL_UNIT, Codec
from bifocal.learn.nets.entropy.exact import ExactConv, round_ste
from bifocal.learn.nets.transforms.residual import Residual
from bifocal.learn.systems.dual import DualAnalysis, DualConfig, DualSynthesis, fold, start_as_packets, unfold
from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.exact import ExactNet, check_bound
from bifocal.stream.plan import Plan

SOURCES = ("none", "constant", "text", "pooled", "transmitted")
#: Entries of the table that moves the hyper-synthesis are multiples of 1 over this; sums of them are clipped.
_GRID, _LIMIT = 256.0, 16.0


@dataclass(frozen=True)
class SelicConfig:
    """Sizes. The defaults are the small codec, with the base of the first row of the dual-branch table.

    ``source``: see the module. ``text`` numbers of features (384 of the sentence encoder; for ``transmitted``
    the number of hashed words), ``condition`` channels of the broadcast vector, ``fusion`` those between
    the layers that fuse. The others are those of :class:`~bifocal.learn.systems.dual.DualConfig`.
    """

    source: str = "text"
    text: int = 384
    condition: int = 64
    fusion: int = 64
    stem: int = 16
    trunk: int = 40
    high_width: int = 0
    fused: int = 64
    stem_blocks: int = 1
    blocks: int = 3
    high: int = 64
    high_slices: int = 4
    hyper: int = 32
    features: int = 40
    context: int = 52
    anchors: int = 12
    lambda_min: float = 0.0012
    lambda_max: float = 0.12

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise ModelError(f"there is no source {self.source!r}. Choose one of {', '.join(SOURCES)}.")

    @property
    def base(self) -> DualConfig:
        """The codec without captions."""
        same = ("stem", "trunk", "high_width", "fused", "stem_blocks", "blocks", "high", "high_slices")
        entropy = ("hyper", "features", "context", "anchors", "lambda_min", "lambda_max")
        return DualConfig(low=0, **{name: getattr(self, name) for name in (*same, *entropy)})

    @property
    def plan(self) -> Plan:
        return self.base.plan


#: A paper's size by our reconstruction: BERT's 768 numbers, 320 channels of y.
PAPER = SelicConfig(
    text=768,
    fusion=320,
    stem=192,
    trunk=192,
    high_width=192,
    fused=192,
    stem_blocks=1,
    high=320,
    high_slices=5,
    hyper=192,
    features=192,
    context=224,
)


class Fusion(nn.Module):
    """A map ``[b, c, h, w]`` and a vector ``[b, n]`` to what is added to the map: zero at the start."""

    def __init__(self, channels: int, condition: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(condition)
        self.first = nn.Conv2d(channels + condition, width, 1)
        self.block = Residual(width)
        self.last = nn.Conv2d(width, channels, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, y: Tensor, vector: Tensor) -> Tensor:
        wide = self.norm(vector)[:, :, None, None].expand(-1, -1, *y.shape[2:])
        added: Tensor = self.last(self.block(self.first(torch.cat([y, wide.to(y.dtype)], 1))))
        return added


class Condition(nn.Module):
    """Where the vector of a picture comes from: ``[b, condition]``, or ``[1, condition]`` for all."""

    def __init__(self, c: SelicConfig) -> None:
        super().__init__()
        self.absent = nn.Parameter(torch.randn(c.condition) * 0.1)
        self.project = nn.Linear(c.text, c.condition) if c.source == "text" else None
        width = max(1, c.text * c.condition // (c.high + c.condition))  # as many weights as the projection
        self.pooled = (
            nn.Sequential(nn.Linear(c.high, width), nn.ReLU(), nn.Linear(width, c.condition))
            if c.source == "pooled"
            else None
        )

    def forward(self, y: Tensor, features: Tensor | None) -> Tensor:
        if self.pooled is not None:
            made: Tensor = self.pooled(y.mean((2, 3)))
            return made
        if self.project is None or features is None:
            return y.new_ones(len(y), 1) * self.absent
        vector: Tensor = self.project(features)
        return vector


class Words(nn.Module):
    """What the decoder makes of a transmitted caption: counts of hashed words ``[b, words]``."""

    def __init__(self, c: SelicConfig, outputs: int) -> None:
        super().__init__()
        self.hyper = nn.Parameter(torch.zeros(c.text, outputs))
        self.synthesis = nn.Linear(c.text, c.condition, bias=False)
        self.fusion = Fusion(c.high, c.condition, c.fusion)

    def offset(self, counts: Tensor, layer: ExactConv, exact: bool) -> Tensor:
        """What a caption adds to the biases of a layer, ``[b, outputs]``; if ``exact`` on their grid."""
        total = (counts @ round_ste(self.hyper, _GRID)).clamp(-_LIMIT, _LIMIT)
        return round_ste(total, 2.0 ** (layer.exponents() + layer.source.fraction)) if exact else total


class Selic(Codec):
    """The codec; :meth:`describe` gives it the captions of the pictures that it codes next."""

    config: SelicConfig

    def __init__(self, config: SelicConfig = SelicConfig()) -> None:
        super().__init__(config)
        c = config
        self.analysis = DualAnalysis(c.base)
        self.synthesis = DualSynthesis(c.base)
        start_as_packets(self.analysis, self.synthesis)
        inside = c.source in ("constant", "text", "pooled")
        self.condition = Condition(c) if inside else None
        self.fusion = Fusion(c.high, c.condition, c.fusion) if inside else None
        outputs = self.exact_layers["hyper"][0].weight.shape[0]
        self.words = Words(c, outputs) if c.source == "transmitted" else None
        self.caption: Tensor | None = None

    def describe(self, features: Tensor | None) -> None:
        """Take features ``[b, text]`` of the captions of the next pictures; None: they have no caption."""
        self.caption = features

    def analyse(self, pixels: Tensor) -> Tensor:
        (y,) = self.analysis((pixels - 127.5) / PIXEL_UNIT)
        if self.condition is not None and self.fusion is not None:
            y = y + self.fusion(y, self.condition(y, self.caption))
        return fold(y, self.config.high_slices)

    def hyper_features(self, z: Tensor, anchors: Tensor, exact: bool) -> Tensor:
        if self.words is None or self.caption is None:
            return super().hyper_features(z, anchors, exact)
        first, *rest = self.exact_layers["hyper"]
        weight, bias = first.numbers(anchors, exact)
        offset = self.words.offset(self.caption, first, exact).repeat_interleave(
            len(z) // len(self.caption),
            0,  # tiles of a picture share its caption
        )
        sums = F.conv2d(HYPER.clip(z), weight) + (bias + offset)[:, :, None, None].to(z.dtype)
        x = F.pixel_shuffle(first.finish(sums, first.row_fraction[:, None, None], exact), 2)
        for layer in rest:
            x = layer(x, anchors, exact)
        return x

    def synthesise(self, y: Tensor) -> Tensor:
        high = unfold(y, self.config.high_slices)
        if self.words is not None and self.caption is not None:
            high = high + self.words.fusion(high, self.words.synthesis(self.caption))
        pixels: Tensor = self.synthesis(high, y[:, :0]) * PIXEL_UNIT + 127.5
        return pixels


def with_caption(entropy: EntropyModel, model: Selic, counts: Tensor) -> EntropyModel:
    """The entropy model for pictures with a transmitted caption, ``counts [1, words]``: other biases, in
    integers, and so another fingerprint.

    :raises ModelError: if the bound of a row does not hold with them.
    """
    if model.words is None:
        return entropy
    layer = model.exact_layers["hyper"][0]
    with torch.no_grad():
        unit = 2.0 ** (layer.exponents() + layer.source.fraction)
        added = (model.words.offset(counts, layer, True)[0] * unit).round().numpy().astype(np.int32)
    first, *rest = entropy.hyper.layers
    hyper = ExactNet(
        entropy.hyper.name, entropy.hyper.input_max, (replace(first, bias=first.bias + added), *rest)
    )
    check_bound(hyper)
    return replace(entropy, hyper=hyper)
