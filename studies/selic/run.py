"""What is a caption worth to a codec? SELIC's arms, trained alike, as real files of Kodak.

    python -m studies.selic.run train --data TRAIN --captions captions.tsv --work RUNS [--seeds 0 1 2]
    python -m studies.selic.run measure --kodak KODAK --captions captions.tsv --work RUNS
    python -m studies.selic.run table --docs

An arm is the recipe `selic-small` with another source. All arms of a seed start as the same codec, see the
same crops at the same qualities, and make as many steps: 2,500 of 16 crops of 128×128 unless `--steps` says
otherwise. What is trained or measured is kept, and not done again. Every file is decoded again from its
bytes. Where a caption is transmitted its bytes are in the file, and so in the rate. Needs the text encoder
(docs/search.md).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import bifocal
from benchmarks import reporting
from bifocal.learn.checkpoint import load_checkpoint
from bifocal.learn.data.captions import sentence_vectors, word_counts
from bifocal.learn.nets.codec import quality_anchors
from bifocal.learn.packing.codec import entropy_model
from bifocal.learn.recipe import Recipe, load_recipe
from bifocal.learn.systems.selic import Selic, SelicConfig, with_caption
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.fit import fit
from bifocal.learn.training.tasks.codec import codec_job
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.measure.metrics import psnr
from bifocal.pictures.captions import CaptionFile
from bifocal.stream.chunks.caption import encode_caption
from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.exact import NumpyEngine
from bifocal.stream.latents import encode_latents, unpack
from bifocal.types import Caption
from studies.selic.tables import ARMS, table

HERE = Path(__file__).parent
RECIPE = Path(bifocal.__file__).parent / "learn" / "recipes" / "selic-small.toml"
QUALITIES = (5, 25, 50, 75, 95)
#: Hashes of words of a transmitted caption.
WORDS = 1024


def recipe_of(arm: str, seed: int) -> Recipe:
    """The recipe of an arm; shuffled captions are read as true ones are."""
    recipe = load_recipe(RECIPE)
    assert isinstance(recipe.system, SelicConfig)
    source = "text" if arm == "shuffled" else arm
    text = WORDS if arm == "transmitted" else recipe.system.text
    system = replace(recipe.system, source=source, text=text)
    return replace(recipe, name=f"selic-{arm}", seed=seed, system=system)


def features_of(arm: str, names: Sequence[str], captions: CaptionFile) -> tuple[Tensor, list[Caption | None]]:
    """Features ``[pictures, n]`` of the captions of pictures, and the captions; of others if shuffled."""
    found = [captions.of(name) for name in names]
    if arm == "shuffled":
        order = np.random.default_rng(len(found)).permutation(len(found))
        shift = np.roll(order, 1)  # nobody keeps its own
        other: list[Caption | None] = [None] * len(found)
        for one, two in zip(order, shift, strict=True):
            other[one] = found[two]
        found = other
    texts = [caption.text if caption else "" for caption in found]
    if arm == "transmitted":
        return word_counts(texts, WORDS), found
    if arm in ("text", "shuffled"):
        return sentence_vectors(texts), found
    return torch.zeros(len(texts), 1), found


def train(chosen: argparse.Namespace) -> None:
    captions = CaptionFile.read(chosen.captions)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    for seed in chosen.seeds:
        for arm in chosen.arms:
            out = chosen.work / f"{arm}-{seed}"
            if reporting.read_json(out / "run.json").get("steps", 0) >= chosen.steps:
                continue
            print(f"{time.strftime('%H:%M')} {arm}, seed {seed}", flush=True)

            def describe(names: Sequence[str], arm: str = arm) -> Tensor:
                return features_of(arm, names, captions)[0]

            job = codec_job(recipe_of(arm, seed), chosen.data, out, device=chosen.device, describe=describe)
            torch.manual_seed(seed)  # qualities and noise, whatever an arm drew for its weights
            fit(job, Budget(steps=chosen.steps))


@torch.no_grad()
def code(
    model: Selic,
    base: EntropyModel,
    pixels: NDArray[np.uint8],
    quality: int,
    caption: Caption | None,
    features: Tensor,
) -> tuple[int, float]:
    """Bytes of a picture's file, and PSNR of what its bytes decode to."""
    model.describe(features)
    mine = with_caption(base, model, features)
    h, w = pixels.shape[:2]
    anchors = quality_anchors(torch.tensor([quality]), model.config.anchors)
    gain, inverse = model.gains(anchors)
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()
    y = model.analyse(x) * gain
    z = model.hyper_latent(y)
    chunks = {"capt": encode_caption(caption)} if model.words is not None and caption else {}
    data, _ = encode_latents(
        y[0].numpy(), z[0].numpy(), width=w, height=h, gray=False, quality=quality, tile=2048,
        model=mine, engine=NumpyEngine(), metadata=chunks,
    )  # fmt: skip
    latents = unpack(data, mine, NumpyEngine())
    y_hat = torch.from_numpy(latents.y)[None].float() / (1 << model.plan.fraction) * inverse
    back = model.synthesise(y_hat)[0].clamp(0, 255).round().permute(1, 2, 0).byte().numpy()
    return len(data), psnr(pixels, back)


