"""Numba's compiler with our settings, or an error that explains how to install it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bifocal.errors import ToolError, install_command

try:
    from numba import njit
except ImportError as missing:
    raise ToolError(f"this needs Numba, which is not here. Run: {install_command('hardware')}") from missing


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function when it is first called, and keep the code for the next process if possible.

    It runs without the interpreter's lock: other threads go on.
    """
    try:
        made: Callable[..., Any] = njit(cache=True, boundscheck=False, nogil=True)(function)
    except RuntimeError:  # no folder to keep it in can be written: compile in every process
        made = njit(boundscheck=False, nogil=True)(function)
    return made
