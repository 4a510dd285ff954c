"""The joint codec against decode-then-classify, with and without aggregation, in two steps and in one.

    python -m studies.joint.run --data IMAGENETTE --work DIR [--seeds 0 1 2] [--arms joint plain …] [--docs]

``IMAGENETTE`` has the folders ``train`` and ``val``, with a subfolder for each class; everything is trained
and measured on 64×64 squares of them. Every arm of every seed leaves ``DIR/ARM-SEED/figures.json`` and is
skipped when that file exists, so that the command can be stopped and given again; tables and plot show what
was measured so far.

Arms: ``joint``, the recipe joint-small.toml; ``plain``, the same without aggregation (the picture is made
from F0 alone); ``one-step``, the same number of batches with the entropy model from the start; ``pixels``, a
classifier with the same encoder and transformer on original pixels, label loss alone, as many batches;
``decoded``, that classifier trained for the batches of a second step more on decoded pictures of ``joint``
(so it has half as many again). Bytes are those of files; labels of ``joint`` are read from files by
``bifocal.analyse``.
"""

from __future__ import annotations

import io
import json
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

import bifocal
from benchmarks import reporting
from bifocal import __version__
from bifocal.errors import TrainingError
from bifocal.learn.checkpoint import load_checkpoint
from bifocal.learn.data.labelled import find_labelled, load_squares
from bifocal.learn.data.squares import LabelledSquares, Squares, as_tensor
from bifocal.learn.nets.cost import count
from bifocal.learn.packing.codec import pack
from bifocal.learn.packing.heads import label_head
from bifocal.learn.recipe import Recipe, load_recipe
from bifocal.learn.systems.joint import Joint, JointConfig
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.fit import Loss, fit
from bifocal.learn.training.joint_codec import LabelledLoss, joint_phases
from bifocal.learn.training.run_folder import RunFolder
from bifocal.learn.training.tasks.joint import joint_data, phase_job, train_joint
from bifocal.measure.metrics import psnr
from bifocal.runtime.model import Model
from studies.joint.tables import write_results

QUALITIES = (20, 50, 80)
MIDDLE = 50
JPEG_QUALITIES = (1, 5, 10, 20, 35, 50, 75)
ARMS = ("joint", "pixels", "plain", "decoded", "one-step")
MARGIN_VIEWS = 2  # decoded crops of each training picture
Pixels = NDArray[np.uint8]


def arm_recipe(arm: str, seed: int) -> Recipe:
    """The recipe of an arm: joint-small.toml, changed in one thing."""
    recipe = replace(load_recipe(Path("joint-small.toml")), name=arm, seed=seed)
    assert recipe.joint is not None
    if arm == "plain":
        return replace(recipe, system=replace(config_of(recipe), aggregated=1))
    if arm == "one-step":
        return replace(recipe, joint=replace(recipe.joint, first=0.0, second=1.0))
    return recipe


def config_of(recipe: Recipe) -> JointConfig:
    """The configuration of the joint codec in a recipe for one."""
    assert isinstance(recipe.system, JointConfig)
    return recipe.system


def load_squares_once(data: Path, work: Path, recipe: Recipe) -> tuple[LabelledSquares, Squares]:
    """Training and test squares; decoded once and kept in ``work``."""
    kept = work / "squares.npz"
    if not kept.exists():
        squares = joint_data(replace(recipe, seed=0), data / "train")
        assert recipe.joint is not None
        found, pixels = load_squares(find_labelled(data / "val"), recipe.crop + recipe.joint.margin)
        test = Squares(pixels, found.labels).middle(recipe.crop)
        arrays = {"classes": np.array(squares.classes)}
        for name, part in (("train", squares.train), ("held", squares.held), ("test", test)):
            arrays |= {f"{name}_pixels": part.pixels, f"{name}_labels": part.labels}
        work.mkdir(parents=True, exist_ok=True)
        np.savez(kept, **arrays)  # type: ignore[arg-type]
    with np.load(kept, allow_pickle=False) as file:
        names = ("train", "held", "test")
        train, held, test = (Squares(file[f"{n}_pixels"], file[f"{n}_labels"]) for n in names)
        return LabelledSquares(train, held, tuple(str(c) for c in file["classes"])), test


# -- classifiers of pixels -----------------------------------------------------------------------------------


def label_loss(model: Joint, smoothing: float) -> LabelledLoss:
    """Cross-entropy alone, from pixels through the same encoder and transformer; nothing is rounded."""

    def loss(pixels: Tensor, labels: Tensor) -> Loss:
        logits = model.labels(model.analyse(pixels).float()).float()
        error = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        right = (logits.argmax(1) == labels).float().mean()
        return Loss(error, torch.stack([error.detach(), error.detach() * 0, error.detach() * 0, right]))

    return loss