def measure(chosen: argparse.Namespace) -> None:
    """Mean bits a pixel and PSNR over the pictures, a pair a quality, for each arm and seed."""
    captions = CaptionFile.read(chosen.captions)
    paths = find_pictures([chosen.kodak])
    pictures = [load_rgb(path) for path in paths]
    if any(side % 64 for picture in pictures for side in picture.shape[:2]):
        raise SystemExit("sides of the pictures are multiples of 64, as Kodak's are.")
    result = reporting.read_json(chosen.results) or {"points": {}, "steps": {}, "pictures": len(paths)}
    for arm in chosen.arms:
        for seed in chosen.seeds:
            folder = chosen.work / f"{arm}-{seed}"
            key = f"{arm}-{seed}"
            steps = reporting.read_json(folder / "run.json").get("steps", 0)
            if not steps or result["steps"].get(key) == steps:
                continue
            model = load_checkpoint(folder / "checkpoint.safetensors").model().eval()
            assert isinstance(model, Selic)
            base = entropy_model(model, "selic", bifocal.__version__, ())
            features, found = features_of(arm, [path.name for path in paths], captions)
            points = []
            for quality in chosen.qualities:
                each = partial(code, model, base, quality=quality)
                coded = [
                    each(pixels=pixels, caption=caption, features=features[k : k + 1])
                    for k, (pixels, caption) in enumerate(zip(pictures, found, strict=True))
                ]
                rates = [8 * size / p[:, :, 0].size for (size, _), p in zip(coded, pictures, strict=True)]
                points.append(
                    [float(f"{np.mean(rates):.7g}"), float(f"{np.mean([d for _, d in coded]):.7g}")]
                )
            result["points"][key] = points
            result["steps"][key] = steps
            print(f"{time.strftime('%H:%M')} {key}: {points}", flush=True)
            result["qualities"], result["machine"] = list(chosen.qualities), reporting.machine()
            reporting.write_json(chosen.results, result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("command", choices=("train", "measure", "table"))
    parser.add_argument("--data", type=Path, help="training pictures")
    parser.add_argument("--captions", type=Path, help="captions of training and Kodak pictures")
    parser.add_argument("--kodak", type=Path)
    parser.add_argument("--work", type=Path, help="checkpoints")
    parser.add_argument("--arms", nargs="+", choices=tuple(ARMS), default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--qualities", nargs="+", type=int, default=list(QUALITIES))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--results", type=Path, default=HERE / "results.json")
    parser.add_argument("--docs", action="store_true", help="fill the page")
    chosen = parser.parse_args()
    if chosen.command == "train":
        train(chosen)
    elif chosen.command == "measure":
        measure(chosen)
    else:
        text = table(reporting.read_json(chosen.results))
        print(text)
        if chosen.docs:
            reporting.fill("selic", text)


if __name__ == "__main__":
    reporting.run(main)
