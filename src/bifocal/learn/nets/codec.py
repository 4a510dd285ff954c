"""The program that every learned codec here is: its entropy path, its qualities and its training pass.

A system adds what is its own: a configuration with a :class:`~bifocal.stream.plan.Plan`, the networks left
and right of the waist (:meth:`Codec.analyse`, :meth:`Codec.synthesise`), and which channels a group's
predictor may see. Everything between is here once: gains by quality, the hyper-latent, the exact
hyper-synthesis and one exact predictor a group (``learn/nets/entropy/exact.py``), and the group loop with its
estimate of the rate (``learn/nets/entropy/coding.py``). Whatever subclasses :class:`Codec` therefore trains,
packs and codes files.

Gains by quality interpolated between anchors, one model for all rates: after Cui et al. (arXiv 2003.02012);
integer networks for entropy coding: Ballé et al. (ICLR 2019). Sizes and arithmetic are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from bifocal.errors import ModelError
from bifocal.learn.nets.entropy.coding import Estimate, Reconstruction
from bifocal.learn.nets.entropy.exact import WIRE_1, ExactConv, Range, round_ste
from bifocal.learn.nets.entropy.prior import (
    INDEX_FRACTION,
    MEAN_FRACTION,
    UNIT_INDEX,
    logistic_bits,
)
from bifocal.learn.nets.parameters import ParameterGroup, grouped
from bifocal.learn.nets.transforms.blocks import conv3
from bifocal.learn.nets.transforms.two_paths import TwoPaths
from bifocal.stream.plan import Group, Plan, code_groups

FLOAT_PRIOR = (
    "The paper's prior is a float network: another machine could not open its files, so it is trained and "
    'measured by its estimate but never packed. Pack a model with prior = "exact".'
)
QUALITIES = 100
PIXEL_UNIT = 32.0  # transforms see (pixel - 127.5)/32
HYPER = Range(-127, 127, 0)
CONTEXT = Range(-1023, 1023, 4)
HEAD = Range(-32767, 32767, 4)
#: What :meth:`Codec.packing_extras` may name: ``half`` and ``thumb``, smaller pictures by ``synthesise_half``
#: (of y) and ``synthesise_thumb`` (of the first group's channels); ``adjoint``, the gradient that efforts
#: above 1 need, or ``linear adjoint``, that by the linear path of synthesis alone; ``int8``, an 8-bit
#: synthesis; ``labels``, a reader of labels (``trunk``, y to logits) as a head beside the model.
PACKING_EXTRAS = frozenset({"half", "thumb", "adjoint", "linear adjoint", "int8", "labels"})
#: The networks that say how likely symbols are, and the parameters beside them.
ENTROPY_PARTS = ("hyper_analysis", "hyper_synthesis", "predictors", "z_index")
#: The networks that make pixels from latents.
SYNTHESIS_PARTS = ("synthesis", "to_half", "to_thumb")
#: What a decoder runs, besides fixed transforms.
DECODER_PARTS = ("hyper_synthesis", "predictors", "synthesis")


class CodecConfig(Protocol):
    """What every system's configuration, a frozen dataclass of numbers and strings, holds besides its own.

    ``hyper`` channels of z, ``features`` of the hyper-synthesis, ``context`` hidden channels of a predictor,
    ``anchors`` qualities with gains of their own; lambda of R + lambda·255²·MSE goes log-linearly from
    ``lambda_min`` to ``lambda_max`` over qualities 1..100.
    """

    @property
    def plan(self) -> Plan: ...
    @property
    def hyper(self) -> int: ...
    @property
    def features(self) -> int: ...
    @property
    def context(self) -> int: ...
    @property
    def anchors(self) -> int: ...
    @property
    def lambda_min(self) -> float: ...
    @property
    def lambda_max(self) -> float: ...


class Coded(NamedTuple):
    """What a training pass gives.

    ``output`` is the decoded picture ``[b, 3, H, W]`` (0..255, unclipped); ``bits`` a picture's ``[b]``;
    ``small`` further, smaller pictures that a system decodes; ``y_hat`` the decoded latents ``[b, c, h, w]``
    after inverse gains; ``channel_bits`` ``[b, c]`` the share of each channel of y in ``bits``.
    """

    output: Tensor
    bits: Tensor
    small: tuple[Tensor, ...]
    y_hat: Tensor
    channel_bits: Tensor


def quality_lambda(config: CodecConfig, quality: Tensor) -> Tensor:
    """Lagrange multiplier of each quality (1..100), for MSE on pixels in [0, 1] times 255²."""
    ratio = math.log(config.lambda_max / config.lambda_min)
    return config.lambda_min * torch.exp(ratio * (quality.float() - 1) / (QUALITIES - 1))


def quality_anchors(quality: Tensor, anchors: int) -> Tensor:
    """Linear interpolation weights of qualities ``[b]`` over evenly spaced anchors: ``[b, anchors]``."""
    place = (quality.float() - 1) / (QUALITIES - 1) * (anchors - 1)
    return (1 - (place[:, None] - torch.arange(anchors, device=quality.device)).abs()).clamp_min(0)


def into_tiles(x: Tensor, tiles: int) -> Tensor:
    """``[b, c, h, w]`` as ``[b·tiles², c, h/tiles, w/tiles]``, row by row of each picture."""
    x = x.unflatten(3, (tiles, -1)).unflatten(2, (tiles, -1))
    return x.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def from_tiles(x: Tensor, tiles: int) -> Tensor:
    """The inverse of :func:`into_tiles`."""
    x = x.unflatten(0, (-1, tiles, tiles))
    return x.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


class Codec(nn.Module):
    """Subclass it, call ``super().__init__(config)`` first, write :meth:`analyse` and :meth:`synthesise`."""

    #: The wire id that its streams have.
    wire = WIRE_1

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        c, p = config, config.plan
        self.config, self.plan = c, p
        ratio = (p.z_stride // p.y_stride).bit_length() - 1
        f, a, w = c.features, self.wire.activation, self.wire.weight_max
        down: list[nn.Module] = [nn.Conv2d(p.y_channels, f, 1)]
        for i in range(ratio):
            down += [nn.ReLU(), conv3(f, f if i + 1 < ratio else c.hyper, stride=2)]
        self.hyper_analysis = nn.Sequential(*down)
        up: list[nn.Module] = []
        for i in range(ratio):
            widen = (
                ExactConv(
                    c.hyper,
                    4 * f,
                    1,
                    source=HYPER,
                    out=a,
                    shuffle=True,
                    qualities=c.anchors,
                    gain=0.5,
                    weight_max=w,
                )
                if i == 0
                else ExactConv(f, 4 * f, 1, source=a, out=a, shuffle=True, weight_max=w)
            )
            anchors = c.anchors if i + 1 == ratio else 0
            up += [widen, ExactConv(f, f, 3, source=a, out=a, qualities=anchors, weight_max=w)]
        self.hyper_synthesis = nn.ModuleList(up)
        self.predictors = nn.ModuleList([self._predictor(k, g) for k, g in enumerate(p.groups)])
        quality = torch.linspace(1, QUALITIES, c.anchors)
        gain = 0.5 * torch.log(quality_lambda(c, quality) / 0.01) - 0.35
        self.log_gain = nn.Parameter(gain[:, None].repeat(1, p.y_channels))
        self.log_inverse_gain = nn.Parameter(-gain[:, None].repeat(1, p.y_channels))
        self.z_index = nn.Parameter(torch.full((c.anchors, c.hyper), UNIT_INDEX))
        self.reconstruction = Reconstruction() if self.wire.reconstruction else None
        self.prior: nn.Module | None = None

    # -- what a system writes ------------------------------------------------------------------------------

    def analyse(self, pixels: Tensor) -> Tensor:
        """Pixels ``[b, 3, H, W]`` in 0..255 (multiples of 64) to y ``[b, c, H/s, W/s]``, before gains.

        ``s`` is the plan's ``y_stride`` and the channels stand in the order of its groups. At the lowest
        quality a coefficient of about 4 should be worth a step: see :data:`PIXEL_UNIT`.
        """
        raise NotImplementedError

    def synthesise(self, y: Tensor) -> Tensor:
        """y ``[b, c, H/s, W/s]`` after inverse gains to pixels ``[b, 3, H, W]``, unclipped."""
        raise NotImplementedError

    def synthesise_small(self, y: Tensor) -> tuple[Tensor, ...]:
        """Smaller pictures ``[b, 3, H/n, W/n]`` from the same y, for reduced decoding; none by default."""
        return ()

    def unpackable(self) -> str:
        """Why this configuration can never be a packed model, as a sentence or two; empty if it can."""
        return ""

    def sees(self, k: int) -> Tensor:
        """Which channels of y the predictor of group ``k`` may see: bool ``[c]``; all by default.

        Channels that are not decoded yet read as zero anyhow.
        """
        return torch.ones(self.plan.y_channels, dtype=torch.bool)

    # -- what a system may say of itself -------------------------------------------------------------------

    def parameter_groups(self) -> tuple[ParameterGroup, ...]:
        """Its parameters in the groups that training treats apart (``learn/nets/parameters.py``)."""
        # linear paths start as a transform: orthogonal steps of full size would shake them
        return grouped(self, plain=[part.linear for part in self._two_paths().values()])

    def packing_extras(self) -> frozenset[str]:
        """What its packed model has beyond encoding and decoding: some of :data:`PACKING_EXTRAS`."""
        return frozenset()

    def windows(self) -> Mapping[str, int] | None:
        """How many pixels beyond a position each float network looks; None: packing measures it."""
        return None

    def rectified(self) -> dict[str, list[nn.Module]]:
        """Layers whose outputs pass a ReLU, in order, by the name of their network: where units can die."""
        return {name: part.rectified() for name, part in self._two_paths().items() if part.deep}

    def revive(self, firing: Mapping[str, list[Tensor]], threshold: float) -> int:
        """Start units that fire at less than ``threshold`` of positions afresh; how many.

        ``firing`` has, for each of the :meth:`rectified` layers, how often its units fire, ``[units]``. The
        codec computes what it computed before.
        """
        parts = self._two_paths()
        return sum(parts[name].revive(rates, threshold) for name, rates in firing.items())

    def _two_paths(self) -> dict[str, TwoPaths]:
        return {name: part for name, part in self.named_children() if isinstance(part, TwoPaths)}

    # -- the entropy path ----------------------------------------------------------------------------------

    def _predictor(self, k: int, group: Group) -> nn.ModuleList:
        c, p, a, w = self.config, self.plan, self.wire.activation, self.wire.weight_max
        source_max = torch.cat([torch.full((c.features,), a.largest), torch.full((p.y_channels,), 1023)])
        rows = torch.tensor([MEAN_FRACTION, INDEX_FRACTION]).repeat_interleave(group.channels)
        first = ExactConv(
            c.features + p.y_channels,
            c.context,
            1,
            source=CONTEXT,
            out=a,
            source_max=source_max,
            qualities=c.anchors,
            weight_max=w,
            seen=torch.cat([torch.ones(c.features, dtype=torch.bool), self.sees(k)]),
        )
        first.weight.data[:, c.features + p.groups[0].stop :] *= 3  # later bands are a step or so: be heard
        second = ExactConv(c.context, c.context, 3, source=a, out=a, weight_max=w)
        head = ExactConv(
            c.context,
            2 * group.channels,
            1,
            source=a,
            out=HEAD,
            relu=False,
            row_fraction=rows,
            gain=0.1,
            weight_max=w,
        )
        head.bias.data[group.channels :] = UNIT_INDEX / 2**INDEX_FRACTION
        return nn.ModuleList([first, second, head])

    def use_float_prior(self, prior: nn.Module) -> None:
        """Put a paper's float networks in the place of the integers: trained, counted, never packed.

        ``prior(y, z_index, anchors, noise)`` gives what :meth:`estimate` gives.
        """
        del self.hyper_analysis, self.hyper_synthesis, self.predictors
        self.prior = prior

    @property
    def exact_layers(self) -> dict[str, list[ExactConv]]:
        """The networks that the entropy decoder needs, by the names they are packed under.

        :raises ModelError: with a float prior, which has no integers.
        """
        if self.prior is not None:
            raise ModelError(FLOAT_PRIOR)
        nets = {"hyper": self.hyper_synthesis} | {
            f"predict.{k}": net for k, net in enumerate(self.predictors)
        }
        return {name: [m for m in net.children() if isinstance(m, ExactConv)] for name, net in nets.items()}

    @property
    def group_predictors(self) -> list[list[ExactConv]]:
        """The layers of each group's predictor."""
        layers = self.exact_layers
        return [layers[f"predict.{k}"] for k in range(len(self.plan.groups))]

    def hyper_latent(self, y: Tensor) -> Tensor:
        """Hyper-latent z of the gained y, before rounding; large values enter by their logarithm."""
        return self.hyper_analysis(y.sign() * torch.log1p(y.abs()))

    def hyper_features(self, z: Tensor, anchors: Tensor, exact: bool) -> Tensor:
        x = HYPER.clip(z)
        for layer in self.exact_layers["hyper"]:
            x = layer(x, anchors, exact)
        return x

    def gains(self, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """Gain and inverse gain for interpolation weights ``anchors [b, a]``: each ``[b, c, 1, 1]``."""
        gain, inverse = (anchors @ self.log_gain).exp(), (anchors @ self.log_inverse_gain).exp()
        return gain[:, :, None, None], inverse[:, :, None, None]

    def estimate(
        self, y: Tensor, anchors: Tensor, *, exact: bool, noise: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The gained y ``[b, c, h, w]`` as decoded, and its bits ``[b, c]``, and those of z ``[b]``.

        A float prior has no exact form and ignores ``exact``.
        """
        if self.prior is not None:
            result: tuple[Tensor, Tensor, Tensor] = self.prior(y, anchors @ self.z_index, anchors, noise)
            return result
        z = self.hyper_latent(y).float()
        z_index = (anchors @ self.z_index)[:, :, None, None].expand_as(z)
        z_bits = logistic_bits(z + torch.rand_like(z) - 0.5 if noise else round_ste(z), z_index)
        device = y.device.type
        with torch.autocast(
            device, enabled=torch.is_autocast_enabled(device) and not exact, dtype=torch.bfloat16
        ):
            features = self.hyper_features(round_ste(z), anchors, exact)
            driver = Estimate(
                self.plan, self.group_predictors, features, y, anchors, exact, self.reconstruction
            )
            parts = code_groups(self.plan, driver)
        return driver.whole(parts), driver.bits(noise), z_bits.sum((1, 2, 3))

    # -- training ------------------------------------------------------------------------------------------

    def code(
        self, pixels: Tensor, quality: Tensor, *, exact: bool, noise: bool, tiles: int = 1
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What :meth:`forward` does before synthesis: ``y_hat``, ``bits`` and ``channel_bits`` of
        :class:`Coded`."""
        anchors = quality_anchors(quality, self.config.anchors)
        gain, inverse = self.gains(anchors)
        y = self.analyse(pixels).float() * gain
        decoded, channel_bits, z_bits = self.estimate(
            into_tiles(y, tiles), anchors.repeat_interleave(tiles**2, 0), exact=exact, noise=noise
        )
        channel_bits, z_bits = (bits.unflatten(0, (-1, tiles**2)).sum(1) for bits in (channel_bits, z_bits))
        return from_tiles(decoded, tiles) * inverse, channel_bits.sum(1) + z_bits, channel_bits

    def forward(self, pixels: Tensor, quality: Tensor, *, exact: bool, noise: bool, tiles: int = 1) -> Coded:
        """Code and decode pictures ``[b, 3, H, W]`` (0..255) at qualities ``[b]``, differentiably.

        ``exact`` runs the entropy networks on their integers (never under autocast); ``noise`` estimates
        the rate with uniform noise, as training does, instead of rounding. ``tiles`` is how many tiles a
        side the latents are coded in: transforms see across their borders, entropy networks do not. Smaller
        pictures learn from the latents without changing them: no gradient passes to anything but their own
        networks.
        """
        y_hat, bits, channel_bits = self.code(pixels, quality, exact=exact, noise=noise, tiles=tiles)
        small = tuple(x.float() for x in self.synthesise_small(y_hat.detach()))
        output = self.synthesise(y_hat).float()
        return Coded(output, bits, small, y_hat, channel_bits)
