"""Fault models: lists of single faults, each of which is simulated by itself.

* ``lut-init``: one INIT bit of one LUT is flipped and stays so until reconfiguration, as radiation does to
  the memory that configures an FPGA. Exhaustive by default. That this is what the paper (arXiv 2303.12269)
  flips is our reading: a netlist after synthesis has no routing.
* ``ff-upset``: a flip-flop changes its state once, at the start of a cycle.
* ``stuck``: a net is held at 0 or 1 where it is driven, so every reader sees it.
* ``open``: one reader of a net is cut off and reads a constant: a proxy, since before place and route there
  is no wire to cut. The default constant is 1, to which we take an undriven input to be pulled. Readers are
  the inputs of LUTs and the data of flip-flops.

All but the names are our choices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import CircuitError
from bifocal.hardware.circuits.elements import ONE
from bifocal.hardware.circuits.memories import PREFIX
from bifocal.hardware.circuits.netlist import Netlist

INIT, UPSET, STUCK, OPEN = 0, 1, 2, 3
KIND_NAMES = ("init", "upset", "stuck", "open")
MODELS = ("lut-init", "ff-upset", "stuck", "open")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    ========= ============================================== ==================================
    kind      target                                         detail
    ========= ============================================== ==================================
    INIT      index of a LUT in ``netlist.gates``            address of the flipped bit
    UPSET     index in ``netlist.flipflops``                 counted cycle before which it flips
    STUCK     net                                            0 or 1
    OPEN      index in ``netlist.gates``, or len(gates) plus input pin times 2, plus the constant
              index of the flip-flop whose data is cut
    ========= ============================================== ==================================
    """

    kind: int
    target: int
    detail: int

    def label(self, netlist: Netlist) -> str:
        """The fault in text: ``u1.INIT[5]``, ``count_reg[0] flips before cycle 12``, ``n7 stuck at 1``."""
        if self.kind == INIT:
            return f"{netlist.gates[self.target].name}.INIT[{self.detail}]"
        if self.kind == UPSET:
            return f"{netlist.flipflops[self.target].name} flips before cycle {self.detail}"
        if self.kind == STUCK:
            return f"{netlist.nets[self.target]} stuck at {self.detail}"
        count = len(netlist.gates)
        if self.target >= count:
            return f"{netlist.flipflops[self.target - count].name}.D open, reads {self.detail & 1}"
        return f"{netlist.gates[self.target].name}.I{self.detail >> 1} open, reads {self.detail & 1}"


