"""What drives the inputs of a circuit, cycle by cycle: seeded random bits, a CSV file or a VCD.

The reset is held active for a few cycles before the first counted one, and inactive afterwards unless a CSV
drives it. Faults are present during the reset, but its cycles are not compared and not counted: the outputs
of a circuit that is being reset are not used.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import CircuitError
from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.tools import shortened
from bifocal.hardware.circuits.vcd import read_vcd


@dataclass(frozen=True, eq=False)
class Stimulus:
    """Input bits of every cycle.

    ``bits`` is uint8 ``[reset_cycles + cycles, inputs]`` of 0 and 1, a column for each of ``names``, which
    are the bit names of ``Netlist.driven`` in its order. ``source`` says where they come from.
    """

    bits: NDArray[np.uint8]
    names: tuple[str, ...]
    reset_cycles: int
    source: str

    def __post_init__(self) -> None:
        if self.bits.ndim != 2 or self.bits.dtype != np.uint8 or self.bits.shape[1] != len(self.names):
            raise CircuitError(
                f"a stimulus is uint8 [cycles, {len(self.names)}], a column for each input; this one is"
                f" {self.bits.dtype} {list(self.bits.shape)}."
            )
        if self.reset_cycles < 0 or self.cycles < 1:
            raise CircuitError("the stimulus is empty: at least one cycle after the reset is needed.")
        if self.bits.size and self.bits.max() > 1:
            raise CircuitError("a stimulus holds only 0 and 1.")

    @property
    def cycles(self) -> int:
        """The counted cycles, without those of the reset."""
        return len(self.bits) - self.reset_cycles

    def digest(self) -> str:
        """A hash of the bits and of which cycles count."""
        head = f"{self.names}{self.reset_cycles}{self.bits.shape}".encode()
        return sha256(head + np.packbits(self.bits).tobytes()).hexdigest()

    @classmethod
    def random(
        cls, netlist: Netlist, *, cycles: int = 10_000, seed: int = 1, reset_cycles: int = 2
    ) -> Stimulus:
        """Uniform random bits from PCG64, the same on every computer; the reset is held first.

        :raises CircuitError: for fewer than one cycle.
        """
        if cycles < 1 or reset_cycles < 0:
            raise CircuitError(
                f"{cycles} cycles after {reset_cycles} of reset cannot be simulated: at least one cycle is "
                "needed, and the reset cannot be negative."
            )
        names = tuple(name for name, _ in netlist.driven)
        total = (cycles + reset_cycles if netlist.reset else cycles) * len(names)
        words = np.random.PCG64(seed).random_raw((total + 63) // 64).astype("<u8")
        bits = np.unpackbits(words.view(np.uint8), bitorder="little")[:total].reshape(-1, max(1, len(names)))
        if not names:
            bits = np.zeros((cycles, 0), np.uint8)
        if netlist.reset is None:
            reset_cycles = 0
        return _with_resets(bits, names, _reset_columns(netlist), reset_cycles, f"random, seed {seed}")

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str], netlist: Netlist, *, reset_cycles: int = 2) -> Stimulus:
        """A CSV file: the first row names input ports or single bits, each further row is a cycle.

        Values are decimal, ``0x…`` or ``0b…``. The clock has no column. The reset may have one, and then no
        cycles of reset are put before the first row. Further resets may have one, and are released without;
        every other input must have one.

        :raises CircuitError: if a column is missing, unknown or given twice, or a value does not fit its
            port.
        """
        rows = _read_rows(path)
        names = tuple(name for name, _ in netlist.driven)
        columns = _columns(path, netlist, [cell.strip() for cell in rows[0]])
        bits = np.zeros((len(rows) - 1, len(names)), np.uint8)
        for position, (heading, targets) in enumerate(columns):
            for cycle, row in enumerate(rows[1:]):
                text = row[position].strip() if position < len(row) else ""
                value = _parse(text)
                if value is None or not 0 <= value < 1 << len(targets):
                    raise CircuitError(
                        f"{path}, row {cycle + 2}, column {heading}: '{text}' is not a number of "
                        f"{len(targets)} bit(s). Write decimal, 0x… or 0b…."
                    )
                bits[cycle, targets] = [value >> bit & 1 for bit in range(len(targets))]
        given = {target for _, targets in columns for target in targets}
        resets = _reset_columns(netlist)
        missing = [name for i, name in enumerate(names) if i not in given and i not in resets]
        if missing:
            raise CircuitError(
                f"{path} has no column for {shortened(missing)}. Add them; a constant is fine."
            )
        left = {column: active for column, active in resets.items() if column not in given}
        if not left or next(iter(resets)) in given:
            reset_cycles = 0
        bits = np.concatenate([np.repeat(bits[:1], reset_cycles, 0), bits])
        return _with_resets(bits, names, left, reset_cycles, f"CSV {Path(path).name}")

    @classmethod
    def from_vcd(
        cls, path: str | os.PathLike[str], netlist: Netlist, *, scope: str | None = None
    ) -> Stimulus:
        """A value change dump of a simulation: the inputs before each edge of the clock.

        The leading cycles in which it holds the reset are not counted.

        :param scope: the instance of the design, such as ``tb.dut``; found if None.
        :raises CircuitError: if the dump lacks an input or the clock, or the design has no clock.
        """
        if netlist.clock is None:
            raise CircuitError(
                f"{netlist.name} has no clock, whose edges say when to read {path}. Give a CSV."
            )
        names = tuple(name for name, _ in netlist.driven)
        column = {net: i for i, (_, net) in enumerate(netlist.driven)}
        ports = {p.name: [column[n] for n in p.nets] for p in netlist.inputs if netlist.clock not in p.nets}
        clock = next(p.name for p in netlist.inputs if netlist.clock in p.nets)
        bits = read_vcd(path, scope, clock, ports, len(names), rising=not netlist.falling)
        held = 0
        if netlist.reset is not None:
            active = bits[:, column[netlist.reset.net]] == netlist.reset.active
            held = int(np.argmin(active)) if not active.all() else len(bits)
        return cls(bits, names, held, f"VCD {Path(path).name}")


def _read_rows(path: str | os.PathLike[str]) -> list[list[str]]:
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CircuitError(f"{path} cannot be read as CSV: {error}.") from error
    if len(rows) < 2:
        raise CircuitError(f"{path} is empty: a row of port names and at least one row of values are needed.")
    return rows


def _reset_columns(netlist: Netlist) -> dict[int, int]:
    """Which of the driven inputs are resets, the main one first, each with its active value."""
    nets = [net for _, net in netlist.driven]
    resets = () if netlist.reset is None else (netlist.reset, *netlist.more_resets)
    return {nets.index(reset.net): reset.active for reset in resets}


def _with_resets(
    bits: NDArray[np.uint8], names: tuple[str, ...], resets: dict[int, int], reset_cycles: int, source: str
) -> Stimulus:
    """A stimulus whose first cycles hold the resets, which are released afterwards."""
    bits = bits.copy()
    for column, active in resets.items():
        bits[:reset_cycles, column] = active
        bits[reset_cycles:, column] = 1 - active
    return Stimulus(bits, names, reset_cycles, source)


def _columns(
    path: str | os.PathLike[str], netlist: Netlist, headings: list[str]
) -> list[tuple[str, list[int]]]:
    """The columns of the file, each with the columns of the stimulus that it fills, bit 0 first."""
    column = {net: i for i, (_, net) in enumerate(netlist.driven)}
    known = {name: [i] for i, (name, _) in enumerate(netlist.driven)}
    known |= {p.name: [column[net] for net in p.nets] for p in netlist.inputs if netlist.clock not in p.nets}
    if unknown := [heading for heading in headings if heading not in known]:
        ports = ", ".join(port.name for port in netlist.inputs if netlist.clock not in port.nets)
        raise CircuitError(
            f"{path} has columns that are not inputs: {', '.join(unknown)}. The inputs are {ports}."
        )
    columns = [(heading, known[heading]) for heading in headings]
    targets = [target for _, filled in columns for target in filled]
    if len(targets) != len(set(targets)):
        raise CircuitError(f"{path} drives an input by two columns. Keep one of them.")
    return columns


def _parse(text: str) -> int | None:
    try:
        return int(text, 0)
    except ValueError:
        return int(text) if text.isdecimal() else None  # 007 is a number in a CSV
