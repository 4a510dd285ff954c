"""Reading netlists and stimuli: what is found, what is assumed, what is refused with every instance named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bifocal.errors import CircuitError
from bifocal.hardware.circuits.elements import FlipFlop, Gate, Port, Reset
from bifocal.hardware.circuits.netlist import Netlist, build_netlist
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.circuits.verilog import to_verilog
from bifocal.hardware.circuits.yosys_json import read_netlist
from bifocal.hardware.faults.engines.reference import simulate
from bifocal.hardware.faults.models import Faults

Cells = dict[str, dict[str, Any]]


def cell(kind: str, pins: dict[str, list[Any]], out: str = "O", **parameters: str) -> dict[str, Any]:
    outs = {out, "O", "CO", "Q"}
    return {
        "type": kind,
        "parameters": parameters,
        "attributes": {},
        "port_directions": {pin: "output" if pin in outs else "input" for pin in pins},
        "connections": pins,
    }


def design(cells: Cells, **ports: tuple[str, list[Any]]) -> dict[str, Any]:
    module = {
        "attributes": {"top": "1"},
        "ports": {name: {"direction": way, "bits": bits} for name, (way, bits) in ports.items()},
        "cells": cells,
        "netnames": {
            name: {"hide_name": 0, "bits": bits, "attributes": {}} for name, (_, bits) in ports.items()
        },
    }
    return {"creator": "test", "modules": {"top": module}}


def read(tmp_path: Path, document: Any, **options: Any) -> Netlist:
    path = tmp_path / "design.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return read_netlist(path, **options)


def flipflop(clock: Any = 2, data: Any = 5, q: Any = 4, kind: str = "FDCE", **more: Any) -> dict[str, Any]:
    control = {"FDCE": "CLR", "FDPE": "PRE", "FDRE": "R", "FDSE": "S"}.get(kind)
    pins = {"C": [clock], "CE": ["1"], "D": [data], "Q": [q]} | ({control: [3]} if control else {})
    return cell(kind, pins, "Q", **{"INIT": "x", **more})


TOGGLE_PORTS = {"clk": ("input", [2]), "rst_n": ("input", [3]), "q": ("output", [4])}
TOGGLE = {"inv": cell("LUT1", {"I0": [4], "O": [5]}, INIT="01"), "ff": flipflop(kind="FDRE")}


def test_clock_reset_and_outputs_are_found(tmp_path: Path) -> None:
    netlist = read(tmp_path, design(TOGGLE, **TOGGLE_PORTS))
    assert netlist.clock is not None and netlist.nets[netlist.clock] == "clk"
    assert netlist.compared == (("q", netlist.flipflops[0].output),)
    assert [name for name, _ in netlist.driven] == ["rst_n"]
    assert netlist.flipflops[0].initial == 0 and "without INIT" in netlist.notes[0]
    assert netlist.reset == Reset(
        netlist.driven[0][1], 1
    )  # its name says low, but R is active high: the pin knows


@pytest.mark.parametrize(
    ("name", "active"),
    [("rst", 1), ("reset", 1), ("i_rst_n", 0), ("aresetn", 0), ("nreset", 0), ("rst_ni", 0), ("RST_N", 0)],
)
def test_a_reset_is_known_by_its_name(tmp_path: Path, name: str, active: int) -> None:
    ff = flipflop(kind="FD")
    logic = cell("LUT2", {"I0": [4], "I1": [3], "O": [5]}, INIT="0100")
    ports = {"clk": ("input", [2]), name: ("input", [3]), "q": ("output", [4])}
    netlist = read(tmp_path, design({"ff": ff, "and": logic}, **ports))
    assert netlist.reset is not None and netlist.reset.active == active


@pytest.mark.parametrize("name", ["first", "burst", "preset_value", "data"])
def test_other_names_are_no_reset(tmp_path: Path, name: str) -> None:
    logic = cell("LUT2", {"I0": [4], "I1": [3], "O": [5]}, INIT="0100")
    ports = {"clk": ("input", [2]), name: ("input", [3]), "q": ("output", [4])}
    assert read(tmp_path, design({"ff": flipflop(kind="FD"), "and": logic}, **ports)).reset is None


def test_an_inverted_asynchronous_reset_is_active_low(tmp_path: Path) -> None:
    cells = {
        "pad": cell("IBUF", {"I": [3], "O": [8]}),
        "not": cell("INV", {"I": [8], "O": [9]}),
        "inv": TOGGLE["inv"],
        "ff": cell("FDCE", {"C": [2], "CE": ["1"], "CLR": [9], "D": [5], "Q": [4]}, "Q", INIT="1"),
    }
    netlist = read(tmp_path, design(cells, clk=("input", [2]), go=("input", [3]), q=("output", [4])))
    assert netlist.reset == Reset(netlist.driven[0][1], 0)
    assert netlist.flipflops[0].initial == 1


def test_given_ports_win(tmp_path: Path) -> None:
    document = design(TOGGLE, **TOGGLE_PORTS)
    assert read(tmp_path, document, reset="none").reset is None
    given = read(tmp_path, document, reset="rst_n:0", clock="clk", outputs=["q"], top="top")
    assert given.reset is not None and given.reset.active == 0
    for options in (
        {"reset": "no"},
        {"reset": "rst_n:2"},
        {"clock": "no"},
        {"outputs": ["no"]},
        {"top": "no"},
    ):
        with pytest.raises(CircuitError, match="no"):
            read(tmp_path, document, **options)
    with pytest.raises(CircuitError, match="clocks nothing"):
        read(tmp_path, document, clock="rst_n")


def test_unsupported_cells_are_refused_with_every_instance(tmp_path: Path) -> None:
    cells = TOGGLE | {f"mem{i}": cell("RAMB18E1", {"O": [20 + i]}) for i in range(3)}
    cells["shift"] = cell("SRL16E", {"Q": [30]}, "Q")
    with pytest.raises(CircuitError) as refused:
        read(tmp_path, design(cells, **TOGGLE_PORTS))
    for word in ("RAMB18E1, 3", "mem0, mem1, mem2", "-nobram", "SRL16E, 1", "shift", "-nosrl"):
        assert word in str(refused.value)


def test_a_long_list_names_ten_by_register_and_line_and_counts_the_rest(tmp_path: Path) -> None:
    cells = {}
    for i in range(13):
        cells[f"$auto$slice${i}"] = flipflop(clock=2 + i % 2, data=5, q=40 + i, kind="FD")
        cells[f"$auto$slice${i}"]["attributes"] = {"src": f"top.v:{i + 1}.5-9.8"}
    ports = {"a": ("input", [2]), "b": ("input", [3]), "d": ("input", [5])}
    ports |= {"q": ("output", list(range(40, 53)))}
    with pytest.raises(CircuitError) as refused:
        read(tmp_path, design(cells, **ports))
    assert "b, 6: q[1] (top.v:2), q[3] (top.v:4)" in str(refused.value)
    assert "$auto" not in str(refused.value)
    cells = {f"m{i}": cell("RAMB18E1", {"O": [60 + i]}) for i in range(1200)}
    with pytest.raises(CircuitError, match=r"RAMB18E1, 1,200 [^$]*m0, m1, [^$]*m9 and 1,190 more"):
        read(tmp_path, design(TOGGLE | cells, **TOGGLE_PORTS))


def test_a_second_reset_is_held_and_released_with_the_first(tmp_path: Path) -> None:
    cells = {
        "sync": cell("LUT3", {"I0": [4], "I1": [8], "I2": [9], "O": [5]}, INIT="00010010"),
        "not": cell("INV", {"I": [3], "O": [7]}),
        "ff": cell("FDCE", {"C": [2], "CE": ["1"], "CLR": [7], "D": [5], "Q": [4]}, "Q", INIT="0"),
    }
    ports = {"clk": ("input", [2]), "arst_n": ("input", [3]), "wb_rst_i": ("input", [8])}
    ports |= {"en": ("input", [9]), "q": ("output", [4])}
    netlist = read(tmp_path, design(cells, **ports))
    assert netlist.reset_name == "arst_n, active 0"
    assert [(netlist.nets[r.net], r.active) for r in netlist.more_resets] == [("wb_rst_i", 1)]
    assert any("wb_rst_i, active 1" in note for note in netlist.notes)
    stimulus = Stimulus.random(netlist, cycles=50, seed=1, reset_cycles=3)
    assert stimulus.names == ("arst_n", "wb_rst_i", "en") and stimulus.reset_cycles == 3
    assert stimulus.bits[:, :2].tolist() == [[0, 1]] * 3 + [[1, 0]] * 50
    assert 0 < stimulus.bits[:, 2].mean() < 1
    (tmp_path / "s.csv").write_text("wb_rst_i,en\n0,1\n1,1\n")
    given = Stimulus.from_csv(tmp_path / "s.csv", netlist, reset_cycles=1)
    assert given.bits.tolist() == [[0, 0, 1], [1, 0, 1], [1, 1, 1]] and given.reset_cycles == 1
    (tmp_path / "s.csv").write_text("arst_n,en\n0,1\n1,1\n")
    given = Stimulus.from_csv(tmp_path / "s.csv", netlist, reset_cycles=1)
    assert given.bits.tolist() == [[0, 0, 1], [1, 0, 1]] and given.reset_cycles == 0
    chosen = read(tmp_path, design(cells, **ports), reset="wb_rst_i")
    assert chosen.reset_name == "wb_rst_i, active 1" and len(chosen.more_resets) == 1
    none = read(tmp_path, design(cells, **ports), reset="none")
    assert none.reset is None and none.more_resets == () and none.digest() != netlist.digest()


def test_several_clocks_are_refused_with_every_flipflop(tmp_path: Path) -> None:
    cells = TOGGLE | {"other": flipflop(clock=3, data=4, q=6, kind="FD")}
    with pytest.raises(CircuitError, match=r"2 clocks[^$]*clk, 1: ff[^$]*rst_n, 1: other"):
        read(tmp_path, design(cells, **TOGGLE_PORTS))
    cells = TOGGLE | {"other": flipflop(data=4, q=6, kind="FD", IS_C_INVERTED="1")}
    with pytest.raises(CircuitError, match="both edges[^$]*other"):
        read(tmp_path, design(cells, **TOGGLE_PORTS))
    with pytest.raises(CircuitError, match="not an input port"):
        read(tmp_path, design({"inv": TOGGLE["inv"], "ff": flipflop(clock=5, kind="FDRE")}, **TOGGLE_PORTS))
    cells = TOGGLE | {"gate": cell("LUT1", {"I0": [2], "O": [9]}, INIT="10")}
    with pytest.raises(CircuitError, match="used as data[^$]*gate"):
        read(tmp_path, design(cells, **TOGGLE_PORTS))


def test_combinational_loops_are_refused_with_every_instance(tmp_path: Path) -> None:
    cells = TOGGLE | {
        "a": cell("LUT2", {"I0": [11], "I1": [3], "O": [10]}, INIT="0110"),
        "b": cell("LUT1", {"I0": [10], "O": [11]}, INIT="10"),
        "self": cell("LUT2", {"I0": [12], "I1": [3], "O": [12]}, INIT="1000"),
    }
    with pytest.raises(CircuitError, match=r"2 combinational loop") as refused:
        read(tmp_path, design(cells, **TOGGLE_PORTS))
    assert "{a, b}" in str(refused.value) and "{self}" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a netlist"),
        ("[1, 2]", "not a netlist"),
        ('{"modules": {}}', "0 modules"),
        ('{"modules": {"top": {"cells": {"a": 1}}}}', "not a netlist"),
    ],
)
def test_what_is_no_netlist_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CircuitError, match=message):
        read(tmp_path, text)
    with pytest.raises(CircuitError, match="cannot be read"):
        read_netlist(tmp_path / "absent.json")


def test_what_is_no_hardware_is_passed_over_and_left_out_of_verilog(tmp_path: Path) -> None:
    remark = {"type": "$scopeinfo", "parameters": {"TYPE": "module"}, "attributes": {}, "connections": {}}
    shown = cell("$print", {"ARGS": [2], "EN": ["1"]}, FORMAT="seen")
    lut = cell("LUT2", {"I0": [2], "I1": [3], "O": [4]}, INIT="x110")
    ports = {"a": ("input", [2]), "b": ("input", [3]), "y": ("output", [4])}
    whole = design({"g[0].h.u": remark, "p": shown, "l": lut}, **ports)
    netlist = read(tmp_path, whole)
    assert [(gate.kind, gate.table) for gate in netlist.gates] == [("LUT2", 0b0110)]
    text = to_verilog(json.dumps(whole))
    assert "$" not in text and "INIT(4'b0110)" in text  # as it is simulated


def test_no_outputs_and_two_drivers_are_refused(tmp_path: Path) -> None:
    ports = {name: port for name, port in TOGGLE_PORTS.items() if name != "q"}
    with pytest.raises(CircuitError, match="no outputs"):
        read(tmp_path, design(TOGGLE, **ports))
    cells = TOGGLE | {"twin": cell("LUT1", {"I0": [4], "O": [5]}, INIT="01")}
    with pytest.raises(CircuitError, match="more than one driver[^$]*inv, twin"):
        read(tmp_path, design(cells, **TOGGLE_PORTS))
    with pytest.raises(CircuitError, match="inout"):
        read(tmp_path, design(TOGGLE, **TOGGLE_PORTS, pad=("inout", [40])))
    cells = TOGGLE | {"dangling": cell("LUT1", {"I0": [77], "O": [78]}, INIT="01")}
    with pytest.raises(CircuitError, match="no driver[^$]*read by dangling"):
        read(tmp_path, design(cells, **TOGGLE_PORTS))


def test_x_that_is_read_is_zero_and_said(tmp_path: Path) -> None:
    cells = TOGGLE | {"or": cell("LUT2", {"I0": ["x"], "I1": [4], "O": [9]}, INIT="1110")}
    netlist = read(tmp_path, design(cells, **TOGGLE_PORTS, more=("output", [9, "z"])))
    assert any("2 unconnected or x bits" in note for note in netlist.notes)
    assert netlist.gates[1].inputs[0] == 0


def test_a_carry_chain_adds(tmp_path: Path) -> None:
    a, b, total = [20, 21, 22, 23], [30, 31, 32, 33], [40, 41, 42, 43, 44]
    cells = {
        f"x{i}": cell("LUT2", {"I0": [a[i]], "I1": [b[i]], "O": [50 + i]}, INIT="0110") for i in range(4)
    }
    carry = {
        "CI": ["0"],
        "CYINIT": [60],
        "DI": a,
        "S": [50, 51, 52, 53],
        "O": total[:4],
        "CO": [70, 71, 72, 44],
    }
    cells["carry"] = cell("CARRY4", carry)
    document = design(cells, a=("input", a), b=("input", b), c=("input", [60]), total=("output", total))
    netlist = read(tmp_path, document)
    assert netlist.clock is None and netlist.reset is None
    rows = [[x >> i & 1 for i in range(4)] + [y >> i & 1 for i in range(4)] + [c] for x in range(16)
            for y in range(16) for c in range(2)]  # fmt: skip
    stimulus = Stimulus(np.array(rows, np.uint8), tuple(n for n, _ in netlist.driven), 0, "all")
    pytest.importorskip("numba")
    from bifocal.hardware.faults.engines.fault_free import trace

    sums = trace(netlist, stimulus) @ (1 << np.arange(5))
    assert sums.tolist() == [x + y + c for x in range(16) for y in range(16) for c in range(2)]


def toggle(kind: str, control: int = 3, initial: int = 0) -> Netlist:
    asynchronous, value = kind in ("FDCE", "FDPE"), int(kind in ("FDPE", "FDSE"))
    return build_netlist(
        "toggle",
        nets=["0", "1", "clk", "c", "q", "d"],
        inputs=[Port("clk", (2,)), Port("c", (3,))],
        outputs=[Port("q", (4,))],
        gates=[Gate("inv", "LUT1", (4,), 5, 0b01)],
        flipflops=[FlipFlop("ff", kind, 5, 4, 1, control, asynchronous, value, initial)],
        clock=2,
    )


@pytest.mark.parametrize(
    ("kind", "outputs"),
    [
        ("FDRE", [0, 1, 0, 0, 1, 0]),  # acts at the edge behind cycle 2
        ("FDSE", [0, 1, 0, 1, 0, 1]),
        ("FDCE", [0, 1, 0, 0, 1, 0]),  # acts within cycle 2, and holds over its edge
        ("FDPE", [0, 1, 1, 1, 0, 1]),
    ],
)
def test_set_and_reset_act_when_they_should(kind: str, outputs: list[int]) -> None:
    pytest.importorskip("numba")
    from bifocal.hardware.faults.engines.fault_free import trace

    stimulus = Stimulus(np.array([[0], [0], [1], [0], [0], [0]], np.uint8), ("c",), 0, "by hand")
    assert trace(toggle(kind), stimulus)[:, 0].tolist() == outputs


def test_random_stimulus_is_the_same_everywhere() -> None:
    netlist = toggle("FDRE")
    stimulus = Stimulus.random(netlist, cycles=16, seed=3)
    assert stimulus.bits[:, 0].tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 0, 1, 0, 0, 0, 0, 1, 1]
    assert stimulus.reset_cycles == 0 and stimulus.cycles == 16
    with pytest.raises(CircuitError, match="at least one cycle"):
        Stimulus.random(netlist, cycles=0)


def test_csv_stimulus(tmp_path: Path) -> None:
    netlist = random_ports()
    path = tmp_path / "in.csv"
    path.write_text("a,b\n3,1\n0x2,0\n0b01,1\n", encoding="utf-8")
    stimulus = Stimulus.from_csv(path, netlist, reset_cycles=2)
    assert stimulus.names == ("rst", "a[0]", "a[1]", "b") and stimulus.reset_cycles == 2
    assert stimulus.bits.tolist() == [[0, 1, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1], [1, 0, 1, 0], [1, 1, 0, 1]]
    path.write_text("rst,a[1],a[0],b\n0,1,0,0\n1,0,0,1\n", encoding="utf-8")
    driven = Stimulus.from_csv(path, netlist)
    assert driven.reset_cycles == 0 and driven.bits.tolist() == [[0, 0, 1, 0], [1, 0, 0, 1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n", "is empty"),
        ("a\n1\n", "no column for b"),
        ("a,b,zz\n1,1,1\n", "not inputs: zz"),
        ("a,b\n4,1\n", "row 2, column a: '4' is not a number of 2 bit"),
        ("a,b\n1,maybe\n", "'maybe'"),
        ("a,b\n1\n", "column b: ''"),
        ("a,a[0],b\n1,1,1\n", "two columns"),
        ("a,b,clk\n1,1,1\n", "not inputs: clk"),
    ],
)
def test_bad_csv_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "in.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CircuitError, match=message):
        Stimulus.from_csv(path, random_ports())


def random_ports() -> Netlist:
    return build_netlist(
        "ports",
        nets=["0", "1", "clk", "rst", "a0", "a1", "b", "q", "d"],
        inputs=[Port("clk", (2,)), Port("rst", (3,)), Port("a", (4, 5)), Port("b", (6,))],
        outputs=[Port("q", (7,))],
        gates=[Gate("xor", "LUT3", (4, 5, 6), 8, 0x96)],
        flipflops=[FlipFlop("ff", "FDCE", 8, 7, 1, 3, True)],
        clock=2,
        reset=Reset(3, 0),
    )


def test_faults_during_reset_do_not_count() -> None:
    netlist = random_ports()
    stimulus = Stimulus.random(netlist, cycles=5, reset_cycles=3)
    effects = simulate(netlist, stimulus, Faults.stuck(netlist))
    assert effects.wrong_cycles.max() <= 5 and effects.first_wrong.max() < 5
