"""Matrices that serve every subnet: prefixes of one weight, each row in 4 or 8 bits (entanglement).

Quasar-ViT (arXiv 2407.18175) shares weights between sizes, as AutoFormer does, and between precisions. No
code of it is public; this is our definition of the published idea. With ``s`` a power of two for each stored
row,

    8 bits   q8 = round(w / s)           in ±127
    4 bits   q4 = round(q8 / 16)         in ±7, in steps of 16·s: the rounded top nibble of q8

so that hardware reads one memory and either all of a byte or its top half. Of a matrix with ``n`` rows, the
``round(share·n)`` rows whose rounding to 4 bits costs most have 8 bits: by ``Σ_k (w - 16·s·q4)²·E[x_k²]``,
the error of their outputs. Rows are output channels: a sum never mixes precisions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.learn.nets.quantiser import fraction_bits, nearest

#: Largest integers of a row of 8 and of 4 bits, and how much coarser the latter is.
BYTE, NIBBLE, COARSER = 127, 7, 4
#: How much of a step's range and mean square enters those that are used.
MOMENTUM = 0.1


class ByteRange(nn.Module):
    """Activations in 8 bits with a power-of-two scale for the tensor, from the largest values seen in
    training.

    ``reach`` is a moving mean of each step's largest absolute value; 0 before the first step.
    """

    reach: Tensor
    zero: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("reach", torch.zeros(()))
        self.register_buffer("zero", torch.zeros(1, dtype=torch.int32), persistent=False)

    @property
    def fraction(self) -> int:
        """Fraction bits of the integers."""
        return int(fraction_bits(self.reach, BYTE).clamp(-16, 16))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                largest = x.detach().abs().amax().float()
                rate = torch.where(self.reach > 0, MOMENTUM, 1.0)
                self.reach.lerp_(largest, rate)
        scale = torch.exp2(-fraction_bits(self.reach, BYTE).clamp(-16, 16)).reshape(1)
        return torch.fake_quantize_per_tensor_affine(x, scale, self.zero, -BYTE, BYTE)


@dataclass(frozen=True)
class Rows:
    """Rows of a matrix in integers: ``numbers [n, k]``, ``fraction [n]`` bits of each row, whether it has
    ``eight`` bits ``[n]``, and its ``bias [n]``, a float."""

    numbers: Tensor
    fraction: Tensor
    eight: Tensor
    bias: Tensor


class EntangledLinear(nn.Module):
    """A linear layer whose prefixes, in 4 and 8 bits, are the layers of all subnets.

    :param parts: the rows are so many parts of equal length (3 for queries, keys and values); a prefix of
        each is taken.
    :param scale: what the factors of layer scaling start from, 0 for none. A factor multiplies its row before
        it is quantised, so that it costs hardware nothing.
    :param separate: rows of 4 bits have a weight of their own in place of the top nibble: the comparison.

    >>> layer = EntangledLinear(8, 16)
    >>> layer(torch.ones(2, 5, 4), rows=6, share=0.5).shape
    torch.Size([2, 5, 6])
    """

    seen: Tensor

    def __init__(
        self, inputs: int, outputs: int, *, parts: int = 1, scale: float = 0.0, separate: bool = False
    ) -> None:
        super().__init__()
        shape = (parts, outputs // parts, inputs)
        self.weight = nn.Parameter(nn.init.trunc_normal_(torch.empty(shape), std=inputs**-0.5))
        self.bias = nn.Parameter(torch.zeros(shape[:2]))
        self.scale = nn.Parameter(torch.full(shape[:2], scale)) if scale else None
        self.coarse = nn.Parameter(self.weight.detach().clone()) if separate else None
        self.range = ByteRange()
        self.register_buffer("seen", torch.zeros(inputs))  # the mean square of each input

    def rows(self, rows: int, inner: int, share: float) -> tuple[Tensor, Rows]:
        """The weight ``[parts·rows, inner]`` in float, with its gradient, and the same in integers."""
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        coarse: Tensor = self.weight if self.coarse is None else self.coarse
        if self.scale is not None:
            weight, bias = weight * self.scale[..., None], bias * self.scale
            coarse = coarse * self.scale[..., None]
        with torch.no_grad():
            fine_bits = fraction_bits(weight.abs().amax(2), BYTE)[:, :rows].reshape(-1)
            coarse_bits = fine_bits - COARSER
            if self.coarse is not None:
                coarse_bits = fraction_bits(coarse.abs().amax(2), NIBBLE)[:, :rows].reshape(-1)
        weight, coarse = (w[:, :rows, :inner].reshape(-1, inner) for w in (weight, coarse))
        with torch.no_grad():
            fine = nearest(weight * torch.exp2(fine_bits)[:, None]).clamp(-BYTE, BYTE)
            rough = nearest(fine / 2**COARSER)
            if self.coarse is not None:
                rough = nearest(coarse * torch.exp2(coarse_bits)[:, None])
            rough = rough.clamp(-NIBBLE, NIBBLE)
            error = (weight - rough * torch.exp2(-coarse_bits)[:, None]).square()
            cost = error @ (self.seen[:inner] + 1e-12)
            eight = torch.zeros(len(cost), dtype=torch.bool, device=cost.device)
            eight[torch.argsort(cost, descending=True, stable=True)[: int(share * len(cost) + 0.5)]] = True
            numbers = torch.where(eight[:, None], fine, rough)
            fraction = torch.where(eight, fine_bits, coarse_bits)
        chosen = weight if self.coarse is None else torch.where(eight[:, None], weight, coarse)
        return chosen, Rows(numbers, fraction, eight, bias[:, :rows].reshape(-1).detach())

    def forward(self, x: Tensor, rows: int, share: float, given: Tensor | None = None) -> Tensor:
        """Outputs ``[..., parts·rows]`` of ``x [..., inner]``; ``given`` is ``x`` if it is in 8 bits
        already."""
        if self.training:
            with torch.no_grad():
                power = x.detach().float().square().flatten(0, -2).mean(0)
                self.seen[: x.shape[-1]].lerp_(power, MOMENTUM)
        weight, found = self.rows(rows, x.shape[-1], share)
        values = found.numbers * torch.exp2(-found.fraction)[:, None]
        passed = weight + (values - weight).detach()  # straight through
        bias = self.bias if self.scale is None else self.bias * self.scale
        return F.linear(self.range(x) if given is None else given, passed, bias[:, :rows].reshape(-1))
