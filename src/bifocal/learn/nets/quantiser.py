"""One quantiser for every tensor that becomes integers: a scale, power-of-two shifts of it, a rounding.

ShiftQuant (arXiv 2411.10948) gives channels along the inner dimension of a product scales that are the base
scale over a power of two. The groups then need no rearranging: a shift of one operand, or of nothing in
hardware with a shifter, and one integer product. The idea is the paper's; the formulas here are our
reconstruction, because its text was not readable to us.

With ``q = 2^(b-1) - 1``, channel ranges ``r_k = max|x_k|`` and ``r = max r_k``:

    group    g_k = min(floor(log2(r / r_k)), G - 1)
    integer  X_k = clip(floor(x_k / s_k + u), -q, q),  s_k = (r / q) 2^-g_k

``u`` is 1/2 (nearest) or uniform in [0, 1) (stochastic, without bias). ``G = 1`` is one scale for the tensor.
A scale for each channel (``CHANNEL``), which no integer product can use, is there as the bound to compare
with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bifocal.errors import OptionError

#: A scale of its own for each channel: simulated only, since shifts cannot express it.
CHANNEL: Literal["channel"] = "channel"
Groups = int | Literal["channel"]


def nearest(x: Tensor) -> Tensor:
    """``floor(x + 1/2)``: halves go up, as a bias of one half and a shift do in integers."""
    return torch.floor(x + 0.5)


def fraction_bits(largest: Tensor, most: int, tiny: float = 1e-9) -> Tensor:
    """The finest power of two for ``largest`` to fit ``most``: the largest e with ``largest·2^e <= most``.

    >>> fraction_bits(torch.tensor([1.0, 3.0]), 127)
    tensor([6., 5.])
    """
    return torch.floor(torch.log2(most / largest.clamp_min(tiny)))


def byte_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """A weight ``[o, …]`` as int8 and a scale ``[o]``: for files, where bytes are enough for float networks.

    >>> byte_rows(torch.tensor([[1.0, -0.5], [0.0, 0.0]]))[0]
    tensor([[127, -64],
            [  0,   0]], dtype=torch.int8)
    """
    scale = x.flatten(1).abs().amax(1).clamp_min(1e-20) / 127
    return torch.round(x / scale.reshape(-1, *[1] * (x.ndim - 1))).to(torch.int8), scale


@dataclass(frozen=True)
class Quantised:
    """Integers with a scale: ``integers · scale · 2^-shifts`` are the numbers they stand for.

    ``integers`` are whole numbers in a float tensor. ``shifts`` are 0 to ``depth``, broadcastable, whole
    unless ``exact`` is false. ``largest`` bounds the integers, ``scale`` is a scalar.
    """

    integers: Tensor
    scale: Tensor
    shifts: Tensor | None
    depth: int
    largest: int
    exact: bool = True

    @property
    def shifted(self) -> Tensor:
        """The operand with its groups' shifts applied, ``integers << (depth - shifts)``, as floats."""
        if self.shifts is None:
            return self.integers
        return self.integers * torch.exp2(self.depth - self.shifts)

    @property
    def unit(self) -> Tensor:
        """What one unit of :attr:`shifted` stands for, a scalar."""
        return self.scale * 2.0**-self.depth

    @property
    def reach(self) -> int:
        """The largest absolute value that :attr:`shifted` can have."""
        return self.largest << self.depth

    @property
    def values(self) -> Tensor:
        """The numbers themselves."""
        return self.shifted * self.unit


@dataclass(frozen=True)
class Quantiser:
    """Bits, groups and the kind of base scale.

    :param bits: of an integer with its sign, 2 to 16.
    :param groups: of power-of-two scales, 1 (one scale for the tensor) to 16; or :data:`CHANNEL`.
    :param power_of_two: the base scale, too, is a power of two, so that rescaling is a shift.

    :raises OptionError: if a number is out of its range.
    """

    bits: int
    groups: Groups = 1
    power_of_two: bool = False

    def __post_init__(self) -> None:
        if not _whole_between(2, self.bits, 16):
            raise OptionError(f"a quantiser of {self.bits} bits: give a whole number from 2 to 16.")
        if self.groups != CHANNEL and not _whole_between(1, self.groups, 16):
            raise OptionError(f'{self.groups} groups: give a whole number from 1 to 16, or "{CHANNEL}".')

    @property
    def largest(self) -> int:
        return 2 ** (self.bits - 1) - 1

    @property
    def depth(self) -> int:
        """The largest shift: groups less one."""
        return 0 if self.groups == CHANNEL else self.groups - 1

    @property
    def container(self) -> int:
        """Bits of an operand with its shift applied."""
        return self.bits + self.depth

    def __call__(
        self, x: Tensor, axes: tuple[int, ...], *, noise: Tensor | None = None, ranges: Tensor | None = None
    ) -> Quantised:
        """Quantise ``x``; each index along ``axes`` is a channel.

        :param noise: uniform in [0, 1), the shape of ``x``, for stochastic rounding; nearest without.
        :param ranges: of the channels, broadcastable; by default the largest values of ``x`` itself.
            Values beyond a range saturate.
        """
        r = channel_ranges(x, axes if self.groups != 1 else ()) if ranges is None else ranges
        largest = (r.max() if r.numel() else r.new_zeros(())).clamp_min(torch.finfo(x.dtype).tiny * 2**20)
        scale = largest / self.largest
        if self.power_of_two:
            scale = torch.exp2(-fraction_bits(largest, self.largest, tiny=0.0))
        shifts, factor = None, 1 / scale
        if self.groups == CHANNEL:
            # log2 of the ratio as it is, so that every channel's range is used in full
            shifts = torch.log2(largest / r.clamp_min(largest * 2.0**-24))
        elif self.groups > 1:
            ratio = torch.log2(largest / r.clamp_min(largest * 2.0**-20))
            shifts = torch.floor(ratio).clamp(0, self.depth)
        if shifts is not None:
            factor = factor * torch.exp2(shifts)
        whole = (x * factor).add_(0.5 if noise is None else noise).floor_()
        whole = whole.clamp_(-self.largest, self.largest)
        return Quantised(whole, scale, shifts, self.depth, self.largest, exact=self.groups != CHANNEL)


def _whole_between(low: int, number: object, high: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and low <= number <= high


def channel_ranges(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The largest absolute value for each index along ``axes``, other dimensions 1; of all if there are none.

    >>> channel_ranges(torch.tensor([[1.0, -3.0], [2.0, 0.0]]), (1,))
    tensor([[2., 3.]])
    """
    kept = {axis % x.ndim for axis in axes}
    others = [axis for axis in range(x.ndim) if axis not in kept]
    if not x.numel():
        return x.new_zeros([n if axis in kept else 1 for axis, n in enumerate(x.shape)])
    low, high = (x.amin(others, True), x.amax(others, True)) if others else (x, x)
    return torch.maximum(high, -low)
