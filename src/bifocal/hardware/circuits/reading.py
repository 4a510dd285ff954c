"""How HDL is read: folders, macros, parameters, dialect, memories, what is cut out."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from bifocal.errors import ToolError
from bifocal.hardware.circuits.environment import plain_instance
from bifocal.hardware.circuits.memories import MODES
from bifocal.hardware.circuits.source_files import plain_name

_NUMBER = re.compile(r"-?\d+|\d*'s?[bodhBODH][0-9a-fA-F_xXzZ]+")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How HDL is read.

    :param include: folders where headers and the contents of memories are looked for, too.
    :param defines: macros, each as ``NAME`` or ``NAME=VALUE``.
    :param parameters: parameters of the top module, each as ``NAME=VALUE``.
    :param system_verilog: whether every Verilog file is SystemVerilog; known by its words if False.
    :param memory: one of ``memories.MODES``.
    :param stubs: modules that are cut out.
    :param instance: the only instance whose cells have faults, by its path from the top; all have if None.
    :param libraries: VHDL files of other libraries than ``work``, each as ``NAME=FILE``.
    """

    include: tuple[str | os.PathLike[str], ...] = ()
    defines: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    system_verilog: bool = False
    memory: str = "cells"
    stubs: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    instance: str | None = None

    def __post_init__(self) -> None:
        if self.memory not in MODES:
            raise ToolError(
                f"there is no way '{self.memory}' to take memories; there are {', '.join(MODES)}."
            )
        if self.instance is not None:
            plain_instance(self.instance)
        for name in self.stubs:
            plain_name(name)
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
