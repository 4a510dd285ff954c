"""Batch and layer normalisation by mean absolute deviation (L1) or by deviation (L2), float or quantised.

L1: ``d = x - mean x``, ``σ = mean |d|``, ``z = d / (σ + ε)``, ``y = γ z + β``. With ``ĝ = γ ∂L/∂y`` and
``s = sign d`` its backward is ``∂L/∂x = (ĝ - mean ĝ - (s - mean s) mean(ĝ z)) / (σ + ε)``. It needs no square
and no root. That L1 norms train when they are fully quantised is the claim of ShiftQuant's paper (arXiv
2411.10948); these formulas are our reconstruction. For Gaussian values ``σ`` is √(2/π) of the deviation: a
converted layer's γ takes that factor.

Quantised, ``x``, ``z`` and ``ĝ`` are integers with power-of-two scales, one shift a channel (batch) or a
row (layer), all of which lie outside of the sums. Sums are of integers. The reciprocal of each group, γ and β
are float.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bifocal.errors import OptionError
from bifocal.learn.lowbit.layers import noise, refuse_non_finite
from bifocal.learn.nets.quantiser import Quantiser

#: Mean absolute deviation over deviation, for Gaussian values.
GAUSSIAN = math.sqrt(2 / math.pi)
#: Groups of the power-of-two scales of a quantised norm: they are outside of its sums and cost nothing.
NORM_GROUPS = 8


@dataclass(frozen=True)
class NormSettings:
    """``power`` 1 or 2, ``bits`` (0: float), and the source of the noise of stochastic rounding.

    ``fused``: the float L1 norm by compiled loops (`fused.py`), where ``x`` is float32 on the CPU.

    :raises OptionError: if the power is another, or ``fused`` is asked for another norm.
    """

    name: str = ""
    power: int = 1
    bits: int = 0
    seed: int = 0
    number: int = 0
    stochastic: bool = True
    fused: bool = False

    def __post_init__(self) -> None:
        if self.fused and (self.power != 1 or self.bits):
            raise OptionError("fused norms are float and of power 1: leave norm and norm_bits out.")
        if self.power not in (1, 2):
            raise OptionError(f"a norm of power {self.power}: give 1 or 2.")


def deviation(d: Tensor, dims: tuple[int, ...], power: int, eps: float) -> Tensor:
    """What centred values are divided by, dimensions kept: mean absolute or root mean square, and eps."""
    if power == 1:
        return d.abs().mean(dims, keepdim=True) + eps
    return (d.square().mean(dims, keepdim=True) + eps).sqrt()


class _Normalised(torch.autograd.Function):
    """``z`` of ``x`` over ``dims``, with mean and deviation, for both powers, float or quantised."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dims: tuple[int, ...], eps: float, settings: NormSettings, step: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        outer = tuple(axis for axis in range(x.ndim) if axis not in dims)
        if settings.bits:
            found = Quantiser(settings.bits, NORM_GROUPS, power_of_two=True)(x, outer)
            refuse_non_finite(found, settings.name, "the input")
            x = found.values
        mean = x.mean(dims, keepdim=True)
        d = x - mean
        scale = deviation(d, dims, settings.power, eps)
        z = d / scale
        if settings.bits:
            z = Quantiser(settings.bits, NORM_GROUPS, power_of_two=True)(z, outer).values
        ctx.save_for_backward(z, d.sign().to(torch.int8) if settings.power == 1 else z, scale)
        ctx.dims, ctx.outer, ctx.settings, ctx.step = dims, outer, settings, step
        ctx.mark_non_differentiable(mean, scale)
        return z, mean, scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor, *_: Tensor) -> tuple[Tensor, None, None, None, None]:
        z, slope, scale = ctx.saved_tensors
        dims, settings = ctx.dims, ctx.settings
        if settings.bits:
            random = None
            if settings.stochastic:
                random = noise(g, settings.seed, settings.number, ctx.step, 2)
            found = Quantiser(settings.bits, NORM_GROUPS, power_of_two=True)(g, ctx.outer, noise=random)
            refuse_non_finite(found, settings.name, "the gradient of the output")
            g = found.values
        slope = slope.to(g.dtype)
        common = (g * z).mean(dims, keepdim=True)
        dx = g - g.mean(dims, keepdim=True) - (slope - slope.mean(dims, keepdim=True)) * common
        return dx / scale, None, None, None, None


