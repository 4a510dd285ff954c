"""The channel-wise prior of the papers, in float: slices of channels, each given those before it.

From ChARM (Minnen & Singh, arXiv 2007.08978) as WeConvene (arXiv 2407.09983) has it: for every slice a
mapping of its support, three convolutions with GELU for the mean and three for the scale, and a prediction of
what rounding took away ("latent residual prediction"). Slices of the high band see the whole low band. The
mapping is called attention in the paper; its released code squeezes by 1×1 and gates one stack of
convolutions by another, and so does this. Float networks like these cannot code files that open on another
machine: they are here to be counted, trained and compared with the integers of
``learn/nets/entropy/exact.py``. Ours: the scale comes out of a softplus above its floor, and the likelihood
may be logistic as everywhere else here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.learn.nets.entropy.exact import round_ste
from bifocal.learn.nets.entropy.factorised import gaussian_bits
from bifocal.learn.nets.entropy.prior import LOG_RATIO, SCALE_MIN, logistic_bits
from bifocal.learn.nets.transforms.residual import Residual
from bifocal.stream.plan import Group, Plan, code_groups


class Bottleneck(nn.Module):
    """``relu(x + 1×1(relu(3×3(relu(1×1(x))))))`` at half the width inside; shapes ``[b, c, h, w]``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.squeeze = nn.Conv2d(channels, half, 1)
        self.middle = nn.Conv2d(half, half, 3, 1, 1)
        self.widen = nn.Conv2d(half, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.widen(F.relu(self.middle(F.relu(self.squeeze(x))))))


class Gate(nn.Module):
    """The released "Att", ``[b, i, h, w]`` to ``[b, o, h, w]``: ``A(x)·sigmoid(B(N(x))) + x`` at width inner.

    A and B are three bottlenecks each, B with a 1×1 after them; N is two plain residual blocks.
    """

    def __init__(self, inputs: int, outputs: int, inner: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, inner, 1)
        self.value = nn.Sequential(*[Bottleneck(inner) for _ in range(3)])
        self.weight = nn.Sequential(
            Residual(inner),
            Residual(inner),
            *[Bottleneck(inner) for _ in range(3)],
            nn.Conv2d(inner, inner, 1),
        )
        self.widen = nn.Conv2d(inner, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x)
        y: Tensor = self.widen(self.value(x) * torch.sigmoid(self.weight(x)) + x)
        return y


def _head(inputs: int, hidden: tuple[int, int], outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, hidden[0], 3, 1, 1),
        nn.GELU(),
        nn.Conv2d(hidden[0], hidden[1], 3, 1, 1),
        nn.GELU(),
        nn.Conv2d(hidden[1], outputs, 3, 1, 1),
    )


