"""Value change dumps as stimuli."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bifocal.errors import CircuitError
from bifocal.hardware.circuits.elements import FlipFlop, Gate, Port, Reset
from bifocal.hardware.circuits.netlist import Netlist, build_netlist
from bifocal.hardware.circuits.stimulus import Stimulus

HEAD = """$date today $end
$timescale 1ns $end
$scope module tb $end
$var reg 1 ! clk $end
$scope module dut $end
$var wire 1 ! clk $end
$var wire 1 " rst $end
$var wire 3 # d [2:0] $end
$upscope $end
$upscope $end
$enddefinitions $end
"""
RUN = """#0
$dumpvars
1!
1"
bx #
$end
#5
0!
#10
1!
0"
b101 #
#15
0!
#20
b1 #
1!
#25
0!
$comment nothing here $end
#30
1!
b10x #
#35
0!
#40
1!
"""


def netlist(*, falling: bool = False) -> Netlist:
    return build_netlist(
        "t",
        nets=["0", "1", "clk", "rst", "d[0]", "d[1]", "d[2]", "q", "x"],
        inputs=[Port("clk", (2,)), Port("rst", (3,)), Port("d", (4, 5, 6))],
        outputs=[Port("q", (7,))],
        gates=[Gate("g", "LUT3", (4, 5, 6), 8, 0x96)],
        flipflops=[FlipFlop("ff", "FDRE", 8, 7, control=3)],
        clock=2,
        reset=Reset(3, 1),
        falling=falling,
    )


def test_inputs_are_those_before_each_edge_and_reset_is_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "run.vcd"
    path.write_text(HEAD + RUN)
    stimulus = Stimulus.from_vcd(path, netlist())
    assert stimulus.names == ("rst", "d[0]", "d[1]", "d[2]") and stimulus.source == "VCD run.vcd"
    expected = [[1, 0, 0, 0], [0, 1, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]]  # x counts as 0
    assert stimulus.bits.tolist() == expected and stimulus.reset_cycles == 1
    named = Stimulus.from_vcd(path, netlist(), scope="tb.dut")
    assert np.array_equal(named.bits, stimulus.bits)
    other = Stimulus.from_vcd(path, netlist(falling=True)).bits.tolist()
    assert other == [[1, 0, 0, 0], [0, 1, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("text", "scope", "message"),
    [
        ("", None, "no value change dump"),
        (HEAD + RUN, "tb.core", r"no scope tb.core \(--scope\). It has tb, tb.dut"),
        (HEAD + RUN, "tb", "tb lacks d, rst"),
        (HEAD, None, "no edge of tb.dut.clk"),
        (HEAD.replace("3 #", "4 #") + RUN, None, "tb.dut.d has 4 bits, and the port 3"),
        (HEAD.replace(" rst ", " reset ") + RUN, None, "0 scopes with all inputs"),
    ],
)
def test_a_dump_that_does_not_fit_says_why(
    tmp_path: Path, text: str, scope: str | None, message: str
) -> None:
    path = tmp_path / "run.vcd"
    path.write_text(text)
    with pytest.raises(CircuitError, match=message):
        Stimulus.from_vcd(path, netlist(), scope=scope)
