"""Verilator, which shares nothing with our engines but the netlist, finds the same for every fault."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.circuits.yosys_json import read_netlist
from bifocal.hardware.faults.campaigns import verification
from bifocal.hardware.faults.campaigns.campaign import Campaign
from bifocal.hardware.faults.campaigns.verification import verify
from bifocal.hardware.faults.engines.verilator import Runtime, prepare, run_selector
from bifocal.hardware.faults.models import Faults
from bifocal.hardware.faults.result import CampaignResult, effects_of

NETLISTS = Path(__file__).parent / "netlists"
needs_verilator = pytest.mark.skipif(
    not (shutil.which("verilator") and shutil.which("c++")), reason="there is no verilator on the PATH"
)


def some_of_all_models(netlist: Netlist, cycles: int) -> Faults:
    """Every INIT bit, and some faults of every other model, in one list."""
    lists = [
        Faults.lut_init(netlist),
        Faults.ff_upsets(netlist, cycles, count=60),
        Faults.stuck(netlist).take(np.arange(0, 40)),
        Faults.open(netlist).take(np.arange(0, 40)),
    ]
    kind, target, detail = (
        np.concatenate([getattr(x, n) for x in lists]) for n in ("kind", "target", "detail")
    )
    return Faults("mixed", kind, target, detail)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    return prepare(tmp_path_factory.mktemp("verilated"))


def campaign(design: str, cycles: int) -> tuple[Netlist, Stimulus, CampaignResult]:
    netlist = read_netlist(NETLISTS / f"{design}.json")
    stimulus = Stimulus.random(netlist, cycles=cycles, seed=2)
    faults = some_of_all_models(netlist, cycles)
    return netlist, stimulus, Campaign(netlist, stimulus, faults, "numba").run()


@needs_verilator
@pytest.mark.parametrize("design", ["counter", "lfsr", "uart", "haar-carry", "exp_golomb"])
def test_verilator_agrees_fault_for_fault(design: str, runtime: Runtime) -> None:
    netlist, stimulus, result = campaign(design, 400)
    found = run_selector(netlist, stimulus, result.faults, runtime=runtime)
    assert effects_of(result).same_as(found.effects)


@needs_verilator
def test_a_build_for_each_fault_agrees_and_a_lie_is_found(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the runtime is compiled once for all tests
    monkeypatch.setattr(verification, "prepare", lambda folder, timeout: runtime)
    netlist, stimulus, result = campaign("counter", 200)
    lie = replace(result, first_wrong=result.first_wrong + (np.arange(len(result)) == 7))
    found = verify(netlist, stimulus, lie, count=len(result), builds=1)
    assert not found.agreed and (found.selected, found.built) == (len(result), 1)
    assert [result.faults[7].label(netlist)] == [text.split(" (")[0] for text in found.differences[:1]]
    assert {text.partition("first_wrong")[0][-3:] for text in found.differences} == {"'s "}


def test_without_verilator_it_says_so_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    netlist, stimulus, result = campaign("counter", 20)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = verify(netlist, stimulus, result, count=5)
    assert not found.agreed and "apt-get install verilator" in found.sentence()
