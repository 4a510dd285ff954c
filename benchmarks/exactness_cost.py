"""What exactness costs in rate: two runs from one checkpoint, with and without integers, on validation.

    bifocal-train run recipes/lowfirst-exact.toml --resume MAIN --steps N --out runs/cost-exact --data DIR …
    bifocal-train run recipes/lowfirst-float.toml --resume MAIN --steps N --out runs/cost-float --data DIR …
    python benchmarks/exactness_cost.py runs/cost-exact runs/cost-float

Each run wrote its last validation curve (rounded symbols; in the exact arm, integer networks, integer tables'
indices and forced zeros). The figure is the BD-rate of the exact curve over the float one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bifocal.measure.bdrate import bd_rate, curve_of
from bifocal.measure.report import markdown

RESULTS = Path(__file__).parent / "results"


def last_validation(run: Path) -> list[dict[str, float]]:
    """Rows of the run's last validation, one a quality."""
    lines = (run / "validation.jsonl").read_text().splitlines()
    rows: list[dict[str, float]] = json.loads(lines[-1])["rows"]
    return rows


def main() -> None:
    """Compare two finished runs and write ``results/exactness_cost.{json,md}``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("exact", type=Path, help="folder of the run trained on integers")
    parser.add_argument("float", type=Path, help="folder of the run trained without")
    given = parser.parse_args()
    runs = {"exact": given.exact, "float": given.float}
    records = {k: json.loads((run / "run.json").read_text()) for k, run in runs.items()}
    if len({r["steps"] for r in records.values()}) != 1:
        lengths = [record["steps"] for record in records.values()]
        parser.error(f"the runs have {lengths} steps: give arms of equal length")
    rows = {k: last_validation(run) for k, run in runs.items()}
    curves = {k: curve_of(k, [(r["bpp"], r["psnr"]) for r in v]) for k, v in rows.items()}
    cost = bd_rate(curves["float"], curves["exact"])
    pairs = zip(rows["float"], rows["exact"], strict=True)
    table = markdown(
        ["quality", "float bpp", "float dB", "exact bpp", "exact dB"],
        [
            [str(f["quality"]), *(f"{arm[key]:.3f}" for arm in (f, e) for key in ("bpp", "psnr"))]
            for f, e in pairs
        ],
    )
    text = (
        f"Both arms: {records['exact']['steps']} steps from the same checkpoint, one seed; the middle "
        f"256×256 of the validation pictures.\n\n{table}\n\n"
        f"BD-rate of the exact arm over the float arm: **{cost:+.2f} %**.\n"
    )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "exactness_cost.md").write_text(text, encoding="utf-8")
    result = {"bd_rate_percent": cost, "runs": records, "validation": rows}
    (RESULTS / "exactness_cost.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
