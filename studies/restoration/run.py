"""What restoration filters are worth: every file decoded with and without them, by quality.

    python -m studies.restoration.run --data FOLDER --model PACKED [--pictures 6] [--docs]

Pictures are evenly spread over FOLDER. The middle 512×512 pixels of each are encoded once, with effort 1.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import bifocal
from benchmarks import reporting
from bifocal.measure.bdrate import bd_rate, curve_of
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.measure.metrics import psnr
from bifocal.measure.tables import markdown
from bifocal.runtime.model import DEFAULT_MODEL
from bifocal.stream import container

QUALITIES = (10, 35, 60, 85)
SIDE = 512
HEADER = [
    "quality",
    "pictures",
    "bits a pixel",
    "PSNR without",
    "with",
    "gain",
    "bytes of filters",
    "decoding",
]


@dataclass(frozen=True)
class Made:
    """A file with its filters and without: bytes, PSNR and processor seconds of decoding; pixels it has."""

    picture: str
    quality: int
    pixels: int
    sizes: tuple[int, int]
    psnrs: tuple[float, float]
    seconds: tuple[float, float]


def without(data: bytes) -> bytes:
    """A stream without its restoration filters."""
    stream = container.read(data)
    kept = {key: value for key, value in stream.metadata.items() if key != container.RESTORATION}
    tiles = [(bytes(stream.payload(n)), tile.latent_crc) for n, tile in enumerate(stream.tiles)]
    return container.write(stream.header, kept, tiles)


def make(name: str, pixels: NDArray[np.uint8], quality: int, model: bifocal.Model) -> Made:
    """Encode once, decode both ways."""
    data = bifocal.encode(pixels, quality, model=model, effort=1, lossless=False)
    sizes, psnrs, seconds = [], [], []
    for stream in (data, without(data)):
        begun = time.process_time()
        decoded = bifocal.decode(stream, model=model).pixels
        seconds.append(time.process_time() - begun)
        sizes.append(len(stream))
        psnrs.append(psnr(pixels, decoded))
    pair = (psnrs[0], psnrs[1])
    return Made(name, quality, pixels[..., 0].size, (sizes[0], sizes[1]), pair, (seconds[0], seconds[1]))


def table(rows: Sequence[Made], model: str) -> str:
    """A line for each quality, and the BD-rate of all."""
    lines: list[list[str]] = []
    points: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
    for quality in sorted({row.quality for row in rows}):
        at = [row for row in rows if row.quality == quality]
        mean = [
            (
                np.mean([8 * row.sizes[k] / row.pixels for row in at]),
                np.mean([row.psnrs[k] for row in at]),
                np.mean([row.seconds[k] for row in at]),
            )
            for k in (0, 1)
        ]
        for k in (0, 1):
            points[k].append((float(mean[k][0]), float(mean[k][1])))
        lines.append(
            [
                str(quality),
                str(len(at)),
                f"{mean[0][0]:.3f}",
                f"{mean[1][1]:.2f} dB",
                f"{mean[0][1]:.2f} dB",
                f"{mean[0][1] - mean[1][1]:+.2f} dB",
                f"{np.mean([row.sizes[0] - row.sizes[1] for row in at]):.0f}",
                f"{100 * (mean[0][2] / mean[1][2] - 1):+.0f} %",
            ]
        )
    change = bd_rate(curve_of("without", points[1]), curve_of("with", points[0]))
    note = f"BD-rate of files with filters against files without: {change:+.2f} %. Model {model}."
    return f"{markdown(HEADER, lines)}\n\n{note}"


def middle(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The middle of a picture, at most ``SIDE`` pixels wide and high."""
    top, left = (max(0, (side - SIDE) // 2) for side in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + SIDE, left : left + SIDE])


def main() -> None:
    parser = reporting.parser(__doc__, Path(__file__).parent)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--pictures", type=int, default=6)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    chosen = parser.parse_args()
    model = bifocal.Model.load(chosen.model, threads=1)
    paths = find_pictures(chosen.data)
    paths = [
        paths[k] for k in np.linspace(0, len(paths) - 1, min(chosen.pictures, len(paths))).round().astype(int)
    ]
    make("", np.zeros((64, 64, 3), np.uint8), 50, model)  # sessions are opened once
    rows = []
    for path in paths:
        pixels = middle(load_rgb(path))
        rows += [make(path.name, pixels, quality, model) for quality in QUALITIES]
        print(path.name, flush=True)
    name = f"{model.name} {model.entropy.fingerprint.hex()}"
    reporting.publish(
        chosen, "restoration", table(rows, name), {"model": name, "rows": [asdict(r) for r in rows]}
    )


if __name__ == "__main__":
    reporting.run(main)
