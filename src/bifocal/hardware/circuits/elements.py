"""The elements of a netlist: ports, gates, flip-flops, the reset. Nets are numbers; 0 and 1 are constants."""

from __future__ import annotations

from dataclasses import dataclass

ZERO, ONE = 0, 1


@dataclass(frozen=True, slots=True)
class Port:
    """A port of the design: its name and its nets, bit 0 first."""

    name: str
    nets: tuple[int, ...]

    def bit_names(self) -> list[str]:
        """``name`` for a port of one bit, else ``name[0]``, ``name[1]``, …"""
        if len(self.nets) == 1:
            return [self.name]
        return [f"{self.name}[{bit}]" for bit in range(len(self.nets))]


@dataclass(frozen=True, slots=True)
class Gate:
    """A truth table: bit ``a`` of ``table`` is the output for address ``a``; input ``i`` is bit ``i`` of it.

    ``kind`` is the cell (``LUT5``, ``INV``, ``MUXF7``, ``CARRY4.CO2``); ``sources`` are the lines of HDL that
    the synthesis tool knows for it, ``file:line`` first, often none.
    """

    name: str
    kind: str
    inputs: tuple[int, ...]
    output: int
    table: int
    sources: tuple[str, ...] = ()

    @property
    def is_lut(self) -> bool:
        return self.kind.startswith("LUT")

    @property
    def bits(self) -> int:
        """How many entries the table has: 2 to the power of its inputs."""
        return 1 << len(self.inputs)


@dataclass(frozen=True, slots=True)
class FlipFlop:
    """A flip-flop: at the edge, ``output`` takes ``data`` if ``enable``; ``control`` forces it to ``value``.

    An asynchronous control (FDCE, FDPE) acts as soon as it is 1, a synchronous one (FDRE, FDSE) at the edge,
    whatever the ``enable``. ``initial`` is the state at the start: INIT, or ``value`` where INIT is x.
    """

    name: str
    kind: str
    data: int
    output: int
    enable: int = ONE
    control: int = ZERO
    asynchronous: bool = False
    value: int = 0
    initial: int = 0
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reset:
    """The input net that resets the design, and the value that does."""

    net: int
    active: int
