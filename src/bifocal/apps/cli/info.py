"""``bifocal info``: what streams say of themselves."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from bifocal.apps.cli import options
from bifocal.apps.cli.display import Display
from bifocal.apps.cli.launch import printable
from bifocal.apps.cli.outputs import files_for_dashes

if TYPE_CHECKING:
    from bifocal.apps.batch import FileResult


def info(inputs: options.Streams, as_json: options.AsJson = False) -> None:
    """Print what is in .bfc streams, without decoding them."""
    from bifocal.apps import batch

    display = Display("reading", "read", "streams", _as_json if as_json else _as_text, summary=False)
    with display, files_for_dashes(inputs) as files:
        batch.read(
            batch.Worker("info"),
            files.inputs,
            on_start=display.start,
            on_result=lambda result: display.show(files.rename(result)),
        )


def _as_json(result: FileResult) -> str:
    assert result.info is not None
    return json.dumps({"path": result.pair.source, **dataclasses.asdict(result.info)})


def _as_text(result: FileResult) -> str:
    about = result.info
    assert about is not None
    kind = "gray" if about.gray else "RGB"
    tiles = "1 tile" if about.tiles == 1 else f"{about.tiles} tiles of {about.tile} pixels"
    name = about.model or f"not installed; first shipped with Bifocal {about.release}"
    lines = [
        printable(result.pair.source),
        f"  picture   {about.width}×{about.height} {kind}, quality {about.quality}, {tiles}",
        f"  size      {about.bytes:,} bytes, {about.bpp:.3f} bits per pixel",
        f"  model     {about.fingerprint} (wire id {about.wire_id}), {name}",
    ]
    if about.lossless:
        lines.append(f"  lossless  {about.lossless} of {tiles}")
    if about.alpha:
        lines.append(f"  alpha     {about.alpha:,} bytes")
    if about.plane:
        lines.append(f"  plane     {about.plane:,} bytes")
    if about.caption:
        tag = f"[{about.caption.language}] " if about.caption.language else ""
        lines.append(f"  caption   {tag}{about.caption.shown}")
    lines += [f"  metadata  {key}, {size:,} bytes" for key, size in about.metadata.items()]
    return "\n".join(lines)
