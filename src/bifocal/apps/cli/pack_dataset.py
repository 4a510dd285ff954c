"""``bifocal pack-dataset``: a labelled folder to shards that training reads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bifocal.apps.cli import options
from bifocal.apps.cli.display import Display

Folder = Annotated[
    Path, typer.Argument(help="A folder of pictures, one subfolder for each class.", show_default=False)
]
Shards = Annotated[Path, typer.Argument(help="The folder for the shards.", show_default=False)]
Qualities = Annotated[
    list[int] | None,
    typer.Option(
        "--quality",
        "-q",
        min=1,
        max=100,
        help="Quality of the streams; repeat it, and every picture has a stream of each.",
        show_default="60",
    ),
]
PerShard = Annotated[int, typer.Option("--per-shard", min=1, help="Pictures of a shard.")]
Seed = Annotated[int, typer.Option(help="Mixes the pictures, so that every shard has all classes.")]


def pack_dataset(
    folder: Folder,
    shards: Shards,
    quality: Qualities = None,
    per_shard: PerShard = 1000,
    seed: Seed = 0,
    model: options.Model = None,
    jobs: options.Jobs = 1,
    resume: options.Resume = False,
    force: options.Force = False,
) -> None:
    """Encode a labelled folder as tar shards in WebDataset's layout, with a manifest.

    bifocal.data.StreamDataset and other loaders read them.
    """
    from bifocal.apps.data.packing import pack_dataset as pack

    display = Display("encoding", "encoded", "pictures", lambda result: "", lines=False, resumable=True)
    with display:
        packed = pack(
            folder,
            shards,
            qualities=quality or [60],
            per_shard=per_shard,
            seed=seed,
            model=model,
            jobs=jobs,
            resume=resume,
            replace=force,
            on_start=display.start,
            on_result=display.show,
        )
        about = packed.manifest
        share = f", {packed.bytes_out / packed.bytes_in:.1%} of the pictures" if packed.bytes_in else ""
        print(
            f"{about.samples:,} samples of {len(about.classes)} classes in {len(about.shards)} shards, "
            f"{packed.bytes_out:,} bytes{share}: {shards}",
            file=sys.stdout,
        )
