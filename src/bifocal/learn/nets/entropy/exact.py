"""Convolutions that are trained in float and run in integers, bit for bit the same everywhere.

Encoder and decoder must not differ in anything, so the networks that the entropy decoder needs hold
integer weights and integer activations with power-of-two scales (docs/architecture.md, section 3; the idea
of integer networks for this purpose is Ballé et al., ICLR 2019; power-of-two scales and the 2^24 argument,
which lets ordinary float32 products carry them exactly, are ours).

An activation with ``f`` fraction bits is a real number ``X·2^-f``, X an integer in a saturating range. A
weight row is ``W·2^-e`` with ``|W| <= 127`` (or 63: :class:`Wire`) and the largest ``e`` that keeps every
partial sum below 2^24. In exact mode :class:`ExactConv` computes with those very numbers, in real units (a
power of two changes no bit), and passes gradients straight through the roundings. :func:`integer_layer` reads
the integers off.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.learn.nets.quantiser import fraction_bits, nearest
from bifocal.stream.exact import EXACT_LIMIT, ExactNet


def round_ste(x: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    """``floor(x·scale + ½)/scale`` with the gradient of the identity (straight-through)."""
    return x + (nearest(x.detach() * scale) / scale - x.detach())


@dataclass(frozen=True)
class Range:
    """Integers an exact activation may hold: ``lo..hi`` with ``fraction`` fraction bits."""

    lo: int
    hi: int
    fraction: int

    @property
    def largest(self) -> int:
        return max(-self.lo, self.hi)

    def clip(self, x: Tensor) -> Tensor:
        scale = 2.0**-self.fraction
        return x.clamp(self.lo * scale, self.hi * scale)


@dataclass(frozen=True)
class Wire:
    """What a wire id lets the exact networks hold, and whether it has reconstruction points (SPEC.md).

    ``activation`` are hidden activations and hyper features, ``weight_max`` the largest weight.
    """

    number: int
    activation: Range
    weight_max: int
    reconstruction: bool


#: 9-bit activations and 8-bit weights: for engines that work in float32.
WIRE_1 = Wire(1, Range(0, 511, 4), 127, reconstruction=False)
#: 8-bit unsigned activations and 7-bit weights: two products of them never leave 16 bits, so that 8-bit
#: engines are exact on every processor.
WIRE_2 = Wire(2, Range(0, 255, 4), 63, reconstruction=True)


class ExactConv(nn.Module):
    """A 1×1 or 3×3 convolution with saturating output; float or exact, by the ``exact`` argument.

    ``qualities`` > 0 adds a bias per quality: a learned table ``[qualities, outputs]`` of anchors, evenly
    spaced over qualities 1..100 and interpolated linearly. ``row_fraction`` gives output rows a finer or
    coarser grid than ``out`` says (the heads: mean and table index differ). Where ``seen`` (bool
    ``[inputs]``) is false, weights are zero and stay so.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        source: Range,
        out: Range,
        source_max: Tensor | None = None,
        row_fraction: Tensor | None = None,
        relu: bool = True,
        shuffle: bool = False,
        qualities: int = 0,
        gain: float = 1.0,
        seen: Tensor | None = None,
        weight_max: int = WIRE_1.weight_max,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.weight.data *= gain
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.quality_bias = nn.Parameter(torch.zeros(qualities, outputs)) if qualities else None
        self.source, self.out, self.relu, self.shuffle = source, out, relu, shuffle
        self.weight_max = weight_max
        self.uniform = row_fraction is None
        fraction = torch.full((outputs,), out.fraction) if row_fraction is None else row_fraction
        largest = torch.full((inputs,), source.largest) if source_max is None else source_max
        self.register_buffer("row_fraction", fraction.to(torch.float32), persistent=False)
        self.register_buffer("source_max", largest.to(torch.float32), persistent=False)
        all_seen = seen is None or bool(seen.all())
        mask = None if seen is None or all_seen else seen.to(torch.float32)[None, :, None, None]
        self.register_buffer("seen", mask, persistent=False)

    row_fraction: Tensor
    source_max: Tensor
    seen: Tensor | None

    @property
    def kernel(self) -> Tensor:
        """The weights that count, ``[outputs, inputs, k, k]``: zero for inputs that are not seen."""
        return self.weight if self.seen is None else self.weight * self.seen

    def total_bias(self, anchors: Tensor) -> Tensor:
        """Bias for interpolation weights ``anchors [b, qualities]``: ``[b, outputs]`` or ``[1, outputs]``."""
        if self.quality_bias is None:
            return self.bias[None]
        return self.bias + anchors @ self.quality_bias

    def exponents(self) -> Tensor:
        """The exponent ``e`` of every weight row ``[outputs]``: the largest that keeps the row's bound."""
        with torch.no_grad():
            w = self.kernel.double().flatten(1)
            bias = self.bias.double().abs()
            if self.quality_bias is not None:
                bias = (self.bias + self.quality_bias).double().abs().amax(0)
            reach = self.source_max.double().repeat_interleave(self.weight[0, 0].numel())
            source = 2.0**self.source.fraction
            e = fraction_bits(w.abs().amax(1), self.weight_max).clamp(max=20)
            for _ in range(40):  # lower the exponent of rows whose worst case is too large
                integers = torch.round(w * 2.0 ** e[:, None])
                total = (integers.abs() * reach).sum(1) + bias * 2.0**e * source
                half = 2.0 ** (e + self.source.fraction - self.row_fraction.double() - 1).clamp(min=0)
                wide = (integers.abs().amax(1) > self.weight_max) | (total + half + 2 > EXACT_LIMIT)
                if not bool(wide.any()):
                    break
                e = e - wide.double()
            # a shift to the left is never needed: too coarse a grid would be a network out of its range
            return torch.maximum(e, self.row_fraction.double() - self.source.fraction).float()

    def numbers(self, anchors: Tensor, exact: bool) -> tuple[Tensor, Tensor]:
        """Weights ``[outputs, inputs, k, k]``, biases ``[b or 1, outputs]``; if ``exact`` on their grids."""
        weight, bias = self.kernel, self.total_bias(anchors)
        if exact:
            e = self.exponents()
            weight = round_ste(weight, (2.0**e)[:, None, None, None])
            bias = round_ste(bias, 2.0 ** (e + self.source.fraction))
        return weight, bias

    def finish(self, y: Tensor, fraction: Tensor, exact: bool) -> Tensor:
        """Sums to outputs: rounded if ``exact``, then clipped. ``fraction`` is that of every row of ``y``.

        Rows of different fractions are those of heads, whose clip is out of reach in training: in float it
        is left out.
        """
        if exact:
            y = round_ste(y, 2.0**fraction)
        lo, hi = (max(self.out.lo, 0) if self.relu else self.out.lo), self.out.hi
        if self.uniform:
            scale = 2.0**-self.out.fraction
            return F.hardtanh(y, lo * scale, hi * scale)
        if exact:
            y = torch.minimum(torch.maximum(y, lo * 2.0**-fraction), hi * 2.0**-fraction)
        return y

    def forward(self, x: Tensor, anchors: Tensor, exact: bool) -> Tensor:
        """``x [b, inputs, h, w]`` within the source range to ``[b, outputs, h, w]`` (shuffled if asked)."""
        weight, bias = self.numbers(anchors, exact)
        shared = bias[0] if len(bias) == 1 else None  # one for all pictures goes into the convolution
        y = F.conv2d(x, weight, shared, padding=weight.shape[-1] // 2)
        if shared is None:
            y = y + bias[:, :, None, None].to(y.dtype)
        y = self.finish(y, self.row_fraction[:, None, None], exact)
        return F.pixel_shuffle(y, 2) if self.shuffle else y


def grid(weight: Tensor, exponents: Tensor) -> Tensor:
    """Weights ``[o, i, k, k]`` as integers in units of ``2^-e``, an e a row."""
    return nearest(weight * (2.0**exponents)[:, None, None, None])


def integer_layer(layer: ExactConv, anchors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Integers of one layer: weight ``[o, i, k, k]``, bias ``[1 or 100, o]``, shift ``[o]`` (all int64).

    ``anchors`` are the interpolation weights of all qualities ``[100, qualities]``. The rounding half is in
    the bias, so a runtime computes ``floor((W·x + B) / 2^shift)``.
    """
    with torch.no_grad():
        e = layer.exponents()
        weight = grid(layer.kernel, e)
        shift = e + layer.source.fraction - layer.row_fraction
        bias = nearest(layer.total_bias(anchors) * 2.0 ** (e + layer.source.fraction))
        half = torch.where(shift > 0, 2.0 ** (shift - 1), torch.zeros_like(shift))
        return weight.long(), (bias + half).long(), shift.long()


class TorchEngine:
    """Packed exact networks in torch, float32, on any device: the protocol of ``stream.exact.ExactEngine``.

    Convolutions run as unfold and one matrix product, so that no Winograd or FFT kernel can be chosen. TF32,
    reduced-precision products and autocast are off while it runs, whatever the caller has set.
    ``layers_run`` counts what was executed.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.name = f"torch-{device}"
        self.layers_run: Counter[str] = Counter()
        self.device = torch.device(device)

    def __call__(self, net: ExactNet, x: NDArray[np.int32], quality: int) -> NDArray[np.int32]:
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                return self._run(net, x, quality)
        finally:
            torch.set_float32_matmul_precision(precision)

    def _run(self, net: ExactNet, x: NDArray[np.int32], quality: int) -> NDArray[np.int32]:
        maps = torch.from_numpy(x.astype(np.float32)).to(self.device)
        limit = torch.from_numpy(net.input_max.astype(np.float32))[:, None, None].to(self.device)
        maps = torch.minimum(torch.maximum(maps, -limit), limit)
        for number, layer in enumerate(net.layers):
            k, (_, h, w) = layer.kernel, maps.shape
            columns = F.unfold(maps[None], k, padding=k // 2)[0] if k > 1 else maps.flatten(1)
            acc = torch.from_numpy(layer.weight_float32).to(self.device) @ columns
            acc += torch.from_numpy(layer.bias_row(quality).astype(np.float32))[:, None].to(self.device)
            scale = torch.from_numpy(np.ldexp(np.float32(1), -layer.shift).astype(np.float32))
            acc = torch.floor(acc * scale[:, None].to(self.device))
            acc = acc.clamp(max(layer.lo, 0) if layer.relu else layer.lo, layer.hi)
            maps = acc.reshape(-1, h, w)
            maps = F.pixel_shuffle(maps, 2) if layer.shuffle else maps
            self.layers_run[f"{net.name}.{number}"] += 1
        return maps.cpu().numpy().astype(np.int32)
