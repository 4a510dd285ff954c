"""Accuracy in low-bit integers: the arms of a recipe, trained for equal epochs, and their table.

    python -m studies.lowbit.arms --data IMAGENETTE --work DIR [--recipe NAME.toml] [--epochs N] [--docs]

``IMAGENETTE`` has the folders ``train`` and ``val``. The same training as ``bifocal-train lowbit``; arms that
``DIR`` has already are not trained again. The decisive recipes are lowbit-resnet20-32.toml,
lowbit-resnet20-64.toml and lowbit-vit.toml.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import reporting
from bifocal.learn.training.lowbit import arms_table, load_lowbit_recipe, run_arms


def main() -> None:
    """Train what is missing, and tabulate."""
    parser = reporting.parser(__doc__ or "", Path(__file__).parent)
    parser.add_argument("--data", type=Path, required=True, help="folder with train and val")
    parser.add_argument(
        "--recipe", type=Path, default=Path("lowbit-small.toml"), help="(default: %(default)s)"
    )
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps what was trained")
    parser.add_argument("--arms", nargs="*", default=[], help="only these")
    parser.add_argument("--epochs", type=float, default=0.0, help="instead of the recipe's")
    parser.add_argument("--pictures", type=int, default=0, help="train on so many (default: all)")
    given = parser.parse_args()
    recipe = load_lowbit_recipe(given.recipe)
    rows = run_arms(
        *(recipe, given.data / "train", given.data / "val", given.work / recipe.name),
        arms=given.arms,
        epochs=given.epochs,
        pictures=given.pictures,
    )
    text = (
        f"Recipe {recipe.name}: {recipe.network} of width {recipe.width} on {recipe.side}×{recipe.side} "
        f"squares, {rows[0]['steps']:,} batches of {recipe.batch} from {rows[0]['pictures']:,} pictures; "
        f"judged on the pictures of val.\n\n{arms_table(recipe, rows)}"
    )
    result = {"recipe": recipe.name, "rows": rows, "text": text, "machine": reporting.machine()}
    reporting.publish(given, "lowbit-arms", text, result, file=f"arms-{recipe.name}")


if __name__ == "__main__":
    reporting.run(main)
