"""Triplication: the same outputs, fewer faults that matter, and copies that no tool merges."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bifocal.errors import CircuitError
from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.circuits.yosys_json import read_netlist
from bifocal.hardware.faults.campaigns.campaign import Campaign
from bifocal.hardware.faults.campaigns.equivalence import prove_same
from bifocal.hardware.faults.campaigns.hardening import harden_netlist, score_by_target
from bifocal.hardware.faults.campaigns.scores import score_design, score_sites
from bifocal.hardware.faults.campaigns.triplication import choose, survival, triplicate
from bifocal.hardware.faults.engines.fault_free import trace
from bifocal.hardware.faults.models import UPSET, Fault, Faults
from tests.hardware.test_synthesis import needs_yosys

NETLISTS = Path(__file__).parent / "netlists"


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], Netlist]:
    def from_text(text: str) -> Netlist:
        (tmp_path / "netlist.json").write_text(text)
        return read_netlist(tmp_path / "netlist.json")

    return from_text


@pytest.mark.parametrize(("design", "share"), [("exp_golomb", 0.5), ("uart", 0.8), ("counter-carry", 1.0)])
def test_the_score_falls_voters_included(design: str, share: float, read: Callable[[str], Netlist]) -> None:
    text = (NETLISTS / f"{design}.json").read_text()
    netlist = read(text)
    stimulus = Stimulus.random(netlist, cycles=300)
    made = harden_netlist(text, netlist, stimulus, share=share)
    before, after = score_design(made.before), score_design(made.after)
    assert after.score < before.score * (1.1 - share / 2) and after.wrong < before.wrong
    sites = {row.site.name for row in score_sites(made.after)}
    assert set(made.hardened.voters) <= sites  # voters are in the fault list
    assert after.faults == made.netlist.init_bits == len(made.after) and not made.after.sampled
    assert len(made.netlist.luts) == len(netlist.luts) + 2 * len(made.hardened.luts) + len(
        made.hardened.voters
    )


def test_a_fault_in_any_copy_of_a_lut_is_outvoted(read: Callable[[str], Netlist]) -> None:
    text = (NETLISTS / "lfsr.json").read_text()
    names = [gate.name for gate in read(text).gates if gate.is_lut]
    netlist = read(triplicate(text, names).json)
    stimulus = Stimulus.random(netlist, cycles=200)
    result = Campaign(netlist, stimulus, Faults.lut_init(netlist), "numba").run()
    for row in score_sites(result):
        assert row.wrong == 0 or row.site.name.endswith(".vote")


@pytest.mark.parametrize("feedback", [False, True])
def test_copies_and_voters_fold_into_the_original_and_a_change_is_found(feedback: bool) -> None:
    text = (NETLISTS / "uart.json").read_text()
    cells = next(iter(json.loads(text)["modules"].values()))["cells"]
    luts = [name for name, cell in cells.items() if cell["type"].startswith("LUT")][:12]
    flipflops = [name for name, cell in cells.items() if cell["type"].startswith("FD")][::3]
    made = triplicate(text, luts, flipflops, feedback=feedback)
    assert prove_same(text, made).startswith(f"the same for every stimulus: {3 * len(made.tripled)} copies")
    for change in (made.voters[0], f"{luts[1]}.copy2"):
        design = json.loads(made.json)
        (module,) = design["modules"].values()
        digits = module["cells"][change]["parameters"]["INIT"]
        module["cells"][change]["parameters"]["INIT"] = digits[:-1] + "10"[int(digits[-1])]
        with pytest.raises(CircuitError, match="Please report"):
            prove_same(text, replace(made, json=json.dumps(design)))


def test_with_feedback_an_upset_copy_heals(read: Callable[[str], Netlist]) -> None:
    text = (NETLISTS / "counter.json").read_text()
    netlist = read(text)
    names = [gate.name for gate in netlist.gates if gate.is_lut], [f.name for f in netlist.flipflops]
    for feedback in (False, True):
        hard = read(triplicate(text, *names, feedback=feedback).json)
        stimulus = Stimulus.random(hard, cycles=60)
        stimulus.bits[:, stimulus.names.index("load")] = 0  # only the feedback can correct a count
        upset = [Fault(UPSET, j, 5) for j, f in enumerate(hard.flipflops) if "copy1" in f.name]
        result = Campaign(hard, stimulus, Faults.of(upset), "numba").run()
        assert (result.first_wrong < 0).all()  # outvoted
        assert bool(result.latent.any()) != feedback
        assert np.array_equal(trace(hard, stimulus), trace(netlist, stimulus))


@needs_yosys
def test_copies_survive_optimisation_because_they_are_marked(read: Callable[[str], Netlist]) -> None:
    text = (NETLISTS / "counter.json").read_text()
    netlist = read(text)
    hardened = triplicate(text, [g.name for g in netlist.gates], [f.name for f in netlist.flipflops])
    left = survival(hardened, yosys="auto")
    assert left.lost == () and left.made == len(hardened.made) == 3 * (12 + 9) + len(hardened.voters)
    design = json.loads(hardened.json)
    for cell in design["modules"]["counter"]["cells"].values():
        cell["attributes"].pop("keep", None)
    bare = type(hardened)(json.dumps(design), hardened.luts, hardened.flipflops, hardened.voters)
    assert survival(bare, yosys="auto").lost  # so the mark is what keeps them


def test_what_cannot_be_hardened_is_refused(read: Callable[[str], Netlist]) -> None:
    text = (NETLISTS / "counter.json").read_text()
    netlist = read(text)
    stimulus = Stimulus.random(netlist, cycles=50)
    result = Campaign(netlist, stimulus, Faults.lut_init(netlist), "numba").run()
    scores = score_by_target(result)
    with pytest.raises(CircuitError, match="share"):
        choose(netlist, scores, {}, share=0)
    with pytest.raises(CircuitError, match="nothing to harden"):
        choose(netlist, dict.fromkeys(scores, 0.0), {})
    with pytest.raises(CircuitError, match="no LUT or flip-flop no-such"):
        triplicate(text, ["no-such"])
