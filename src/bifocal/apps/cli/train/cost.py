"""``bifocal-train cost``: what a codec costs, part by part."""

from __future__ import annotations

from pathlib import Path

from bifocal.apps.cli.train import options


def cost(recipe: options.CountedRecipe = Path("lapped.toml")) -> None:
    """Count a codec's parameters and multiply-adds a pixel, part by part."""
    from bifocal.learn.recipe import load_recipe
    from bifocal.learn.systems.costs import codec_cost

    rows, decode, parts = codec_cost(load_recipe(recipe).system)
    for row in rows:
        print(f"{row.part:18} {row.parameters:10,} parameters {row.kmac:8.2f} kMAC/px")
    print(f"decode: {decode:.2f} kMAC/px of {', '.join(parts)} and half of the fixed transforms")
