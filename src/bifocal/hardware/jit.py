"""Numba's compiler with our settings, or an error that explains how to install it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bifocal.errors import ToolError, install_command

try:
    from numba import njit
except ImportError as missing:
    raise ToolError(f"this needs Numba, which is not here. Run: {install_command('hardware')}") from missing


def compiled(function: Callable[..., Any], *, reorder: bool = False) -> Callable[..., Any]:
    """Compile a function when it is first called, and keep the code for the next process if possible.

    It runs without the interpreter's lock: other threads go on. ``reorder`` lets float sums be made in any
    order, several at once; nothing else of float arithmetic changes.
    """
    options: dict[str, Any] = {"boundscheck": False, "nogil": True}
    options["fastmath"] = {"reassoc", "contract", "nsz"} if reorder else False
    try:
        made: Callable[..., Any] = njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to keep it in can be written: compile in every process
        made = njit(**options)(function)
    return made
