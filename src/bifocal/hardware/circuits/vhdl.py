"""VHDL, translated to Verilog by GHDL, a program that is called as such."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bifocal.errors import ToolError
from bifocal.hardware.circuits.source_files import SourceFile
from bifocal.hardware.circuits.tools import run_tool, shortened

_PLACE = re.compile(r"^ */\* ([^:\n]+):(\d+):\d+ +\*/$", re.MULTILINE)
_ARCHITECTURE = re.compile(
    r"^architecture \w+ of (\S+) is$(.*?)(?=^architecture |\Z)", re.MULTILINE | re.DOTALL
)
_SELECT = re.compile(r"select (\w+) <=\s(?:[^;]*,)?\s*([^,;]+?) when others;")
_CASE = re.compile(
    r"(?P<choices>^(?P<indent> *)case \(.*?)(?P<end>^(?P=indent)endcase)", re.MULTILINE | re.DOTALL
)


def translate_vhdl(
    sources: Sequence[SourceFile],
    folder: Path,
    top: str | None,
    standard: str,
    generics: Sequence[str],
    timeout: float,
) -> tuple[str, list[str]]:
    """Verilog of the VHDL files in ``folder``, with the lines of VHDL; and what GHDL warns of, as notes.

    Files are analysed in an order in which each finds what it uses, each into its library.

    :raises ToolError: if GHDL is not installed, or cannot read them.
    """
    ghdl = shutil.which("ghdl")
    if ghdl is None:
        raise ToolError(
            f"{sources[0].path} is VHDL, which GHDL translates, and GHDL is not installed. Run: apt-get "
            "install ghdl (or see ghdl.github.io), or give Verilog."
        )
    failure = f"GHDL could not read {shortened([source.path for source in sources], 3)}"
    style = (f"--std={standard}", "-fsynopsys")
    _analyse(ghdl, style, sources, folder, timeout, failure)
    wanted = (top,) if top else ()
    command = (ghdl, "--synth", *style, *(f"-g{generic}" for generic in generics))
    heard: list[str] = []
    verilog = run_tool((*command, "--out=verilog", *wanted), folder, timeout, failure, heard=heard)
    vhdl = run_tool((*command, "--out=vhdl", *wanted), folder, timeout, failure)
    return _as_meant(verilog, vhdl), _warnings("\n".join(heard))


def as_declared(top: str | None, verilog: str) -> str | None:
    """The top as its module is spelt: VHDL does not distinguish case, Verilog does.

    >>> as_declared("uart", "module UART\\n  (input clk);")
    'UART'
    """
    if top is None:
        return None
    modules = re.findall(r"^module \\?(\S+)", verilog, re.MULTILINE)
    return next((name for name in modules if name.lower() == top.lower()), top)


def _warnings(printed: str) -> list[str]:
    """What GHDL warns of in what it printed, each once.

    >>> _warnings('t.vhd:3:9:warning: instance "u" is not bound [-Wbinding]\\nt.vhd:4:1:note: found ROM')
    ['GHDL warns: t.vhd:3:9: instance "u" is not bound']
    """
    found = re.findall(r"^(\S+?:\d+:\d+):warning: (.*?)(?: \[-W\S+\])?$", printed, re.MULTILINE)
    listed = list(dict.fromkeys(f"{place}: {text}" for place, text in found if not text.startswith("(")))
    return [f"GHDL warns: {shortened(listed)}"] if listed else []


def _analyse(
    ghdl: str, style: Sequence[str], sources: Sequence[SourceFile], folder: Path, timeout: float, failure: str
) -> None:
    """Analyse all files; those that fail are tried again after the others, as long as that helps."""
    waiting = list(sources)
    while waiting:
        failed: list[SourceFile] = []
        errors: list[ToolError] = []
        for source in waiting:
            library = (f"--work={source.library}",) if source.library else ()
            try:
                run_tool((ghdl, "-a", *style, *library, source.name), folder, timeout, failure)
            except ToolError as error:
                failed.append(source)
                errors.append(error)
        if len(failed) == len(waiting):
            raise errors[0]
        waiting = failed


def _as_meant(verilog: str, vhdl: str) -> str:
    """GHDL's Verilog with what some versions leave out, and with the lines of VHDL.

    Up to version 2 a ``case`` lacks what ``when others`` assigns, so that a reader makes a latch, or worse.
    The same netlist as VHDL has it.

    >>> made = "module t\\n  always @*\\n    case (s)\\n      2'b10: q <= a;\\n    endcase\\nendmodule"
    >>> same = "architecture rtl of t is\\n  with s select q <=\\n    a when \\"10\\",\\n    \\"01X\\" when"
    >>> same += " others;"
    >>> print(_as_meant(made, same))
    module t
      always @*
        case (s)
          2'b10: q <= a;
          default: q <= 3'b01x;
        endcase
    endmodule

    :raises ToolError: if the other netlist has no such assignment.
    """
    defaults = {
        (found[1].replace("\\", "").lower(), name.lower()): value
        for found in _ARCHITECTURE.finditer(vhdl)
        for name, value in _SELECT.findall(found[2])
    }
    parts = re.split(r"^module \\?(\S+)", verilog, flags=re.MULTILINE)
    for i in range(1, len(parts), 2):
        parts[i + 1] = _CASE.sub(partial(_with_default, defaults, parts[i].lower()), parts[i + 1])
    whole = parts[0] + "".join(f"module {parts[i]}{parts[i + 1]}" for i in range(1, len(parts), 2))
    return _PLACE.sub(r'`line \2 "\1" 0', whole)


def _with_default(defaults: dict[tuple[str, str], str], module: str, match: re.Match[str]) -> str:
    """A ``case`` of a module with its default."""
    if "default:" in match["choices"]:
        return match[0]
    target = re.search(r": (\S+) <?= ", match["choices"])
    value = _in_verilog(defaults.get((module, target[1].lower()), "")) if target else ""
    if not value:
        raise ToolError(
            "GHDL's Verilog has a case without default, and its VHDL does not say what that is. Use a newer "
            f"GHDL. It begins:\n{match[0][:200]}"
        )
    assignment = f"{target[1] if target else ''} <= {value};"
    return f"{match['choices']}{match['indent']}  default: {assignment}\n{match['end']}"


def _in_verilog(value: str) -> str:
    """A net or a literal of VHDL in Verilog; empty for anything else.

    >>> _in_verilog('"01X"'), _in_verilog("(8 downto 0 => 'X')"), _in_verilog('X"0f"'), _in_verilog("wrap_a")
    ("3'b01x", "{9{1'bx}}", "8'h0f", 'a')
    """
    if same := re.fullmatch(r"\((\d+) downto (\d+) => '([01XZ-])'\)", value):
        return f"{{{int(same[1]) - int(same[2]) + 1}{{1'b{same[3].lower().replace('-', 'x')}}}}}"
    if hexadecimal := re.fullmatch(r'[Xx]"([0-9a-fA-F]+)"', value):
        return f"{4 * len(hexadecimal[1])}'h{hexadecimal[1]}"
    if re.fullmatch(r"'[01XZ-]'|\"[01XZ-]+\"", value):
        bits = value[1:-1].lower().replace("-", "x")
        return f"{len(bits)}'b{bits}"
    return value.removeprefix("wrap_") if re.fullmatch(r"[A-Za-z]\w*", value) else ""
