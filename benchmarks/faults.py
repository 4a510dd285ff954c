"""All of ITC'99: every INIT bit of b01 to b15, and how long the same faults take in Verilator.

    python -m benchmarks.faults --itc99 DIR [--circuits b05 b14] [--cycles 10000] [--baseline b05 b14]

DIR is a clone of github.com/ccsl-uaegean/ITC99-RTL-Verilog (GPL-3.0; not part of this repository), or a
folder of the VHDL sources. The result tables name which. One core: the process and what it calls are
bound to one processor, and all seconds are of that processor, not of the wall, so that a busy machine
disturbs them little.

Rates count simulated faults only: those that the fault-free run shows to be silent cost nothing and are not
counted. ``--baseline`` simulates a sample in Verilator, with one build a fault (the way of arXiv
2303.12269) and with one build that chooses its fault at run time, compares every outcome, and
extrapolates to all faults; the table marks what is extrapolated.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np

from benchmarks import reporting
from bifocal.errors import BifocalError
from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.circuits.synthesis import synthesise
from bifocal.hardware.circuits.yosys_json import read_netlist
from bifocal.hardware.faults.campaigns.campaign import make_engine, run_unit
from bifocal.hardware.faults.effects import Effects
from bifocal.hardware.faults.engines.batches import order_faults
from bifocal.hardware.faults.engines.fault_free import run_fault_free
from bifocal.hardware.faults.engines.native_build import find_compiler
from bifocal.hardware.faults.engines.program import lower
from bifocal.hardware.faults.engines.verilator import find_verilator, run_builds, run_selector
from bifocal.hardware.faults.models import Faults, draw
from bifocal.measure import MeasureError
from bifocal.measure.tables import markdown

CIRCUITS = tuple(f"b{i:02}" for i in range(1, 16))
#: Faults of the samples: one build each, and chosen at run time.
BUILDS, SELECTED = 6, 150
T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One circuit. Seconds are of the processor; ``None`` where an engine did not run."""

    circuit: str
    luts: int
    flipflops: int
    bits: int
    addressed: int
    wrong: int
    latent: int
    mean_share: float
    median_first: int
    synthesis: float
    golden: float
    numba: float
    native_build: float | None
    native: float | None

    def rate(self, engine: str, cycles: int) -> float | None:
        seconds = getattr(self, engine)
        return None if seconds is None else self.addressed * cycles / max(seconds, 1e-9)


@dataclass(frozen=True)
class Baseline:
    """Verilator on samples: processor seconds a fault, and of the one build with a selector."""

    circuit: str
    builds: int
    seconds_a_build: float
    selected: int
    selector_build: float
    seconds_a_selected: float
    agreed: bool


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """The result of some work and its processor seconds, those of programs it calls among them."""
    before = cpu_seconds()
    result = work()
    return result, cpu_seconds() - before