def train_classifier(
    recipe: Recipe, data: Squares, out: Path, steps: int, *, start: Path | None = None, part: str = ""
) -> Path:
    """A classifier on ``data``, over the recipe's phases (or the one called ``part``); its weights."""
    assert recipe.joint is not None
    torch.manual_seed(recipe.seed)
    model = Joint(config_of(recipe))
    if start is not None:
        model.load_state_dict(load_file(start))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    folder, loss = RunFolder(out, {}), label_loss(model, recipe.joint.smoothing)
    for phase in joint_phases(recipe.joint, recipe, Budget(steps=steps)):
        if part in ("", phase.name):
            fit(phase_job(model, data, loss, phase, recipe, folder), phase.budget)
    path = out / "weights.safetensors"
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
    return path


@torch.no_grad()
def accuracy_of(model: Joint, pixels: Pixels, labels: NDArray[np.int64]) -> float:
    """Share of pictures uint8 ``[n, s, s, 3]`` that the classifier names rightly."""
    right = 0
    for i in range(0, len(labels), 100):
        logits = model.labels(model.analyse(as_tensor(np.ascontiguousarray(pixels[i : i + 100]))))
        right += int((logits.argmax(1).numpy() == labels[i : i + 100]).sum())
    return right / len(labels)


def jpeg_curve(model: Joint, test: Squares) -> list[dict[str, float]]:
    """Bytes and accuracy of ``test`` as JPEG (Pillow, optimised tables, 4:2:0), a row a quality."""
    rows = []
    for quality in JPEG_QUALITIES:
        sizes, bare, decoded = [], [], []
        for picture in test.pixels:
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "JPEG", quality=quality, optimize=True)
            sizes.append(len(buffer.getvalue()))
            bare.append(jpeg_without_tables(buffer.getvalue()))
            decoded.append(np.asarray(Image.open(buffer).convert("RGB")))
        seen = np.stack(decoded)
        accuracy = accuracy_of(model, seen, test.labels)
        rows.append(
            {
                "quality": quality,
                "bytes": float(np.mean(sizes)),
                "bare_bytes": float(np.mean(bare)),
                "psnr": mean_psnr(seen, test.pixels),
                "accuracy": accuracy,
            }
        )
    return rows


def jpeg_without_tables(data: bytes) -> int:
    """Bytes of a JPEG file without its headers and tables: only the coded data and its scan header."""
    offset, bare = 2, len(data)
    while data[offset + 1] != 0xDA:  # start of scan
        length = int.from_bytes(data[offset + 2 : offset + 4], "big") + 2
        offset, bare = offset + length, bare - length
    return bare


def mean_psnr(a: Pixels, b: Pixels) -> float:
    """Mean PSNR over pictures ``[n, h, w, 3]``."""
    return float(np.mean([psnr(x, y) for x, y in zip(a, b, strict=True)]))


# -- joint codecs --------------------------------------------------------------------------------------------


def measure_codec(checkpoint: Path, test: Squares, out: Path, limit: int) -> list[dict[str, Any]]:
    """Files of ``test``: bytes, PSNR when decoded, accuracy of labels from the stream; a row a quality."""
    folder = out / "packed"
    loaded = load_checkpoint(checkpoint)
    pack(loaded, folder, name="joint-small", version=__version__)
    model = Model.load(folder, threads=1)
    head_file = out / "labels.bfh"
    head_file.write_bytes(label_head(loaded, model, "joint-small"))
    head, rows = bifocal.Head.load(head_file), []
    classes = loaded.history[-1]["classes"]
    for quality in QUALITIES:
        sizes, right, decoded = [], 0, []
        for picture, label in zip(test.pixels[:limit], test.labels[:limit], strict=True):
            data = bifocal.encode(picture, quality=quality, model=model)
            sizes.append(len(data))
            decoded.append(bifocal.decode(data, model=model).pixels)
            right += bifocal.analyse(data, head=head, model=model).names[0] == classes[label]
        seen = np.stack(decoded)
        np.save(out / f"decoded-{quality}.npy", seen)
        rows.append(
            {
                "quality": quality,
                "bytes": float(np.mean(sizes)),
                "psnr": mean_psnr(seen, test.pixels[:limit]),
                "accuracy": right / len(seen),
            }
        )
    return rows


@torch.no_grad()
def decoded_squares(checkpoint: Path, data: Squares, crop: int, seed: int) -> Squares:
    """Random crops of ``data`` as the joint codec decodes them at middle quality, by the network in torch."""
    model = load_checkpoint(checkpoint).model().eval()
    rng, made, labels = np.random.default_rng(seed), [], []
    spare = data.pixels.shape[1] - crop
    for _ in range(MARGIN_VIEWS):
        for i in range(0, len(data.labels), 100):
            top, left = rng.integers(0, spare + 1, 2)
            part = data.pixels[i : i + 100, top : top + crop, left : left + crop]
            x = as_tensor(np.ascontiguousarray(part))
            output = model(x, torch.full((len(x),), MIDDLE), exact=True, noise=False).output
            made.append(output.clamp(0, 255).round().byte().permute(0, 2, 3, 1).numpy())
            labels.append(data.labels[i : i + 100])
    return Squares(np.concatenate(made), np.concatenate(labels))


