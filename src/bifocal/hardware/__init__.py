"""What breaks the hardware that a codec runs on: circuits as netlists, faults in them, and what they do.

No codec is known here and no torch: NumPy, Numba and the standard library. Importing this loads nothing else.

A netlist comes from ``read_netlist("b05.json")``, or from its elements, as this flip-flop that toggles:

>>> from bifocal.hardware import Campaign, Faults, Stimulus
>>> from bifocal.hardware.circuits.netlist import build_netlist
>>> from bifocal.hardware.circuits.elements import FlipFlop, Gate, Port
>>> netlist = build_netlist(
...     "toggle", nets=["0", "1", "clk", "q", "d"],
...     inputs=[Port("clk", (2,))], outputs=[Port("q", (3,))], clock=2,
...     gates=[Gate("inv", "LUT1", (3,), 4, 0b01)], flipflops=[FlipFlop("ff", "FDRE", 4, 3)],
... )
>>> stimulus = Stimulus.random(netlist, cycles=8, seed=1)
>>> Campaign(netlist, stimulus, Faults.lut_init(netlist)).run().wrong_cycles.tolist()
[4, 3]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bifocal.hardware.circuits.netlist import Netlist
    from bifocal.hardware.circuits.stimulus import Stimulus
    from bifocal.hardware.circuits.yosys_json import read_netlist
    from bifocal.hardware.faults.campaigns.campaign import Campaign
    from bifocal.hardware.faults.models import Faults
    from bifocal.hardware.faults.result import CampaignResult

__all__ = ["Campaign", "CampaignResult", "Faults", "Netlist", "Stimulus", "read_netlist"]

_HOMES = {
    "Campaign": "faults.campaigns.campaign",
    "CampaignResult": "faults.result",
    "Faults": "faults.models",
    "Netlist": "circuits.netlist",
    "Stimulus": "circuits.stimulus",
    "read_netlist": "circuits.yosys_json",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bifocal.hardware' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"bifocal.hardware.{_HOMES[name]}"), name)
