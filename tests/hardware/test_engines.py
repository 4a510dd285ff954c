"""Every engine gives the same answer, fault for fault; random circuits leave nothing out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from bifocal.errors import ToolError
from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.circuits.yosys_json import read_netlist
from bifocal.hardware.faults.campaigns.campaign import make_engine, run_unit
from bifocal.hardware.faults.effects import Effects
from bifocal.hardware.faults.engines import native_build
from bifocal.hardware.faults.engines.batches import order_faults
from bifocal.hardware.faults.engines.fault_free import run_fault_free, trace
from bifocal.hardware.faults.engines.native_build import build_library, find_compiler
from bifocal.hardware.faults.engines.program import lower
from bifocal.hardware.faults.engines.reference import simulate
from bifocal.hardware.faults.models import Fault, Faults, draw
from tests.hardware.random_netlist import random_netlist

NETLISTS = Path(__file__).parent / "netlists"
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler here")


def every_fault(netlist: Netlist, cycles: int) -> Faults:
    """All models together, so that lanes of all kinds meet in a batch."""
    lists = [
        Faults.lut_init(netlist),
        Faults.ff_upsets(netlist, cycles, count=40),
        Faults.stuck(netlist),
        Faults.open(netlist),
        Faults.open(netlist, reads=0),
    ]
    return Faults.of([fault for faults in lists for fault in faults], "all")


def run(engine: str, netlist: Netlist, stimulus: Stimulus, faults: Faults) -> Effects:
    """Outcomes in the order of ``faults``, simulated in the order that a campaign uses."""
    order = order_faults(lower(netlist), faults)
    made = make_engine(engine, netlist, stimulus, run_fault_free(netlist, stimulus))
    effects = Effects.silent(len(faults))
    effects.put(order, run_unit(made, faults.take(order)))
    return effects


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(0, 7), st.integers(0, 2))
def test_numba_agrees_with_the_reference(seed: int, gates: int, flipflops: int, reset: int) -> None:
    netlist = random_netlist(seed, gates=gates, flipflops=flipflops)
    stimulus = Stimulus.random(netlist, cycles=25, seed=seed % 7, reset_cycles=reset)
    faults = every_fault(netlist, stimulus.cycles)
    truth = simulate(netlist, stimulus, faults)
    assert run("numba", netlist, stimulus, faults).same_as(truth)
    silent = np.flatnonzero(~run_fault_free(netlist, stimulus).matters(faults))
    assert not truth.wrong_cycles[silent].any() and not truth.latent[silent].any()


@needs_compiler
@pytest.mark.parametrize("seed", range(4))
def test_native_agrees_with_the_reference(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    netlist = random_netlist(seed, gates=90, flipflops=12, inputs=6)
    stimulus = Stimulus.random(netlist, cycles=40, seed=seed)
    faults = every_fault(netlist, stimulus.cycles)
    assert run("native", netlist, stimulus, faults).same_as(simulate(netlist, stimulus, faults))


@pytest.mark.parametrize("design", ["counter", "lfsr", "uart", "haar-carry", "exp_golomb"])
def test_engines_agree_on_our_designs(design: str) -> None:
    netlist = read_netlist(NETLISTS / f"{design}.json")
    stimulus = Stimulus.random(netlist, cycles=300)
    faults = every_fault(netlist, stimulus.cycles)
    some = faults.take(draw(len(faults), 250, seed=3))
    truth = simulate(netlist, Stimulus(stimulus.bits[:60], stimulus.names, 2, ""), some.take(np.arange(60)))
    short = Stimulus(stimulus.bits[:60], stimulus.names, 2, "")
    assert run("numba", netlist, short, some.take(np.arange(60))).same_as(truth)
    if find_compiler() is not None:
        assert run("native", netlist, stimulus, faults).same_as(run("numba", netlist, stimulus, faults))


def test_a_trace_is_the_outputs_of_the_one_machine() -> None:
    netlist = read_netlist(NETLISTS / "counter.json")
    stimulus = Stimulus.random(netlist, cycles=50)
    faults = every_fault(netlist, stimulus.cycles)
    effects = simulate(netlist, stimulus, faults)
    fault_free = trace(netlist, stimulus)
    for i, fault in enumerate(faults):
        wrong = trace(netlist, stimulus, fault) != fault_free
        assert wrong.any(1).sum() == effects.wrong_cycles[i], fault.label(netlist)
        assert wrong.sum() == effects.wrong_bits[i]


def test_labels_name_what_breaks() -> None:
    netlist = read_netlist(NETLISTS / "counter.json")
    labels = [fault.label(netlist) for fault in every_fault(netlist, 10)]
    assert len(set(labels)) == len(labels)
    assert any(label.endswith("stuck at 1") for label in labels)
    assert Fault(0, netlist.luts[0], 1).label(netlist).endswith(".INIT[1]")


@needs_compiler
def test_a_compiler_that_fails_is_shown(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="could not compile[^$]*--engine numba"):
        build_library("this is no C++;", cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


@needs_compiler
def test_the_cache_keeps_what_was_used_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_build, "KEPT", 2)
    paths = [build_library(f"int number{i};", cache=tmp_path) for i in range(2)]
    assert build_library("int number0;", cache=tmp_path) == paths[0]
    build_library("int number2;", cache=tmp_path)
    assert len(list(tmp_path.glob("*.so"))) == 2


def test_without_a_compiler_native_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_build, "find_compiler", lambda: None)
    with pytest.raises(ToolError, match="needs a C\\+\\+ compiler"):
        build_library("int x;")
