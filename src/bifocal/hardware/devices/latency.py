"""Cycles and resources of a network of matrix products on a modelled accelerator. Modelled, never measured.

For a product of ``M×K`` activations with ``N4 + N8`` rows of 4 and 8 bits, tiles of ``Tm×Tn`` outputs and P
multipliers, each with r8 or r4 multiply–adds a cycle:

    compute  ⌈M/Tm⌉ · (⌈N4/(Tn·r4/r8)⌉ + ⌈N8/Tn⌉) · Tm·Tn·K / (P·r8) / efficiency + fill
    memory   (K·(N4/2 + N8)·⌈M/Tm⌉ + M·K·⌈N/Tn⌉ + M·N) / bytes a cycle, where tiles that stay on the chip are
             read once
    layer    max(compute, memory) + control

Layers follow each other. Rows of 4 bits fill a tile of their own: what does not fill one is lost, which a
count of multiply–adds does not see. Attention runs ``heads`` at a time, so heads are rounded up to that. The
form is that of FILM-QNN's and its followers' models; constants are in the device's file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from bifocal.errors import OptionError
from bifocal.hardware.devices.device import Device, Tiles

#: Bytes of a block of memory on the chip, bytes that it gives a cycle, and those of a sum.
BLOCK, PORT, SUM = 4608, 8, 4
RESOURCES = ("dsp", "lut", "bram")


@dataclass(frozen=True)
class Product:
    """``rows × inner`` activations times a matrix with ``four`` rows of 4 bits and ``eight`` of 8.

    ``heads`` is how many such products attention has, whose second operand are activations too; 0 for a
    matrix of weights.
    """

    name: str
    rows: int
    inner: int
    four: int
    eight: int
    heads: int = 0

    @property
    def macs(self) -> int:
        return self.rows * self.inner * (self.four + self.eight) * max(1, self.heads)


@dataclass(frozen=True)
class Functions:
    """How many values pass through the non-linear functions of a network."""

    norm: int = 0
    softmax: int = 0
    gelu: int = 0


@dataclass(frozen=True)
class Workload:
    """What a network asks of a device for one input."""

    products: tuple[Product, ...]
    functions: Functions = Functions()

    @property
    def macs(self) -> int:
        return sum(product.macs for product in self.products)


@dataclass(frozen=True)
class Resources:
    """What a design takes of an accelerator; arrays if the sizes of its tiles are."""

    dsp: Any
    lut: Any
    bram: Any


@dataclass(frozen=True)
class Modelled:
    """A network on a device: ``seconds`` an input, with these ``tiles``, and what the design takes."""

    seconds: float
    tiles: Tiles
    resources: Resources


def product_cycles(product: Product, device: Device, tiles: Tiles) -> Any:
    """Cycles of one product, without the control of its layer; the sizes of ``tiles`` may be arrays."""
    slow, fast = device.numbers["multiplies.w8a8"], device.numbers["multiplies.w4a8"]
    passes, array = 1, tiles.multipliers * slow
    if product.heads:
        passes = np.ceil(product.heads / tiles.heads)
        array = array / tiles.heads  # each head has its share of the multipliers, used or not
    across = np.ceil(product.four / (tiles.columns * fast / slow)) + np.ceil(product.eight / tiles.columns)
    down = np.ceil(product.rows / tiles.rows)
    one = np.maximum(1.0, tiles.rows * tiles.columns / array) * product.inner
    compute = passes * down * across * one / device.numbers["fit.efficiency"] + tiles.rows + tiles.columns
    moved = _bytes(product, down, across) * max(1, product.heads)
    return np.maximum(compute, moved / device.bandwidth)


def _bytes(product: Product, down: Any, across: Any) -> Any:
    """Bytes that cross the border of the chip for one product of a matrix."""
    m, k, n = product.rows, product.inner, product.four + product.eight
    weights, activations = k * (product.four / 2 + product.eight), m * k
    # one operand stays: that whose repeated reading would cost more
    again = np.minimum(weights * down + activations, weights + activations * across)
    return again + m * n


def network_cycles(work: Workload, device: Device, tiles: Tiles) -> Any:
    """Cycles of a network, its layers one after the other; the sizes of ``tiles`` may be arrays."""
    control = device.numbers["fit.control_cycles"]
    cycles = sum(product_cycles(product, device, tiles) + control for product in work.products)
    done = work.functions
    for name, count in (("norm", done.norm), ("softmax", done.softmax), ("gelu", done.gelu)):
        cycles += count * device.numbers[f"functions.{name}"]
    return cycles


def resources(work: Workload, device: Device, tiles: Tiles) -> Resources:
    """What the design with these tiles takes: its buffers hold the longest rows of the network, twice."""
    inner = max((product.inner for product in work.products), default=0)
    numbers = device.numbers
    wide = np.rint(tiles.columns * numbers["multiplies.w4a8"] / numbers["multiplies.w8a8"])
    buffers = (
        (tiles.rows * inner, tiles.rows),
        (tiles.columns * inner, tiles.columns),
        (tiles.rows * wide * SUM, wide),
    )
    bram = sum(2 * np.maximum(np.ceil(size / BLOCK), np.ceil(ports / PORT)) for size, ports in buffers)
    lut = numbers["logic.fixed"] + numbers["logic.multiplier"] * tiles.multipliers
    lut = lut + numbers["logic.column"] * tiles.columns
    return Resources(tiles.multipliers + numbers["functions.dsp"], lut, bram)


def design(work: Workload, device: Device, tiles: Sequence[Tiles] = ()) -> Modelled:
    """The fastest design for a network among the device's tile sizes (or ``tiles``) that it has room for.

    :raises OptionError: if none fits, with the resources that are lacking.
    """
    known = tuple(tiles) or device.tiles
    grid = Tiles(*np.array([astuple(one) for one in known]).T)
    needed = resources(work, device, grid)
    enough = {name: getattr(needed, name) <= device.numbers[f"resources.{name}"] for name in RESOURCES}
    fits = np.logical_and.reduce(list(enough.values()))
    if not fits.any():
        few = [name.upper() for name, holds in enough.items() if not holds.any()]
        named = ", ".join(few) or "of " + " and ".join(name.upper() for name in RESOURCES) + " at once"
        raise OptionError(f"no tile sizes of device {device.name} fit it: too little {named}.")
    best = known[int(np.argmin(np.where(fits, network_cycles(work, device, grid), np.inf)))]
    return Modelled(
        float(network_cycles(work, device, best)) / device.clock, best, resources(work, device, best)
    )


def fitting(work: Workload, device: Device) -> tuple[Tiles, ...]:
    """The tile sizes of a device that a network fits with."""

    def fits(tiles: Tiles) -> bool:
        needed = resources(work, device, tiles)
        return all(getattr(needed, name) <= device.numbers[f"resources.{name}"] for name in RESOURCES)

    return tuple(filter(fits, device.tiles))
