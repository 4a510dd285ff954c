"""Which tables fit: bits of the shipped model's symbols under Gaussian, logistic and its own tables.

    python benchmarks/tables.py --data DIR

DIR holds the training pictures; only the validation pictures among them are used. All tables of an index have
the same standard deviation; the model was trained with logistic likelihoods.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import bifocal
from bifocal.learn.data.crops import load_corpus
from bifocal.learn.nets.entropy.prior import SCALE_MAX, SCALE_MIN, TABLES
from bifocal.measure.report import markdown
from bifocal.stream.latents import coded_symbols
from bifocal.stream.tables import gaussian_tables, logistic_tables, scale_ladder


def main() -> None:
    """Print a table: quality, bits under each family, in thousands and relative to Gaussian."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="lowfirst")
    given = parser.parse_args()
    model = bifocal.Model.load(given.model)
    scales = scale_ladder(TABLES, SCALE_MIN, SCALE_MAX)
    gaussian, logistic = gaussian_tables(scales), logistic_tables(scales)
    pictures = load_corpus(given.data).validation
    rows = []
    for quality in (10, 50, 90):
        bits = [0.0, 0.0, 0.0]
        for picture in pictures:
            h, w = (side // 64 * 64 for side in picture.shape[:2])
            y, z = model.analyse(picture[:h, :w], quality)
            coded = coded_symbols(y, z, quality=quality, model=model.entropy, backend=model.backend)
            for i, tables in enumerate((gaussian, logistic, model.entropy.tables)):
                bits[i] += tables.bits(*coded)
        cells = [f"{b / 1000:.0f} ({100 * (b / bits[0] - 1):+.2f} %)" for b in bits]
        rows.append([str(quality), *cells])
    print(markdown(["quality", "Gaussian, kbit", "logistic", "fitted"], rows))
    print(f"\n{len(pictures)} validation pictures")


if __name__ == "__main__":
    main()
