"""`bifocal-train`: run a recipe, pack a checkpoint. No logic of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bifocal.errors import BifocalError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Train and pack Bifocal's models.")


@app.callback()
def _root() -> None:
    """Train and pack Bifocal's models."""


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="A TOML recipe, such as training/recipes/lowfirst.toml.")],
    data: Annotated[Path, typer.Option(help="Folder of pictures or of tar shards.")],
    minutes: Annotated[float, typer.Option(help="Stop after this long; validation does not count.")],
    out: Annotated[Path | None, typer.Option(help="Where to write; runs/NAME by default.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Checkpoint to go on from.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda; chosen by itself when empty.")] = "",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 leaves torch's choice.")] = 0,
) -> None:
    """Train a recipe for some minutes and write checkpoint, curves and run record."""
    import torch

    from bifocal.training.loop import train
    from bifocal.training.recipe import load_recipe

    if threads:
        torch.set_num_threads(threads)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        loaded = load_recipe(recipe)
        path = train(loaded, data, out or Path("runs") / loaded.name, minutes=minutes, resume=resume, device=device)
    except BifocalError as error:
        typer.echo(f"bifocal-train: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"wrote {path}")


def main() -> None:
    """Entry point of the console script."""
    app()
