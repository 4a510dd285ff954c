"""How much of a design a stimulus moves: what never moves hides its faults, and scores then say little."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.circuits.tools import shortened
from bifocal.hardware.faults.engines.fault_free import run_fault_free

#: A warning is due below these shares, and for outputs that rest for more than the last of them.
_ADDRESSED, _MOVED, _RESTING = 0.5, 0.75, 0.5
#: Shorter runs are trials, of which nothing is said.
_CYCLES = 50


@dataclass(frozen=True)
class Activity:
    """What the run without faults did.

    ``last_change`` is the last counted cycle in which an output differs from the cycle before, 0 if none
    does; ``addressed`` of ``init_bits`` are INIT bits that were addressed, reset included; ``resting`` are
    the flip-flops that never change in a counted cycle, of ``registers`` in all.
    """

    cycles: int
    last_change: int
    addressed: int
    init_bits: int
    resting: tuple[str, ...]
    registers: int

    def warnings(self) -> list[str]:
        """What a reader of the scores has to know, a sentence each."""
        if self.cycles < _CYCLES:
            return []
        found = []
        if self.cycles - self.last_change > _RESTING * self.cycles:
            found.append(
                f"no output changes after cycle {self.last_change:,} of {self.cycles:,}: this stimulus "
                "brings the design to rest, and most faults cannot be seen. Give one that keeps it at work "
                "(--stimulus)."
            )
        if self.addressed < _ADDRESSED * self.init_bits:
            share = 1 - self.addressed / self.init_bits
            found.append(
                f"{share:.0%} of the INIT bits are not addressed under this stimulus; under another they may "
                "matter."
            )
        if len(self.resting) > (1 - _MOVED) * self.registers:
            found.append(
                f"{len(self.resting):,} of {self.registers:,} flip-flops never change under this stimulus: "
                f"{shortened(self.resting, 5)}."
            )
        return found


def measure_activity(netlist: Netlist, stimulus: Stimulus) -> Activity:
    """Simulate without a fault, and say how much moves."""
    run = run_fault_free(netlist, stimulus)
    changes = np.flatnonzero((run.outputs[1:] != run.outputs[:-1]).any(1))
    luts = list(netlist.luts)
    addressed = sum(word.bit_count() for word in run.seen[luts].tolist())
    resting = [netlist.nets[netlist.flipflops[j].output] for j in netlist.registers if not run.changed[j]]
    return Activity(
        cycles=stimulus.cycles,
        last_change=int(changes[-1]) + 1 if len(changes) else 0,
        addressed=addressed,
        init_bits=netlist.init_bits,
        resting=tuple(resting),
        registers=len(netlist.registers),
    )
