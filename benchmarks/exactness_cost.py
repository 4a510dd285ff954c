"""What exactness costs in rate: two runs from one checkpoint, with and without integers, on validation.

    bifocal-train run recipes/lowfirst-exact.toml --resume MAIN --steps N --out runs/cost-exact --data DIR …
    bifocal-train run recipes/lowfirst-float.toml --resume MAIN --steps N --out runs/cost-float --data DIR …
    python benchmarks/exactness_cost.py runs/cost-exact runs/cost-float --data DIR

Both averaged models are then run over the validation pictures with rounded symbols, nearest tables and
forced zeros; the exact arm with its integer networks. The figure is the BD-rate of the exact curve over the
float one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bifocal.learn.checkpoint import load_checkpoint
from bifocal.learn.data.crops import load_corpus
from bifocal.learn.training.loop import validate
from bifocal.measure.bdrate import bd_rate, curve_of
from bifocal.measure.report import markdown

RESULTS = Path(__file__).parent / "results"


def validation_curve(run: Path, data: Path, *, exact: bool) -> list[dict[str, float]]:
    """Rows of quality, bpp and psnr of a run's averaged model on the validation pictures of ``data``."""
    checkpoint = load_checkpoint(run / "checkpoint.safetensors")
    recipe = checkpoint.history[-1]["recipe"]
    corpus = load_corpus(data, exclude=tuple(recipe["exclude"]), validation=recipe["validation"])
    return validate(checkpoint.model(), corpus, exact=exact)


def main() -> None:
    """Compare two finished runs and write ``results/exactness_cost.{json,md}``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("exact", type=Path, help="folder of the run trained on integers")
    parser.add_argument("float", type=Path, help="folder of the run trained without")
    parser.add_argument("--data", type=Path, required=True, help="the pictures both were trained on")
    given = parser.parse_args()
    runs = {"exact": given.exact, "float": given.float}
    records = {k: json.loads((run / "run.json").read_text()) for k, run in runs.items()}
    if len({r["steps"] for r in records.values()}) != 1:
        lengths = [record["steps"] for record in records.values()]
        parser.error(f"the runs have {lengths} steps: give arms of equal length")
    rows = {k: validation_curve(run, given.data, exact=k == "exact") for k, run in runs.items()}
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
