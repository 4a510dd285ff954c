"""``bifocal-train lowbit``: a classifier in float and in low-bit integers, for equal epochs."""

from __future__ import annotations

from pathlib import Path

from bifocal.apps.cli.train import options


def lowbit(
    recipe: options.LowBitRecipe,
    data: options.LabelledPictures,
    test: options.JudgedPictures,
    arm: options.Arms = None,
    seed: options.ArmSeeds = None,
    epochs: options.Epochs = 0.0,
    pictures: options.SomePictures = 0,
    out: options.ArmsFolder = None,
    device: options.Device = "",
    threads: options.Threads = 0,
    names: options.ClassNames = None,
) -> None:
    """Train the arms of a recipe for equal epochs, judge each, and print the table.

    Every arm leaves a file in the folder of results, and is not trained again while that fits.
    """
    from bifocal.learn.training.lowbit import arms_table, load_lowbit_recipe, run_arms
    from bifocal.learn.training.machine import prepare

    loaded = load_lowbit_recipe(recipe)
    out = out or Path("runs") / loaded.name
    rows = run_arms(
        *(loaded, data, test, out),
        arms=arm or (),
        seeds=seed or (),
        epochs=epochs,
        pictures=pictures,
        names=names,
        device=prepare(device, threads),
    )
    print(arms_table(loaded, rows))
    print(f"wrote {len(rows)} results in {out}")
