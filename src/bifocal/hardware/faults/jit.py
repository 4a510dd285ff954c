"""Numba's compiler, or a clear word where it is missing."""

from __future__ import annotations

from bifocal.errors import ToolError

try:
    from numba import njit
except ImportError as missing:
    raise ToolError(
        "fault campaigns need Numba, which is not here. Run: pip install 'bifocal[faults]'"
    ) from missing

__all__ = ["njit"]
