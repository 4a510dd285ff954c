"""The reference engine: plain NumPy, an array of lanes for each net, a lane for each fault. Slow and obvious.

The cycle that every engine repeats: flip-flops that are upset flip; inputs are applied; gates settle in order
while asynchronous sets and clears act; outputs are compared with those of the circuit without a fault; the
clock edge moves data into the flip-flops. The circuit without a fault is simply the last lane here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
    lanes = len(faults)
    tables = _faulty_tables(netlist, faults)
    values = np.zeros((len(netlist.nets), lanes + 1), np.uint8)
    values[1] = 1
    state = np.array([[f.initial] * (lanes + 1) for f in netlist.flipflops], np.uint8).reshape(-1, lanes + 1)
    columns = [net for _, net in netlist.driven]
    compared = np.array([net for _, net in netlist.compared])
    effects = Effects.silent(lanes)

    def hold(net: int) -> None:
        stuck = (faults.kind == STUCK) & (faults.target == net)
        values[net, :-1][stuck] = faults.detail[stuck]

    for step, row in enumerate(stimulus.bits):
        cycle = step - stimulus.reset_cycles
        for lane in np.flatnonzero((faults.kind == UPSET) & (faults.detail == cycle)):
            state[faults.target[lane], lane] ^= 1
        for net, bit in zip(columns, row, strict=True):
            values[net] = bit
            hold(net)
        for flipflop, held in zip(netlist.flipflops, state, strict=True):
            values[flipflop.output] = held
            if not flipflop.asynchronous:
                hold(flipflop.output)
            elif flipflop.control <= 1:  # tied: it is in no schedule
                values[flipflop.output] = flipflop.value if flipflop.control else held
                hold(flipflop.output)
        for node in netlist.schedule:
            if node < len(netlist.gates):
                gate = netlist.gates[node]
                address = np.zeros(lanes + 1, np.intp)
                for i, net in enumerate(gate.inputs):
                    address |= values[net].astype(np.intp) << i
                values[gate.output] = np.take_along_axis(tables[node], address[None], 0)[0]
                hold(gate.output)
            else:
                flipflop = netlist.flipflops[node - len(netlist.gates)]
                values[flipflop.output][values[flipflop.control] == 1] = flipflop.value
                hold(flipflop.output)
        if cycle >= 0:
            wrong = values[compared, :-1] != values[compared, -1:]
            any_wrong = wrong.any(0)
            effects.wrong_cycles[:] += any_wrong
            effects.wrong_bits[:] += wrong.sum(0)
            effects.first_wrong[any_wrong & (effects.first_wrong < 0)] = cycle
        state = _clock(netlist, values, faults)
    differs = (state[:, :-1] != state[:, -1:]).any(0)
    effects.latent[:] = differs & (effects.first_wrong < 0)
    return effects


def _faulty_tables(netlist: Netlist, faults: Faults) -> list[Bits]:
    """For every gate its table in every machine: uint8 ``[2^k, lanes + 1]``."""
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


def _clock(netlist: Netlist, values: Bits, faults: Faults) -> Bits:
    """The state of every flip-flop after the clock edge, in every machine."""
    state = np.zeros((len(netlist.flipflops), values.shape[1]), np.uint8)
    for j, flipflop in enumerate(netlist.flipflops):
        data = values[flipflop.data].copy()
        cut = (faults.kind == OPEN) & (faults.target == len(netlist.gates) + j)
        data[:-1][cut] = faults.detail[cut]
        held = np.where(values[flipflop.enable] == 1, data, values[flipflop.output])
        state[j] = np.where(values[flipflop.control] == 1, flipflop.value, held)
    return state
