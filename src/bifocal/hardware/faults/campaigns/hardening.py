"""Harden a netlist: choose, triplicate, check that nothing else changed, and simulate all faults again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bifocal.errors import CircuitError
from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.circuits.yosys_json import parse_netlist
from bifocal.hardware.faults.campaigns.campaign import Campaign
from bifocal.hardware.faults.campaigns.equivalence import prove_same
from bifocal.hardware.faults.campaigns.scores import share_of_wrong_cycles
from bifocal.hardware.faults.campaigns.triplication import Hardened, choose, triplicate
from bifocal.hardware.faults.engines.fault_free import trace
from bifocal.hardware.faults.models import Faults
from bifocal.hardware.faults.result import CampaignResult

#: More fault-cycles than any campaign has: nothing is left to sampling.
_EVERYTHING = 1 << 62


@dataclass(frozen=True)
class Hardening:
    """A hardened netlist, exhaustive campaigns over all INIT bits of it and of what it was before, and what
    was proved of it."""

    hardened: Hardened
    netlist: Netlist
    before: CampaignResult
    after: CampaignResult
    proof: str


def harden_netlist(
    text: str,
    netlist: Netlist,
    stimulus: Stimulus,
    parse: Callable[[str], Netlist] = parse_netlist,
    *,
    share: float = 0.5,
    feedback: bool = False,
    engine: str = "auto",
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Hardening:
    """Triplicate the LUTs that carry ``share`` of the score, and simulate the whole new netlist.

    ``text`` is the Yosys JSON of ``netlist``, of one module; ``parse`` reads such a text with the same clock,
    reset and outputs.

    :raises CircuitError: if the hardened netlist differs from the design without a fault: a bug of ours that
        must not go unseen.
    """
    plan = Campaign(netlist, stimulus, Faults.lut_init(netlist), engine, jobs, _EVERYTHING, progress=progress)
    before = plan.run()
    stuck = replace(plan, faults=Faults.stuck(netlist), progress=None).run()
    luts, flipflops = choose(netlist, score_by_target(before), score_by_target(stuck), share=share)
    hardened = triplicate(
        text,
        [netlist.gates[i].name for i in luts],
        [netlist.flipflops[j].name for j in flipflops],
        feedback=feedback,
    )
    proof = prove_same(text, hardened)
    new = parse(hardened.json)
    if not np.array_equal(trace(netlist, stimulus), trace(new, stimulus)):
        raise CircuitError(
            "without a fault the hardened netlist does not do the same as the design. Please report this."
        )
    after = replace(plan, netlist=new, faults=Faults.lut_init(new)).run()
    return Hardening(hardened, new, before, after, proof)


def score_by_target(result: CampaignResult) -> dict[int, float]:
    """For each target (gate or net) the sum of the scores of its faults."""
    totals = np.bincount(result.target, weights=share_of_wrong_cycles(result))
    return {int(target): float(totals[target]) for target in np.unique(result.target)}
