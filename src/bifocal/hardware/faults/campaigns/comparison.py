"""Two campaigns side by side: of the design before and after a change, as a whole and place by place."""

from __future__ import annotations

from dataclasses import dataclass

from bifocal.errors import CampaignError
from bifocal.hardware.faults.campaigns.scores import DesignScore, SiteScore, score_design, score_sites
from bifocal.hardware.faults.result import CampaignResult


@dataclass(frozen=True)
class Change:
    """One place, by its name; None where it is in only one of the two."""

    name: str
    before: SiteScore | None
    after: SiteScore | None

    @property
    def difference(self) -> float:
        """Score after less score before; a place that is not there scores 0."""
        return (self.after.score if self.after else 0.0) - (self.before.score if self.before else 0.0)


@dataclass(frozen=True)
class Comparison:
    """The two designs' scores and every place, that with the largest change first."""

    names: tuple[str, str]
    before: DesignScore
    after: DesignScore
    luts: tuple[int, int]
    changes: tuple[Change, ...]
    remarks: tuple[str, ...]


def compare(before: CampaignResult, after: CampaignResult) -> Comparison:
    """Compare two campaigns of the same fault model.

    Remarks say what makes the comparison less than fair: other stimuli, lengths, or sampling.

    :raises CampaignError: if the fault models differ.
    """
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
        remarks.append("a campaign is sampled: its score is an estimate, and its places are not comparable")
    first = {row.site.name: row for row in score_sites(before)}
    second = {row.site.name: row for row in score_sites(after)}
    changes = [Change(name, first.get(name), second.get(name)) for name in {**first, **second}]
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


def comparison_text(found: Comparison, *, most: int = 15) -> str:
    """The comparison as plain text: the designs, then the places that changed most."""
    a, b = found.before, found.after
    lines = [
        _row("", "before", "after", "ratio"),
        _row("faults", f"{a.faults:,}", f"{b.faults:,}", _ratio(a.faults, b.faults)),
        _row("LUTs with faults", f"{found.luts[0]:,}", f"{found.luts[1]:,}", _ratio(*found.luts)),
        _row("ever wrong", f"{a.wrong:,}", f"{b.wrong:,}", _ratio(a.wrong, b.wrong)),
        _row(
            "share ever wrong",
            f"{a.wrong_share:.2%}",
            f"{b.wrong_share:.2%}",
            _ratio(a.wrong_share, b.wrong_share),
        ),
        _row("latent", f"{a.latent:,}", f"{b.latent:,}", _ratio(a.latent, b.latent)),
        _row("score, sum", f"{a.score:,.3f}", f"{b.score:,.3f}", _ratio(a.score, b.score)),
        _row("score, mean", f"{a.mean_share:.3%}", f"{b.mean_share:.3%}", _ratio(a.mean_share, b.mean_share)),
    ]
    changed = [change for change in found.changes if change.difference][:most]
    if changed:
        lines += ["", f"{'place':<44}{'before':>10}{'after':>10}{'change':>10}"]
        lines += [
            f"{change.name[-43:]:<44}{_score(change.before):>10}{_score(change.after):>10}{change.difference:>+10.3f}"
            for change in changed
        ]
        left = sum(bool(change.difference) for change in found.changes) - len(changed)
        lines += [f"and {left:,} more that changed"] if left else []
    lines += [f"Note: {remark}." for remark in found.remarks]
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return f"{cells[0]:<20}" + "".join(f"{cell:>14}" for cell in cells[1:])


def _ratio(before: float, after: float) -> str:
    return f"x {after / before:.3f}" if before else "-"


def _score(row: SiteScore | None) -> str:
    return "-" if row is None else f"{row.score:.3f}"
