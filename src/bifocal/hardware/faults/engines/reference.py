"""The reference engine: plain NumPy, an array of lanes for each net, a lane for each fault. Slow and obvious.

The cycle that every engine repeats: flip-flops that are upset flip; inputs are applied; gates settle in order
while asynchronous sets and clears act; outputs are compared with those of the circuit without a fault; the
clock edge moves data into the flip-flops. The circuit without a fault is simply the last lane here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bifocal.hardware.circuits.elements import ONE
from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.faults.effects import Effects
from bifocal.hardware.faults.models import INIT, OPEN, STUCK, UPSET, Faults

Bits = NDArray[np.uint8]


def simulate(netlist: Netlist, stimulus: Stimulus, faults: Faults) -> Effects:
    """Simulate every fault over every cycle.

    >>> from bifocal.hardware.circuits.netlist import build_netlist
    >>> from bifocal.hardware.circuits.elements import FlipFlop, Gate, Port
    >>> toggle = build_netlist(
    ...     "toggle", nets=["0", "1", "clk", "q", "d"],
    ...     inputs=[Port("clk", (2,))], outputs=[Port("q", (3,))], clock=2,
    ...     gates=[Gate("inv", "LUT1", (3,), 4, 0b01)], flipflops=[FlipFlop("ff", "FDRE", 4, 3)],
    ... )
    >>> effects = simulate(toggle, Stimulus.random(toggle, cycles=8), Faults.lut_init(toggle))
    >>> effects.wrong_cycles.tolist(), effects.first_wrong.tolist()
    ([4, 3], [1, 2])
    """
    lanes = _Lanes(netlist, faults)
    compared = np.array([net for _, net in netlist.compared])
    effects = Effects.silent(len(faults))
    for step, row in enumerate(stimulus.bits):
        cycle = step - stimulus.reset_cycles
        lanes.upset(cycle)
        lanes.apply(row)
        lanes.settle()
        if cycle >= 0:
            wrong = lanes.values[compared, :-1] != lanes.values[compared, -1:]
            any_wrong = wrong.any(0)
            effects.wrong_cycles[:] += any_wrong
            effects.wrong_bits[:] += wrong.sum(0)
            effects.first_wrong[any_wrong & (effects.first_wrong < 0)] = cycle
        lanes.clock()
    differs = (lanes.state[:, :-1] != lanes.state[:, -1:]).any(0)
    effects.latent[:] = differs & (effects.first_wrong < 0)
    return effects


class _Lanes:
    """The circuit with each fault, and last without one.

    ``values`` uint8 ``[nets, lanes + 1]`` of the cycle, ``state`` uint8 ``[flip-flops, lanes + 1]``.
    """

    def __init__(self, netlist: Netlist, faults: Faults) -> None:
        self.netlist, self.faults = netlist, faults
        self.tables = _faulty_tables(netlist, faults)
        count = len(faults) + 1
        self.values = np.zeros((len(netlist.nets), count), np.uint8)
        self.values[1] = 1
        self.state = np.array([[f.initial] * count for f in netlist.flipflops], np.uint8).reshape(-1, count)

    def hold(self, net: int) -> None:
        """Force a net where it is stuck."""
        stuck = (self.faults.kind == STUCK) & (self.faults.target == net)
        self.values[net, :-1][stuck] = self.faults.detail[stuck]

    def upset(self, cycle: int) -> None:
        """Flip the flip-flops that are upset before this cycle."""
        for lane in np.flatnonzero((self.faults.kind == UPSET) & (self.faults.detail == cycle)):
            self.state[self.faults.target[lane], lane] ^= 1

    def apply(self, row: Bits) -> None:
        """The inputs of the cycle, and the outputs of the flip-flops."""
        for (_, net), bit in zip(self.netlist.driven, row, strict=True):
            self.values[net] = bit
            self.hold(net)
        for flipflop, held in zip(self.netlist.flipflops, self.state, strict=True):
            self.values[flipflop.output] = held
            if flipflop.asynchronous and flipflop.control == ONE:  # a constant is in no schedule
                self.values[flipflop.output] = flipflop.value
            if not flipflop.asynchronous or flipflop.control <= ONE:
                self.hold(flipflop.output)

    def settle(self) -> None:
        """Gates and asynchronous controls, in the order of the schedule."""
        values, gates = self.values, self.netlist.gates
        for node in self.netlist.schedule:
            if node < len(gates):
                address = np.zeros(values.shape[1], np.intp)
                for i, net in enumerate(gates[node].inputs):
                    address |= values[net].astype(np.intp) << i
                output = gates[node].output
                values[output] = np.take_along_axis(self.tables[node], address[None], 0)[0]
            else:
                flipflop = self.netlist.flipflops[node - len(gates)]
                output = flipflop.output
                values[output][values[flipflop.control] == 1] = flipflop.value
            self.hold(output)

    def clock(self) -> None:
        """The state after the clock edge."""
        values = self.values
        for j, flipflop in enumerate(self.netlist.flipflops):
            data = values[flipflop.data].copy()
            cut = (self.faults.kind == OPEN) & (self.faults.target == len(self.netlist.gates) + j)
            data[:-1][cut] = self.faults.detail[cut]
            held = np.where(values[flipflop.enable] == 1, data, values[flipflop.output])
            self.state[j] = np.where(values[flipflop.control] == 1, flipflop.value, held)


def _faulty_tables(netlist: Netlist, faults: Faults) -> list[Bits]:
    """For every gate its table in every lane: uint8 ``[2^k, lanes + 1]``."""
    tables = []
    for index, gate in enumerate(netlist.gates):
        addresses = np.arange(gate.bits)
        correct = np.array([gate.table >> a & 1 for a in range(gate.bits)], np.uint8)
        table = np.repeat(correct[:, None], len(faults) + 1, 1)
        for lane in np.flatnonzero((faults.kind == INIT) & (faults.target == index)):
            table[faults.detail[lane], lane] ^= 1
        for lane in np.flatnonzero((faults.kind == OPEN) & (faults.target == index)):
            pin, value = divmod(int(faults.detail[lane]), 2)
            table[:, lane] = correct[addresses & ~(1 << pin) | value << pin]
        tables.append(table)
    return tables
