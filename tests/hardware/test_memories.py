"""Memories stay apart from the logic and have no faults; modules that are cut out become ports."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bifocal.errors import CircuitError, ToolError
from bifocal.hardware.circuits.memories import Memory, check_memories, read_memories
from bifocal.hardware.circuits.reading import Reading
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.circuits.stubs import cut_stubs
from bifocal.hardware.circuits.synthesis import load_design
from bifocal.hardware.circuits.yosys_json import parse_netlist
from bifocal.hardware.faults.engines.fault_free import trace
from bifocal.hardware.faults.models import MODELS, STUCK, UPSET, make_faults

RAM = """
module ram(input clk, input rst, input we, input [1:0] a, input [1:0] b, input [1:0] d, output reg [1:0] s);
  reg [1:0] m [0:3];
  always @(posedge clk) begin if (we) m[a] <= d; s <= rst ? 0 : s + m[b]; end
endmodule
"""


@pytest.fixture(scope="module")
def ram(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ram") / "ram.v"
    path.write_text(RAM)
    mapped = load_design([path])
    assert mapped.notes == ("memories have no faults: m (4 × 2 bits, ram.v:3)",)
    return mapped.json


def test_a_memory_behaves_as_its_source(ram: str) -> None:
    netlist = parse_netlist(ram)
    stimulus = Stimulus.random(netlist, cycles=300, seed=3)
    columns = {name: stimulus.bits[stimulus.reset_cycles :, i] for i, name in enumerate(stimulus.names)}
    seen = trace(netlist, stimulus)
    content = [0] * 4
    for row in stimulus.bits[: stimulus.reset_cycles]:  # writes are not reset
        given = dict(zip(stimulus.names, row.tolist(), strict=True))
        if given["we"]:
            content[given["a[0]"] + 2 * given["a[1]"]] = given["d[0]"] + 2 * given["d[1]"]
    total = 0
    for cycle in range(300):
        assert seen[cycle].tolist() == [total & 1, total >> 1]
        a, b, d = (int(columns[f"{p}[0]"][cycle]) + 2 * int(columns[f"{p}[1]"][cycle]) for p in "abd")
        total = (total + content[b]) % 4
        if columns["we"][cycle]:
            content[a] = d


def test_a_memory_has_no_faults(ram: str) -> None:
    netlist = parse_netlist(ram)
    inside = {gate.output for gate in netlist.gates if gate.kind.startswith("RAM.")}
    inside |= {flipflop.output for flipflop in netlist.flipflops if flipflop.kind.startswith("RAM.")}
    assert len(inside) >= 8 + 2 and len(netlist.registers) == 2 and netlist.init_bits <= 64
    for model in MODELS:
        faults = make_faults(model, netlist, 50, upsets=100, seed=1)
        for fault in faults:
            if fault.kind == STUCK:
                assert fault.target not in inside
            elif fault.kind == UPSET:
                assert fault.target in netlist.registers
            elif fault.target < len(netlist.gates):
                assert netlist.gates[fault.target].is_lut
            else:
                assert fault.target - len(netlist.gates) in netlist.registers


def test_memories_are_listed_refused_and_limited() -> None:
    dump = """
attribute \\src "a.v:7.3-8.4"
cell $mem_v2 \\u.rom
  parameter \\SIZE 16
  parameter \\WIDTH 8
  parameter \\WR_PORTS 0
end
attribute \\src "b.v:2.13-2.14"
cell $mem_v2 \\u.ram
  parameter \\SIZE 1024
  parameter \\WIDTH 32
  parameter \\WR_PORTS 2
