"""``bifocal-train head``: teach a head your classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def head(
    data: Annotated[
        Path,
        typer.Option(
            help="Folder with one subfolder of pictures, or of .bfc files, for each class.",
            show_default=False,
        ),
    ],
    minutes: Annotated[
        float,
        typer.Option(
            help="Train for so long; reading the pictures before is not counted.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="The head, for `bifocal classify --head`.")] = Path("mine.bfh"),
    task: Annotated[str, typer.Option(help="What the head tells: classify is all there is.")] = "classify",
    base: Annotated[
        str, typer.Option(help="The codec whose streams it reads: a model's name or folder.")
    ] = "lowfirst",
    names: Annotated[
        Path | None, typer.Option(help="File of lines FOLDER<TAB>NAME, for better names of classes.")
    ] = None,
    side: Annotated[int, typer.Option(help="Side in pixels of what the head sees at once.")] = 128,
    views: Annotated[int, typer.Option(help="Random views that are made of each picture.")] = 8,
    held: Annotated[float, typer.Option(help="Share of the pictures that the head is judged on.")] = 0.1,
    channels: Annotated[
        int, typer.Option(help="Channels of the latents that it reads; 0: the first band, the cheapest.")
    ] = 0,
    start: Annotated[
        str | None,
        typer.Option(help="A head to start from, shipped (imagenette) or a file: for few pictures."),
    ] = None,
    keep: Annotated[
        list[float] | None,
        typer.Option(
            help="Share of the places that a token selector keeps, once for each selector: a transformer "
            "whose --explain shows what it dropped, in place of the residual network."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(help="Stop after so many steps, if minutes are not over first.")] = 0,
    seed: Annotated[int, typer.Option(help="Of views, split and batches.")] = 0,
    report: Annotated[
        Path | None, typer.Option(help="Folder for the curve and the confusion matrix; beside the head.")
    ] = None,
    work: Annotated[Path | None, typer.Option(help="Folder for temporary files.")] = None,
    card: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE for the head's card, as licence=CC-BY-4.0; any number of them."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda; chosen by itself when empty.")] = "",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 leaves torch's choice.")] = 0,
) -> None:
    """Train a head on your own labelled pictures, the codec frozen, and judge it on real streams.

    Everything is checked before the first step. Ctrl-C ends the training early and packs what there is.
    """
    import torch

    from bifocal.errors import OptionError
    from bifocal.learn.nets.heads.latent_stem import LatentClassifierConfig, LatentResNetConfig
    from bifocal.learn.training.head import train_head
    from bifocal.learn.training.head_loop import HeadRecipe

    if task != "classify":
        raise OptionError(f"there is no task {task!r}: heads classify. Leave --task out.")
    told = {key: value for key, _, value in (entry.partition("=") for entry in card or ())}
    if "" in told or "" in told.values():
        raise OptionError("--card takes KEY=VALUE, for example --card licence=CC-BY-4.0.")
    if threads:
        torch.set_num_threads(threads)
    classifier = LatentClassifierConfig() if keep else LatentResNetConfig()
    recipe = HeadRecipe(
        classifier, tuple(keep or ()), side=side, views=views, held=held, channels=channels, seed=seed
    )
    made = train_head(
        data,
        out,
        minutes=minutes,
        steps=steps,
        recipe=recipe,
        base=base,
        names=names,
        report=report,
        work=work,
        start=start,
        card=told,
        device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
    )
    print(f"wrote {made.path}; curve and confusion matrix are in {made.report}")
    print(f"try it: bifocal classify FILE.bfc --head {made.path}")
