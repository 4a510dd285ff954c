"""Count the pictures that a recipe trains on by licence, for a model's card.

    python -m studies.shipped_weights.licences recipes/lapped.toml --data DIR

DIR holds the pictures or shards and an ``index.tsv`` with columns ``file``, ``group`` and ``licence``.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from benchmarks import reporting
from bifocal.learn.data.crops import load_corpus
from bifocal.learn.recipe import load_recipe
from bifocal.measure.tables import markdown


def main() -> None:
    """Print a table: group, licence, pictures trained on."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    given = parser.parse_args()
    recipe = load_recipe(given.recipe)
    corpus = load_corpus(given.data, exclude=recipe.exclude, validation=recipe.validation)
    lines = (given.data / "index.tsv").read_text(encoding="utf-8").splitlines()
    header, *rows = (line.split("\t") for line in lines)
    file, group, licence = (header.index(name) for name in ("file", "group", "licence"))
    of = {row[file]: (row[group], row[licence]) for row in rows}
    counts = Counter(of[Path(name).name] for name in corpus.names)
    table = [[str(n), g, text] for (g, text), n in counts.most_common()]
    print(markdown(["pictures", "group", "licence, as its source says"], table))
    print(f"\n{len(corpus.names)} pictures; {len(corpus.validation)} kept for validation")


if __name__ == "__main__":
    reporting.run(main)
