"""Faults: what a flipped bit of the configuration, an upset or a broken net does to a circuit's outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bifocal.hardware.faults.analysis import analyse
    from bifocal.hardware.faults.campaigns.comparison import compare
    from bifocal.hardware.faults.campaigns.verification import verify
    from bifocal.hardware.faults.hardening import harden
    from bifocal.hardware.faults.options import AnalysisOptions, HardeningOptions

__all__ = ["AnalysisOptions", "HardeningOptions", "analyse", "compare", "harden", "verify"]

_MODULES = {
    "AnalysisOptions": "options",
    "HardeningOptions": "options",
    "analyse": "analysis",
    "compare": "campaigns.comparison",
    "harden": "hardening",
    "verify": "campaigns.verification",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'bifocal.hardware.faults' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"bifocal.hardware.faults.{_MODULES[name]}"), name)
