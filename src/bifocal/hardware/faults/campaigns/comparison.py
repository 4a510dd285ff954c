"""Two campaigns side by side, before and after a change: the whole design, and site by site."""

from __future__ import annotations

import os
from dataclasses import dataclass

from bifocal.errors import CampaignError
from bifocal.hardware.faults.campaigns.scores import DesignScore, SiteScore, score_design, score_sites
from bifocal.hardware.faults.result import CampaignResult


@dataclass(frozen=True)
class Change:
    """One site, by its name; None for the campaign that does not have it."""

    name: str
    before: SiteScore | None
    after: SiteScore | None

    @property
    def difference(self) -> float:
        """Score after minus score before; a site that is missing scores 0."""
        return (self.after.score if self.after else 0.0) - (self.before.score if self.before else 0.0)


@dataclass(frozen=True)
class Comparison:
    """The two designs' scores, and every site, the one with the largest change first."""

    names: tuple[str, str]
    before: DesignScore
    after: DesignScore
    luts: tuple[int, int]
    changes: tuple[Change, ...]
    remarks: tuple[str, ...]

    def text(self, *, most: int = 15) -> str:
        """The comparison as plain text: the designs, then the ``most`` sites that changed most."""
        a, b = self.before, self.after
        lines = [
            f"{'':<20}{'before':>14}{'after':>14}{'ratio':>14}",
            _row("faults", a.faults, b.faults, ","),
            _row("LUTs with faults", *self.luts, ","),
            _row("ever wrong", a.wrong, b.wrong, ","),
            _row("share ever wrong", a.wrong_share, b.wrong_share, ".2%"),
            _row("latent", a.latent, b.latent, ","),
            _row("score, sum", a.score, b.score, ",.3f"),
            _row("score, mean", a.mean_share, b.mean_share, ".3%"),
        ]
        changed = [change for change in self.changes if change.difference][:most]
        if changed:
            lines += ["", f"{'site':<44}{'before':>10}{'after':>10}{'change':>10}"]
            for change in changed:
                scores = f"{_score(change.before):>10}{_score(change.after):>10}"
                lines.append(f"{change.name[-43:]:<44}{scores}{change.difference:>+10.3f}")
            left = sum(bool(change.difference) for change in self.changes) - len(changed)
            lines += [f"and {left:,} more that changed"] if left else []
        lines += [f"Note: {remark}." for remark in self.remarks]
        return "\n".join(lines)


#: A result, or the file that holds it.
Result = CampaignResult | str | os.PathLike[str]


def compare(first: Result, second: Result) -> Comparison:
    """Compare two campaigns of the same fault model, given as results or as result.json files.

    Remarks list what limits the comparison: different stimuli or lengths, or sampling.

    :raises CampaignError: if a file is not a result, or the fault models differ.
    """
    before, after = (
        found if isinstance(found, CampaignResult) else CampaignResult.read(found)
        for found in (first, second)
    )
    if before.model != after.model:
        raise CampaignError(
            f"one campaign is of {before.model}, the other of {after.model} faults. Run both "
            "with the same --faults."
        )
    remarks = []
    if before.cycles != after.cycles:
        remarks.append(
            f"{before.cycles} cycles are compared with {after.cycles}: scores depend on the length"
        )
    if before.stimulus_digest != after.stimulus_digest:
        remarks.append(f"the stimuli differ ({before.stimulus}; {after.stimulus})")
    if before.sampled or after.sampled:
        remarks.append("a campaign is sampled: its score is an estimate, and its sites are not comparable")
    old, new = ({row.site.name: row for row in score_sites(found)} for found in (before, after))
    changes = [Change(name, old.get(name), new.get(name)) for name in {**old, **new}]
    changes.sort(key=lambda change: (-abs(change.difference), change.name))
    luts = [sum(site.kind.startswith("LUT") for site in result.sites) for result in (before, after)]
    return Comparison(
        (before.design, after.design),
        score_design(before),
        score_design(after),
        (luts[0], luts[1]),
        tuple(changes),
        tuple(remarks),
    )


def _row(name: str, before: float, after: float, form: str) -> str:
    ratio = f"x {after / before:.3f}" if before else "-"
    return f"{name:<20}{before:>14{form}}{after:>14{form}}{ratio:>14}"


def _score(row: SiteScore | None) -> str:
    return "-" if row is None else f"{row.score:.3f}"
