"""Scores by register and by instance: a designer hardens these, not single LUTs."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from bifocal.hardware.faults.campaigns.scores import SiteScore, score_sites
from bifocal.hardware.faults.report.contents import Report
from bifocal.hardware.faults.report.tables import origins_of

#: What a group gathers the sites of, and what its column is called.
KINDS = ("register", "instance")


@dataclass(frozen=True)
class Group:
    """All sites that lead to one register or port, or to those of one instance of a module.

    ``wrong`` of the ``known`` faults make an output wrong; ``score`` is the sum of their scores.
    """

    kind: str
    name: str
    sites: int
    known: int
    wrong: int
    score: float


def group_sites(report: Report, kind: str) -> list[Group]:
    """The groups of a kind, the highest score first.

    A site counts once, for the nearest register or port that it leads to.
    """
    sites = score_sites(report.result)
    gathered: dict[str, list[SiteScore]] = {}
    for site, origin in zip(sites, origins_of(report.netlist, sites), strict=True):
        target = origin.leads_to[0] if origin.leads_to else _own_name(report, site)
        register = register_of(target)
        name = register if kind == "register" else register.rpartition(".")[0] or report.result.design
        gathered.setdefault(name, []).append(site)
    groups = [
        Group(
            kind,
            name,
            len(rows),
            sum(row.known for row in rows),
            sum(row.wrong for row in rows),
            sum(row.score for row in rows),
        )
        for name, rows in gathered.items()
    ]
    return sorted(groups, key=lambda group: (-group.score, group.name))


def register_of(name: str) -> str:
    """The register of a bit.

    >>> register_of("core.acc[3]"), register_of("mem[2][7]"), register_of("busy")
    ('core.acc', 'mem', 'busy')
    """
    return re.sub(r"(?:\[\d+\])+$", "", name)


def _own_name(report: Report, site: SiteScore) -> str:
    """What a flip-flop drives, or the name of the net or cell itself."""
    names = {flipflop.name: report.netlist.nets[flipflop.output] for flipflop in report.netlist.flipflops}
    return names.get(site.site.name, site.site.name)


def groups_csv(report: Report) -> str:
    """All groups as a table for a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow("by name sites known wrong score".split())
    for kind in KINDS:
        for group in group_sites(report, kind):
            numbers = (group.sites, group.known, group.wrong, f"{group.score:.6g}")
            writer.writerow([kind, group.name, *numbers])
    return out.getvalue()


def table_rows(groups: Sequence[Group], total: float, most: int) -> list[list[str]]:
    """The cells of a table of groups, of which ``total`` is the sum of scores."""
    return [
        [
            group.name,
            f"{group.sites:,}",
            f"{group.wrong:,} of {group.known:,}",
            f"{group.score:,.3f}",
            f"{100 * group.score / total if total else 0:.1f} %",
        ]
        for group in groups[:most]
    ]
