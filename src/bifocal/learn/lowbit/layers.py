"""Linear layers and convolutions whose three products are integer products, and which train as before.

Master weights stay float, and so does the optimiser. A step quantises what enters each product: inputs and
weights to nearest, gradients stochastically. Inputs have group scales along channels in the forward product,
gradients along channels in the input gradient, and along positions in the weight gradient; the other operand
has one scale. The gradient passes straight through the roundings of inputs and weights, which never saturate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bifocal.errors import TrainingError
from bifocal.learn.lowbit.products import Carrier, Engine, Geometry, Operand
from bifocal.learn.nets.quantiser import Groups, Quantised, Quantiser, channel_ranges

#: How much of a step's ranges enters those that are used after training.
RANGE_MOMENTUM = 0.1


@dataclass(frozen=True)
class Bits:
    """Bits of the operands of a layer's three products, 0 for float, and the groups of the shifted one."""

    forward: int
    input_gradient: int
    weight_gradient: int
    groups: Groups = 1

    @property
    def products(self) -> dict[str, int]:
        return {
            "forward": self.forward,
            "input_gradient": self.input_gradient,
            "weight_gradient": self.weight_gradient,
        }


@dataclass(frozen=True)
class Settings:
    """What a converted layer knows: its name in the model, its bits, its engine, the source of its noise."""

    name: str
    bits: Bits
    engine: Engine
    seed: int = 0
    number: int = 0
    stochastic: bool = True

    def noise(self, step: int, use: int, like: Tensor) -> Tensor | None:
        """Uniform numbers for a step's rounding: the same for the same seed, layer, step and use."""
        if not self.stochastic:
            return None
        return noise(like, self.seed, self.number, step, use)