@dataclass(frozen=True, eq=False)
class Faults:
    """A list of faults: ``kind`` uint8, ``target`` and ``detail`` int32, all ``[n]``; see :class:`Fault`.

    ``model`` is the name under which results report them.
    """

    model: str
    kind: NDArray[np.uint8]
    target: NDArray[np.int32]
    detail: NDArray[np.int32]

    def __post_init__(self) -> None:
        for name, dtype in (("kind", "uint8"), ("target", "int32"), ("detail", "int32")):
            array = getattr(self, name)
            if array.ndim != 1 or array.dtype != dtype or len(array) != len(self.kind):
                raise CircuitError(f"faults.{name} is {array.dtype} {list(array.shape)}, not {dtype} [n].")

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, index: int) -> Fault:
        return Fault(int(self.kind[index]), int(self.target[index]), int(self.detail[index]))

    def __iter__(self) -> Iterator[Fault]:
        return (self[i] for i in range(len(self)))

    def take(self, index: NDArray[np.intp]) -> Faults:
        """The faults with these indices, in this order."""
        return Faults(self.model, self.kind[index], self.target[index], self.detail[index])

    def digest(self) -> str:
        """A hash of the list."""
        parts = (
            self.kind.tobytes(),
            self.target.astype("<i4").tobytes(),
            self.detail.astype("<i4").tobytes(),
        )
        return sha256(self.model.encode() + b"".join(parts)).hexdigest()

    def check(self, netlist: Netlist, cycles: int) -> None:
        """Refuse faults that the circuit does not have.

        :raises CircuitError: with the first of them.
        """
        for fault in self:
            if not _exists(fault, netlist, cycles):
                raise CircuitError(
                    f"{fault} is not possible in {netlist.name}; make the faults from this netlist."
                )

    @classmethod
    def of(cls, faults: list[Fault], model: str = "chosen") -> Faults:
        """A list of single faults as arrays."""
        rows = np.array([(f.kind, f.target, f.detail) for f in faults], np.int32).reshape(-1, 3)
        return cls(model, rows[:, 0].astype(np.uint8), rows[:, 1].copy(), rows[:, 2].copy())

    @classmethod
    def lut_init(cls, netlist: Netlist) -> Faults:
        """Every INIT bit of every LUT."""
        return cls.of(
            [Fault(INIT, i, bit) for i in netlist.luts for bit in range(netlist.gates[i].bits)], "lut-init"
        )

    @classmethod
    def ff_upsets(cls, netlist: Netlist, cycles: int, *, count: int | None = None, seed: int = 1) -> Faults:
        """``count`` different (flip-flop, cycle) pairs, drawn with ``seed``; all of them if None.

        :param cycles: the counted cycles of the stimulus.
        """
        registers = np.array(netlist.registers, np.int32)
        total = len(registers) * cycles
        chosen = draw(total, total if count is None else count, seed)
        return cls(
            "ff-upset",
            np.full(len(chosen), UPSET, np.uint8),
            registers[chosen // max(1, cycles)],
            (chosen % max(1, cycles)).astype(np.int32),
        )

    @classmethod
    def stuck(cls, netlist: Netlist) -> Faults:
        """Every net that a gate, a flip-flop or an input drives, at 0 and at 1; none inside a memory."""
        nets = [net for _, net in netlist.driven] + [
            g.output for g in netlist.gates if not g.kind.startswith(PREFIX)
        ]
        nets += [netlist.flipflops[j].output for j in netlist.registers]
        return cls.of([Fault(STUCK, net, value) for net in nets for value in (0, 1)], "stuck")

    @classmethod
    def open(cls, netlist: Netlist, *, reads: int = 1) -> Faults:
        """Every input of a LUT and the data of every flip-flop, cut off from its net."""
        pins = [
            Fault(OPEN, i, pin * 2 + reads)
            for i in netlist.luts
            for pin, net in enumerate(netlist.gates[i].inputs)
            if net > ONE
        ]
        base = len(netlist.gates)
        pins += [Fault(OPEN, base + j, reads) for j in netlist.registers if netlist.flipflops[j].data > ONE]
        return cls.of(pins, "open")


def make_faults(model: str, netlist: Netlist, cycles: int, *, upsets: int, seed: int) -> Faults:
    """The faults of a model by its name; ``upsets`` is how many flip-flop upsets are drawn with ``seed``.

    :raises CircuitError: if there is no such model, or nothing in the circuit can have such faults.
    """
    if model not in MODELS:
        raise CircuitError(f"there is no fault model '{model}'; there are {', '.join(MODELS)}.")
    if model == "ff-upset":
        faults = Faults.ff_upsets(netlist, cycles, count=upsets, seed=seed)
    else:
        faults = {"lut-init": Faults.lut_init, "stuck": Faults.stuck, "open": Faults.open}[model](netlist)
    if not len(faults):
        raise CircuitError(f"nothing in {netlist.name} can have {model} faults: {_what_there_is(netlist)}")
    return faults


def _what_there_is(netlist: Netlist) -> str:
    """What a circuit without faults of a model consists of, and which models it can have."""
    memory = sum(flipflop.kind.startswith(PREFIX) for flipflop in netlist.flipflops)
    logic = sum(not (gate.is_lut or gate.kind.startswith(PREFIX)) for gate in netlist.gates)
    parts = [(len(netlist.luts), "LUTs"), (len(netlist.registers), "flip-flops")]
    parts += [(logic, "other gates"), (memory, "bits of memories, which have none")]
    listed = ", ".join(f"{count:,} {what}" for count, what in parts)
    more = " or --memory registers" if memory else ""
    return f"it has {listed}. Choose --faults ff-upset or stuck{more}."


def draw(total: int, count: int, seed: int) -> NDArray[np.int64]:
    """``count`` different numbers below ``total``, ascending, the same for a seed on every computer.

    >>> draw(10, 3, seed=1).tolist() == draw(10, 3, seed=1).tolist(), draw(4, 9, seed=1).tolist()
    (True, [0, 1, 2, 3])
    """
    if count >= total:
        return np.arange(total, dtype=np.int64)
    chosen: set[int] = set()
    source = np.random.PCG64(seed)
    limit = 2**64 - 2**64 % total  # with words above it, low numbers would be more frequent
    while len(chosen) < count:
        for word in source.random_raw(count - len(chosen)).tolist():
            if word < limit:
                chosen.add(word % total)
    return np.array(sorted(chosen), np.int64)


def _exists(fault: Fault, netlist: Netlist, cycles: int) -> bool:
    gates, flipflops = len(netlist.gates), len(netlist.flipflops)
    if fault.target < 0 or fault.detail < 0:
        return False
    if fault.kind == INIT:
        return fault.target < gates and fault.detail < netlist.gates[fault.target].bits
    if fault.kind == UPSET:
        return fault.target < flipflops and fault.detail < cycles
    if fault.kind == STUCK:
        return ONE < fault.target < len(netlist.nets) and fault.detail <= 1 and fault.target != netlist.clock
    if fault.kind == OPEN and fault.target < gates:
        return fault.detail < 2 * len(netlist.gates[fault.target].inputs)
    return fault.kind == OPEN and fault.target < gates + flipflops and fault.detail <= 1
