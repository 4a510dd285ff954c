"""What a multiply-accumulate costs in LUTs, with and without the shifter of group scales, counted by Yosys.

    python -m studies.lowbit.cells [--docs]

Synthesises `examples/circuits/shift_mac.v` for Xilinx 7-series with carry chains and without DSP blocks, for
a 24-bit accumulator. `4 bits, 4 groups` shifts the product; `7×4 bits` is the same arithmetic with a first
operand that was shifted before.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import reporting
from bifocal.hardware.circuits.synthesis import synthesise
from bifocal.measure.tables import markdown

SOURCE = reporting.ROOT / "examples" / "circuits" / "shift_mac.v"
#: Name, bits of both operands, groups.
VARIANTS = (
    *(("4 bits", 4, 4, 1), ("4 bits, 2 groups", 4, 4, 2), ("4 bits, 4 groups", 4, 4, 4)),
    *(("4 bits, 8 groups", 4, 4, 8), ("7×4 bits, shifted before", 7, 4, 1)),
    *(("6 bits", 6, 6, 1), ("6 bits, 3 groups", 6, 6, 3), ("8 bits", 8, 8, 1)),
)


def cells(a: int, b: int, groups: int) -> dict[str, int]:
    """LUTs, carry chains of four bits, and flip-flops of one variant."""
    wrapper = (
        f"module top (input clk, clear, input signed [{a - 1}:0] a, input signed [{b - 1}:0] b, "
        "input [2:0] shift, output signed [23:0] sum);\n"
        f"  shift_mac #(.A({a}), .B({b}), .GROUPS({groups})) mac "
        "(.clk(clk), .clear(clear), .a(a), .b(b), .shift(shift), .sum(sum));\nendmodule\n"
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "top.v"
        path.write_text(wrapper, encoding="utf-8")
        mapped = synthesise([SOURCE, path], top="top", plain=False)
    (module,) = json.loads(mapped.json)["modules"].values()
    kinds = Counter(cell["type"] for cell in module["cells"].values())
    return {
        "LUT": sum(count for kind, count in kinds.items() if kind.startswith("LUT")),
        "CARRY4": kinds["CARRY4"],
        "flip-flops": sum(count for kind, count in kinds.items() if kind.startswith("FD")),
    }


def table(found: dict[str, dict[str, int]]) -> str:
    """A row for each variant, and its LUTs over those of 8 bits."""
    most = found["8 bits"]["LUT"]
    rows = [
        [name, *(str(count) for count in row.values()), f"{row['LUT'] / most:.2f}"]
        for name, row in found.items()
    ]
    return markdown(["multiply–accumulate", "LUTs", "CARRY4", "flip-flops", "LUTs over 8 bits"], rows)


def main() -> None:
    """Synthesise all variants."""
    given = reporting.parser(__doc__ or "", Path(__file__).parent).parse_args()
    found = {name: cells(a, b, groups) for name, a, b, groups in VARIANTS}
    reporting.publish(given, "lowbit-cells", table(found), found, file="cells")


if __name__ == "__main__":
    reporting.run(main)
