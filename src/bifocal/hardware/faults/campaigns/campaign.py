"""A campaign: simulates a list of faults over a stimulus, in parallel and resumable.

The result is the same for every engine and number of processes, and after a resumption.

1. The fault-free run shows which INIT bits are never addressed: these faults cannot have an effect, and are
   not simulated.
2. If the number of the others times the cycles exceeds the budget, a seeded sample of them is simulated, and
   the result records that.
3. Faults are ordered so that neighbours share a unit. Units go to the engine, here or in spawned processes,
   and each finished unit goes to the journal.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import CampaignError, ToolError
from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.faults.campaigns.journal import Journal
from bifocal.hardware.faults.effects import Effects
from bifocal.hardware.faults.engines.batches import order_faults
from bifocal.hardware.faults.engines.fault_free import FaultFree, run_fault_free
from bifocal.hardware.faults.engines.native_build import find_compiler
from bifocal.hardware.faults.engines.native_engine import NativeEngine
from bifocal.hardware.faults.engines.numba_engine import NumbaEngine
from bifocal.hardware.faults.engines.program import lower
from bifocal.hardware.faults.engines.reference import simulate
from bifocal.hardware.faults.engines.verilator import VerilatorEngine
from bifocal.hardware.faults.models import Faults, draw
from bifocal.hardware.faults.result import (
    LEFT_OUT,
    SIMULATED,
    UNADDRESSED,
    CampaignResult,
    Facts,
    find_sites,
)
from bifocal.hardware.interrupts import interruptible

ENGINES = ("auto", "numba", "native", "verilator", "reference")
#: Fault-cycles: about an hour of one core at the slowest acceptable rate.
BUDGET = 200_000_000_000
#: The most faults of a unit, which a process simulates and the journal keeps as a whole.
UNIT = 4096
#: Below so many fault-cycles compiling takes longer than it saves.
WORTH_COMPILING = 200_000_000


class Engine(Protocol):
    """Simulates at most ``lanes`` faults at a time, in ``machine_code`` of this process or otherwise."""

    name: str
    lanes: int
    machine_code: bool

    def simulate(self, faults: Faults) -> Effects: ...


class ReferenceEngine:
    """The reference simulation as an engine."""

    name = "reference"
    lanes = 1024
    machine_code = False

    def __init__(self, netlist: Netlist, stimulus: Stimulus) -> None:
        self.netlist, self.stimulus = netlist, stimulus

    def simulate(self, faults: Faults) -> Effects:
        return simulate(self.netlist, self.stimulus, faults)


@dataclass(frozen=True, eq=False)
class Campaign:
    """A list of faults to simulate.

    ``engine`` is one of ``ENGINES``: ``auto`` takes ``native`` if there is a compiler and enough to do,
    else ``numba``. ``budget`` bounds simulated faults × cycles; beyond it a sample drawn with ``seed`` is
    simulated. ``journal`` is a file that keeps finished units, from which ``resume`` goes on.
    ``progress`` is called with the faults finished and the faults to simulate.
    """

    netlist: Netlist
    stimulus: Stimulus
    faults: Faults
    engine: str = "auto"
    jobs: int = 1
    budget: int = BUDGET
    seed: int = 1
    journal: str | os.PathLike[str] | None = None
    resume: bool = False
    progress: Callable[[int, int], None] | None = None

    def run(self) -> CampaignResult:
        """Simulate, and return the effects of every fault.

        :raises CircuitError: if a fault or the stimulus does not belong to the netlist.
        :raises CampaignError: if the options are out of range, or the journal is another campaign's.
        :raises ToolError: if the engine is not available.
        """
        self._check()
        begin = time.perf_counter()
        fault_free = interruptible(partial(run_fault_free, self.netlist, self.stimulus))
        fault_free_seconds = time.perf_counter() - begin
        status, chosen = self._choose(fault_free)
        program = lower(self.netlist)
        chosen = chosen[order_faults(program, self.faults.take(chosen))]
        units = _cut(len(chosen))
        effects = Effects.silent(len(self.faults))
        begin = time.perf_counter()
        engine, notes = self._make_engine(fault_free, len(chosen) * self.stimulus.cycles)
        build_seconds = time.perf_counter() - begin
        begin = time.perf_counter()
        resumed = finished = 0
        with self._open_journal(chosen, units) as journal:
            if journal is not None:
                for number, found in journal.done.items():
                    effects.put(chosen[units[number]], found)
                    resumed += len(found)
            finished = resumed
            self._report(finished, len(chosen))
            todo = [n for n in range(len(units)) if journal is None or n not in journal.done]
            with closing(self._simulate(engine, [(n, chosen[units[n]]) for n in todo])) as finished_units:
                for number, found in finished_units:
                    if journal is not None:
                        journal.append(number, found)
                    effects.put(chosen[units[number]], found)
                    finished += len(found)
                    self._report(finished, len(chosen))
        simulate_seconds = time.perf_counter() - begin
        facts = Facts(
            engine.name, self.jobs, fault_free_seconds, build_seconds, simulate_seconds, resumed, notes
        )
        return self._result(status, effects, facts)

    def _check(self) -> None:
        if self.engine not in ENGINES:
            raise CampaignError(f"there is no engine '{self.engine}'; there are {', '.join(ENGINES)}.")
        if self.jobs < 1 or self.budget < 1:
            raise CampaignError(
                f"{self.jobs} jobs and a budget of {self.budget}: both have to be at least 1."
            )
        if self.stimulus.names != tuple(name for name, _ in self.netlist.driven):
            raise CampaignError(
                "the stimulus drives other inputs than the netlist has; make it from this netlist."
            )
        self.faults.check(self.netlist, self.stimulus.cycles)

    def _choose(self, fault_free: FaultFree) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
        """The status of every fault, and the indices of those to simulate."""
        matters = fault_free.matters(self.faults)
        candidates = np.flatnonzero(matters)
        affordable = max(1, self.budget // self.stimulus.cycles)
        chosen = candidates[draw(len(candidates), affordable, self.seed)]
        status = np.where(matters, LEFT_OUT, UNADDRESSED).astype(np.uint8)
        status[chosen] = SIMULATED
        return status, chosen

    def _make_engine(self, fault_free: FaultFree, work: int) -> tuple[Engine, tuple[str, ...]]:
        notes: tuple[str, ...] = ()
        name = self.engine
        if name == "auto":
            name = "native" if work >= WORTH_COMPILING and find_compiler() else "numba"
        try:
            return make_engine(name, self.netlist, self.stimulus, fault_free), notes
        except ToolError as error:
            if self.engine != "auto":
                raise
            notes = (f"numba instead of native: {str(error).splitlines()[0]}",)
            return make_engine("numba", self.netlist, self.stimulus, fault_free), notes

    def _open_journal(self, chosen: NDArray[np.intp], units: list[slice]) -> Journal | nullcontext[None]:
        if self.journal is None:
            if self.resume:
                raise CampaignError("a run without a journal cannot be resumed. Name the journal's file.")
            return nullcontext()
        picked = sha256(chosen.astype("<i8").tobytes()).hexdigest()
        header = {
            "netlist": self.netlist.digest(),
            "stimulus": self.stimulus.digest(),
            "faults": self.faults.digest(),
            "chosen": picked,
            "units": len(units),
        }
        return Journal(self.journal, header, resume=self.resume)

    def _simulate(
        self, engine: Engine, todo: list[tuple[int, NDArray[np.intp]]]
    ) -> Generator[tuple[int, Effects], None, None]:
        jobs = min(self.jobs, len(todo))
        if jobs <= 1:
            for number, indices in todo:
                yield number, run_unit(engine, self.faults.take(indices))
            return
        pool = ProcessPoolExecutor(
            jobs,
            multiprocessing.get_context("spawn"),
            _start_worker,
            (engine.name, self.netlist, self.stimulus),
        )
        try:
            waiting = {pool.submit(_work, self.faults.take(indices)): n for n, indices in todo}
            while waiting:
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield waiting.pop(future), future.result()
        except BaseException as error:
            _stop_workers(pool)
            if not isinstance(error, BrokenProcessPool):
                raise
            raise CampaignError(
                "a worker process died, perhaps because memory ran out. Use fewer --jobs; with a journal, "
                "--resume keeps what is finished."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _report(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(done, total)

    def _result(self, status: NDArray[np.uint8], effects: Effects, facts: Facts) -> CampaignResult:
        sites, site = find_sites(self.netlist, self.faults)
        return CampaignResult(
            design=self.netlist.name,
            model=self.faults.model,
            cycles=self.stimulus.cycles,
            reset_cycles=self.stimulus.reset_cycles,
            outputs=len(self.netlist.compared),
            stimulus=self.stimulus.source,
            seed=self.seed,
            budget=self.budget,
            netlist_digest=self.netlist.digest(),
            stimulus_digest=self.stimulus.digest(),
            notes=self.netlist.notes,
            sites=sites,
            facts=facts,
            kind=self.faults.kind,
            target=self.faults.target,
            detail=self.faults.detail,
            site=site,
            status=status,
            wrong_cycles=effects.wrong_cycles,
            wrong_bits=effects.wrong_bits,
            first_wrong=effects.first_wrong,
            latent=effects.latent,
        )


def make_engine(name: str, netlist: Netlist, stimulus: Stimulus, fault_free: FaultFree) -> Engine:
    """An engine by its name, not ``auto``.

    :raises ToolError: if ``native`` finds no compiler or it fails.
    """
    if name == "reference":
        return ReferenceEngine(netlist, stimulus)
    if name == "verilator":
        return VerilatorEngine(netlist, stimulus)
    return (NativeEngine if name == "native" else NumbaEngine)(netlist, stimulus, fault_free)


def run_unit(engine: Engine, faults: Faults) -> Effects:
    """The effects of any number of faults, as many at a time as the engine takes."""
    effects = Effects.silent(len(faults))
    for start in range(0, len(faults), engine.lanes):
        indices = np.arange(start, min(start + engine.lanes, len(faults)))
        work = partial(engine.simulate, faults.take(indices))
        effects.put(indices, interruptible(work) if engine.machine_code else work())
    return effects


def _cut(count: int) -> list[slice]:
    return [slice(start, min(start + UNIT, count)) for start in range(0, count, UNIT)]


_worker: list[Engine] = []


def _start_worker(name: str, netlist: Netlist, stimulus: Stimulus) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends the programs that it runs first
    _worker[:] = [make_engine(name, netlist, stimulus, run_fault_free(netlist, stimulus))]


def _stop_workers(pool: ProcessPoolExecutor) -> None:
    """End the workers now, whatever they are doing, and the programs that they run."""
    workers = list((pool._processes or {}).values())
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.join(2.0)
        worker.kill()


def _work(faults: Faults) -> Effects:
    return run_unit(_worker[0], faults)
