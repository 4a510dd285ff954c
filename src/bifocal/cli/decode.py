"""``bifocal decode``: streams to pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def decode(
    inputs: Annotated[list[Path], typer.Argument(help="Streams, or folders of them.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The picture to write, or a folder for several.")
    ] = None,
    suffix: Annotated[
        str, typer.Option("--format", help="Format where -o names none: png, webp, ppm …")
    ] = "png",
    model: Annotated[
        str | None,
        typer.Option(
            help="The folder of a packed model; by default the installed one that the stream names."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace pictures that exist already.")] = False,
) -> None:
    """Decode .bfc streams to pictures."""
    from bifocal.api import decode_file
    from bifocal.cli.many import run_all
    from bifocal.pictures.paths import Pair, is_stream_name, pair_paths
    from bifocal.runtime.model import Model

    pairs = pair_paths(inputs, output, wanted=is_stream_name, suffix=f".{suffix.lstrip('.')}", replace=force)
    loaded = None if model is None else Model.load(model)

    def action(pair: Pair) -> str:
        picture = decode_file(pair.source, pair.target, model=loaded)
        kind = " gray" if picture.gray else ""
        return f"{pair.source} → {pair.target}  {picture.width}×{picture.height}{kind}"

    run_all(pairs, action, verb="decoding")
