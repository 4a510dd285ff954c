"""One clock domain as a design of its own, and tri-state pads as plain ports."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bifocal.errors import CircuitError
from bifocal.hardware.circuits.clock_domain import cut_domain
from bifocal.hardware.circuits.pads import split_pads
from bifocal.hardware.circuits.yosys_json import parse_netlist


def cell(kind: str, parameters: dict[str, str] | None = None, **pins: Any) -> dict[str, Any]:
    connections = {pin: [bit] for pin, bit in pins.items()}
    ways = {pin: "output" if pin in ("O", "Q") else "input" for pin in pins}
    return {
        "type": kind,
        "parameters": parameters or {},
        "port_directions": ways,
        "connections": connections,
    }


def lut(init: str, **pins: Any) -> dict[str, Any]:
    return cell(f"LUT{len(pins) - 1}", {"INIT": init}, **pins)


def text(cells: dict[str, Any], names: dict[str, int], **ports: tuple[str, list[Any]]) -> str:
    single = {name: bits[0] for name, (_, bits) in ports.items() if len(bits) == 1}
    named = {**single, **names}
    module = {
        "attributes": {"top": "1"},
        "ports": {name: {"direction": way, "bits": bits} for name, (way, bits) in ports.items()},
        "cells": cells,
        "netnames": {name: {"hide_name": 0, "bits": [bit], "attributes": {}} for name, bit in named.items()},
    }
    return json.dumps({"creator": "test", "modules": {"top": module}})


#: m by clk_a; s and t by clk_b: t = s and m; y = not t; z = not m.
CROSSING = text(
    {
        "pad": cell("IBUF", I=2, O=12),
        "la": lut("01", I0=4, O=5),
        "m": cell("FD", C=12, D=5, Q=6),
        "s": cell("FD", C=3, D=6, Q=7),
        "lt": lut("1000", I0=6, I1=7, O=8),
        "t": cell("FD", C=3, D=8, Q=9),
        "ly": lut("01", I0=9, O=10),
        "lz": lut("01", I0=6, O=11),
    },
    {"m": 6, "s": 7, "t": 9},
    clk_a=("input", [2]),
    clk_b=("input", [3]),
    d=("input", [4]),
    y=("output", [10]),
    z=("output", [11]),
)


def test_registers_of_other_clocks_are_inputs() -> None:
    domain, note = cut_domain(CROSSING, "clk_b")
    netlist = parse_netlist(domain)
    assert [f.name for f in netlist.flipflops] == ["s", "t"]
    assert [gate.name for gate in netlist.gates] == ["lt", "ly"]
    assert {name for name, _ in netlist.driven} == {"d", "m"}
    assert [name for name, _ in netlist.compared] == ["y"] and netlist.clock_name == "clk_b"
    assert note.startswith("only the clock domain clk_b: 2 of 3 flip-flops; 1 register bits of other")


def test_registers_that_other_clocks_read_are_outputs() -> None:
    netlist = parse_netlist(cut_domain(CROSSING, "clk_a")[0])
    assert [f.name for f in netlist.flipflops] == ["m"]
    assert {gate.name for gate in netlist.gates} == {"la", "lz"}
    assert [name for name, _ in netlist.compared] == ["z", "m"]
    assert [name for name, _ in netlist.driven] == ["d"]


def test_a_domain_of_a_clock_that_logic_makes_gets_that_clock_as_an_input() -> None:
    cells = {
        "div": cell("FD", C=2, D=4, Q=5),
        "q": cell("FD", C=5, D=3, Q=6),
        "not": lut("01", I0=5, O=4),
    }
    ports = {"clk": ("input", [2]), "d": ("input", [3]), "q": ("output", [6])}
    netlist = parse_netlist(cut_domain(text(cells, {"slow": 5}, **ports), "slow")[0])
    assert netlist.clock_name == "slow" and [f.name for f in netlist.flipflops] == ["q"]
    assert [name for name, _ in netlist.driven] == ["d"]


def test_a_name_that_is_no_clock_is_refused_with_the_clocks() -> None:
    with pytest.raises(CircuitError, match="d clocks no flip-flop.*The clocks are clk_a, clk_b"):
        cut_domain(CROSSING, "d")
    with pytest.raises(CircuitError, match="2 clocks.*--clock-domain NAME"):
        parse_netlist(CROSSING)


def test_pads_become_an_input_an_output_and_what_releases_them() -> None:
    pads = text(
        {
            "io0": cell("IOBUF", I="0", T=7, O=8, IO=3),
            "io1": cell("IOBUF", I=8, T=7, O=9, IO=4),
            "three": cell("OBUFT", I=9, T=7, O=5),
            "off": lut("01", I0=2, O=7),
        },
        {},
        on=("input", [2]),
        pad=("inout", [3, 4]),
        q=("output", [5]),
    )
    split, notes = split_pads(pads)
    netlist = parse_netlist(split)
    assert [name for name, _ in netlist.driven] == ["on", "pad[0]", "pad[1]"]
    nets = dict(netlist.compared)
    assert list(nets) == ["pad_out[0]", "pad_out[1]", "pad_t[0]", "pad_t[1]", "q_out", "q_t"]
    assert nets["pad_out[0]"] == 0 and nets["q_t"] == netlist.gates[0].output
    assert len(notes) == 1 and "pad, q" in notes[0]
    assert split_pads(CROSSING) == (CROSSING, []) and split_pads("{}") == ("{}", [])
