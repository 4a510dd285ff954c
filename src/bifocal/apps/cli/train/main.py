"""``bifocal-train``: run a recipe, pack a checkpoint, count a codec's cost. Needs the ``train`` extra."""

from __future__ import annotations

import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from bifocal.apps.cli.launch import launch, new_app
from bifocal.apps.cli.train.head import head
from bifocal.errors import install_command

app = new_app("Train and pack Bifocal's models.")
app.command()(head)


@app.command("run")
def run_recipe(
    recipe: Annotated[
        Path,
        typer.Argument(
            help="A recipe of yours, or a shipped one: recipes/lowfirst.toml.", show_default=False
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="Folder of pictures or of tar shards; a joint recipe takes a subfolder for each class.",
            show_default=False,
        ),
    ],
    minutes: Annotated[
        float, typer.Option(help="Stop after this long; validation does not count.", show_default=False)
    ],
    steps: Annotated[
        int, typer.Option(help="Stop after this many steps, if minutes are not over first.")
    ] = 0,
    out: Annotated[Path | None, typer.Option(help="Where to write; runs/NAME by default.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Checkpoint to go on from.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda; chosen by itself when empty.")] = "",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 leaves torch's choice.")] = 0,
    names: Annotated[
        Path | None, typer.Option(help="Names of classes for a joint recipe: lines FOLDER, tab, NAME.")
    ] = None,
) -> None:
    """Train a recipe for some minutes and write checkpoint, curves and run record."""
    import torch

    from bifocal.learn.recipe import load_recipe
    from bifocal.learn.training.loop import train
    from bifocal.learn.training.tasks.joint import train_joint

    if threads:
        torch.set_num_threads(threads)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    loaded = load_recipe(recipe)
    out = out or Path("runs") / loaded.name
    run = train if loaded.joint is None else partial(train_joint, names=names)
    path = run(loaded, data, out, minutes=minutes, steps=steps, resume=resume, device=device)
    print(f"wrote {path}")


@app.command()
def distil(
    recipe: Annotated[
        Path,
        typer.Argument(
            help="A recipe with a [distil] table, yours or shipped: recipes/feds-small.toml.",
            show_default=False,
        ),
    ],
    teacher: Annotated[
        Path, typer.Option(help="Checkpoint of the teacher, by `bifocal-train run`.", show_default=False)
    ],
    data: Annotated[Path, typer.Option(help="Folder of pictures or of tar shards.", show_default=False)],
    minutes: Annotated[
        float, typer.Option(help="Stop after this long; validation does not count.", show_default=False)
    ],
    steps: Annotated[
        int, typer.Option(help="Stop after this many steps, if minutes are not over first.")
    ] = 0,
    out: Annotated[Path | None, typer.Option(help="Where to write; runs/NAME by default.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda; chosen by itself when empty.")] = "",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 leaves torch's choice.")] = 0,
) -> None:
    """Train a recipe's codec as the student of a larger one; write what `run` writes."""
    import torch

    from bifocal.learn.recipe import load_recipe
    from bifocal.learn.training.tasks.distil import distil as train_student

    if threads:
        torch.set_num_threads(threads)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    loaded = load_recipe(recipe)
    out = out or Path("runs") / loaded.name
    path = train_student(loaded, teacher, data, out, minutes=minutes, steps=steps, device=device)
    print(f"wrote {path}")


@app.command()
def pack(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint of `bifocal-train run`.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the packed model, replaced as a whole; packed/NAME by default."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The training pictures: the tables are fitted to their symbols.")
    ] = None,
    name: Annotated[str, typer.Option(help="The model's name; its codec's if empty.")] = "",
    version: Annotated[str, typer.Option(help="The Bifocal version that ships it; this one if empty.")] = "",
) -> None:
    """Make the runtime model of a checkpoint and prove that its integers are exact.

    A joint codec's label reader comes with it, as labels.bfh: `bifocal classify --head OUT/labels.bfh`.
    """
    from bifocal import __version__
    from bifocal.learn.checkpoint import load_checkpoint
    from bifocal.learn.packing.codec import pack as pack_model
    from bifocal.learn.packing.codec import table_pictures
    from bifocal.learn.systems.registry import system_of

    loaded = load_checkpoint(checkpoint)
    name = name or system_of(loaded.config).name
    out = out or Path("packed") / name
    pictures = table_pictures(loaded, data) if data else ()
    proof = pack_model(loaded, out, name=name, version=version or __version__, pictures=pictures)
    for net, largest in proof.items():
        print(f"{net:10} largest possible sum {largest:9,} of 2^24 = 16,777,216: exact in float32")
    if system_of(loaded.config).name == "joint":
        from bifocal.learn.training.tasks.joint import label_head
        from bifocal.runtime.model import Model

        (out / "labels.bfh").write_bytes(label_head(loaded, Model.load(out), name))
    print(f"wrote {out}")


@app.command()
def revive(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint of `bifocal-train run`.", show_default=False)
    ],
    data: Annotated[Path, typer.Option(help="The training pictures.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The checkpoint to go on from.", show_default=False)],
) -> None:
    """Start units that no picture wakes afresh, without changing what the network computes."""
    from bifocal.learn.checkpoint import load_checkpoint, save_checkpoint
    from bifocal.learn.packing.codec import table_pictures
    from bifocal.learn.training.dormant import revived

    loaded = load_checkpoint(checkpoint)
    made, count = revived(loaded, table_pictures(loaded, data, 24))
    save_checkpoint(out, made)
    print(f"started {count} units afresh; wrote {out}")


@app.command()
def slim(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint of `bifocal-train run`.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="The small checkpoint.", show_default=False)],
) -> None:
    """Keep only the averaged weights, in float16: a quarter of the size, and a run can resume from it."""
    from bifocal.learn.checkpoint import load_checkpoint, save_checkpoint

    save_checkpoint(out, load_checkpoint(checkpoint), half=True)
    print(f"wrote {out}")


@app.command()
def cost(
    recipe: Annotated[
        Path, typer.Argument(help="Count the codec of this recipe; the default codec's if not given.")
    ] = Path("lowfirst.toml"),
) -> None:
    """Count a codec's parameters and multiply-adds a pixel, part by part."""
    import torch

    from bifocal.learn.nets.codec import DECODER_PARTS
    from bifocal.learn.nets.cost import count
    from bifocal.learn.recipe import load_recipe
    from bifocal.learn.systems.registry import system_of

    config = load_recipe(recipe).system
    model, size = system_of(config).codec(config), 256
    pixels, quality = torch.zeros(1, 3, size, size), torch.tensor([50])
    rows = count(model, lambda: model(pixels, quality, exact=False, noise=False), size * size)
    for row in rows:
        print(f"{row.part:18} {row.parameters:10,} parameters {row.kmac:8.2f} kMAC/px")
    # the fixed packet transform runs once on each side
    decode = sum(row.kmac for row in rows if row.part in DECODER_PARTS) + rows[-1].kmac / 2
    print(f"decode: {decode:.2f} kMAC/px of {', '.join(DECODER_PARTS)} and half of the fixed transforms")


def run() -> None:
    """Entry point of the ``bifocal-train`` command."""
    if find_spec("torch") is None:
        print(
            f"bifocal-train: torch is not installed. Install it with: {install_command('train')}",
            file=sys.stderr,
        )
        sys.exit(1)
    launch(app, "bifocal-train")