def costs(recipe: Recipe) -> dict[str, float]:
    """Millions of multiply-adds at 64×64 pixels of each way from a stream to its label or picture."""
    model = Joint(config_of(recipe)).eval()
    size = recipe.crop
    pixels, quality = torch.zeros(1, 3, size, size), torch.tensor([MIDDLE])
    with torch.no_grad():
        y = model.analyse(pixels)

    def mega(run: Callable[[], object]) -> float:
        return sum(row.kmac for row in count(model, run, size * size)) * size * size / 1e3

    picture, label = mega(lambda: model.synthesise(y)), mega(lambda: model.labels(y))
    analysis = mega(lambda: model.analyse(pixels))
    whole = mega(lambda: model(pixels, quality, exact=False, noise=False))
    hyper_analysis = mega(lambda: model.hyper_latent(y))
    entropy = whole - picture - analysis - hyper_analysis
    return {
        "encode": analysis + hyper_analysis + entropy,
        "label": entropy + label,
        "picture": entropy + picture,
        "picture, then label": entropy + picture + analysis + label,
        "label from original pixels": analysis + label,
    }


def load_decoded(folder: Path, quality: int) -> Pixels:
    """The test pictures as :func:`measure_codec` decoded them."""
    pixels: Pixels = np.load(folder / f"decoded-{quality}.npy", allow_pickle=False)
    return pixels


# -- arms ----------------------------------------------------------------------------------------------------


def run_arm(
    arm: str, seed: int, work: Path, squares: LabelledSquares, test: Squares, steps: int, limit: int
) -> dict[str, Any]:
    """Train and measure one arm; what it finds."""
    recipe, out = arm_recipe(arm, seed), work / f"{arm}-{seed}"
    if arm in ("joint", "plain", "one-step"):
        checkpoint = out / "checkpoint.safetensors"
        if not (out / "run.json").exists():
            (out / "curve.csv").unlink(missing_ok=True)
            train_joint(recipe, squares, out, Budget(steps=steps))
        return {"rows": measure_codec(checkpoint, test, out, limit)}
    for needed in (work / f"joint-{seed}", work / f"pixels-{seed}")[: 1 if arm == "pixels" else 2]:
        if not (needed / "figures.json").exists():
            raise TrainingError(f"arm {arm} needs {needed}, which is not finished. Run that arm first.")
    found: dict[str, Any] = {}
    classifier = Joint(config_of(recipe)).eval()
    joint = work / f"joint-{seed}"
    if arm == "pixels":
        weights = train_classifier(recipe, squares.train, out, steps)
    else:
        data = decoded_squares(joint / "checkpoint.safetensors", squares.train, recipe.crop, seed)
        start = work / f"pixels-{seed}" / "weights.safetensors"
        weights = train_classifier(recipe, data, out, steps, start=start, part="second")
    classifier.load_state_dict(load_file(weights))
    test = Squares(test.pixels[:limit], test.labels[:limit])
    found["original"] = accuracy_of(classifier, test.pixels, test.labels)
    found["decoded"] = {
        str(q): accuracy_of(classifier, load_decoded(joint, q), test.labels) for q in QUALITIES
    }
    if arm == "pixels":
        found["jpeg"] = jpeg_curve(classifier, test)
    return found


def main() -> None:
    parser = reporting.parser(__doc__, Path(__file__).parent)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/CLASS and val/CLASS")
    parser.add_argument("--work", type=Path, required=True, help="where runs are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, help="all by default, one-step for seed 0 alone")
    parser.add_argument("--steps", type=int, default=800, help="batches of 64 for each arm")
    parser.add_argument("--limit", type=int, default=1000, help="test pictures")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    squares, test = load_squares_once(chosen.data, chosen.work, arm_recipe("joint", 0))
    order = np.random.default_rng(0).permutation(len(test.labels))  # a limit takes all classes alike
    test = test.take(order)
    for seed in chosen.seeds:
        for arm in (a for a in ARMS if a in (chosen.arms or ARMS)):
            path = chosen.work / f"{arm}-{seed}" / "figures.json"
            if path.exists() or (arm == "one-step" and seed > 0 and not chosen.arms):
                continue
            begin = time.process_time()
            found = run_arm(arm, seed, chosen.work, squares, test, chosen.steps, chosen.limit)
            found |= {"arm": arm, "seed": seed, "steps": chosen.steps}
            found["pictures"] = min(chosen.limit, len(test.labels))
            found["cpu_seconds"] = round(time.process_time() - begin)
            reporting.write_json(path, found)
            print(f"{arm} seed {seed}: done in {found['cpu_seconds']} s of processor time", flush=True)
    figures = [json.loads(p.read_text()) for p in sorted(chosen.work.glob("*/figures.json"))]
    machine = f"{platform.machine()} CPU, one thread, torch {torch.__version__}"
    write_results(chosen, figures, costs(arm_recipe("joint", 0)), machine)


if __name__ == "__main__":
    reporting.run(main)
