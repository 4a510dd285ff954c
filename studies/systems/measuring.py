"""Measuring trained rows: real files of every picture at every quality, decoded again; and times."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import bifocal
from benchmarks import reporting
from bifocal.learn.checkpoint import Checkpoint, load_checkpoint
from bifocal.learn.nets.codec import Codec
from bifocal.learn.nets.cost import count
from bifocal.learn.packing.codec import pack, table_pictures
from bifocal.measure import MeasureError
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.measure.metrics import Pixels, psnr
from bifocal.runtime.encoding import Encoder
from studies.systems.rows import RESULTS, Row
from studies.systems.training import checkpoint_of, sha256

QUALITIES = (5, 25, 50, 75, 95)
#: Plain rounding, as in the papers: the search of an encoder (docs/effort.md) is not what is compared.
EFFORT = 0
TILE = 2048
#: Training pictures that tables are fitted to, kept as PNG so that the corpus is decoded once for all rows.
FITTED = 16
TIMES = RESULTS / "times.json"


def packed_folder(row: Row, work: Path) -> Path:
    """The folder of the packed model of a measured row."""
    return work / row.name / "packed"


def measure(
    row: Row, kodak: Path, data: Path | None, work: Path, *, qualities: Sequence[int] = QUALITIES
) -> dict[str, Any]:
    """Pack a trained row, code and decode all pictures, and write its results; return them."""
    path = checkpoint_of(row, work)
    checkpoint = load_checkpoint(path)
    codec = checkpoint.model().eval()
    pictures = [(p.name, load_rgb(p)) for p in find_pictures([kodak])]
    start = time.process_time()
    if row.estimated:
        points = {name: _estimated(codec, pixels, qualities) for name, pixels in pictures}
        size, fingerprint = 0, ""
    else:
        folder = packed_folder(row, work)
        fit = fitting_pictures(checkpoint, data, work) if data else ()
        pack(checkpoint, folder, name=row.name[:32], version=bifocal.__version__, pictures=fit)
        model = bifocal.Model.load(folder)
        points = {name: _coded(model, pixels, qualities) for name, pixels in pictures}
        size = sum(f.stat().st_size for f in folder.iterdir())
        fingerprint = model.entropy.fingerprint.hex()
    result = {
        "row": row.name,
        "checkpoint_sha256": sha256(path),
        "crops": sum(int(run["crops"]) for run in checkpoint.history),
        "estimated": row.estimated,
        "effort": EFFORT,
        "tables": f"fitted to {FITTED} training pictures" if data and not row.estimated else "logistic",
        "packed_bytes": size,
        "fingerprint": fingerprint,
        "processor_seconds": round(time.process_time() - start),
        "cost": cost(codec),
        "qualities": list(qualities),
        "points": points,
    }
    lines = ",\n ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in result.items())
    reporting.write_text(row.results, f"{{\n {lines}\n}}")
    return result


def is_measured(row: Row, work: Path) -> bool:
    """Whether there are results of the very checkpoint that was trained."""
    if not row.results.exists():
        return False
    known = json.loads(row.results.read_text("utf-8"))["checkpoint_sha256"]
    return bool(known == sha256(checkpoint_of(row, work)))


def _coded(model: bifocal.Model, pixels: Pixels, qualities: Sequence[int]) -> list[list[float]]:
    """Bits per pixel of whole files and PSNR over RGB of what they decode to, a pair a quality."""
    encoder = Encoder(pixels, model, tile=TILE, keep=True)  # one analysis for all qualities
    points = []
    for quality in qualities:
        data = encoder.encode(quality, effort=EFFORT).data
        back = bifocal.decode(data, model=model).pixels  # checks the hash of all latents
        points.append([8 * len(data) / (pixels.shape[0] * pixels.shape[1]), psnr(pixels, back)])
    return points


@torch.no_grad()
def _estimated(codec: Codec, pixels: Pixels, qualities: Sequence[int]) -> list[list[float]]:
    """The same where no file can be written: bits as the float entropy networks promise them."""
    h, w = pixels.shape[:2]
    if h % 64 or w % 64:
        raise MeasureError(f"A picture of {w}×{h} pixels has sides that are no multiples of 64. Crop it.")
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()
    points = []
    for quality in qualities:
        coded = codec(x, torch.tensor([quality]), exact=False, noise=False)
        back = coded.output[0].clamp(0, 255).round().permute(1, 2, 0).numpy().astype(np.uint8)
        points.append([float(coded.bits) / (h * w), psnr(pixels, back)])
    return points


def fitting_pictures(checkpoint: Checkpoint, data: Path, work: Path) -> tuple[Pixels, ...]:
    """Training pictures for the tables, the same for all rows: decoded once and kept in ``work``."""
    folder = work / "fitting"
    if not folder.is_dir():
        made = table_pictures(checkpoint, data, FITTED)
        folder.mkdir(parents=True)
        for number, picture in enumerate(made):
            Image.fromarray(picture).save(folder / f"{number:02}.png")
    return tuple(load_rgb(path) for path in find_pictures([folder]))


def cost(codec: Codec) -> dict[str, list[float]]:
    """Parameters and thousands of multiply-adds a pixel of each part, masks not discounted."""
    pixels, quality, side = torch.zeros(1, 3, 256, 256), torch.tensor([50]), 256
    rows = count(codec, lambda: codec(pixels, quality, exact=False, noise=False), side * side)
    return {row.part: [row.parameters, round(row.kmac, 3)] for row in rows}


def measure_times(
    rows: Iterable[Row], picture: Path, work: Path, *, rounds: int, quality: int, threads: int
) -> None:
    """Median seconds to encode and decode one picture, the rows in turn, a new turn ``rounds`` times."""
    pixels = load_rgb(picture)
    models = {
        row.name: bifocal.Model.load(packed_folder(row, work), threads=threads)
        for row in rows
        if packed_folder(row, work).is_dir()
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    for turn in range(rounds + 1):
        for name, model in models.items():
            begin = time.perf_counter()
            data = bifocal.encode(pixels, quality, model=model, effort=EFFORT)
            middle = time.perf_counter()
            bifocal.decode(data, model=model)
            end = time.perf_counter()
            if turn:  # the first turn opens sessions
                taken[name].append((middle - begin, end - middle))
    known = reporting.read_json(TIMES)
    seconds = {
        name: [round(statistics.median(t[i] for t in times), 4) for i in (0, 1)]
        for name, times in taken.items()
    }
    known["seconds"] = {**known.get("seconds", {}), **seconds}
    known["surroundings"] = {
        "picture": f"{pixels.shape[1]}×{pixels.shape[0]}",
        "quality": quality,
        "threads": threads,
        "rounds": rounds,
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "load": [round(value, 2) for value in os.getloadavg()],
    }
    reporting.write_json(TIMES, known)