def noise(like: Tensor, *key: int) -> Tensor:
    """Uniform in [0, 1), the shape of ``like``, a function of ``key`` alone."""
    generator = torch.Generator(like.device)
    generator.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))
    return torch.rand(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def refuse_non_finite(found: Quantised, name: str, what: str) -> None:
    """A scale is finite only if all that was quantised is.

    :raises TrainingError: with the name of the layer.
    """
    if not bool(found.scale.isfinite()):
        raise TrainingError(
            f"{what} of layer {name} is not finite (NaN or infinite). Layers visited before it were finite, "
            "so it was made here or just before. Lower the learning rate, or give this layer more bits."
        )


class _Products(torch.autograd.Function):
    """The products of one layer, forward and backward, without its bias."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, layer: LowBitLinear | LowBitConv2d) -> Tensor:
        settings, geometry = layer.settings, layer.geometry
        ctx.layer, ctx.shapes, ctx.step = layer, (x.shape, weight.shape), int(layer.steps)
        bits = settings.bits
        kept: Tensor = x
        ctx.kept = None
        if bits.forward:
            qx = Quantiser(bits.forward, bits.groups)(x, (1,), ranges=layer.ranges(x))
            refuse_non_finite(qx, settings.name, "the input")
            qw = Quantiser(bits.forward)(weight, ())
            refuse_non_finite(qw, settings.name, "the weight")
            y = multiply(settings.engine.forward, qx, qw, geometry)
            if bits.weight_gradient in (0, bits.forward):  # what is kept for the backward pass are integers
                kept = qx.integers.to(torch.int8 if qx.largest <= 127 else torch.int16)
                ctx.kept = replace(qx, integers=torch.empty(0))
        else:
            y = FLOAT.forward(Operand(x, 0), Operand(weight, 0), geometry)
        ctx.save_for_backward(kept, weight)
        return y.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        kept, weight = ctx.saved_tensors
        layer: LowBitLinear | LowBitConv2d = ctx.layer
        with torch.no_grad():
            layer.steps += 1
        with torch.autocast(dy.device.type, enabled=False):
            dx = _input_gradient(ctx, layer, dy, weight) if ctx.needs_input_grad[0] else None
            dw = _weight_gradient(ctx, layer, dy, kept) if ctx.needs_input_grad[1] else None
        return dx, dw, None


def _input_gradient(ctx: Any, layer: LowBitLinear | LowBitConv2d, dy: Tensor, weight: Tensor) -> Tensor:
    settings, bits, shape = layer.settings, layer.settings.bits, ctx.shapes[0]
    if not bits.input_gradient:
        if bits.forward:  # straight through: the gradient of what was multiplied
            weight = Quantiser(bits.forward)(weight, ()).values
        return FLOAT.input_gradient(Operand(dy, 0), Operand(weight, 0), shape, layer.geometry)
    quantiser = Quantiser(bits.input_gradient, bits.groups)
    qdy = quantiser(dy, (1,), noise=settings.noise(ctx.step, 0, dy))
    refuse_non_finite(qdy, settings.name, "the gradient of the output")
    qw = Quantiser(bits.input_gradient)(weight, ())
    return multiply(settings.engine.input_gradient, qdy, qw, shape, layer.geometry).to(dy.dtype)


def _weight_gradient(ctx: Any, layer: LowBitLinear | LowBitConv2d, dy: Tensor, kept: Tensor) -> Tensor:
    settings, bits, shape = layer.settings, layer.settings.bits, ctx.shapes[1]
    if not bits.weight_gradient:
        if ctx.kept is not None:
            kept = replace(ctx.kept, integers=kept.to(dy.dtype)).values
        return FLOAT.weight_gradient(Operand(dy, 0), Operand(kept, 0), shape, layer.geometry)
    positions = (0, *range(2, dy.ndim))
    quantiser = Quantiser(bits.weight_gradient, bits.groups)
    qdy = quantiser(dy, positions, noise=settings.noise(ctx.step, 1, dy))
    refuse_non_finite(qdy, settings.name, "the gradient of the output")
    if ctx.kept is None:
        qx = Quantiser(bits.weight_gradient)(kept, ())
    else:
        qx = replace(ctx.kept, integers=kept.to(dy.dtype))
    # channels of the input are rows of the result here: their shifts are a scale of rows, not of operands
    flat = replace(qx, shifts=None, depth=0)
    dw = multiply(settings.engine.weight_gradient, qdy, flat, shape, layer.geometry)
    if qx.shifts is not None:
        rows = torch.exp2(-qx.shifts).flatten()
        dw = dw * rows.reshape(1, -1, *[1] * (dw.ndim - 2))
    return dw.to(dy.dtype)


def multiply(product: Any, a: Quantised, b: Quantised, *rest: Any) -> Tensor:
    """A product of two quantised operands, in real numbers: the integers' product times its unit."""
    if not (a.exact and b.exact):  # scales that are no shifts: floats that round
        product = getattr(FLOAT, product.__name__)
    y = product(Operand(a.shifted, a.reach), Operand(b.shifted, b.reach), *rest)
    return y * (a.unit * b.unit).to(y.dtype)


class _Float(Carrier):
    """The same products of plain float32: for products that a policy leaves in float."""

    def forward(self, x: Operand, w: Operand, geometry: Geometry | None) -> Tensor:
        return super().forward(Operand(x.numbers, 0), Operand(w.numbers, 0), geometry)

    def input_gradient(self, dy: Operand, w: Operand, shape: torch.Size, geometry: Geometry | None) -> Tensor:
        return super().input_gradient(Operand(dy.numbers, 0), Operand(w.numbers, 0), shape, geometry)

    def weight_gradient(
        self, dy: Operand, x: Operand, shape: torch.Size, geometry: Geometry | None
    ) -> Tensor:
        if geometry is None:
            return dy.numbers.T @ x.numbers
        walk = (geometry.stride, geometry.padding, geometry.dilation)
        return torch.nn.grad.conv2d_weight(x.numbers, shape, dy.numbers, *walk)


FLOAT = _Float()


class _LowBit(nn.Module):
    """What both layers share: ranges for use after training, a count of steps, and what they are."""

    settings: Settings
    geometry: Geometry | None
    seen: Tensor
    steps: Tensor

    def set_up(self, channels: int, settings: Settings) -> None:
        self.settings = settings
        self.register_buffer("seen", torch.zeros(channels))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def product(self, x: Tensor) -> Tensor:
        """The layer without its bias, in float32 whatever autocast says: less would not be exact."""
        with torch.autocast(x.device.type, enabled=False):
            return cast(Tensor, _Products.apply(x.float(), self.weight, self))

    weight: Tensor

    def ranges(self, x: Tensor) -> Tensor:
        """Ranges of the input's channels: of this batch in training, those of training afterwards."""
        shape = [1, -1, *[1] * (x.ndim - 2)]
        seen = self.seen.reshape(shape).to(x.dtype)
        if self.training or not bool(self.seen.any()):
            found = channel_ranges(x.detach(), (1,))
            if self.training:
                with torch.no_grad():
                    weight = RANGE_MOMENTUM if bool(self.seen.any()) else 1.0
                    self.seen.lerp_(found.flatten().to(self.seen.dtype), weight)
        else:
            found = seen
        return found if self.settings.bits.groups != 1 else found.max().reshape([1] * x.ndim)


class LowBitLinear(_LowBit, nn.Linear):
    """A linear layer, ``[.., inputs]`` to ``[.., outputs]``; its weights are those of ``nn.Linear``."""

    geometry = None

    @classmethod
    def of(cls, layer: nn.Linear, settings: Settings) -> LowBitLinear:
        """The layer with the same parameters."""
        made = cls(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        made.weight, made.bias = layer.weight, layer.bias
        made.set_up(layer.in_features, settings)
        made.to(layer.weight.device)
        return made.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        y = self.product(flat).reshape(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias


class LowBitConv2d(_LowBit, nn.Conv2d):
    """A convolution, ``[n, inputs, h, w]`` to ``[n, outputs, h', w']``; its weights are ``nn.Conv2d``'s."""

    geometry: Geometry

    @classmethod
    def of(cls, layer: nn.Conv2d, settings: Settings) -> LowBitConv2d:
        """The layer with the same parameters."""
        made = cls(
            *(layer.in_channels, layer.out_channels, cast(Any, layer.kernel_size)),
            stride=cast(Any, layer.stride),
            padding=cast(Any, layer.padding),
            dilation=cast(Any, layer.dilation),
            bias=layer.bias is not None,
            device="meta",
        )
        made.weight, made.bias = layer.weight, layer.bias
        made.geometry = Geometry(
            *(cast(Any, tuple(n)) for n in (layer.stride, _padding(layer), layer.dilation))
        )
        made.set_up(layer.in_channels, settings)
        made.to(layer.weight.device)
        return made.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        y = self.product(x)
        return y if self.bias is None else y + self.bias[:, None, None]


def _padding(layer: nn.Conv2d) -> tuple[int, ...]:
    if isinstance(layer.padding, str):  # "same" and "valid"; odd totals are refused before
        total = (d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True))
        return tuple(n // 2 if layer.padding == "same" else 0 for n in total)
    return tuple(layer.padding)
