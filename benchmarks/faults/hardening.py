"""What triplication buys on our own designs: scores and LUTs before and after, voters included.

    python benchmarks/faults/hardening.py [--cycles 10000] [--designs uart haar] [--docs]

The netlists are those of ``tests/hardware/netlists`` (Yosys 0.70). Every INIT bit is simulated before and
after; outputs without a fault must be the same. ``--docs`` puts the table into docs/faults.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.circuits.yosys_json import read_netlist
from bifocal.hardware.faults.campaigns.hardening import harden
from bifocal.hardware.faults.campaigns.scores import score_design
from bifocal.measure.report import markdown

ROOT = Path(__file__).resolve().parents[2]
DESIGNS = ("counter", "lfsr", "uart", "haar", "exp_golomb")
HEADER = (
    "design | share | tripled LUT + FF | voters | LUTs | FFs | INIT bits | score, sum | bits that matter"
).split(" | ")
START, END = "<!-- hardening:start -->\n", "<!-- hardening:end -->"


def row(design: str, share: float, cycles: int) -> list[str]:
    """One design, hardened by one share of its score."""
    text = (ROOT / "tests" / "hardware" / "netlists" / f"{design}.json").read_text(encoding="utf-8")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "netlist.json"

        def read(text: str) -> Netlist:
            path.write_text(text, encoding="utf-8")
            return read_netlist(path)

        netlist = read(text)
        trial = harden(text, netlist, Stimulus.random(netlist, cycles=cycles), read, share=share)
    a, b = score_design(trial.before), score_design(trial.after)
    return [
        design,
        f"{share:.0%}",
        f"{len(trial.hardened.luts)} + {len(trial.hardened.flipflops)}",
        str(len(trial.hardened.voters)),
        f"{len(netlist.luts)} → {len(trial.netlist.luts)}",
        f"{len(netlist.flipflops)} → {len(trial.netlist.flipflops)}",
        f"{a.faults:,} → {b.faults:,}",
        f"{a.score:.1f} → {b.score:.1f}",
        f"{a.wrong:,} → {b.wrong:,}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cycles", type=int, default=10_000)
    parser.add_argument("--designs", nargs="+", default=list(DESIGNS), choices=DESIGNS)
    parser.add_argument("--docs", action="store_true")
    options = parser.parse_args()
    lines = [row(design, share, options.cycles) for design in options.designs for share in (0.5, 1.0)]
    table = markdown(HEADER, lines)
    print(table)
    results = ROOT / "benchmarks" / "results" / "faults_hardening.md"
    head = f"All INIT bits, {options.cycles:,} random cycles, seed 1; netlists of tests/hardware/netlists."
    results.write_text(f"{head}\n\n{table}\n", encoding="utf-8")
    if options.docs:
        page = ROOT / "docs" / "faults.md"
        before, _, rest = page.read_text(encoding="utf-8").partition(START)
        _, _, after = rest.partition(END)
        page.write_text(f"{before}{START}{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
