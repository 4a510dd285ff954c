"""A campaign checked against Verilator: a sample of its faults is simulated again."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import ToolError
from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.circuits.tools import TIMEOUT
from bifocal.hardware.faults.effects import Effects
from bifocal.hardware.faults.engines.verilator import find_verilator, prepare, run_builds, run_selector
from bifocal.hardware.faults.models import draw
from bifocal.hardware.faults.result import LEFT_OUT, CampaignResult


@dataclass(frozen=True)
class Verification:
    """How many faults Verilator simulated, in which ways, and where it disagrees.

    ``tool`` is empty where there is no Verilator; ``remark`` then says so.
    """

    tool: str
    selected: int
    built: int
    differences: tuple[str, ...]
    remark: str = ""

    @property
    def agreed(self) -> bool:
        return bool(self.tool) and not self.differences

    def sentence(self) -> str:
        """The verdict in a line; each difference on a line of its own."""
        if not self.tool:
            return self.remark
        ways = f"{self.tool}: {self.selected} faults in one build, {self.built} in builds of their own"
        if self.agreed:
            return f"{ways}: no difference"
        return "\n  ".join([f"{ways}: {len(self.differences)} DIFFERENCES", *self.differences])


def verify(
    netlist: Netlist,
    stimulus: Stimulus,
    result: CampaignResult,
    *,
    count: int,
    builds: int = 2,
    seed: int = 1,
    timeout: float = TIMEOUT,
) -> Verification:
    """Have ``count`` faults simulated again by Verilator, ``builds`` of these also each in its own build.

    The faults are drawn with ``seed`` from those whose effects is known, pruned ones among them. Never raises
    for a missing Verilator: the verification then says so.

    :raises ToolError: if Verilator is there and fails.
    """
    known = np.flatnonzero(result.status != LEFT_OUT)
    chosen = known[draw(len(known), count, seed)]
    few = chosen[:: max(1, len(chosen) // max(1, builds))][:builds]
    with tempfile.TemporaryDirectory(prefix="bifocal-verilator-") as name:
        try:
            find_verilator()
        except ToolError as error:
            return Verification("", 0, 0, (), f"not verified: {error}")
        runtime = prepare(Path(name), timeout)
        found = run_selector(netlist, stimulus, result.faults.take(chosen), runtime=runtime, timeout=timeout)
        differences = _compare("one build", netlist, result, chosen, found.effects)
        if len(few):
            found = run_builds(netlist, stimulus, result.faults.take(few), runtime=runtime, timeout=timeout)
            differences += _compare("a build of its own", netlist, result, few, found.effects)
    return Verification(runtime.tool.version, len(chosen), len(few), tuple(differences))


def _compare(
    way: str, netlist: Netlist, result: CampaignResult, chosen: NDArray[np.intp], theirs: Effects
) -> list[str]:
    """A sentence for each fault on which the two disagree."""
    names = ("wrong_cycles", "wrong_bits", "first_wrong", "latent")
    found = []
    for row, index in enumerate(chosen):
        here = [int(getattr(result, name)[index]) for name in names]
        there = [int(getattr(theirs, name)[row]) for name in names]
        if here != there:
            pairs = ", ".join(
                f"{name} {a} and {b}" for name, a, b in zip(names, here, there, strict=True) if a != b
            )
            found.append(f"{result.faults[int(index)].label(netlist)} ({way}): ours and Verilator's {pairs}")
    return found
