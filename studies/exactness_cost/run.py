"""What exactness costs in rate: two runs from one checkpoint, with and without integers, on validation.

    bifocal-train run recipes/lowfirst-exact.toml --resume MAIN --steps N --out runs/cost-exact --data DIR …
    bifocal-train run recipes/lowfirst-float.toml --resume MAIN --steps N --out runs/cost-float --data DIR …
    python -m studies.exactness_cost.run runs/cost-exact runs/cost-float --data DIR [--docs]

Both averaged models are then run over the validation pictures with rounded symbols, nearest tables and
forced zeros; the exact arm with its integer networks. The figure is the BD-rate of the exact curve over the
float one.
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import reporting
from bifocal.learn.checkpoint import load_checkpoint
from bifocal.learn.data.crops import load_corpus
from bifocal.learn.training.validation import validate
from bifocal.measure import MeasureError
from bifocal.measure.bdrate import bd_rate, curve_of
from bifocal.measure.tables import markdown


def validation_curve(run: Path, data: Path, *, exact: bool) -> list[dict[str, float]]:
    """Rows of quality, bpp and psnr of a run's averaged model on the validation pictures of ``data``."""
    checkpoint = load_checkpoint(run / "checkpoint.safetensors")
    recipe = checkpoint.history[-1]["recipe"]
    corpus = load_corpus(data, exclude=tuple(recipe["exclude"]), validation=recipe["validation"])
    return validate(checkpoint.model(), corpus, exact=exact)


def report(rows: dict[str, list[dict[str, float]]], steps: int, cost: float) -> str:
    """Both curves, and what the integers cost."""
    table = markdown(
        ["quality", "float bpp", "float dB", "exact bpp", "exact dB"],
        [
            [str(f["quality"]), *(f"{arm[key]:.3f}" for arm in (f, e) for key in ("bpp", "psnr"))]
            for f, e in zip(rows["float"], rows["exact"], strict=True)
        ],
    )
    return (
        f"Both arms: {steps} steps from the same checkpoint, one seed; the middle 256×256 of the validation "
        f"pictures.\n\n{table}\n\nBD-rate of the exact arm over the float arm: **{cost:+.2f} %**."
    )


def main() -> None:
    """Compare two finished runs."""
    parser = reporting.parser(__doc__, Path(__file__).parent)
    parser.add_argument("exact", type=Path, help="folder of the run trained on integers")
    parser.add_argument("float", type=Path, help="folder of the run trained without")
    parser.add_argument("--data", type=Path, required=True, help="the pictures both were trained on")
    given = parser.parse_args()
    runs = {"exact": given.exact, "float": given.float}
    records = {k: json.loads((run / "run.json").read_text()) for k, run in runs.items()}
    lengths = {k: record["steps"] for k, record in records.items()}
    if len(set(lengths.values())) != 1:
        raise MeasureError(f"The runs have {lengths} steps. Give runs of equal length.")
    rows = {k: validation_curve(run, given.data, exact=k == "exact") for k, run in runs.items()}
    curves = {k: curve_of(k, [(r["bpp"], r["psnr"]) for r in v]) for k, v in rows.items()}
    cost = bd_rate(curves["float"], curves["exact"])
    result = {"bd_rate_percent": cost, "runs": records, "validation": rows}
    reporting.publish(given, "exactness-cost", report(rows, lengths["exact"], cost), result)


if __name__ == "__main__":
    reporting.run(main)