class _Norm(nn.Module):
    """Parameters γ and β, a count of steps, and the normalisation itself."""

    settings: NormSettings
    steps: Tensor

    def set_up(self, shape: tuple[int, ...], eps: float, settings: NormSettings) -> None:
        self.eps, self.settings = eps, settings
        first = GAUSSIAN if settings.power == 1 else 1.0
        self.weight: Tensor | None = nn.Parameter(torch.full(shape, first))
        self.bias: Tensor | None = nn.Parameter(torch.zeros(shape))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def take(self, weight: Tensor | None, bias: Tensor | None) -> None:
        """γ and β of the layer that this one replaces."""
        with torch.no_grad():
            self.weight = None if weight is None else nn.Parameter(weight * self.factor)
            self.bias = None if bias is None else nn.Parameter(bias.clone())

    @property
    def factor(self) -> float:
        """The deviation of Gaussian values, as this norm measures it."""
        return GAUSSIAN if self.settings.power == 1 else 1.0

    def fuses(self, x: Tensor) -> bool:
        """Whether compiled loops normalise ``x``."""
        return self.settings.fused and x.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0

    def fused(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """``x [n, c, ..]``, each channel normalised, and its mean and scale, ``[c]``."""
        from bifocal.learn.lowbit.fused import FusedNorm  # compiled, and only with Numba

        weight = torch.full((x.shape[1],), self.factor) if weight is None else weight
        bias = torch.zeros(x.shape[1]) if bias is None else bias
        return cast(Any, FusedNorm.apply(x, weight, bias, self.eps))

    def normalise(self, x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
        x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        step = int(self.steps)
        if self.training:
            self.steps += 1
        return cast(Any, _Normalised.apply(x, dims, self.eps, self.settings, step))

    def affine(self, z: Tensor, shape: list[int]) -> Tensor:
        if self.weight is None:  # the factor is a constant then
            z = z * self.factor
        else:
            z = z * self.weight.reshape(shape)
        return z if self.bias is None else z + self.bias.reshape(shape)


class LowBitBatchNorm2d(_Norm):
    """Batch normalisation of ``[n, c, h, w]`` over n, h and w, in place of ``nn.BatchNorm2d``.

    ``running_mean`` and ``running_scale`` (what centred values are divided by) are used after training.
    """

    running_mean: Tensor
    running_scale: Tensor

    def __init__(
        self, channels: int, settings: NormSettings = NormSettings(), eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__()
        self.set_up((channels,), eps, settings)
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_scale", torch.full((channels,), self.factor))

    @classmethod
    def of(cls, norm: nn.BatchNorm2d, settings: NormSettings) -> LowBitBatchNorm2d:
        """The norm with the same parameters and statistics; its L1 scale is that of Gaussian values."""
        made = cls(norm.num_features, settings, norm.eps, 0.1 if norm.momentum is None else norm.momentum)
        made.take(norm.weight, norm.bias)
        if norm.running_mean is not None and norm.running_var is not None:
            made.running_mean = norm.running_mean.clone()
            made.running_scale = (norm.running_var + norm.eps).sqrt() * made.factor
        made.to(made.running_mean.device)
        return made.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        shape = [1, -1, 1, 1]
        if self.training:
            fused = self.fuses(x)
            if fused:
                z, mean, scale = self.fused(x, self.weight, self.bias)
            else:
                z, mean, scale = self.normalise(x, (0, 2, 3))
            with torch.no_grad():
                self.running_mean.lerp_(mean.detach().flatten(), self.momentum)
                self.running_scale.lerp_(scale.detach().flatten(), self.momentum)
            if fused:
                return z
        else:
            z = (x - self.running_mean.reshape(shape)) / self.running_scale.reshape(shape)
        return self.affine(z, shape)


class LowBitLayerNorm(_Norm):
    """Normalisation over the last dimensions, in place of ``nn.LayerNorm``."""

    def __init__(
        self, shape: tuple[int, ...], settings: NormSettings = NormSettings(), eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.set_up(self.shape, eps, settings)

    @classmethod
    def of(cls, norm: nn.LayerNorm, settings: NormSettings) -> LowBitLayerNorm:
        """The norm with the same parameters."""
        made = cls(tuple(norm.normalized_shape), settings, norm.eps)
        made.take(norm.weight, norm.bias)
        return made.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        if self.fuses(x):  # rows are channels there, γ and β lie across
            rows = x.reshape(1, -1, math.prod(self.shape))
            ones, zeros = torch.ones(rows.shape[1]), torch.zeros(rows.shape[1])
            z = self.fused(rows, ones, zeros)[0].reshape(x.shape)
        else:
            z, _, _ = self.normalise(x, tuple(range(x.ndim - len(self.shape), x.ndim)))
        return self.affine(z, list(self.shape))


def folded(conv: nn.Conv2d, norm: LowBitBatchNorm2d) -> nn.Conv2d:
    """One plain convolution that does what ``norm`` after ``conv`` does when both are in evaluation mode."""
    made = nn.Conv2d(
        *(conv.in_channels, conv.out_channels, cast(Any, conv.kernel_size)),
        **cast(Any, {"stride": conv.stride, "padding": conv.padding, "dilation": conv.dilation}),
        groups=conv.groups,
    )
    assert made.bias is not None
    with torch.no_grad():
        gain = norm.factor if norm.weight is None else norm.weight
        gain = gain / norm.running_scale
        before = torch.zeros_like(norm.running_mean) if conv.bias is None else conv.bias
        made.weight.copy_(conv.weight * gain[:, None, None, None])
        made.bias.copy_((before - norm.running_mean) * gain)
        if norm.bias is not None:
            made.bias += norm.bias
    return made.train(conv.training)
