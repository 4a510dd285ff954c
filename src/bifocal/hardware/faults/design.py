"""A design from its files to what is simulated: netlist and stimulus."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.reading import Reading
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.circuits.synthesis import Mapped, load_design
from bifocal.hardware.circuits.yosys_json import parse_netlist
from bifocal.hardware.faults.options import DesignOptions

#: The files of a design: one, or several.
Files = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class Design:
    """A design that is ready to simulate.

    ``mapped`` is the netlist as Yosys JSON and how it was made; ``parse`` reads another such text with the
    same clock, reset and outputs.
    """

    mapped: Mapped
    netlist: Netlist
    stimulus: Stimulus
    parse: Callable[[str], Netlist]

    def description(self) -> Iterator[str]:
        """What was found, a line each."""
        netlist = self.netlist
        yield f"design    {netlist.name}: {len(netlist.luts):,} LUTs, {len(netlist.registers):,} flip-flops"
        yield f"synthesis {', '.join((*self.mapped.tools, ' '.join(self.mapped.flags)))}"
        yield f"clock     {netlist.clock_name}"
        yield f"reset     {netlist.reset_name}"
        names = [name for name, _ in netlist.compared]
        more = " …" if len(names) > 12 else ""
        yield f"compared  {len(names)} output bits: {', '.join(names[:12])}{more}"
        for note in (*self.mapped.notes, *netlist.notes):
            yield f"note      {note}"


def read_design(files: Files, options: DesignOptions) -> Design:
    """Read or synthesise the files of a design, and make its stimulus.

    :raises ToolError: if a file cannot be read, or a tool is missing or refuses it.
    :raises CircuitError: if the netlist cannot be simulated, or the stimulus does not fit it.
    """
    paths = [files] if isinstance(files, str | os.PathLike) else list(files)
    mapped = load_design(
        paths,
        clock_domain=options.clock_domain,
        top=options.top,
        plain=not options.carry,
        yosys=options.yosys,
        vhdl_standard=options.vhdl_standard,
        timeout=options.timeout,
        reading=Reading(
            include=tuple(options.include),
            defines=tuple(options.define),
            parameters=tuple(options.param),
            system_verilog=options.sv,
            memory=options.memory,
            stubs=tuple(options.stub),
            libraries=tuple(options.vhdl_library),
            instance=options.instance,
        ),
    )
    parse = partial(parse_netlist, clock=options.clock, reset=options.reset, outputs=options.compared)
    netlist = parse(mapped.json, str(paths[0]), top=mapped.top or options.top)
    if options.stimulus is not None and Path(options.stimulus).suffix.lower() == ".vcd":
        stimulus = Stimulus.from_vcd(options.stimulus, netlist, scope=options.scope)
    elif options.stimulus is not None:
        stimulus = Stimulus.from_csv(options.stimulus, netlist, reset_cycles=options.reset_cycles)
    else:
        stimulus = Stimulus.random(
            netlist, cycles=options.cycles, seed=options.seed, reset_cycles=options.reset_cycles
        )
    return Design(mapped, netlist, stimulus, parse)
