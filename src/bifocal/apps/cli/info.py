"""``bifocal info``: what a stream says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def info(
    inputs: Annotated[list[Path], typer.Argument(help="Streams.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Say what is in .bfc streams, without decoding them."""
    import dataclasses
    import json

    from bifocal import api

    for path in inputs:
        about = api.info(api.read_stream(path))
        if as_json:
            print(json.dumps({"path": str(path), **dataclasses.asdict(about)}))
            continue
        kind = "gray" if about.gray else "RGB"
        tiles = "1 tile" if about.tiles == 1 else f"{about.tiles} tiles of {about.tile} pixels"
        print(path)
        print(f"  picture   {about.width}×{about.height} {kind}, quality {about.quality}, {tiles}")
        print(f"  size      {about.bytes:,} bytes, {about.bpp:.3f} bits per pixel")
        name = about.model or f"not installed; first shipped with Bifocal {about.release}"
        print(f"  model     {about.fingerprint} (wire id {about.wire_id}), {name}")
        if about.alpha:
            print(f"  alpha     {about.alpha:,} bytes")
        for key, size in about.metadata.items():
            print(f"  metadata  {key}, {size:,} bytes")
