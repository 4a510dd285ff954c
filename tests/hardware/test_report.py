"""The page and the tables: they hold the figures, and nothing that a design is called can break them."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bifocal.errors import CampaignError, CircuitError
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.circuits.synthesis import SourceFile
from bifocal.hardware.circuits.yosys_json import read_netlist
from bifocal.hardware.faults.campaigns.campaign import Campaign
from bifocal.hardware.faults.campaigns.comparison import compare, comparison_text
from bifocal.hardware.faults.campaigns.scores import score_design, score_sites
from bifocal.hardware.faults.engines.verilator import Verification
from bifocal.hardware.faults.models import Faults, make_faults
from bifocal.hardware.faults.report.page import Report, report, sites_csv

NETLISTS = Path(__file__).parent / "netlists"
EVIL = "<script>alert('x')</script>&\"'"


def study_of(design: str, *, model: str = "lut-init", cycles: int = 200, budget: int = 1 << 40) -> Report:
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


@pytest.mark.parametrize("model", ["lut-init", "ff-upset", "stuck", "open"])
def test_the_page_is_whole_and_holds_the_figures(model: str) -> None:
    study = study_of("haar", model=model)
    page = report(study)
    checked = Checker(page)
    assert checked.tags.count("svg") == 6  # classes, two histograms, saturation, concentration, traces
    score = score_design(study.result)
    assert f"({score.wrong:,} of {score.faults:,})" in page and f"{score.score:,.1f}" in page
    for words in (
        "Saturation",
        "Outputs with and without the fault",
        "Provenance",
        study.result.netlist_digest[:16],
    ):
        assert words in page
    assert "http" not in page  # nothing is fetched


def test_a_sample_says_so_with_its_interval() -> None:
    page = report(study_of("haar", budget=200 * 300))
    assert "Wilson" in page and "left out by sampling" in page


def test_hostile_names_are_text() -> None:
    study = study_of("counter")
    netlist = replace(study.netlist, name=EVIL, nets=tuple(f"{name}{EVIL}" for name in study.netlist.nets))
    sites = tuple(replace(site, name=site.name + EVIL, sources=(EVIL,)) for site in study.result.sites)
    compared = tuple((name + EVIL, net) for name, net in netlist.compared)
    study = Report(
        replace(netlist, compared=compared),
        study.stimulus,
        replace(study.result, design=EVIL, sites=sites, stimulus=EVIL, notes=(EVIL,)),
        (EVIL,),
        (EVIL,),
        (SourceFile(EVIL, EVIL, EVIL, EVIL),),
        Verification("", 0, 0, (), EVIL),
    )
    page = report(study)
    assert "script" not in Checker(page).tags and "&lt;script&gt;" in page


def test_a_chosen_fault_is_drawn_and_a_silent_one_says_so() -> None:
    study = study_of("uart")
    silent = int((study.result.first_wrong < 0).nonzero()[0][0])
    assert "no output is ever wrong" in report(study, shown=silent)
    loud = int((study.result.first_wrong >= 0).nonzero()[0][0])
    assert f"first wrong in cycle {study.result.first_wrong[loud]:,}" in report(study, shown=loud)


def test_the_table_of_sites_is_the_ranking() -> None:
    study = study_of("uart")
    table = list(csv.DictReader(io.StringIO(sites_csv(study))))
    ranked = score_sites(study.result)
    assert [row["site"] for row in table] == [row.site.name for row in ranked]
    assert all(row["source"].startswith("uart.v:") for row in table)


def test_comparing_two_campaigns() -> None:
    short, long = study_of("counter", cycles=100).result, study_of("counter", cycles=200).result
    text = comparison_text(compare(short, long))
    assert "100 cycles are compared with 200" in text and "score, sum" in text
    same = compare(long, long)
    assert not same.remarks and all(change.difference == 0 for change in same.changes)
    stuck = study_of("counter", model="stuck").result
    with pytest.raises(CampaignError, match="same --faults"):
        compare(long, stuck)


def test_unknown_fault_models_and_empty_lists_are_refused() -> None:
    netlist = read_netlist(NETLISTS / "counter.json")
    with pytest.raises(CircuitError, match="there is no fault model 'rays'"):
        make_faults("rays", netlist, 10, upsets=1, seed=1)
    assert len(make_faults("ff-upset", netlist, 10, upsets=7, seed=1)) == 7
    assert len(Faults.stuck(netlist)) == len(make_faults("stuck", netlist, 10, upsets=1, seed=1))
