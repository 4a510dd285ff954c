"""The sites of a campaign as a table for a spreadsheet, with the lines of HDL that they come from."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.origins import Origin, origin_of_gate, readers_of
from bifocal.hardware.faults.campaigns.scores import SiteScore, score_sites
from bifocal.hardware.faults.report.contents import Report


def sites_csv(report: Report) -> str:
    """A row for each site, the most vulnerable first, with its lines of HDL and what it leads to."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        "site cell faults known wrong latent vulnerability mean_share score leads_to source".split()
    )
    sites = score_sites(report.result)
    for row, origin in zip(sites, origins_of(report.netlist, sites), strict=True):
        numbers = (row.faults, row.known, row.wrong, row.latent)
        shares = (f"{value:.6g}" for value in (row.vulnerability, row.mean_share, row.score))
        writer.writerow(
            [
                row.site.name,
                row.site.kind,
                *numbers,
                *shares,
                " ".join(origin.leads_to),
                " ".join(origin.lines),
            ]
        )
    return out.getvalue()


def origins_of(netlist: Netlist, sites: Sequence[SiteScore]) -> list[Origin]:
    """Where each site comes from, and what it leads to."""
    gates = {gate.name: i for i, gate in enumerate(netlist.gates)}
    readers = readers_of(netlist)
    return [
        origin_of_gate(netlist, gates[row.site.name], readers=readers)
        if row.site.name in gates and row.site.kind != "net"
        else Origin(row.site.sources, ())
        for row in sites
    ]
