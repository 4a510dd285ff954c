"""The page and the tables: they hold the figures, and nothing that a design is called can break them."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from bifocal.errors import CampaignError, CircuitError
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.circuits.synthesis import Mapped, SourceFile
from bifocal.hardware.circuits.yosys_json import read_netlist
from bifocal.hardware.faults.activity import measure_activity
from bifocal.hardware.faults.campaigns.campaign import Campaign
from bifocal.hardware.faults.campaigns.comparison import compare
from bifocal.hardware.faults.campaigns.scores import score_design, score_sites
from bifocal.hardware.faults.campaigns.verification import Verification
from bifocal.hardware.faults.models import Faults, make_faults
from bifocal.hardware.faults.report.contents import Report
from bifocal.hardware.faults.report.groups import KINDS, group_sites, groups_csv
from bifocal.hardware.faults.report.page import page
from bifocal.hardware.faults.report.tables import sites_csv

NETLISTS = Path(__file__).parent / "netlists"
EVIL = "<script>alert('x')</script>&\"'"


def report_on(design: str, *, model: str = "lut-init", cycles: int = 200, budget: int = 1 << 40) -> Report:
    netlist = read_netlist(NETLISTS / f"{design}.json")
    stimulus = Stimulus.random(netlist, cycles=cycles)
    faults = make_faults(model, netlist, cycles, upsets=100, seed=1)
    return Report(netlist, stimulus, Campaign(netlist, stimulus, faults, "numba", budget=budget).run())


class Checker(HTMLParser):
    """Every tag that is opened is closed, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") or name in ("href", "src") for name, _ in attrs)
        if tag not in ("meta", "rect", "path", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "path", "polyline"):
            assert self.open.pop() == tag


def test_scores_are_gathered_by_register_and_instance() -> None:
    report = report_on("uart")
    whole = sum(row.score for row in score_sites(report.result))
    for kind in KINDS:
        groups = group_sites(report, kind)
        assert sum(group.score for group in groups) == pytest.approx(whole)
        assert sum(group.sites for group in groups) == len(report.result.sites)
    registers = {group.name for group in group_sites(report, "register")}
    assert "tx_shift" in registers or any("shift" in name for name in registers), registers
    assert [group.name for group in group_sites(report, "instance")] == ["uart"]
    table = list(csv.DictReader(io.StringIO(groups_csv(report))))
    assert {row["by"] for row in table} == set(KINDS) and len(table) == len(registers) + 1


def test_a_design_at_rest_is_said() -> None:
    netlist = read_netlist(NETLISTS / "lfsr.json")
    busy = Stimulus.random(netlist, cycles=400)
    assert not measure_activity(netlist, busy).warnings()
    idle = replace(busy, bits=busy.bits * (np.arange(len(busy.bits)) < 60)[:, None].astype(np.uint8))
    (rest,) = measure_activity(netlist, idle).warnings()
    assert "no output changes after cycle 58 of 400" in rest and "--stimulus" in rest
    rest, idle_bits, idle_registers = measure_activity(netlist, replace(busy, bits=busy.bits * 0)).warnings()
    assert "not addressed under this stimulus" in idle_bits and "flip-flops never change" in idle_registers
    assert not measure_activity(netlist, replace(busy, bits=busy.bits[:20])).warnings()


@pytest.mark.parametrize("model", ["lut-init", "ff-upset", "stuck", "open"])
def test_the_page_is_whole_and_holds_the_figures(model: str) -> None:
    report = report_on("haar", model=model)
    text = page(report)
    checked = Checker(text)
    assert checked.tags.count("svg") == 6  # classes, two histograms, saturation, concentration, traces
    score = score_design(report.result)
    assert f"({score.wrong:,} of {score.faults:,})" in text and f"{score.score:,.1f}" in text
    for words in (
        "Saturation",
        "Outputs with and without the fault",
        "Provenance",
        report.result.netlist_digest[:16],
    ):
        assert words in text
    assert "http" not in text  # nothing is fetched


def test_a_sample_says_so_with_its_interval() -> None:
    text = page(report_on("haar", budget=200 * 300))
    assert "Wilson" in text and "left out by sampling" in text


def test_hostile_names_are_text() -> None:
    report = report_on("counter")
    netlist = replace(report.netlist, name=EVIL, nets=tuple(f"{name}{EVIL}" for name in report.netlist.nets))
    sites = tuple(replace(site, name=site.name + EVIL, sources=(EVIL,)) for site in report.result.sites)
    compared = tuple((name + EVIL, net) for name, net in netlist.compared)
    report = Report(
        replace(netlist, compared=compared),
        report.stimulus,
        replace(report.result, design=EVIL, sites=sites, stimulus=EVIL, notes=(EVIL,)),
        Mapped("{}", EVIL, (EVIL,), (EVIL,), (SourceFile(EVIL, EVIL, EVIL, EVIL),)),
        Verification("", 0, 0, (), EVIL),
    )
    text = page(report)
    assert "script" not in Checker(text).tags and "&lt;script&gt;" in text


def test_a_chosen_fault_is_drawn_and_a_silent_one_says_so() -> None:
    report = report_on("uart")
    silent = int((report.result.first_wrong < 0).nonzero()[0][0])
    assert "no output is ever wrong" in page(report, shown=silent)
    loud = int((report.result.first_wrong >= 0).nonzero()[0][0])
    assert f"first wrong in cycle {report.result.first_wrong[loud]:,}" in page(report, shown=loud)


def test_the_table_of_sites_is_the_ranking() -> None:
    report = report_on("uart")
    table = list(csv.DictReader(io.StringIO(sites_csv(report))))
    ranked = score_sites(report.result)
    assert [row["site"] for row in table] == [row.site.name for row in ranked]
    assert all(row["source"].startswith("uart.v:") for row in table)


def test_comparing_two_campaigns() -> None:
    short, long = report_on("counter", cycles=100).result, report_on("counter", cycles=200).result
    text = compare(short, long).text()
    assert "100 cycles are compared with 200" in text and "score, sum" in text
    same = compare(long, long)
    assert not same.remarks and all(change.difference == 0 for change in same.changes)
    stuck = report_on("counter", model="stuck").result
    with pytest.raises(CampaignError, match="same --faults"):
        compare(long, stuck)


def test_unknown_fault_models_and_empty_lists_are_refused() -> None:
    netlist = read_netlist(NETLISTS / "counter.json")
    with pytest.raises(CircuitError, match="there is no fault model 'rays'"):
        make_faults("rays", netlist, 10, upsets=1, seed=1)
    assert len(make_faults("ff-upset", netlist, 10, upsets=7, seed=1)) == 7
    assert len(Faults.stuck(netlist)) == len(make_faults("stuck", netlist, 10, upsets=1, seed=1))
