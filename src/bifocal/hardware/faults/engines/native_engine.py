"""The engine that needs a C++ compiler: generated straight-line code over wide words, loaded by ctypes."""

from __future__ import annotations

import ctypes
import time
from typing import Any

import numpy as np

from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.faults.effects import Effects
from bifocal.hardware.faults.engines.batches import plan_batch
from bifocal.hardware.faults.engines.fault_free import FaultFree
from bifocal.hardware.faults.engines.native_build import build_library
from bifocal.hardware.faults.engines.native_source import write_source
from bifocal.hardware.faults.engines.numba_engine import CYCLE_BITS, WRONG_BITS, read_effects
from bifocal.hardware.faults.engines.program import lower
from bifocal.hardware.faults.models import Faults

VECTOR_BYTES = 64
WORDS = VECTOR_BYTES // 8

_POINTERS = ("ops", "rows", "segments", "events", "inputs", "outputs", "states", "masks")
_POINTERS_8 = ("initial", "stimulus", "expected", "expected_state")
_NUMBERS = (
    "chunks",
    "compare_chunk",
    "n_events",
    "n_inputs",
    "n_outputs",
    "n_states",
    "steps",
    "reset_cycles",
)
_RESULTS = ("slots", "wrong_cycles", "wrong_bits", "differs", "first")


class _Job(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in _POINTERS + _POINTERS_8),
        *((name, ctypes.c_int32) for name in _NUMBERS),
        *((name, ctypes.c_void_p) for name in _RESULTS),
    ]


class NativeEngine:
    """Simulates faults of one netlist under one stimulus, ``lanes`` at a time.

    :raises ToolError: if there is no compiler, or it fails.
    """

    name = "native"
    lanes = WORDS * 64
    machine_code = True

    def __init__(self, netlist: Netlist, stimulus: Stimulus, fault_free: FaultFree) -> None:
        self.stimulus, self.fault_free = stimulus, fault_free
        self.program = lower(netlist)
        self.initial = np.array([f.initial for f in netlist.flipflops], np.uint8)
        self.bits = np.ascontiguousarray(stimulus.bits)
        begin = time.perf_counter()
        library = ctypes.CDLL(str(build_library(write_source(self.program, VECTOR_BYTES))))
        #: Seconds that generating and compiling (or finding the compiled code) took.
        self.build_seconds = time.perf_counter() - begin
        self._run = library.bifocal_run
        self._run.argtypes, self._run.restype = [ctypes.POINTER(_Job)], None

    def simulate(self, faults: Faults) -> Effects:
        """The effects of at most ``lanes`` faults."""
        program = self.program
        batch = plan_batch(program, faults, WORDS, self.stimulus.reset_cycles)
        arrays: dict[str, Any] = {
            "ops": batch.ops,
            "rows": batch.rows,
            "segments": batch.segments,
            "events": batch.events,
            "inputs": program.inputs,
            "outputs": program.outputs,
            "states": program.states,
            "masks": batch.masks,
            "initial": self.initial,
            "stimulus": self.bits,
            "expected": self.fault_free.outputs,
            "expected_state": self.fault_free.state,
            "slots": _aligned(program.slots),
            "wrong_cycles": _aligned(CYCLE_BITS + 1),
            "wrong_bits": _aligned(WRONG_BITS),
            "differs": _aligned(1),
            "first": np.full(self.lanes, -1, np.int32),
        }
        job = _Job(
            **{name: array.ctypes.data for name, array in arrays.items()},
            chunks=len(batch.segments),
            compare_chunk=program.compare_chunk,
            n_events=len(batch.events),
            n_inputs=len(program.inputs),
            n_outputs=len(program.outputs),
            n_states=len(program.states),
            steps=len(self.bits),
            reset_cycles=self.stimulus.reset_cycles,
        )
        self._run(ctypes.byref(job))
        wrong_cycles, wrong_bits = arrays["wrong_cycles"], arrays["wrong_bits"]
        return read_effects(wrong_cycles, wrong_bits, arrays["first"], arrays["differs"][0], batch.lanes)


def _aligned(rows: int) -> Any:
    """Zeros uint64 ``[rows, WORDS]`` that begin on the boundary of a vector."""
    store = np.zeros((rows + 1) * VECTOR_BYTES, np.uint8)
    start = -store.ctypes.data % VECTOR_BYTES
    return store[start : start + rows * VECTOR_BYTES].view(np.uint64).reshape(rows, WORDS)