def cpu_seconds() -> float:
    """Processor seconds of this process and of those that it called and that have ended."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def read_circuit(source: Path, name: str, yosys: str) -> tuple[Netlist, float, tuple[str, ...]]:
    """Synthesise one circuit without carry chains and wide multiplexers."""
    mapped, seconds = timed(lambda: synthesise([source], top=name, yosys=yosys))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "netlist.json"
        path.write_text(mapped.json, encoding="utf-8")
        return read_netlist(path, top=mapped.top), seconds, (*mapped.tools, " ".join(mapped.flags))


def measure(name: str, netlist: Netlist, cycles: int, synthesis: float) -> tuple[Row, Faults, Effects]:
    """All INIT bits under both engines; they must agree."""
    stimulus = Stimulus.random(netlist, cycles=cycles)
    fault_free, fault_free_seconds = timed(lambda: run_fault_free(netlist, stimulus))
    faults = Faults.lut_init(netlist)
    faults = faults.take(np.flatnonzero(fault_free.matters(faults)))
    faults = faults.take(order_faults(lower(netlist), faults))
    engine, _ = timed(lambda: make_engine("numba", netlist, stimulus, fault_free))
    effects, numba_seconds = timed(lambda: run_unit(engine, faults))
    build = native_seconds = None
    if find_compiler() is not None:
        native, build = timed(lambda: make_engine("native", netlist, stimulus, fault_free))
        again, native_seconds = timed(lambda: run_unit(native, faults))
        if not again.same_as(effects):
            raise MeasureError(f"{name}: numba and native disagree. Report this.")
    first = effects.first_wrong[effects.first_wrong >= 0]
    row = Row(
        name,
        len(netlist.luts),
        len(netlist.flipflops),
        netlist.init_bits,
        len(faults),
        len(first),
        int(effects.latent.sum()),
        float(effects.wrong_cycles.sum() / cycles / netlist.init_bits),
        int(np.median(first)) if len(first) else -1,
        synthesis,
        fault_free_seconds,
        numba_seconds,
        build,
        native_seconds,
    )
    return row, faults, effects


def compare(name: str, netlist: Netlist, cycles: int, faults: Faults, effects: Effects) -> Baseline:
    """Verilator on samples; a first run with one fault is subtracted, so that shared work is not counted."""
    stimulus = Stimulus.random(netlist, cycles=cycles)
    few, many = (draw(len(faults), count, seed=1) for count in (BUILDS + 1, SELECTED + 1))
    one, one_seconds = timed(lambda: run_builds(netlist, stimulus, faults.take(few[:1])))
    built, built_seconds = timed(lambda: run_builds(netlist, stimulus, faults.take(few)))
    _, start = timed(lambda: run_selector(netlist, stimulus, faults.take(many[:1])))
    selected, selected_seconds = timed(lambda: run_selector(netlist, stimulus, faults.take(many)))
    found = [(few[:1], one), (few, built), (many, selected)]
    return Baseline(
        name,
        len(few) - 1,
        (built_seconds - one_seconds) / (len(few) - 1),
        len(many) - 1,
        start,
        max(0.0, selected_seconds - start) / (len(many) - 1),
        all(_pick(effects, rows).same_as(theirs.effects) for rows, theirs in found),
    )


def _pick(effects: Effects, rows: np.ndarray) -> Effects:
    names = ("wrong_cycles", "wrong_bits", "first_wrong", "latent")
    return Effects(*(getattr(effects, name)[rows] for name in names))


def tables(rows: list[Row], baselines: list[Baseline], cycles: int, head: str) -> str:
    """The result as Markdown."""
    text = f"{head}\n\n{circuit_table(rows, cycles)}\n"
    if not baselines:
        return text
    return text + (
        f"\nThe same {cycles:,} cycles in Verilator, on samples. Ours: fault-free run, compiling (native) and"
        f" simulating, together.\n\n{baseline_table(rows, baselines)}\n"
    )


def circuit_table(rows: list[Row], cycles: int) -> str:
    """Size, outcomes and seconds of each circuit, and of all."""
    header = (
        "circuit | LUT | FF | INIT bits | addressed | wrong at least once | latent | mean share wrong |"
        " median first wrong | synthesis s | golden s | numba s | compile s | native s | numba /s | native /s"
    ).split(" | ")
    body = []
    for r in rows:
        cells = [r.circuit, r.luts, r.flipflops, f"{r.bits:,}", f"{r.addressed:,}"]
        cells += [
            f"{r.wrong:,} ({r.wrong / r.bits:.0%})",
            f"{r.latent:,}",
            f"{r.mean_share:.3f}",
            r.median_first,
        ]
        cells += [_s(r.synthesis), _s(r.golden), _s(r.numba), _s(r.native_build), _s(r.native)]
        body.append([str(cell) for cell in [*cells, *(_e(r.rate(e, cycles)) for e in ("numba", "native"))]])
    bits, addressed, wrong = (sum(getattr(r, n) for r in rows) for n in ("bits", "addressed", "wrong"))
    sums = [
        _s(sum(getattr(r, n) or 0.0 for r in rows))
        for n in ("synthesis", "golden", "numba", "native_build", "native")
    ]
    body.append(["all", "", "", f"{bits:,}", f"{addressed:,}", f"{wrong:,}", "", "", "", *sums, "", ""])
    return markdown(header, body)


def baseline_table(rows: list[Row], baselines: list[Baseline]) -> str:
    """Verilator's seconds on samples, extrapolated to all faults, and how many times ours are less."""
    by_name = {r.circuit: r for r in rows}
    header = (
        "circuit | s a fault, one build each | all INIT bits so, h (extrapolated) | selector build s |"
        " s a fault, selector | all INIT bits so, s (extrapolated) | numba × | native × |"
        " against the selector: numba × | native × | same outcomes"
    ).split(" | ")
    body = []
    for b in baselines:
        r = by_name[b.circuit]
        single, chosen = b.seconds_a_build * r.bits, b.selector_build + b.seconds_a_selected * r.bits
        numba = r.golden + r.numba
        native = None if r.native is None else r.golden + r.native + (r.native_build or 0.0)
        cells = [b.circuit, _s(b.seconds_a_build), f"{single / 3600:.1f}", _s(b.selector_build)]
        cells += [f"{b.seconds_a_selected:.4f}", f"{chosen:.0f}"]
        cells += [
            "–" if s is None else f"{base / s:,.0f}" for base in (single, chosen) for s in (numba, native)
        ]
        body.append([*cells, f"{b.builds + 1} + {b.selected + 1}" if b.agreed else "NO"])
    return markdown(header, body)


