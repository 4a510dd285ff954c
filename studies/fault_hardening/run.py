"""What triplication buys on our own designs: scores and LUTs before and after, voters included.

    python -m studies.fault_hardening.run [--cycles 10000] [--designs uart haar] [--docs]

The netlists are those of ``tests/hardware/netlists`` (Yosys 0.70). Every INIT bit is simulated before and
after; outputs without a fault must be the same.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import reporting
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.circuits.yosys_json import parse_netlist
from bifocal.hardware.faults.campaigns.hardening import harden_netlist
from bifocal.hardware.faults.campaigns.scores import score_design
from bifocal.measure.tables import markdown

DESIGNS = ("counter", "lfsr", "uart", "haar", "exp_golomb")
HEADER = (
    "design | share | tripled LUT + FF | voters | LUTs | FFs | INIT bits | score, sum | bits that matter"
).split(" | ")


def row(design: str, share: float, cycles: int) -> list[str]:
    """One design, hardened by one share of its score."""
    text = (reporting.ROOT / "tests" / "hardware" / "netlists" / f"{design}.json").read_text(encoding="utf-8")
    netlist = parse_netlist(text)
    made = harden_netlist(text, netlist, Stimulus.random(netlist, cycles=cycles), share=share)
    a, b = score_design(made.before), score_design(made.after)
    return [
        design,
        f"{share:.0%}",
        f"{len(made.hardened.luts)} + {len(made.hardened.flipflops)}",
        str(len(made.hardened.voters)),
        f"{len(netlist.luts)} → {len(made.netlist.luts)}",
        f"{len(netlist.flipflops)} → {len(made.netlist.flipflops)}",
        f"{a.faults:,} → {b.faults:,}",
        f"{a.score:.1f} → {b.score:.1f}",
        f"{a.wrong:,} → {b.wrong:,}",
    ]


def main() -> None:
    parser = reporting.parser(__doc__, Path(__file__).parent)
    parser.add_argument("--cycles", type=int, default=10_000)
    parser.add_argument("--designs", nargs="+", default=list(DESIGNS), choices=DESIGNS)
    chosen = parser.parse_args()
    lines = [row(design, share, chosen.cycles) for design in chosen.designs for share in (0.5, 1.0)]
    result = {"cycles": chosen.cycles, "rows": [dict(zip(HEADER, line, strict=True)) for line in lines]}
    reporting.publish(chosen, "fault-hardening", markdown(HEADER, lines), result)


if __name__ == "__main__":
    reporting.run(main)
