"""The HDL itself in Icarus Verilog, a simulator of events, does what the netlist does in ours every cycle."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.circuits.yosys_json import read_netlist
from bifocal.hardware.faults.engines.fault_free import trace

CIRCUITS = Path(__file__).parents[2] / "examples" / "circuits"
NETLISTS = Path(__file__).parent / "netlists"
pytestmark = pytest.mark.skipif(not shutil.which("iverilog"), reason="there is no iverilog on the PATH")


def bench(netlist: Netlist, stimulus: Stimulus) -> str:
    """A test bench that plays the stimulus and prints the compared outputs, the last bit first."""
    rows, columns = stimulus.bits.shape
    assert netlist.clock is not None
    clock = netlist.nets[netlist.clock]
    declared, tied, places = [], [], {name: i for i, name in enumerate(stimulus.names)}
    for port in netlist.inputs:
        if port.name != clock:
            bits = [f"row[{places[name]}]" for name in port.bit_names()]
            tied.append(f".{port.name}({{{', '.join(reversed(bits))}}})")
    for port in netlist.outputs:
        declared.append(f"wire [{len(port.nets) - 1}:0] {port.name};")
        tied.append(f".{port.name}({port.name})")
    names = [port.name for port in netlist.outputs]
    return f"""
module bench;
  reg clock = 0;
  reg [{columns - 1}:0] rows [0:{rows - 1}];
  reg [{columns - 1}:0] row;
  {" ".join(declared)}
  integer i;
  {netlist.name} dut (.{clock}(clock), {", ".join(tied)});
  initial begin
    $readmemb("rows.txt", rows);
    for (i = 0; i < {rows}; i = i + 1) begin
      row = rows[i];
      #1 if (i >= {stimulus.reset_cycles}) $display("%b", {{{", ".join(reversed(names))}}});
      clock = 1;
      #1 clock = 0;
    end
  end
endmodule
"""


@pytest.mark.parametrize(
    "design", ["counter", "lfsr", "uart", "haar", "haar-carry", "exp_golomb", "symmetric_golomb"]
)
def test_netlist_and_hdl_do_the_same(design: str, tmp_path: Path) -> None:
    netlist = read_netlist(NETLISTS / f"{design}.json")
    stimulus = Stimulus.random(netlist, cycles=500, seed=9)
    rows = ("".join(str(bit) for bit in reversed(row)) for row in stimulus.bits.tolist())
    (tmp_path / "rows.txt").write_text("\n".join(rows))
    (tmp_path / "bench.v").write_text(bench(netlist, stimulus))
    source = CIRCUITS / f"{netlist.name}.v"
    for command in (["iverilog", "-o", "bench", "bench.v", str(source)], ["./bench"]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    seen = np.array([[int(bit) for bit in reversed(line)] for line in done.stdout.split()], np.uint8)
    assert np.array_equal(seen, trace(netlist, stimulus))


@pytest.mark.parametrize(
    ("design", "verdict"),
    [("haar", "all 65536 pairs are given back"), ("exp_golomb", "all 256 codes are right")],
)
def test_our_test_benches_pass(design: str, verdict: str, tmp_path: Path) -> None:
    sources = [str(CIRCUITS / f"{design}{part}.v") for part in ("", "_tb")]
    subprocess.run(["iverilog", "-o", "bench", *sources], cwd=tmp_path, check=True, timeout=300)
    done = subprocess.run(["./bench"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert verdict in done.stdout
