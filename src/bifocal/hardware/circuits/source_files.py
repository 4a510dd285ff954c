"""The files of a design: those that are given, and the headers and memory contents that they name.

Every file gets a plain name of its own, under which it is copied to where the tools run: a path may have any
character. A name in an `include or a string that differs from that is replaced in the text; lines stay.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bifocal.errors import ToolError

_PRIMITIVE = re.compile(r"^\s*(?:\(\*.*?\*\)\s*)?(?:LUT[1-6]|FD[CPRS]E)\s*(?:#\s*\(|[\w\\$])", re.MULTILINE)
_BEHAVIOUR = re.compile(r"^\s*always\b|\bposedge\b", re.MULTILINE)
_INCLUDE = re.compile(r'(?P<before>`include\s+")(?P<name>[^"\n]+)(?=")')
_STRING = re.compile(r'(?P<before>")(?P<name>[^"\n]+)(?=")')
#: What only SystemVerilog has, where Verilog has no such word as a name.
_SYSTEM_VERILOG = re.compile(
    r"\b(?:always_ff|always_comb|always_latch|endpackage|endinterface|typedef|localparam\s+type)\b"
    r"|\b(?:input|output|inout|var)\s+(?:logic|bit)\b|^\s*logic\s*(?:\[|\w)"
    r"|\b(?:unique|priority)\s+(?:case|if)\b"
    r"|\benum\s*(?:logic|\{)|\bstruct\s+packed\b|\bimport\s+\w+\s*::|(?<![\w'])'[01](?![\w'])|\+\+|\w\s*[-+|&^]=\s",
    re.MULTILINE,
)
_MODULE = re.compile(r"^\s*(?:module|macromodule)\s+(?:automatic\s+)?(\w+)", re.MULTILINE)


@dataclass(frozen=True)
class SourceFile:
    """One file of a design: its name in ``src`` attributes, the user's path, its hash and its text.

    ``is_named`` is true of a file that another one names: a header, or the contents of a memory. ``library``
    is that of a VHDL file, ``work`` if empty.
    """

    name: str
    path: str
    sha256: str
    text: str = field(repr=False)
    is_named: bool = False
    library: str = ""

    @property
    def is_vhdl(self) -> bool:
        return self.name.lower().endswith((".vhd", ".vhdl"))


def read_sources(
    paths: Sequence[str | os.PathLike[str]],
    folders: Sequence[str | os.PathLike[str]] = (),
    libraries: Sequence[str] = (),
) -> tuple[SourceFile, ...]:
    """Read the files of a design and those that they name, and give each a plain name of its own.

    What a file names is looked for beside it, beside the other files, in ``folders`` and in the current
    folder. A header that is nowhere stays as it is: it may not be needed. ``libraries`` are further VHDL
    files, as ``NAME=FILE``.

    :raises ToolError: if one cannot be read, is empty, or is no text.
    """
    if not paths:
        raise ToolError("no file was given. Give the Verilog or VHDL files of the design.")
    for wrong in (folder for folder in folders if not Path(folder).is_dir()):
        raise ToolError(f"{wrong} is not a folder (-I). Check the spelling.")
    taken: dict[Path, str] = {}
    sources = [*_of_libraries(libraries, taken), *(_read(Path(path), taken) for path in paths)]
    beside = dict.fromkeys(Path(path).parent for path in paths)
    searched = [*beside, *map(Path, folders), Path()]
    memories = any("$readmem" in source.text for source in sources)  # the name may be a parameter's value
    done: list[SourceFile] = []
    while sources:
        source = sources.pop(0)
        text = source.text
        patterns = (_INCLUDE, _STRING) if memories or "$readmem" in text else (_INCLUDE,)
        for pattern in () if source.is_vhdl or source.name.endswith(".json") else patterns:
            text, more = _find_named(text, pattern, [Path(source.path).parent, *searched], taken)
            sources += more
        done.append(replace(source, text=text))
    return tuple(done)


def _of_libraries(libraries: Sequence[str], taken: dict[Path, str]) -> list[SourceFile]:
    """VHDL files of named libraries, given as ``NAME=FILE``."""
    found = []
    for text in libraries:
        name, equal, file = text.partition("=")
        if not (equal and re.fullmatch(r"[A-Za-z]\w*", name) and file.lower().endswith((".vhd", ".vhdl"))):
            raise ToolError(f"'{text}' is no file of a VHDL library (--vhdl-library): write NAME=FILE.vhd.")
        found.append(replace(_read(Path(file), taken), library=name))
    return found


def _find_named(
    text: str, pattern: re.Pattern[str], folders: Sequence[Path], taken: dict[Path, str]
) -> tuple[str, list[SourceFile]]:
    """The text with the plain names of the files that it names, and those of them that are new."""
    found: list[SourceFile] = []

    def put(match: re.Match[str]) -> str:
        for folder in folders:
            path = folder / match["name"]
            if path.is_file():
                known = taken.get(path.resolve())
                if known is None:
                    found.append(replace(_read(path, taken), is_named=True))
                    known = found[-1].name
                return match["before"] + known
        return match[0]

    return pattern.sub(put, text), found


def _read(path: Path, taken: dict[Path, str]) -> SourceFile:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ToolError(f"{path} cannot be read: {error.strerror or error}. Check the spelling.") from error
    text = data.decode("utf-8", errors="replace")
    if not text.strip() or "\0" in text:
        raise ToolError(
            f"{path} is {'no text' if text.strip() else 'empty'}. Give Verilog, VHDL or a netlist."
        )
    stem = re.sub(r"[^\w.-]", "_", path.name)
    name = f"{len(taken)}_{stem}" if stem in taken.values() else stem
    taken[path.resolve()] = name
    return SourceFile(name, str(path), hashlib.sha256(data).hexdigest(), text)


def _code(source: SourceFile) -> str:
    """The text without comments and strings."""
    return re.sub(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/', " ", source.text, flags=re.DOTALL)


def is_structural(sources: Sequence[SourceFile]) -> bool:
    """Whether Verilog is a netlist already: it has LUTs or flip-flops of Xilinx and no behaviour.

    >>> text = "module t (input a, output y);\\n  LUT1 #(.INIT(2'h1)) l (.I0(a), .O(y));\\nendmodule"
    >>> is_structural([SourceFile("t.v", "t.v", "", text)])
    True
    >>> text = "module t; reg q; always @(posedge c) q <= d; endmodule"
    >>> is_structural([SourceFile("t.v", "t.v", "", text)])
    False
    """
    text = "\n".join(_code(source) for source in sources)
    return bool(_PRIMITIVE.search(text)) and not _BEHAVIOUR.search(text)


def is_system_verilog(source: SourceFile) -> bool:
    """Whether a file is SystemVerilog, by its name or by words that Verilog does not have.

    >>> is_system_verilog(SourceFile("t.v", "t.v", "", "module t (input logic a); endmodule"))
    True
    >>> is_system_verilog(SourceFile("t.v", "t.v", "", "module t; wire logic; // always_ff"))
    False
    """
    return source.name.lower().endswith((".sv", ".svh")) or bool(_SYSTEM_VERILOG.search(_code(source)))


def unused_modules(sources: Sequence[SourceFile]) -> list[str]:
    """The modules of Verilog files that no module of theirs instantiates: what could be the top."""
    texts = [_code(source) for source in sources if not source.is_vhdl]
    names = dict.fromkeys(name for text in texts for name in _MODULE.findall(text))
    bodies = "\n".join(_MODULE.sub("", text) for text in texts)
    used = r"(?<![\w$.`])%s(?:\s*#\s*\(|\s+[\w\\]\S*\s*(?:\[[^\]]*\]\s*)?\()"
    return [name for name in names if not re.search(used % re.escape(name), bodies)]


def plain_name(top: str) -> str:
    """The name of a top, if it is one.

    :raises ToolError: if not: it goes into a script.
    """
    if not re.fullmatch(r"[\w$.\\\[\]:]+", top):
        raise ToolError(f"'{top}' is not the name of a module. Give --top a plain name.")
    return top
