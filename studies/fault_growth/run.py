"""Time and memory as designs grow: random circuits from 100 to 30,000 LUTs, and a plot.

    python -m studies.fault_growth.run [--sizes 100 300 1000 3000 10000 30000] [--cycles 1000]

The circuits are made by the program: LUTs of two to six inputs that read their neighbours of the last few
hundred, a flip-flop for every four LUTs. Each size runs in a process of its own, on one core, with 8,192
faults (or all) drawn from the INIT bits that the fault-free run addresses. Seconds are of the processor;
memory is the peak of the process above what it takes to import everything, compilers not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks import reporting
from benchmarks.faults import cpu_seconds
from bifocal.hardware.circuits.elements import FlipFlop, Gate, Port
from bifocal.hardware.circuits.netlist import Netlist, build_netlist
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.faults.campaigns.campaign import make_engine, run_unit
from bifocal.hardware.faults.engines.fault_free import run_fault_free
from bifocal.hardware.faults.engines.native_build import find_compiler
from bifocal.hardware.faults.models import Faults, draw
from bifocal.measure.tables import markdown

SIZES = (100, 300, 1000, 3000, 10_000, 30_000)
FAULTS = 8192


def make_circuit(luts: int, seed: int = 1) -> Netlist:
    """A random circuit with locality: LUT i reads what was made shortly before, or a flip-flop."""
    rng = random.Random(seed)
    nets = ["0", "1", "clk", *(f"in[{i}]" for i in range(32))]
    inputs = list(range(3, 35))
    states = list(range(len(nets), len(nets) + max(1, luts // 4)))
    nets += [f"q{j}" for j in range(len(states))]
    gates: list[Gate] = []
    for i in range(luts):
        near = [gate.output for gate in gates[-200:]]
        count = rng.choice((2, 3, 3, 4, 4, 5, 6, 6))
        at = len(states) * i // luts
        pool = near + states[max(0, at - 40) : at + 40] + inputs[:8]
        wires = tuple(rng.sample(pool, count))
        table = 0
        while table in (0, (1 << (1 << count)) - 1):
            table = _sparse(rng, count)
        nets.append(f"n{i}")
        gates.append(Gate(f"g{i}", f"LUT{count}", wires, len(nets) - 1, table))
    chosen = [gates[rng.randrange(len(gates))].output for _ in states]
    cells = [FlipFlop(f"f{j}", "FDRE", chosen[j], q) for j, q in enumerate(states)]
    out = tuple(dict.fromkeys(gate.output for gate in gates[-32:]))
    return build_netlist(
        f"random{luts}",
        nets=nets,
        inputs=[Port("clk", (2,)), Port("in", tuple(inputs))],
        outputs=[Port("out", out)],
        gates=gates,
        flipflops=cells,
        clock=2,
    )


def _sparse(rng: random.Random, inputs: int) -> int:
    """A truth table like those of synthesis: an expression of its inputs, not noise."""
    ones = (1 << (1 << inputs)) - 1
    variables = [sum(1 << a for a in range(1 << inputs) if a >> i & 1) for i in range(inputs)]
    table = variables[0]
    for variable in variables[1:]:
        other = variable ^ (ones if rng.random() < 0.3 else 0)
        table = rng.choice((table & other, table | other, table ^ other))
    return table


def measure(luts: int, cycles: int, engine: str) -> dict[str, float]:
    """Seconds and peak memory of one engine on one size; run in a process of its own."""
    warm = make_circuit(20)
    short = Stimulus.random(warm, cycles=5)
    run_unit(make_engine("numba", warm, short, run_fault_free(warm, short)), Faults.lut_init(warm))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    netlist = make_circuit(luts)
    stimulus = Stimulus.random(netlist, cycles=cycles)
    start = cpu_seconds()
    fault_free = run_fault_free(netlist, stimulus)
    faults = Faults.lut_init(netlist)
    addressed = np.flatnonzero(fault_free.matters(faults))
    faults = faults.take(addressed[draw(len(addressed), FAULTS, seed=1)])
    ready = cpu_seconds()
    made = make_engine(engine, netlist, stimulus, fault_free)
    built = cpu_seconds()
    run_unit(made, faults)
    done = cpu_seconds()
    return {
        "luts": luts,
        "faults": len(faults),
        "golden": ready - start,
        "build": built - ready,
        "simulate": done - built,
        "rate": len(faults) * cycles / (done - built),
        "memory": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }


def measure_apart(luts: int, cycles: int, engine: str, cache: str) -> dict[str, float]:
    """:func:`measure` in a process of its own."""
    command = [sys.executable, "-m", "studies.fault_growth.run", "--cycles", str(cycles)]
    command += ["--one", str(luts), engine]
    environment = {**os.environ, "XDG_CACHE_HOME": cache}
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment, cwd=reporting.ROOT
    )
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def draw_plot(rows: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Rate, building and memory over the number of LUTs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    panels = (
        ("rate", "simulated fault-cycles a second"),
        ("build", "seconds until the engine is ready"),
        ("memory", "memory, MiB"),
    )
    for axis, (key, title) in zip(axes, panels, strict=True):
        for (engine, measured), colour in zip(rows.items(), ("#0072b2", "#d55e00"), strict=False):
            luts = [row["luts"] for row in measured]
            axis.loglog(luts, [max(row[key], 0.01) for row in measured], "o-", color=colour, label=engine)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("LUTs")
        axis.grid(True, which="major", alpha=0.3)
    axes[0].legend()
    figure.savefig(path, metadata={"Date": None})


def table(rows: dict[str, list[dict[str, float]]]) -> str:
    """Seconds, rate and memory of every engine and size."""
    header = ("engine", "LUTs", "faults", "golden s", "ready s", "simulate s", "fault-cycles/s", "memory MiB")
    body = [
        [engine, f"{r['luts']:,}", f"{r['faults']:,}", f"{r['golden']:.2f}", f"{r['build']:.2f}"]
        + [f"{r['simulate']:.2f}", f"{r['rate']:.1e}", f"{r['memory']:.0f}"]
        for engine, measured in rows.items()
        for r in measured
    ]
    return markdown(header, body)


def main() -> None:
    """Measure every size with every engine; print a table and draw the plot."""
    parser = reporting.parser(__doc__, Path(__file__).parent)
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--one", nargs=2, metavar=("LUTS", "ENGINE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(int(given.one[0]), given.cycles, given.one[1])))
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    engines = ["numba", *(["native"] if find_compiler() else [])]
    rows: dict[str, list[dict[str, float]]] = {engine: [] for engine in engines}
    with TemporaryDirectory() as cache:
        for engine in engines:
            for luts in given.sizes:
                rows[engine].append(measure_apart(luts, given.cycles, engine, cache))
                print(engine, rows[engine][-1], file=sys.stderr, flush=True)
    text = f"Random circuits, {given.cycles} cycles, one core, seconds of the processor.\n\n"
    text += table(rows)
    reporting.publish(given, "fault-growth", text, rows)
    draw_plot(rows, given.out / "figure.svg")


if __name__ == "__main__":
    reporting.run(main)
