"""Harden a design by triplication, and report what that gained."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

from bifocal.errors import ToolError
from bifocal.hardware.circuits.origins import origin_of_gate, readers_of
from bifocal.hardware.circuits.synthesis import only_top
from bifocal.hardware.faults.campaigns.comparison import Comparison, compare
from bifocal.hardware.faults.campaigns.hardening import Hardening, harden_netlist
from bifocal.hardware.faults.campaigns.triplication import Survival, survival
from bifocal.hardware.faults.design import Design, Files, read_design
from bifocal.hardware.faults.folder import ResultFolder
from bifocal.hardware.faults.options import HardeningOptions
from bifocal.hardware.faults.report.contents import Report
from bifocal.hardware.faults.report.groups import group_sites
from bifocal.hardware.faults.report.page import page

FILES = ("netlist.json", "hardened.json", "hardened.v", "before.json", "after.json", "report.html")


@dataclass(frozen=True)
class HardeningReport:
    """A hardened design: what was triplicated, and all INIT bits before and after.

    ``survival`` is what Yosys left of the copies, or a sentence that explains why that was not checked.
    """

    design: Design
    hardening: Hardening
    survival: Survival | str

    @property
    def comparison(self) -> Comparison:
        """The campaigns before and after, side by side."""
        return compare(self.hardening.before, self.hardening.after)

    def summary(self) -> str:
        """What was done and what it gained, as plain text."""
        old, new, made = self.design.netlist, self.hardening.netlist, self.hardening.hardened
        return "\n".join(
            [
                f"tripled   {len(made.luts)} LUTs and {len(made.flipflops)} flip-flops; "
                f"{len(made.voters)} voters",
                f"LUTs      {len(old.luts)} before, {len(new.luts)} after",
                f"flipflops {len(old.registers)} before, {len(new.registers)} after",
                f"the same  outputs as before in all {self.design.stimulus.cycles:,} cycles without a fault",
                f"proved    {self.hardening.proof}",
                f"survival  {self.survival}",
                "",
                self.comparison.text(),
                "",
                *self.registers(),
            ]
        )

    def registers(self, *, most: int = 10) -> list[str]:
        """Scores by register before and after, a line each; ``most`` of them, the highest before first."""
        found = self.hardening
        pairs = ((self.design.netlist, found.before), (found.netlist, found.after))
        old, new = (
            {group.name: group.score for group in group_sites(Report(*parts), "register")}
            for parts in ((netlist, self.design.stimulus, result) for netlist, result in pairs)
        )
        names = sorted({**old, **new}, key=lambda name: (-old.get(name, 0.0), name))
        lines = [f"{'register':<44}{'before':>10}{'after':>10}{'change':>10}"]
        for name in names[:most]:
            before, after = old.get(name, 0.0), new.get(name, 0.0)
            lines.append(f"{name[-43:]:<44}{before:>10.3f}{after:>10.3f}{after - before:>+10.3f}")
        return lines + ([f"and {len(names) - most:,} more registers"] if len(names) > most else [])

    def cells(self) -> list[str]:
        """What was triplicated, by what it drives or leads to, a line for each kind."""
        netlist, made = self.design.netlist, self.hardening.hardened
        gates = {gate.name: i for i, gate in enumerate(netlist.gates)}
        readers = readers_of(netlist)
        towards = [
            next(iter(origin_of_gate(netlist, gates[name], readers=readers).leads_to), name)
            for name in made.luts
        ]
        registers = [netlist.nets[f.output] for f in netlist.flipflops if f.name in set(made.flipflops)]
        return [
            f"LUTs towards: {', '.join(dict.fromkeys(towards)) or 'none'}",
            f"flip-flops: {', '.join(registers) or 'none'}",
        ]


def harden(
    design: Files,
    options: HardeningOptions | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    log: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> HardeningReport:
    """Triplicate the worst LUTs and flip-flops of a design, and simulate all INIT bits before and after.

    >>> report = harden("uart.v", HardeningOptions(share=0.8), out="hardened")  # doctest: +SKIP

    :param design: Verilog or VHDL files, a structural Xilinx netlist, or a Yosys JSON netlist.
    :param out: a folder for netlist.json, hardened.json, hardened.v, before.json, after.json and report.html;
        nothing is written if None.
    :param overwrite: replace results that are in ``out`` already.
    :param log: called with a line of text for each thing that becomes known before the end.
    :param progress: called with how many faults are finished, and how many are to be simulated.
    :raises ToolError: if a file cannot be read, or another program is missing or fails.
    :raises CircuitError: if the design cannot be simulated, or has nothing to harden.
    :raises OutputError: if a result exists already, or cannot be written.
    """
    options = options or HardeningOptions()
    folder = ResultFolder(out, FILES, overwrite=overwrite)
    opened = read_design(design, options)
    for line in opened.description():
        if log is not None:
            log(line)
    found = harden_netlist(
        only_top(opened.mapped.json, opened.netlist.name)[0],
        opened.netlist,
        opened.stimulus,
        opened.parse,
        share=options.share,
        feedback=options.feedback,
        engine=options.engine,
        jobs=options.jobs,
        progress=progress,
    )
    folder.write("netlist.json", opened.mapped.json)
    folder.write("hardened.json", found.hardened.json)
    folder.write("hardened.v", found.hardened.verilog())
    folder.write("before.json", found.before.to_json())
    folder.write("after.json", found.after.to_json())
    mapped = replace(opened.mapped, flags=(*opened.mapped.flags, "hardened"))
    left: Survival | str
    try:
        left = survival(found.hardened, yosys=options.yosys, timeout=options.timeout)
    except ToolError as error:
        left = f"not checked: {error}"
    report = HardeningReport(opened, found, left)
    shown = Report(found.netlist, opened.stimulus, found.after, mapped)
    folder.write("report.html", page(shown, hardened=[*report.summary().splitlines(), *report.cells()]))
    return report