class Slice(nn.Module):
    """Mean and deviation of one slice of ``width`` channels.

    ``given`` channels of another band and ``previous`` of its own are decoded before it. With ``inner`` 0
    there is no mapping: the heads see the whole support.
    """

    def __init__(
        self, features: int, given: int, previous: int, width: int, *, inner: int, hidden: tuple[int, int]
    ) -> None:
        super().__init__()
        support = features + given + previous
        mapped = features + previous if inner else support
        self.given = given if inner else 0
        self.mean_gate, self.scale_gate = (
            Gate(support, mapped, inner) if inner else nn.Identity() for _ in range(2)
        )
        self.mean, self.scale = _head(mapped, hidden, width), _head(mapped, hidden, width)

    def forward(self, mean: Tensor, scale: Tensor, decoded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and deviation (steps) ``[b, width, h, w]``, and the support that a :class:`Correction` sees.

        From hyper features for each ``[b, features, h, w]`` and ``decoded [b, given + previous, h, w]``.
        """
        support: Tensor = self.mean_gate(torch.cat([mean, decoded], 1))
        mu: Tensor = self.mean(support)
        deviation = F.softplus(self.scale(self.scale_gate(torch.cat([scale, decoded], 1))).float())
        return mu.float(), SCALE_MIN + deviation, torch.cat([decoded[:, : self.given], support], 1)


class Correction(nn.Module):
    """What rounding took away, predicted: ``(support [b, s, h, w], y [b, width, h, w])`` to y corrected.

    ``bound`` is ``"tanh"`` (half a step at most, as published) or ``"clip"`` (the same, as integers might).
    """

    def __init__(self, support: int, width: int, *, hidden: tuple[int, int], bound: str) -> None:
        super().__init__()
        self.net, self.bound = _head(support + width, hidden, width), bound

    def forward(self, support: Tensor, y: Tensor) -> Tensor:
        change: Tensor = self.net(torch.cat([support, y], 1)).float()
        return y + (0.5 * torch.tanh(change) if self.bound == "tanh" else change.clamp(-0.5, 0.5))


class ChannelPrior(nn.Module):
    """The slices of one band, and a correction each: for every group of ``plan`` from channel ``start`` on.

    It ends before channel ``stop``. Channels before ``start`` are the band that all slices are given.
    ``bound`` is that of :class:`Correction`, or ``""`` for none.
    """

    def __init__(
        self,
        plan: Plan,
        start: int,
        stop: int,
        *,
        features: int,
        inner: int,
        hidden: tuple[int, int] = (224, 128),
        bound: str = "tanh",
    ) -> None:
        super().__init__()
        groups = [g for g in plan.groups if start <= g.start < stop]
        self.slices = nn.ModuleList(
            Slice(features, start, g.start - start, g.channels, inner=inner, hidden=hidden) for g in groups
        )
        self.corrections = nn.ModuleList(
            Correction(features + g.start, g.channels, hidden=hidden, bound=bound) if bound else nn.Identity()
            for g in groups
        )


class SliceEstimate:
    """Driver of the group loop for float slices: rounds around the mean, corrects, remembers the rate.

    ``y [b, c, h, w]`` in steps; ``priors`` one band each, in the order of the plan; gradients pass straight
    through the rounding.
    """

    def __init__(self, priors: tuple[ChannelPrior, ...], mean: Tensor, scale: Tensor, y: Tensor) -> None:
        self.slices = [net for prior in priors for net in prior.slices]
        self.corrections = [net for prior in priors for net in prior.corrections]
        self.mean, self.scale, self.y = mean, scale, y
        self.support: Tensor = y
        self.rounded: list[Tensor] = []
        self.means: list[Tensor] = []
        self.deviations: list[Tensor] = []

    def start(self) -> Tensor:
        return self.y[:, :0]

    def predict(self, k: int, group: Group, decoded: Tensor) -> tuple[Tensor, Tensor]:
        mu, deviation, self.support = self.slices[k](self.mean, self.scale, decoded)
        self.means.append(mu)
        self.deviations.append(deviation)
        return mu, deviation

    def code(self, group: Group, mu: Tensor, deviation: Tensor, decoded: Tensor) -> Tensor:
        net = self.corrections[len(self.rounded)]
        rounded = mu + round_ste(self.y[:, group.start : group.stop] - mu)
        self.rounded.append(rounded)
        corrected = net(self.support, rounded) if isinstance(net, Correction) else rounded
        return torch.cat([decoded, corrected], 1)

    def bits(self, noise: bool, family: str) -> Tensor:
        """Bits of every symbol ``[b, c, h, w]``; with uniform noise for rounding in training."""
        mu, deviation = torch.cat(self.means, 1), torch.cat(self.deviations, 1)
        residual = self.y - mu + torch.rand_like(mu) - 0.5 if noise else torch.cat(self.rounded, 1) - mu
        if family == "gaussian":
            return gaussian_bits(residual, deviation)
        return logistic_bits(residual, torch.log(deviation / SCALE_MIN) / LOG_RATIO)


def estimate_slices(
    plan: Plan,
    priors: tuple[ChannelPrior, ...],
    mean: Tensor,
    scale: Tensor,
    y: Tensor,
    *,
    noise: bool,
    family: str = "gaussian",
) -> tuple[Tensor, Tensor]:
    """Decoded latents and bits, each ``[b, c, h, w]``, of ``y`` (steps) under float slices in plan order.

    ``mean`` and ``scale`` are the hyper features of the two paths; ``noise`` estimates the rate with uniform
    noise for rounding, as in training; ``family`` is ``"gaussian"`` or ``"logistic"``.
    """
    driver = SliceEstimate(priors, mean, scale, y)
    decoded: Tensor = code_groups(plan, driver)
    return decoded, driver.bits(noise, family)
