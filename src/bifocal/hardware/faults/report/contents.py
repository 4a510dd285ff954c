"""What a report is made of: a campaign, the design that it is of, and how that was made."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.circuits.synthesis import Mapped
from bifocal.hardware.faults.activity import Activity, measure_activity
from bifocal.hardware.faults.campaigns.rates import UpsetRate
from bifocal.hardware.faults.campaigns.scores import score_design
from bifocal.hardware.faults.campaigns.seeds import SeedScores
from bifocal.hardware.faults.campaigns.verification import Verification
from bifocal.hardware.faults.result import CampaignResult


@dataclass(frozen=True)
class Report:
    """A campaign with its netlist and stimulus, and where they are known the synthesis, a check by Verilator,
    scores under further stimuli, and how often a bit of the device flips."""

    netlist: Netlist
    stimulus: Stimulus
    result: CampaignResult
    mapped: Mapped | None = None
    verification: Verification | None = None
    seeds: SeedScores | None = None
    rate: UpsetRate | None = None

    @cached_property
    def activity(self) -> Activity:
        """How much of the design the stimulus moves."""
        return measure_activity(self.netlist, self.stimulus)

    @property
    def is_contradicted(self) -> bool:
        """Whether Verilator disagrees about a fault."""
        return self.verification is not None and bool(self.verification.differences)

    def summary(self) -> str:
        """What was found, in a line; in further lines what several stimuli gave, and FIT."""
        score = score_design(self.result)
        share = f"{score.wrong_share:.1%}"
        if self.result.sampled:
            low, high = score.interval
            share = f"in a sample of {score.simulated:,}; {low:.1%} to {high:.1%} of all with 95 % confidence"
        lines = [
            f"found     {score.wrong:,} make an output wrong ({share}), {score.latent:,} are latent,"
            f" {score.unaddressed:,} are not addressed; score {score.score:,.2f}"
        ]
        if self.seeds is not None:
            lines.append(f"seeds     {self.seeds.sentence()}")
        if self.rate is not None:
            lines.append(f"rate      {self.rate.sentence(self.result)}")
        return "\n".join(lines)
