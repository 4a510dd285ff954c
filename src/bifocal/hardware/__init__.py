"""Circuits as netlists, faults in them, and what these do to the outputs.

The calls of ``bifocal faults`` are :func:`analyse`, :func:`compare`, :func:`harden` and :func:`verify`:

>>> from bifocal.hardware import AnalysisOptions, analyse
>>> report = analyse("uart.v", AnalysisOptions(cycles=2000), out="report")  # doctest: +SKIP
>>> print(report.summary())  # doctest: +SKIP

Below them, a :class:`Campaign` simulates a list of faults in a netlist. A netlist comes from
``read_netlist("uart.json")``, or from its elements, as this flip-flop that toggles:

>>> from bifocal.hardware import Campaign, Faults, Stimulus
>>> from bifocal.hardware.circuits.elements import FlipFlop, Gate, Port
>>> from bifocal.hardware.circuits.netlist import build_netlist
>>> netlist = build_netlist(
...     "toggle", nets=["0", "1", "clk", "q", "d"],
...     inputs=[Port("clk", (2,))], outputs=[Port("q", (3,))], clock=2,
...     gates=[Gate("inv", "LUT1", (3,), 4, 0b01)], flipflops=[FlipFlop("ff", "FDRE", 4, 3)],
... )
>>> stimulus = Stimulus.random(netlist, cycles=8, seed=1)
>>> Campaign(netlist, stimulus, Faults.lut_init(netlist)).run().wrong_cycles.tolist()
[4, 3]

It needs NumPy and Numba, and neither a codec nor torch. Importing it loads nothing: each name is loaded when
it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bifocal.hardware.circuits.netlist import Netlist
    from bifocal.hardware.circuits.stimulus import Stimulus
    from bifocal.hardware.circuits.yosys_json import read_netlist
    from bifocal.hardware.faults.analysis import analyse
    from bifocal.hardware.faults.campaigns.campaign import Campaign
    from bifocal.hardware.faults.campaigns.comparison import Comparison, compare
    from bifocal.hardware.faults.campaigns.verification import Verification, verify
    from bifocal.hardware.faults.hardening import HardeningReport, harden
    from bifocal.hardware.faults.models import Faults
    from bifocal.hardware.faults.options import AnalysisOptions, HardeningOptions
    from bifocal.hardware.faults.report.contents import Report
    from bifocal.hardware.faults.result import CampaignResult

_MODULES = {
    "AnalysisOptions": "faults.options",
    "Campaign": "faults.campaigns.campaign",
    "CampaignResult": "faults.result",
    "Comparison": "faults.campaigns.comparison",
    "Faults": "faults.models",
    "HardeningOptions": "faults.options",
    "HardeningReport": "faults.hardening",
    "Netlist": "circuits.netlist",
    "Report": "faults.report.contents",
    "Stimulus": "circuits.stimulus",
    "Verification": "faults.campaigns.verification",
    "analyse": "faults.analysis",
    "compare": "faults.campaigns.comparison",
    "harden": "faults.hardening",
    "read_netlist": "circuits.yosys_json",
    "verify": "faults.campaigns.verification",
}

__all__ = [
    "AnalysisOptions",
    "Campaign",
    "CampaignResult",
    "Comparison",
    "Faults",
    "HardeningOptions",
    "HardeningReport",
    "Netlist",
    "Report",
    "Stimulus",
    "Verification",
    "analyse",
    "compare",
    "harden",
    "read_netlist",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'bifocal.hardware' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"bifocal.hardware.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
