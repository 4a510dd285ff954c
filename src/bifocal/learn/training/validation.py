"""What a codec in training is judged by: rounded rate and distortion of held pictures, and how they look."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from bifocal.learn.data.crops import Corpus, Pixels
from bifocal.learn.nets.codec import Codec, quality_lambda

matplotlib.use("Agg")
from matplotlib import pyplot

VALIDATION_QUALITIES = (1, 15, 30, 45, 60, 75, 90, 100)
FIGURES = ("loss", "bpp", "psnr")
SAMPLES = 4
SIDE = 128
SAMPLE_QUALITIES = (10, 50, 90)


def middles(corpus: Corpus, device: str | torch.device, size: int = 256) -> list[Tensor]:
    """The middle of each validation picture, ``[1, 3, h, w]`` in 0..255, ``size`` pixels a side at most."""
    made = []
    for picture in corpus.validation:
        h, w = (min(s, size) // 64 * 64 for s in picture.shape[:2])
        i, j = (picture.shape[0] - h) // 2, (picture.shape[1] - w) // 2
        made.append(_to_tensor(picture[i : i + h, j : j + w], device))
    return made


@torch.no_grad()
def validate(model: Codec, corpus: Corpus, *, exact: bool, size: int = 256) -> list[dict[str, float]]:
    """Rounded rate and distortion on the middle of each validation picture, a row a quality, in float32.

    Rows hold quality, mean bpp, mean PSNR (per picture first), mean loss ``bpp + lambda·MSE``, and where a
    system decodes smaller pictures the mean PSNR of each, ``psnr_1/n``, against averages of the picture.
    """
    device = next(model.parameters()).device
    pictures = middles(corpus, device, size)
    rows = []
    for q in VALIDATION_QUALITIES:
        figures = [_figures(model, pixels, q, exact) for pixels in pictures]
        means = {name: float(np.mean([found[name] for found in figures])) for name in figures[0]}
        rows.append({"quality": q, **means})
    return rows


def _figures(model: Codec, pixels: Tensor, q: int, exact: bool) -> dict[str, float]:
    quality = torch.tensor([q], device=pixels.device)
    lam = float(quality_lambda(model.config, quality))
    coded = model(pixels, quality, exact=exact, noise=False)
    bpp = float(coded.bits) / (pixels.shape[2] * pixels.shape[3])
    mse = _squared_error(coded.output, pixels)
    found = {"loss": bpp + lam * mse, "bpp": bpp, "psnr": _psnr(mse)}
    for x in coded.small:
        reduction = pixels.shape[3] // x.shape[3]
        found[f"psnr_1/{reduction}"] = _psnr(_squared_error(x, F.avg_pool2d(pixels, reduction)))
    return found


def _squared_error(output: Tensor, target: Tensor) -> float:
    return float(((output.clamp(0, 255).round() - target) ** 2).mean())


def _psnr(mse: float) -> float:
    return float(10 * np.log10(255**2 / max(mse, 1e-3)))


@torch.no_grad()
def write_samples(model: Codec, pictures: Sequence[Pixels], target: Path, *, exact: bool) -> None:
    """A picture of corners of ``pictures``: the originals, then qualities 10, 50 and 90."""
    device = next(model.parameters()).device
    rows = []
    for picture in pictures[:SAMPLES]:
        tile = picture[:SIDE, :SIDE]
        pixels, row = _to_tensor(tile, device), [tile]
        for q in SAMPLE_QUALITIES:
            coded = model(pixels, torch.tensor([q], device=device), exact=exact, noise=False)
            row.append(coded.output[0].clamp(0, 255).round().byte().permute(1, 2, 0).cpu().numpy())
        rows.append(np.concatenate(row, 1))
    if rows:
        Image.fromarray(np.concatenate(rows, 0)).save(target)


def draw_curve(source: Path, target: Path) -> None:
    """Loss, rate and PSNR over the minutes of a run, from its ``curve.csv``."""
    if not source.exists():  # a run of a few seconds logs nothing
        return
    with source.open() as file:
        rows = list(csv.DictReader(file))
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
    for axis, key in zip(axes, FIGURES, strict=True):
        axis.plot([float(r["seconds"]) / 60 for r in rows], [float(r[key]) for r in rows])
        axis.set(xlabel="minutes", title=key)
    figure.savefig(target, dpi=100)
    pyplot.close(figure)


def _to_tensor(picture: Pixels, device: str | torch.device) -> Tensor:
    """A picture uint8 ``[h, w, 3]`` as float ``[1, 3, h, w]``, channels last in memory."""
    return torch.from_numpy(np.array(picture[None])).to(device).permute(0, 3, 1, 2).float()
