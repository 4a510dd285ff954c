"""A design in a closed loop with a model of its memory: it behaves as its source, and has faults alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from bifocal.errors import ToolError
from bifocal.hardware.circuits.environment import check_instance, plain_instance
from bifocal.hardware.circuits.reading import Reading
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.circuits.synthesis import load_design
from bifocal.hardware.circuits.yosys_json import parse_netlist
from bifocal.hardware.faults.engines.fault_free import trace
from bifocal.hardware.faults.models import make_faults

LOOP = """
module core(input clk, input rst, input [1:0] data, output reg [1:0] addr);
  always @(posedge clk) if (rst) addr <= 0; else addr <= addr + data;
endmodule
module tb(input clk, input rst, output [1:0] seen);
  wire [1:0] a; reg [1:0] m [0:3]; integer i;
  initial for (i = 0; i < 4; i = i + 1) m[i] = 3 - i;
  generate if (1) begin : soc core u_core(clk, rst, m[a], a); end endgenerate
  always @(posedge clk) m[a] <= m[a] + 1;
  assign seen = a;
endmodule
"""


def test_only_the_instance_has_faults_and_the_loop_is_closed(tmp_path: Path) -> None:
    (tmp_path / "loop.v").write_text(LOOP)
    mapped = load_design([tmp_path / "loop.v"], reading=Reading(instance="soc.u_core"))
    assert "only soc.u_core has faults" in mapped.notes[-1]
    netlist = parse_netlist(mapped.json)
    assert all("soc.u_core." in netlist.gates[i].name for i in netlist.luts)
    assert len(netlist.registers) == 2 and len(netlist.flipflops) == 10
    upsets = make_faults("ff-upset", netlist, 50, upsets=20, seed=1)
    assert set(upsets.target.tolist()) <= set(netlist.registers)
    stimulus = Stimulus.random(netlist, cycles=40)
    memory, address = [3, 2, 1, 0], 0
    for _ in range(stimulus.reset_cycles):
        memory[0] = (memory[0] + 1) % 4
    for row in trace(netlist, stimulus).tolist():
        assert row == [address & 1, address >> 1]
        data, memory[address] = memory[address], (memory[address] + 1) % 4
        address = (address + data) % 4


def test_an_instance_that_is_not_there_is_refused_with_those_that_are() -> None:
    listing = "\n5 modules:\n  core\n  tb\n  tb.a\n  tb.a.u\n  tb.b.u\n"
    check_instance(listing, "a.u")
    for wrong, count in (("u", 2), ("core", 0)):
        with pytest.raises(ToolError, match=f"there are {count} instances {wrong} .*are a, a.u, b.u"):
            check_instance(listing, wrong)
    for text in ("u; shell", ".u", "u core"):
        with pytest.raises(ToolError, match="is not the path of an instance"):
            plain_instance(text)
    with pytest.raises(ToolError, match="needs HDL"):
        load_design([Path(__file__).parent / "netlists" / "uart.json"], reading=Reading(instance="u_core"))
