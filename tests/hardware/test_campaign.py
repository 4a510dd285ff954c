"""Campaigns: the same result however they are run, nothing lost by a kill, honest about samples."""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

from bifocal.errors import CampaignError, CircuitError, ToolError
from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.circuits.yosys_json import read_netlist
from bifocal.hardware.faults.campaigns import campaign as module
from bifocal.hardware.faults.campaigns.campaign import Campaign
from bifocal.hardware.faults.campaigns.scores import saturation, score_design, score_sites
from bifocal.hardware.faults.models import INIT, Fault, Faults
from bifocal.hardware.faults.result import CampaignResult
from tests.hardware.random_netlist import random_netlist

UART = Path(__file__).parent / "netlists" / "uart.json"


@pytest.fixture(scope="module")
def uart() -> Netlist:
    return read_netlist(UART)


@pytest.fixture(scope="module")
def stimulus(uart: Netlist) -> Stimulus:
    return Stimulus.random(uart, cycles=400)


@pytest.fixture(scope="module")
def result(uart: Netlist, stimulus: Stimulus) -> CampaignResult:
    return Campaign(uart, stimulus, Faults.lut_init(uart), engine="numba").run()


def test_engine_and_jobs_change_nothing(
    uart: Netlist, stimulus: Stimulus, result: CampaignResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNIT", 512)
    faults = Faults.lut_init(uart)
    assert Campaign(uart, stimulus, faults, engine="numba", jobs=2).run() == result
    assert Campaign(uart, stimulus, faults, engine="auto").run() == result


def test_leaving_out_faults_that_cannot_matter_agrees_with_the_reference() -> None:
    netlist = random_netlist(5, gates=20)
    stimulus = Stimulus.random(netlist, cycles=20)
    faults = Faults.lut_init(netlist)
    fast, slow = (Campaign(netlist, stimulus, faults, engine=e).run() for e in ("numba", "reference"))
    assert fast == slow and (fast.status == 0).any()


def test_a_result_survives_json(result: CampaignResult) -> None:
    assert CampaignResult.from_json(result.to_json()) == result
    for broken in ("", "[]", '{"format": "other"}', result.to_json().replace('"design"', '"plan"')):
        with pytest.raises(CampaignError, match="not a result"):
            CampaignResult.from_json(broken)


def test_csv_has_a_row_for_every_fault(result: CampaignResult) -> None:
    rows = list(csv.DictReader(io.StringIO(result.to_csv())))
    assert len(rows) == len(result)
    assert [int(row["wrong_cycles"]) for row in rows] == result.wrong_cycles.tolist()


def test_scores_add_up(result: CampaignResult) -> None:
    design, sites = score_design(result), score_sites(result)
    assert sum(site.wrong for site in sites) == design.wrong == int((result.first_wrong >= 0).sum())
    assert sum(site.score for site in sites) == pytest.approx(design.score)
    assert design.interval == (design.wrong_share, design.wrong_share)
    assert [site.score for site in sites] == sorted((site.score for site in sites), reverse=True)
    cycles, counts = saturation(result)
    assert cycles[-1] == result.cycles and counts[-1] == design.wrong and (np.diff(counts) >= 0).all()


def test_beyond_the_budget_a_seeded_sample_with_its_interval(
    uart: Netlist, stimulus: Stimulus, result: CampaignResult
) -> None:
    faults = Faults.lut_init(uart)
    sample = Campaign(uart, stimulus, faults, engine="numba", budget=200 * 400, seed=5).run()
    again = Campaign(uart, stimulus, faults, engine="numba", budget=200 * 400, seed=5).run()
    assert sample == again and sample.sampled and not result.sampled
    score = score_design(sample)
    assert score.simulated == 200 and score.left_out > 0
    low, high = score.interval
    assert low < score.wrong_share < high
    assert low <= score_design(result).wrong_share <= high
    known = sample.status == 1
    assert np.array_equal(sample.first_wrong[known], result.first_wrong[known])


def test_a_journal_resumes_and_refuses_what_is_not_its_own(
    uart: Netlist, stimulus: Stimulus, result: CampaignResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNIT", 512)
    path, faults = tmp_path / "uart.journal", Faults.lut_init(uart)

    def run(**options: object) -> CampaignResult:
        return Campaign(uart, stimulus, faults, engine="numba", journal=path, **options).run()  # type: ignore[arg-type]

    assert run() == result
    whole = path.read_bytes()
    with pytest.raises(CampaignError, match="--resume"):
        run()
    path.write_bytes(whole[:-100])  # cut in the middle of the last record
    resumed = run(resume=True)
    assert resumed == result and 0 < resumed.facts.resumed < (result.status == 1).sum()
    assert path.read_bytes() == whole
    damaged = bytearray(whole)
    damaged[-50] ^= 1
    path.write_bytes(bytes(damaged))
    assert run(resume=True) == result
    with pytest.raises(CampaignError, match="another campaign"):
        Campaign(uart, Stimulus.random(uart, cycles=9), faults, journal=path, resume=True).run()
    path.write_bytes(b"something else")
    with pytest.raises(CampaignError, match="not a journal"):
        run(resume=True)


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
def test_kill_9_loses_no_finished_unit(tmp_path: Path, uart: Netlist) -> None:
    journal, cycles = tmp_path / "killed.journal", 3000
    script = (
        "import sys\n"
        "from bifocal.hardware.circuits.yosys_json import read_netlist\n"
        "from bifocal.hardware.circuits.stimulus import Stimulus\n"
        "from bifocal.hardware.faults.campaigns import campaign\n"
        "from bifocal.hardware.faults.models import Faults\n"
        "campaign.UNIT = 512\n"
        "netlist = read_netlist(sys.argv[1])\n"
        f"stimulus = Stimulus.random(netlist, cycles={cycles})\n"
        "def slowly(done, total):\n"
        "    if done:\n"
        "        print(done, flush=True)\n"
        "        sys.stdin.read(1)\n"
        "campaign.Campaign(netlist, stimulus, Faults.stuck(netlist), engine='numba',\n"
        "                  journal=sys.argv[2], progress=slowly).run()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(UART), str(journal)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    done = int(process.stdout.readline())  # one unit is finished, and the process waits
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()
    stimulus, faults = Stimulus.random(uart, cycles=cycles), Faults.stuck(uart)
    whole = Campaign(uart, stimulus, faults, engine="numba").run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "UNIT", 512)
        resumed = Campaign(uart, stimulus, faults, engine="numba", journal=journal, resume=True).run()
    assert resumed == whole and resumed.facts.resumed == done


def test_progress_ends_with_all(uart: Netlist, stimulus: Stimulus) -> None:
    seen: list[tuple[int, int]] = []
    faults = Faults.stuck(uart)
    Campaign(uart, stimulus, faults, engine="numba", progress=lambda d, t: seen.append((d, t))).run()
    assert seen[0] == (0, len(faults)) and seen[-1] == (len(faults), len(faults))


def test_an_interrupt_ends_the_workers_at_once(
    uart: Netlist, stimulus: Stimulus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNIT", 128)

    def interrupt(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    campaign = Campaign(uart, stimulus, Faults.lut_init(uart), engine="numba", jobs=2, progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        campaign.run()
    assert multiprocessing.active_children() == []


def test_what_cannot_run_is_refused(
    uart: Netlist, stimulus: Stimulus, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults.lut_init(uart)
    with pytest.raises(CampaignError, match="no engine 'gpu'"):
        Campaign(uart, stimulus, faults, engine="gpu").run()
    with pytest.raises(CampaignError, match="at least 1"):
        Campaign(uart, stimulus, faults, jobs=0).run()
    with pytest.raises(CampaignError, match="without a journal"):
        Campaign(uart, stimulus, faults, resume=True).run()
    with pytest.raises(CircuitError, match="not possible in uart"):
        Campaign(uart, stimulus, Faults.of([Fault(INIT, 10**6, 0)])).run()
    other = random_netlist(1)
    with pytest.raises(CampaignError, match="other inputs"):
        Campaign(uart, Stimulus.random(other, cycles=3), faults).run()


def test_auto_falls_back_to_numba_and_says_so(
    uart: Netlist, stimulus: Stimulus, result: CampaignResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ToolError("the compiler is broken")

    monkeypatch.setattr(module, "WORTH_COMPILING", 0)
    monkeypatch.setattr(module, "find_compiler", lambda: "/usr/bin/c++")
    monkeypatch.setattr(module, "NativeEngine", fail)
    fallen = Campaign(uart, stimulus, Faults.lut_init(uart)).run()
    assert fallen == result and "the compiler is broken" in fallen.facts.notes[0]
    with pytest.raises(ToolError, match="broken"):
        Campaign(uart, stimulus, Faults.lut_init(uart), engine="native").run()
