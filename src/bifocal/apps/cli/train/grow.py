"""``bifocal-train grow``: a checkpoint made larger, which computes what it computed before."""

from __future__ import annotations

from bifocal.apps.cli.options import Force
from bifocal.apps.cli.outputs import check_document
from bifocal.apps.cli.train import options


def grow(
    checkpoint: options.Checkpoint, recipe: options.LargerRecipe, out: options.Grown, force: Force = False
) -> None:
    """Give a codec the sizes of a larger recipe without changing what it computes; train on by it."""
    from bifocal.learn.checkpoint import load_checkpoint, save_checkpoint
    from bifocal.learn.recipe import load_recipe
    from bifocal.learn.training.grow import grow as grown

    check_document(out, force)
    save_checkpoint(out, grown(load_checkpoint(checkpoint), load_recipe(recipe).system))
    print(f"wrote {out}")