end
"""
    (found,) = read_memories(dump)
    assert found == Memory("u.ram", 1024, 32, "b.v:2")
    assert "have faults" in check_memories([found], "registers")[0] and not check_memories([], "refuse")
    with pytest.raises(ToolError, match=r"u\.ram \(1,024 × 32 bits, b\.v:2\).*--memory cells"):
        check_memories([found], "refuse")
    with pytest.raises(ToolError, match=r"65,536 bits.*--stub"):
        check_memories([found, found], "cells")
    with pytest.raises(ToolError, match="cells, registers, refuse"):
        Reading(memory="none")


def test_a_module_that_is_cut_out_becomes_ports() -> None:
    def cell(kind: str, pins: dict[str, tuple[str, list[int]]]) -> dict[str, object]:
        return {
            "type": kind,
            "parameters": {"INIT": "0"},
            "attributes": {},
            "port_directions": {pin: direction for pin, (direction, _) in pins.items()},
            "connections": {pin: bits for pin, (_, bits) in pins.items()},
        }

    pll = {"in": ("input", [2]), "out": ("output", [3]), "hard": ("input", ["0"]), "ok": ("output", [4, 6])}
    register = {"C": ("input", [3]), "D": ("input", [4]), "Q": ("output", [5])}
    module = {
        "attributes": {"top": "1"},
        "ports": {
            "clk_in": {"direction": "input", "bits": [2]},
            "q": {"direction": "output", "bits": [5]},
        },
        "cells": {"p": cell("$paramod\\pll\\N=1", pll), "r": cell("FDRE", register)},  # type: ignore[arg-type]
        "netnames": {},
    }
    text = json.dumps({"modules": {"t": module}})
    with pytest.raises(CircuitError, match="--stub"):
        parse_netlist(text)
    cut, notes = cut_stubs(text, ["pll"])
    netlist = parse_netlist(cut)
    assert netlist.clock_name == "p.out" and [port.name for port in netlist.inputs] == [
        "clk_in",
        "p.out",
        "p.ok",
    ]
    assert [name for name, _ in netlist.compared] == ["q", "p.in"]
    assert notes == ["cut out (--stub): p (pll): 3 bits are inputs, 1 are outputs"]
    with pytest.raises(ToolError, match="no instance of other"):
        cut_stubs(text, ["other"])


STATES = """
library ieee; use ieee.std_logic_1164.all; use ieee.numeric_std.all;
library kit; use kit.pack.all;
entity fsm is generic (n : integer := 2); port (clk, rst : in std_logic;
  op : in std_logic_vector(1 downto 0); y : out std_logic_vector(n-1 downto 0); z : out std_logic); end;
architecture r of fsm is
  type st is (s0, s1, s2, s3, s4); signal s, nxt : st; signal acc : unsigned(n-1 downto 0);
begin
  process(s, op) begin
    nxt <= s; z <= '0';
    case s is
      when s0 => if op = "01" then nxt <= s1; end if;
      when s1 | s2 =>
        case op is when "00" => nxt <= s2; when "01" => nxt <= s3; when others => nxt <= s0; end case;
      when s3 => nxt <= s4; z <= '1';
      when s4 => nxt <= s0;
    end case;
  end process;
  process(clk) begin
    if rising_edge(clk) then
      if rst = '1' then s <= s0; acc <= (others => '0'); else s <= nxt;
        case op is
          when "00" => acc <= acc + 1; when "01" => acc <= twice(acc); when others => null;
        end case;
      end if;
    end if;
  end process;
  y <= std_logic_vector(acc);
end;
"""
PACK = """
library ieee; use ieee.numeric_std.all;
package pack is function twice(x : unsigned) return unsigned; end;
package body pack is
  function twice(x : unsigned) return unsigned is begin return shift_left(x, 1); end;
end;
"""


@pytest.mark.skipif(shutil.which("ghdl") is None, reason="needs GHDL")
def test_vhdl_state_machines_and_libraries_are_as_their_source(tmp_path: Path) -> None:
    (tmp_path / "fsm.vhd").write_text(STATES)
    (tmp_path / "pack.vhd").write_text(PACK)
    library = (f"kit={tmp_path / 'pack.vhd'}",)
    mapped = load_design([tmp_path / "fsm.vhd"], reading=Reading(parameters=("n=3",), libraries=library))
    netlist = parse_netlist(mapped.json)
    stimulus = Stimulus.random(netlist, cycles=400, seed=2)
    given = stimulus.bits[stimulus.reset_cycles :]
    column = {name: i for i, name in enumerate(stimulus.names)}
    seen = trace(netlist, stimulus)
    state = total = 0
    after = {0: (0, 1, 0, 0), 1: (2, 3, 0, 0), 2: (2, 3, 0, 0), 3: (4,) * 4, 4: (0,) * 4}
    for row, shown in zip(given, seen, strict=True):
        op = int(row[column["op[0]"]] + 2 * row[column["op[1]"]])
        outputs = {name: int(bit) for (name, _), bit in zip(netlist.compared, shown, strict=True)}
        assert sum(outputs[f"y[{i}]"] << i for i in range(3)) == total and outputs["z"] == (state == 3)
        if op == 0 and state == 0:
            state = 0
        else:
            state = after[state][op]
        total = (total + 1, 2 * total, total, total)[op] % 8
