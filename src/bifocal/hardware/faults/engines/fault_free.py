"""The circuit without a fault, or with a single one: one bit a net, and which addresses the LUTs see.

An INIT bit whose address its LUT never sees in the fault-free run cannot matter: the first difference from
the faulty run would have to come from reading it. Leaving such faults out is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.faults.models import INIT, OPEN, STUCK, UPSET, Fault, Faults
from bifocal.hardware.jit import compiled

Bits = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class FaultFree:
    """A run without faults.

    ``outputs`` uint8 ``[cycles, compared]`` of the counted cycles; ``state`` uint8 ``[flip-flops]`` after the
    last clock edge; ``seen`` uint64 ``[gates]``, bit a set if the gate ever saw address a, reset cycles
    included; ``changed`` uint8 ``[flip-flops]``, 1 for those that changed in a counted cycle.
    """

    outputs: Bits
    state: Bits
    seen: NDArray[np.uint64]
    changed: Bits

    def matters(self, faults: Faults) -> NDArray[np.bool_]:
        """Which faults are not silent by this argument: all but INIT bits that are never addressed."""
        addressed = np.ones(len(faults), np.bool_)
        flips = faults.kind == INIT
        words = self.seen[faults.target[flips]] >> faults.detail[flips].astype(np.uint64)
        addressed[flips] = (words & np.uint64(1)).astype(np.bool_)
        return addressed


def run_fault_free(netlist: Netlist, stimulus: Stimulus) -> FaultFree:
    """Simulate the circuit without a fault."""
    return _run(netlist, stimulus, None)


def trace(netlist: Netlist, stimulus: Stimulus, fault: Fault | None = None) -> Bits:
    """The compared output bits of the circuit with one fault, or with none: uint8 ``[cycles, compared]``."""
    return _run(netlist, stimulus, fault).outputs


def _run(netlist: Netlist, stimulus: Stimulus, fault: Fault | None) -> FaultFree:
    gates = len(netlist.gates)
    wires = np.zeros((gates, 7), np.int32)
    tables = np.zeros(gates, np.uint64)
    for i, gate in enumerate(netlist.gates):
        wires[i, : len(gate.inputs)] = gate.inputs
        wires[i, 6] = gate.output
        tables[i] = gate.table
    flipflops = np.array(
        [
            (f.data, f.output, f.enable, f.control, f.asynchronous, f.value, f.initial)
            for f in netlist.flipflops
        ],
        np.int32,
    ).reshape(-1, 7)
    stuck_net, stuck_value, upset, upset_step, cut, cut_value = -1, 0, -1, -1, -1, 0
    if fault is not None and fault.kind == INIT:
        tables[fault.target] ^= np.uint64(1 << fault.detail)
    elif fault is not None and fault.kind == STUCK:
        stuck_net, stuck_value = fault.target, fault.detail
    elif fault is not None and fault.kind == UPSET:
        upset, upset_step = fault.target, fault.detail + stimulus.reset_cycles
    elif fault is not None and fault.kind == OPEN and fault.target >= gates:
        cut, cut_value = fault.target - gates, fault.detail
    elif fault is not None:
        wires[fault.target, fault.detail >> 1] = fault.detail & 1  # nets 0 and 1 are the constants
    special = np.array([stuck_net, stuck_value, upset, upset_step, cut, cut_value], np.int64)
    outputs, state, seen, changed = _simulate(
        wires,
        tables,
        flipflops,
        np.array(netlist.schedule, np.int32),
        np.array([net for _, net in netlist.driven], np.int32),
        np.array([net for _, net in netlist.compared], np.int32),
        stimulus.bits,
        len(netlist.nets),
        stimulus.reset_cycles,
        special,
    )
    return FaultFree(outputs, state, seen, changed)


@compiled
def _simulate(
    wires: Any,
    tables: Any,
    flipflops: Any,
    schedule: Any,
    inputs: Any,
    compared: Any,
    stimulus: Any,
    nets: int,
    reset_cycles: int,
    special: Any,
) -> Any:
    stuck_net, stuck_value, upset, upset_step, cut, cut_value = special
    gates = wires.shape[0]
    values = np.zeros(nets, np.uint8)
    values[1] = 1
    seen = np.zeros(gates, np.uint64)
    state = flipflops[:, 6].astype(np.uint8)
    changed = np.zeros(flipflops.shape[0], np.uint8)
    outputs = np.zeros((stimulus.shape[0] - reset_cycles, compared.shape[0]), np.uint8)
    for step in range(stimulus.shape[0]):
        if step == upset_step:
            state[upset] ^= 1
        for i in range(inputs.shape[0]):
            values[inputs[i]] = stimulus[step, i]
        for j in range(flipflops.shape[0]):
            forced = flipflops[j, 4] == 1 and flipflops[j, 3] == 1
            values[flipflops[j, 1]] = flipflops[j, 5] if forced else state[j]
        if stuck_net >= 0:
            values[stuck_net] = stuck_value
        for n in range(schedule.shape[0]):
            node = schedule[n]
            if node < gates:
                address = np.int64(0)
                for i in range(6):
                    address |= np.int64(values[wires[node, i]]) << i
                seen[node] |= np.uint64(1) << np.uint64(address)
                out = wires[node, 6]
                values[out] = (tables[node] >> np.uint64(address)) & np.uint64(1)
            else:
                out = flipflops[node - gates, 1]
                if values[flipflops[node - gates, 3]] == 1:
                    values[out] = flipflops[node - gates, 5]
            if out == stuck_net:
                values[out] = stuck_value
        if step >= reset_cycles:
            for i in range(compared.shape[0]):
                outputs[step - reset_cycles, i] = values[compared[i]]
        for j in range(flipflops.shape[0]):
            data = cut_value if j == cut else values[flipflops[j, 0]]
            held = data if values[flipflops[j, 2]] == 1 else values[flipflops[j, 1]]
            state[j] = flipflops[j, 5] if values[flipflops[j, 3]] == 1 else held
            if step >= reset_cycles and state[j] != values[flipflops[j, 1]]:
                changed[j] = 1
    return outputs, state, seen, changed
