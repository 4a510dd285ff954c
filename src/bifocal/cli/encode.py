"""``bifocal encode``: pictures to streams."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def encode(
    inputs: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The stream to write, or a folder for several.")
    ] = None,
    quality: Annotated[
        int, typer.Option("--quality", "-q", min=1, max=100, help="1 smallest, 100 best.")
    ] = 60,
    model: Annotated[
        str, typer.Option(help="An installed model, or the folder of a packed one.")
    ] = "lowfirst",
    tile: Annotated[int, typer.Option(help="Side of a tile in pixels, a multiple of 64.")] = 2048,
    force: Annotated[bool, typer.Option("--force", help="Replace streams that exist already.")] = False,
) -> None:
    """Encode pictures as .bfc streams."""
    from bifocal.api import encode_file
    from bifocal.cli.many import run_all
    from bifocal.pictures.files import is_picture_name
    from bifocal.pictures.paths import Pair, pair_paths
    from bifocal.runtime.model import Model

    pairs = pair_paths(inputs, output, wanted=is_picture_name, suffix=".bfc", replace=force)
    loaded = Model.load(model)

    def action(pair: Pair) -> str:
        made = encode_file(pair.source, pair.target, quality, model=loaded, tile=tile)
        return f"{pair.source} → {pair.target}  {made.bytes:,} bytes  {made.bpp:.3f} bpp"

    run_all(pairs, action, verb="encoding")
