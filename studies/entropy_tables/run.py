"""Which tables fit: bits of the shipped model's symbols under Gaussian, logistic and its own tables.

    python -m studies.entropy_tables.run --data DIR [--docs]

DIR holds the training pictures; only the validation pictures among them are used. All tables of an index have
the same standard deviation; the model was trained with logistic likelihoods.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bifocal
from benchmarks import reporting
from bifocal._version import DEFAULT_MODEL
from bifocal.learn.data.crops import load_corpus
from bifocal.learn.nets.entropy.prior import SCALE_MAX, SCALE_MIN, TABLES
from bifocal.measure.tables import markdown
from bifocal.runtime.analysis import float_latents
from bifocal.stream.latents import coded_symbols
from bifocal.stream.tables import gaussian_tables, logistic_tables, scale_ladder


def measure(pictures: Any, model: bifocal.Model) -> dict[str, list[float]]:
    """Bits under Gaussian, logistic and the model's own tables, by quality."""
    scales = scale_ladder(TABLES, SCALE_MIN, SCALE_MAX)
    families = (gaussian_tables(scales), logistic_tables(scales), model.entropy.tables)
    found = {}
    for quality in (10, 50, 90):
        bits = [0.0, 0.0, 0.0]
        for picture in pictures:
            h, w = (side // 64 * 64 for side in picture.shape[:2])
            y, z = float_latents(model, picture[:h, :w], quality)
            coded = coded_symbols(y, z, quality=quality, model=model.entropy, engine=model.engine)
            for i, tables in enumerate(families):
                bits[i] += tables.bits(*coded)
        found[str(quality)] = bits
    return found


def main() -> None:
    parser = reporting.parser(__doc__, Path(__file__).parent)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    chosen = parser.parse_args()
    pictures = load_corpus(chosen.data).validation
    found = measure(pictures, bifocal.Model.load(chosen.model))
    rows = [
        [quality, *(f"{b / 1000:.0f} ({100 * (b / bits[0] - 1):+.2f} %)" for b in bits)]
        for quality, bits in found.items()
    ]
    text = markdown(["quality", "Gaussian, kbit", "logistic", "fitted"], rows)
    note = f"{len(pictures)} validation pictures"
    reporting.publish(
        chosen, "entropy-tables", f"{text}\n\n{note}", {"pictures": len(pictures), "bits": found}
    )


if __name__ == "__main__":
    reporting.run(main)
