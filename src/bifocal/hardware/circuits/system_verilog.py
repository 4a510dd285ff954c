"""SystemVerilog that Yosys' own reader does not know, read by slang, which some builds of Yosys have."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from bifocal.errors import ToolError
from bifocal.hardware.circuits.environment import keep_instance
from bifocal.hardware.circuits.source_files import SourceFile

_Result = TypeVar("_Result")

_ADVICE = (
    "\nYosys' own reader knows a part of SystemVerilog. --yosys wheel has slang, which knows all of it; or "
    "convert the files with sv2v first."
)


def slang_commands(
    sources: Sequence[SourceFile],
    defines: Sequence[str],
    parameters: Sequence[str],
    stubs: Sequence[str],
    top: str | None,
    instance: str | None = None,
) -> list[str]:
    """Commands that read and elaborate the files by slang; with ``instance`` in its hierarchy.

    >>> slang_commands([SourceFile("t.sv", "t.sv", "", "")], ["A=1"], ["W=4"], ["pll"], "t")[0]
    'read_slang -j 1 --top t -D A=1 -G W=4 --blackboxed-module pll -I . t.sv'
    """
    words = [f"--top {top}"] if top else []
    words += [f"-D {define}" for define in defines if not re.search(r"[\s\";]", define)]
    words += [f"-G {parameter}" for parameter in parameters]
    words += [f"--blackboxed-module {stub}" for stub in stubs]
    words += ["--keep-hierarchy"] if instance else []
    files = [source.name for source in sources if not (source.is_vhdl or source.is_named)]
    read = f"read_slang -j 1 {' '.join([*words, '-I .', *files])}"
    return [read, "hierarchy -check -auto-top", *(keep_instance(instance) if instance else [])]


def read_or_slang(
    read: Callable[[Sequence[str]], _Result], lines: Sequence[str], by_slang: Sequence[str]
) -> tuple[_Result, list[str]]:
    """What ``read`` makes of commands, or where Yosys refuses them, of those for slang; and a note.

    :raises ToolError: with the message of slang, or of Yosys and what to do, if it has none.
    """
    try:
        return read(lines), []
    except ToolError as error:
        if not by_slang or "Its message:" not in str(error):
            raise
        try:
            return read(by_slang), ["read by slang, since Yosys' own reader does not know all of it"]
        except ToolError as other:
            if "No such command" in str(other):
                raise ToolError(f"{error}{_ADVICE}") from error
            raise
