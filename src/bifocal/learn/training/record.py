"""What a run leaves behind: its record, a plot of its curve and samples of validation pictures."""

from __future__ import annotations

import csv
import dataclasses
import platform
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from PIL import Image

from bifocal.learn.data.crops import Corpus
from bifocal.learn.nets.codec import Codec
from bifocal.learn.recipe import Recipe

matplotlib.use("Agg")
from matplotlib import pyplot

SAMPLES = 4
SIDE = 128
SAMPLE_QUALITIES = (10, 50, 90)


def run_record(recipe: Recipe, *, seconds: float, steps: int, device: str, pictures: int) -> dict[str, Any]:
    """What a run was, for checkpoints and ``run.json``: recipe, length, machine, and how many pictures."""
    return {
        "recipe": dataclasses.asdict(recipe),
        "minutes": round(seconds / 60, 2),
        "steps": steps,
        "crops": steps * recipe.batch,
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.machine() + " CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "pictures": pictures,
    }


def write_report(model: Codec, corpus: Corpus, out: Path, *, exact: bool) -> None:
    """Write ``curve.png`` from ``curve.csv`` and ``samples.png``: originals, then qualities 10, 50, 90."""
    _plot(out / "curve.csv", out / "curve.png")
    device = next(model.parameters()).device
    rows = []
    for picture in corpus.validation[:SAMPLES]:
        tile = picture[:SIDE, :SIDE]
        pixels = torch.from_numpy(tile.copy()).permute(2, 0, 1)[None].float().to(device)
        row = [tile]
        for q in SAMPLE_QUALITIES:
            with torch.no_grad():
                coded = model(pixels, torch.tensor([q], device=device), exact=exact, noise=False)
            row.append(coded.output[0].clamp(0, 255).round().byte().permute(1, 2, 0).cpu().numpy())
        rows.append(np.concatenate(row, 1))
    if rows:
        Image.fromarray(np.concatenate(rows, 0)).save(out / "samples.png")


def _plot(source: Path, target: Path) -> None:
    if not source.exists():  # a run of a few seconds logs nothing
        return
    with source.open() as file:
        rows = list(csv.DictReader(file))
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
    for axis, key in zip(axes, ("loss", "bpp", "psnr"), strict=True):
        axis.plot([float(r["seconds"]) / 60 for r in rows], [float(r[key]) for r in rows])
        axis.set(xlabel="minutes", title=key)
    figure.savefig(target, dpi=100)
    pyplot.close(figure)