def _s(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.2f}"


def _e(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1e}"


def main() -> None:
    """Read the options and bind the process to one core."""
    parser = reporting.parser(__doc__)
    parser.add_argument("--itc99", type=Path, required=True)
    parser.add_argument("--circuits", nargs="+", default=list(CIRCUITS))
    parser.add_argument("--cycles", type=int, default=10_000)
    parser.add_argument("--baseline", nargs="*", default=["b05", "b14"])
    parser.add_argument("--yosys", default="auto")
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    baseline = set(given.baseline) & set(given.circuits)
    if baseline:
        try:
            find_verilator()
        except BifocalError as error:
            print(f"no baseline: {error}", file=sys.stderr)
            baseline = set()
    with TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache  # compile anew
        report(given, baseline)


def report(given: argparse.Namespace, baseline: set[str]) -> None:
    """Measure every circuit; print and keep the tables."""
    rows, baselines = list[Row](), list[Baseline]()
    tools: tuple[str, ...] = ()
    language = ""
    started = time.perf_counter()
    for name in given.circuits:
        source = next(p for suffix in ("v", "vhd") if (p := given.itc99 / f"{name}.{suffix}").exists())
        language = "VHDL" if source.suffix == ".vhd" else "Verilog"
        netlist, seconds, tools = read_circuit(source, name, given.yosys)
        if not rows:
            measure(name, netlist, 10, 0.0)  # load what Numba compiled, or compile it
        row, faults, effects = measure(name, netlist, given.cycles, seconds)
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
        if name in baseline:
            baselines.append(compare(name, netlist, given.cycles, faults, effects))
            print(baselines[-1], file=sys.stderr, flush=True)
    load = f"load {os.getloadavg()[0]:.1f} at the end, {time.perf_counter() - started:.0f} s of the wall"
    head = (
        f"ITC'99 ({language} sources), all INIT bits, {given.cycles:,} random cycles after 2 of reset, seed"
        f" 1; one core of {_processor()}; {'; '.join(tools)}; {load}. Seconds of the processor; Numba's own"
        " compiling, once in its life, is not among them."
    )
    text = tables(rows, baselines, given.cycles, head)
    result = {
        "head": head,
        "cycles": given.cycles,
        "rows": [asdict(r) for r in rows],
        "baselines": [asdict(b) for b in baselines],
    }
    reporting.publish(given, "faults", text, result, file="faults")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    reporting.run(main)
