"""Faults limited to one instance: what stands around it is simulated with it, and has no faults.

The instance is mapped as a module of its own, so no gate of it is merged with its environment: a memory
model, or a testbench that can be synthesised. All cells outside are marked as those of memories are.
"""

from __future__ import annotations

import re

from bifocal.errors import ToolError
from bifocal.hardware.circuits.memories import MODULE
from bifocal.hardware.circuits.tools import shortened

#: Where :func:`keep_instance` has all modules listed.
LISTING = "instances.txt"


def plain_instance(path: str) -> str:
    """The path of an instance from the top, if it is one: ``u_core`` or ``u_soc.u_core``.

    :raises ToolError: if not: it goes into a script.
    """
    if not re.fullmatch(r"[\w$\[\].]+", path) or path.startswith(".") or path.endswith("."):
        raise ToolError(
            f"'{path}' is not the path of an instance (--instance): write u_core or u_soc.u_core."
        )
    return path


def pattern_of(instance: str) -> str:
    """What selects the module of an instance in Yosys, once every instance has a module of its own.

    >>> pattern_of("lane[3].u_core")
    '*.lane?3?.u_core'
    """
    return "*." + re.sub(r"[\[\]]", "?", instance)


def keep_instance(instance: str) -> list[str]:
    """Commands after the top is chosen: they give every instance its module and keep that of ``instance``."""
    return [
        "uniquify",
        f"tee -q -o {LISTING} ls",
        f"setattr -mod -set keep_hierarchy 1 {pattern_of(instance)}",
    ]


def check_instance(listing: str, instance: str) -> None:
    """Refuse an instance that is not there, or not the only one of its name.

    :param listing: what Yosys' ``ls`` printed.
    :raises ToolError: with the instances that there are.

    >>> check_instance("3 modules:\\n  core\\n  tb\\n  tb.u_core\\n", "u_core")
    """
    modules = [line.strip() for line in listing.splitlines() if line.startswith("  ")]
    found = [name for name in modules if name.endswith(f".{instance}")]
    if len(found) != 1:
        paths = [name.partition(".")[2] for name in modules if "." in name]
        raise ToolError(
            f"there are {len(found)} instances {instance} (--instance). The instances are "
            f"{shortened(paths) or 'none'}."
        )


def join_instance() -> list[str]:
    """Commands that mark the mapped environment, and join the instance with it."""
    return [
        f"setattr -set {MODULE} 1 A:top/c:*",
        "setattr -mod -unset keep_hierarchy *",
        "flatten",
        "delete t:$scopeinfo",
        "opt_clean",
    ]
