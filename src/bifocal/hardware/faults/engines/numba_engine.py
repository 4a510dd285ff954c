"""The engine that needs no compiler: an interpreter of word operations, compiled once by Numba and cached.

A lane is one faulty copy of the circuit. Each operation works on up to 64 words, 4,096 lanes, so that
decoding it costs little beside carrying it out. Wrong cycles and wrong bits are counted in vertical counters:
word i holds bit i of every lane's count, and adding a word of ones and zeros is a short ripple of carries.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.faults.effects import Effects
from bifocal.hardware.faults.engines.batches import FaultBatch, plan_batch
from bifocal.hardware.faults.engines.fault_free import FaultFree
from bifocal.hardware.faults.engines.program import Program, lower
from bifocal.hardware.faults.models import Faults
from bifocal.hardware.jit import compiled

MAX_WORDS = 64
#: Bits of the two counters: cycles and wrong output bits of a lane.
CYCLE_BITS, WRONG_BITS = 31, 48


class NumbaEngine:
    """Simulates faults of one netlist under one stimulus, ``lanes`` at a time."""

    name = "numba"
    lanes = MAX_WORDS * 64
    machine_code = True

    def __init__(self, netlist: Netlist, stimulus: Stimulus, fault_free: FaultFree) -> None:
        self.stimulus, self.fault_free = stimulus, fault_free
        self.program: Program = lower(netlist)
        self.initial = np.array([f.initial for f in netlist.flipflops], np.uint8)

    def simulate(self, faults: Faults) -> Effects:
        """The effects of at most ``lanes`` faults."""
        step = 32 if len(faults) > 1024 else 8  # loops are unrolled to 32 words
        words = max(step, -(-len(faults) // (64 * step)) * step)
        batch = plan_batch(self.program, faults, words, self.stimulus.reset_cycles)
        slots = np.zeros((self.program.slots, words), np.uint64)
        wrong_cycles = np.zeros((CYCLE_BITS, words), np.uint64)
        wrong_bits = np.zeros((WRONG_BITS, words), np.uint64)
        first = np.full(64 * words, -1, np.int32)
        differs = _run(
            batch.ops,
            batch.rows,
            batch.masks,
            batch.events,
            compare_op(batch, self.program),
            slots,
            self.program.inputs,
            self.program.outputs,
            self.program.states,
            self.initial,
            self.stimulus.bits,
            self.stimulus.reset_cycles,
            self.fault_free.outputs,
            self.fault_free.state,
            wrong_cycles,
            wrong_bits,
            first,
        )
        return read_effects(wrong_cycles, wrong_bits, first, differs, batch.lanes)


def compare_op(batch: FaultBatch, program: Program) -> int:
    """The operation of a batch before which outputs are compared."""
    return int(batch.segments[program.compare_chunk - 1, 2])


def read_effects(wrong_cycles: Any, wrong_bits: Any, first: Any, differs: Any, lanes: int) -> Effects:
    """Vertical counters ``[bits, words]`` as numbers; ``first`` is ``[lanes]``, ``differs`` ``[words]``."""
    latent = _lane_bits(differs[None])[0, :lanes].astype(np.bool_) & (first[:lanes] < 0)
    return Effects(
        _counts(wrong_cycles)[:lanes].astype(np.int32),
        _counts(wrong_bits)[:lanes],
        first[:lanes].copy(),
        latent,
    )


def _counts(counters: Any) -> Any:
    weights = np.int64(1) << np.arange(len(counters), dtype=np.int64)
    return weights @ _lane_bits(counters).astype(np.int64)


def _lane_bits(words: Any) -> Any:
    """uint64 ``[n, words]`` → uint8 ``[n, 64 · words]``, lane 0 first."""
    return np.unpackbits(words.astype("<u8").view(np.uint8), axis=1, bitorder="little")


@compiled
def _execute(ops: Any, start: Any, stop: Any, rows: Any, masks: Any, slots: Any) -> None:
    """Carry out the operations from ``start`` to ``stop``."""
    i = start
    while i < stop:
        code, out, a, b, c = ops[i, 0], ops[i, 1], ops[i, 2], ops[i, 3], ops[i, 4]
        i += 1
        if code <= 5:
            _and_or(code, out, a, b, slots)
        elif code <= 10:
            _xor_not_mux(code, out, a, b, c, slots)
        elif code == 11:  # skip
            if not _any(slots, a):
                i += b
        else:
            _fault(code, out, rows[a], b, masks, slots)


@compiled
def _and_or(code: Any, out: Any, a: Any, b: Any, slots: Any) -> None:
    words = slots.shape[1]
    if code == 0:
        for w in range(words):
            slots[out, w] = slots[a, w] & slots[b, w]
    elif code == 1:
        for w in range(words):
            slots[out, w] = slots[a, w] & ~slots[b, w]
    elif code == 2:
        for w in range(words):
            slots[out, w] = ~(slots[a, w] | slots[b, w])
    elif code == 3:
        for w in range(words):
            slots[out, w] = slots[a, w] | slots[b, w]
    elif code == 4:
        for w in range(words):
            slots[out, w] = slots[a, w] | ~slots[b, w]
    else:
        for w in range(words):
            slots[out, w] = ~(slots[a, w] & slots[b, w])


@compiled
def _xor_not_mux(code: Any, out: Any, a: Any, b: Any, c: Any, slots: Any) -> None:
    words = slots.shape[1]
    if code == 6:
        for w in range(words):
            slots[out, w] = slots[a, w] ^ slots[b, w]
    elif code == 7:
        for w in range(words):
            slots[out, w] = ~(slots[a, w] ^ slots[b, w])
    elif code == 8:
        for w in range(words):
            slots[out, w] = ~slots[a, w]
    elif code == 10:
        for w in range(words):
            slots[out, w] = slots[a, w]
    elif out == a:
        for w in range(words):
            slots[out, w] ^= (slots[out, w] ^ slots[b, w]) & slots[c, w]
    else:
        for w in range(words):
            slots[out, w] = slots[a, w] ^ ((slots[a, w] ^ slots[b, w]) & slots[c, w])


@compiled
def _any(slots: Any, slot: Any) -> Any:
    used = False
    for w in range(slots.shape[1]):
        used = used or slots[slot, w] != 0
    return used


@compiled
def _fault(code: Any, out: Any, row: Any, source: Any, masks: Any, slots: Any) -> None:
    offset, first, last = row[0], row[1], row[2]
    span = last - first
    for w in range(first, last):
        mask = masks[offset + w - first]
        if code == 12:  # flip an INIT bit
            for i in range(row[3]):
                mask &= ~(slots[row[4 + i], w] ^ masks[offset + (1 + i) * span + w - first])
            slots[out, w] ^= mask
        elif code == 13:  # force to 0, to 1
            slots[out, w] = (slots[out, w] & ~mask) | masks[offset + span + w - first]
        else:  # invert where a source is 1
            slots[out, w] ^= slots[source, w] & mask


@compiled
def _run(
    ops: Any,
    rows: Any,
    masks: Any,
    events: Any,
    compare: Any,
    slots: Any,
    inputs: Any,
    outputs: Any,
    states: Any,
    initial: Any,
    stimulus: Any,
    reset_cycles: Any,
    expected: Any,
    expected_state: Any,
    wrong_cycles: Any,
    wrong_bits: Any,
    first: Any,
) -> Any:
    """Simulate all steps; returns the lanes whose last state is wrong, uint64 ``[words]``."""
    words = slots.shape[1]
    slots[1, :] = _spread(True)
    for j in range(states.shape[0]):
        slots[states[j], :] = _spread(initial[j])
    wrong = np.zeros(words, np.uint64)
    ever = np.zeros(words, np.uint64)
    event = 0
    for step in range(stimulus.shape[0]):
        while event < events.shape[0] and events[event, 0] == step:
            slots[events[event, 1], events[event, 2]] ^= np.uint64(1) << np.uint64(events[event, 3])
            event += 1
        for i in range(inputs.shape[0]):
            slots[inputs[i], :] = _spread(stimulus[step, i])
        _execute(ops, 0, compare, rows, masks, slots)
        cycle = step - reset_cycles
        if cycle >= 0:
            _find_wrong(slots, outputs, expected[cycle], wrong)
            for w in range(words):
                if wrong[w] != 0:
                    _add(wrong_cycles, w, wrong[w])
                    for i in range(outputs.shape[0]):
                        _add(wrong_bits, w, slots[outputs[i], w] ^ _spread(expected[cycle, i]))
                    _note_first(first, w, wrong[w] & ~ever[w], cycle)
                    ever[w] |= wrong[w]
        _execute(ops, compare, ops.shape[0], rows, masks, slots)
    _find_wrong(slots, states, expected_state, wrong)
    return wrong


@compiled
def _spread(bit: Any) -> Any:
    """A word of ones, or of zeros."""
    return ~np.uint64(0) if bit else np.uint64(0)


@compiled
def _find_wrong(slots: Any, chosen: Any, expected: Any, wrong: Any) -> None:
    """Set ``wrong`` to the lanes in which any of the chosen slots is not what is expected."""
    wrong[:] = np.uint64(0)
    for i in range(chosen.shape[0]):
        bits = _spread(expected[i])
        for w in range(wrong.shape[0]):
            wrong[w] |= slots[chosen[i], w] ^ bits


@compiled
def _add(counters: Any, w: Any, carry: Any) -> None:
    """Add one to the counters of the lanes in ``carry``: a ripple of carries."""
    bit = 0
    while carry:
        held = counters[bit, w] & carry
        counters[bit, w] ^= carry
        carry = held
        bit += 1


@compiled
def _note_first(first: Any, w: Any, fresh: Any, cycle: Any) -> None:
    """Remember the cycle for the lanes of word ``w`` that are wrong for the first time."""
    if fresh:
        for lane in range(64):
            if (fresh >> np.uint64(lane)) & np.uint64(1):
                first[w * 64 + lane] = cycle
