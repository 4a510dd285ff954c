"""The same faults under several random stimuli: how far the scores depend on the seed.

The interval of a mean over k seeds is Student's, 95 %, two-sided, with k − 1 degrees of freedom: it says what
other seeds would give, for stimuli of this kind and length, and nothing about other workloads.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import sqrt

from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.faults.campaigns.campaign import Campaign
from bifocal.hardware.faults.campaigns.scores import score_design, score_sites
from bifocal.hardware.faults.result import CampaignResult

#: Student's t, 97.5 %, for 1, 2, … degrees of freedom; beyond, that of the normal distribution.
_T975: tuple[float, ...] = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145),
    *(2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048),
    *(2.045, 2.042),
)
_NORMAL = 1.96


@dataclass(frozen=True)
class Spread:
    """A score under each seed, its mean, and the 95 % interval of the mean."""

    name: str
    values: tuple[float, ...]
    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, name: str, values: Sequence[float], most: float = float("inf")) -> Spread:
        """From at least two values, which cannot be below 0 or above ``most``.

        >>> spread = Spread.of("score", [1.0, 2.0, 3.0])
        >>> round(spread.low, 2), spread.mean, round(spread.high, 2)
        (0.0, 2.0, 4.48)
        """
        count = len(values)
        mean = sum(values) / count
        deviation = sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
        quantile = _T975[count - 2] if count - 2 < len(_T975) else _NORMAL
        half = quantile * deviation / sqrt(count)
        return cls(name, tuple(values), mean, max(0.0, mean - half), min(most, mean + half))


@dataclass(frozen=True)
class SeedScores:
    """Scores under several seeds: of the design, and of each site, the highest mean first."""

    seeds: tuple[int, ...]
    score: Spread
    share: Spread
    sites: tuple[Spread, ...]

    def sentence(self) -> str:
        """The means and intervals of the design, in a line."""
        return (
            f"{len(self.seeds)} stimuli: score {self.score.mean:,.2f} ({self.score.low:,.2f} to "
            f"{self.score.high:,.2f}), {self.share.mean:.1%} make an output wrong ({self.share.low:.1%} to "
            f"{self.share.high:.1%}), means with 95 % intervals"
        )

    def to_csv(self) -> str:
        """A row for the design's score and share, and for each site's score, with a column for each seed."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["of", "name", "mean", "low", "high", *(f"seed_{seed}" for seed in self.seeds)])
        rows = [("design", self.score), ("design", self.share), *(("site", site) for site in self.sites)]
        for kind, row in rows:
            numbers = (row.mean, row.low, row.high, *row.values)
            writer.writerow([kind, row.name, *(f"{number:.6g}" for number in numbers)])
        return out.getvalue()


def run_seeds(first: Campaign, result: CampaignResult, count: int, log: Callable[[str], None]) -> SeedScores:
    """The campaign ``first``, whose ``result`` is known, under ``count`` random stimuli in all.

    The further stimuli have the next seeds; faults, samples and everything else stay.
    """
    seeds = tuple(range(first.seed, first.seed + count))
    results = [result]
    for seed in seeds[1:]:
        stimulus = Stimulus.random(
            first.netlist, cycles=result.cycles, seed=seed, reset_cycles=result.reset_cycles
        )
        results.append(replace(first, stimulus=stimulus, journal=None, resume=False).run())
        log(f"seed {seed:<5}{score_design(results[-1]).score:,.2f} is its score")
    designs = [score_design(found) for found in results]
    scores = [{row.site.name: row.score for row in score_sites(found)} for found in results]
    sites = [Spread.of(site.name, [score[site.name] for score in scores]) for site in result.sites]
    return SeedScores(
        seeds,
        Spread.of("score", [design.score for design in designs]),
        Spread.of("share that makes an output wrong", [design.wrong_share for design in designs], 1.0),
        tuple(sorted(sites, key=lambda site: (-site.mean, site.name))),
    )
