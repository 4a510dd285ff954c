"""Memories of a design: found before synthesis spells them out, and kept apart from the logic.

A device puts a memory that is written into block or distributed RAM, which is protected by other means and
has no INIT bits of logic. Here it is simulated by registers and multiplexers, but in a module of its own: no
gate of the design is merged with it, and none of its cells has faults. What is only read stays logic, whose
INIT bits a device has, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bifocal.errors import ToolError
from bifocal.hardware.circuits.tools import shortened

#: How memories are taken: as cells without faults, as registers and logic that have faults, or not at all.
MODES = ("cells", "registers", "refuse")
#: The most bits of all memories: each becomes a flip-flop, and synthesis grows faster than they do.
MOST_BITS = 32_768
#: The module of all memories, and the attribute of their cells.
MODULE = "bifocal_memory"
#: What begins the kind of a cell that stands for a part of a memory.
PREFIX = "RAM."

_ARRAY = re.compile(
    r"\b(?:reg|logic|bit|integer)\b[^;(){}]*?\b\w+\s*\[[^\]]*\]\s*[;,=]|\]\s*\\?\w+\s*\[[^\]]*\]\s*[;,=]"
)
_WRITTEN = "t:$mem_v2 r:WR_PORTS>0 %i"


@dataclass(frozen=True)
class Memory:
    """A memory that is written: its name, its size, and its line of HDL."""

    name: str
    words: int
    width: int
    line: str

    def __str__(self) -> str:
        return f"{self.name} ({self.words:,} × {self.width} bits{', ' + self.line if self.line else ''})"


def may_hold_memories(texts: Iterable[str]) -> bool:
    """Whether a text declares an array, as a memory is one.

    >>> may_hold_memories(["reg [7:0] m [0:15];"]), may_hold_memories(["reg [7:0] m; assign q = m[3];"])
    (True, False)
    """
    return any(_ARRAY.search(text) for text in texts)


def find_memories(kept: str = "") -> list[str]:
    """Commands that write the design to ``coarse.il`` and its memories to ``memories.txt``; ``kept`` selects
    a module that is not part of the top."""
    return [
        "tee -q -o memories.txt dump t:$mem_v2",
        f"select A:top {kept}",
        "write_rtlil -selected coarse.il",
    ]


def read_memories(dump: str) -> list[Memory]:
    """The memories that are written, from what Yosys' ``dump`` printed."""
    found = []
    line, values = "", dict[str, str]()
    for row in dump.splitlines():
        if match := re.match(r'\s*attribute \\src "([^"|]*)', row):
            file, _, place = match[1].rpartition(":")
            line = f"{file}:{place.partition('.')[0]}" if file else ""
        elif match := re.match(r"\s*cell \$mem_v2 \\?(\S+)", row):
            values = {"name": match[1]}
        elif match := re.match(r"\s*parameter(?: signed)? \\(\w+) (.*)", row):
            values[match[1]] = match[2]
        elif row.strip() == "end" and values:
            if int(values["WR_PORTS"]):
                found.append(Memory(values["name"], int(values["SIZE"]), int(values["WIDTH"]), line))
            line, values = "", {}
    return found


def check_memories(memories: Sequence[Memory], mode: str) -> list[str]:
    """Notes on how memories are taken.

    :raises ToolError: if they are refused, or too large to be spelt out.
    """
    listed = shortened([str(memory) for memory in memories])
    bits = sum(memory.words * memory.width for memory in memories)
    if memories and mode == "refuse":
        raise ToolError(f"the design has memories: {listed}. Allow them with --memory cells.")
    if bits > MOST_BITS:
        raise ToolError(
            f"the memories have {bits:,} bits, and each is simulated as a flip-flop; at most {MOST_BITS:,} "
            f"are: {listed}. Make them smaller with --param, or cut their module out with --stub MODULE: its "
            "outputs are then inputs, which the stimulus drives."
        )
    if not memories:
        return []
    how = "have no faults" if mode == "cells" else "are registers and logic, which have faults (--memory)"
    return [f"memories {how}: {listed}"]


def map_coarse(mapping: str, before_luts: str, *, apart: bool, within: str = "") -> list[str]:
    """Commands that read ``coarse.il`` and map it; ``apart``: with the memories in a module of their own,
    whose cells are marked, only those of the module that ``within`` selects if given. ``mapping`` is the
    command of synthesis."""
    memories = f"{within}/{_WRITTEN}" if within else _WRITTEN
    separate = [f"submod -name {MODULE} {memories}"] if apart else []
    together = [f"setattr -set {MODULE} 1 {MODULE}/c:*", "flatten", "delete t:$scopeinfo", "opt_clean"]
    return [
        "read_rtlil coarse.il",
        f"{mapping} -run begin:prepare",
        *separate,
        f"{mapping} -run map_memory:map_luts",
        before_luts,
        f"{mapping} -run map_luts:",
        *(together if apart else []),
    ]
