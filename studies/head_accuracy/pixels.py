"""The baseline of a head: the same residual network on decoded pixels, trained as long on the same views.

    python -m studies.head_accuracy.pixels pixels.bfh --data IMAGENETTE/train \\
        --names imagenette128-classes.tsv --minutes 25 --views 14 --work DIR
    python -m studies.head_accuracy.run --head pixels.bfh --data IMAGENETTE/val --names …
    bifocal bench PICTURES --analyse --against pixels.bfh

Three strided convolutions at its front take 16×16 pixels to one position; from there on the network is the
one that reads latents, so both do about the same work. It is trained on what the decoder shows: each view is
coded at a random quality (rounded as an encoder would, entropy coding left out) and decoded. Split, views,
batches and learning rates are those of `bifocal-train head` with the same seed. Without --data it is not
trained, which is enough for timing.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

import bifocal
from benchmarks import reporting
from bifocal._version import DEFAULT_MODEL
from bifocal.errors import OptionError, PictureError
from bifocal.learn.data.labelled import Labelled, find_labelled, read_rgb, split
from bifocal.learn.data.views import Streams, Views, encode_held, middle, random_view
from bifocal.learn.nets.cost import count
from bifocal.learn.nets.heads.latent_stem import LatentResNet, LatentResNetConfig
from bifocal.learn.nets.heads.pixel_stem import STRIDE, pixel_network
from bifocal.learn.packing.pixel_heads import pixel_head
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.classify.batches import Feed
from bifocal.learn.training.classify.judging import WATCHED
from bifocal.learn.training.classify.recipe import HeadRecipe
from bifocal.learn.training.fit import fit
from bifocal.learn.training.tasks.classify import classify_job
from bifocal.measure.answers import label_pixels
from bifocal.measure.metrics import rgb
from bifocal.runtime.analysis import transform
from bifocal.runtime.heads.run import Head
from bifocal.runtime.model import Model
from bifocal.runtime.rendering import render
from bifocal.storage.filesystem import write_atomically

#: Pixels a side of a view.
SIDE = 128


def mega_mac(network: nn.Module, inputs: Tensor) -> float:
    """Millions of multiply-adds for these inputs."""
    return sum(row.kmac for row in count(network.eval(), lambda: network(inputs), 1)) / 1000


def decoded_view(shown: NDArray[np.uint8], model: Model, quality: int) -> NDArray[np.uint8]:
    """What is left of pixels ``[h, w, 3]`` after coding at ``quality``; nothing is entropy coded."""
    h, w = shown.shape[:2]
    plan = model.entropy.plan
    steps = np.rint(transform(model, shown, (0, 0, w, h)).y * model.gains["gain"][quality - 1][:, None, None])
    y = (steps * 2**plan.fraction).astype(np.int32)
    return render(
        model, lambda rows, columns: y[:, rows, columns], width=w, height=h, quality=quality, gray=False
    )


def decoded_views(labelled: Labelled, model: Model, work: Path, recipe: HeadRecipe) -> Views:
    """The views that `bifocal-train head` makes with this seed, decoded: uint8 ``[n, views, 3, h, w]``.

    They stay in ``work`` for the next run.
    """
    shape = (len(labelled.files), recipe.views, 3, SIDE, SIDE)
    done, part = work / f"pixels-{shape[0]}-{recipe.views}-{recipe.seed}.npy", work / "pixels.npy.part"
    if done.exists():
        return Views(np.load(done, mmap_mode="r", allow_pickle=False), labelled.labels)
    made = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
    for row, file in enumerate(labelled.files):
        pixels = read_rgb(file)
        if pixels is None:
            raise PictureError(f"{file} cannot be read. Take it out of the folder.")
        picture = Image.fromarray(pixels)
        for view in range(recipe.views):
            rng = np.random.default_rng([recipe.seed, row, view])
            shown = random_view(picture, rng, SIDE) if view else middle(picture, SIDE)
            made[row, view] = decoded_view(shown, model, int(rng.integers(1, 101))).transpose(2, 0, 1)
        if row % 500 == 0:
            print(f"decoded views of {row:,} of {len(labelled.files):,} pictures", flush=True)
    made.flush()
    part.rename(done)
    return Views(made, labelled.labels)


def judge(head: Head, streams: Streams, model: Model) -> dict[str, float]:
    """Top-1 on decoded streams, by quality."""
    return {
        name: float(
            np.mean(
                [
                    label_pixels(bifocal.decode(data, model=model).pixels, head).name
                    == head.spec.classes[label]
                    for data, label in pairs
                ]
            )
        )
        for name, pairs in streams.items()
    }


def trained(chosen: argparse.Namespace, work: Path) -> bytes:
    """Train as asked for; the file's bytes, with what is known of it on its card."""
    model = Model.load(DEFAULT_MODEL, threads=1)
    recipe = HeadRecipe(views=chosen.views, seed=chosen.seed, side=SIDE)
    labelled = find_labelled(chosen.data, names=chosen.names)
    torch.manual_seed(recipe.seed)
    views = decoded_views(labelled, model, work, recipe)
    rows, held = split(labelled.labels, recipe.held, recipe.seed)
    streams = encode_held(labelled, held, model, side=SIDE)
    judged = [
        (torch.from_numpy(rgb(bifocal.decode(data, model=model).pixels).transpose(2, 0, 1)).float(), label)
        for data, label in streams[WATCHED]
    ]

    def as_it_is(y: Tensor, rng: np.random.Generator) -> Tensor:
        return y

    network = pixel_network(len(labelled.classes))
    feed = Feed(recipe, views, rows, as_it_is, unit=STRIDE)
    job = classify_job(recipe, network, feed, judged)
    made = fit(job, Budget(minutes=chosen.minutes, steps=chosen.steps))
    assert job.average is not None
    average = job.average.model
    card: dict[str, object] = {
        "minutes": round(made.seconds / 60, 2),
        "steps": made.step,
        "views": recipe.views,
        "pictures": {"train": len(rows), "judged on": len(held)},
        "device": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
    }
    write_atomically(chosen.out, pixel_head(average, labelled.classes, card))
    card["accuracy"] = judge(Head.load(chosen.out, threads=1), streams, model)
    print(json.dumps(card), flush=True)
    reporting.write_json(chosen.results / "pixels.json", card)
    return pixel_head(average, labelled.classes, card)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent)
    parser.add_argument(
        "--data", type=Path, help="a folder per class of pictures; without, it is not trained"
    )
    parser.add_argument("--names", type=Path, help="folder TAB class, where folders are not named so")
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--views", type=int, default=14)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, help="folder for decoded views: 49 kB a view")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    network = pixel_network(10)
    on_latents = LatentResNet(LatentResNetConfig(), torch.zeros(64), torch.ones(64))
    for name, mega in (
        ("pixels", mega_mac(network, torch.zeros(1, 3, SIDE, SIDE))),
        ("latents", mega_mac(on_latents, torch.zeros(1, 64, 8, 8))),
    ):
        print(f"the network on {name}: {mega:.1f} million multiply-adds at {SIDE}×{SIDE}")
    if chosen.data is None:
        torch.manual_seed(chosen.seed)
        classes = Head.load("imagenette").spec.classes
        write_atomically(chosen.out, pixel_head(network, classes, {"trained": "no: for timing only"}))
        return
    if chosen.work is None:
        raise OptionError("Decoded views need a folder. Give --work DIR (49 kB a view).")
    chosen.work.mkdir(parents=True, exist_ok=True)
    write_atomically(chosen.out, trained(chosen, chosen.work))


if __name__ == "__main__":
    reporting.run(main)
