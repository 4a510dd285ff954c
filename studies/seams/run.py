"""Do tiles leave seams? PSNR in a band along the borders of tiles, beside the same band coded untiled.

    python -m studies.seams.run --pictures KODAK [--model FOLDER] [--side 2048]

Each photograph is coded in tiles of 128 and 256 pixels and as one tile; then mosaics of the photographs, of
--side pixels a side, in tiles of 512 and 1024 and as one. Around every border between tiles (not where the
picture ends) a band of 8 pixels on each side is compared with the original, in both decoded pictures; so is
all the rest. A seam would be a lower PSNR in the band than the untiled picture has there. Also the bytes that
tiles cost.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

import numpy as np
from numpy.typing import NDArray

import bifocal
from benchmarks import reporting
from bifocal.measure import MeasureError
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.measure.metrics import Pixels, psnr
from bifocal.measure.tables import markdown
from bifocal.runtime.model import DEFAULT_MODEL
from bifocal.stream.limits import MAX_TILE_PIXELS
from studies.large_pictures.mosaic import mosaic

QUALITIES = (30, 60, 90)
HALF_BAND = 8


@dataclass(frozen=True)
class Seam:
    """One picture, quality and tile side: PSNR in dB in the band and elsewhere, tiled and not; bytes."""

    picture: str
    quality: int
    tile: int
    band_tiled: float
    band_whole: float
    rest_tiled: float
    rest_whole: float
    bytes_tiled: int
    bytes_whole: int


def border_band(height: int, width: int, tile: int) -> NDArray[np.bool_]:
    """Which pixels lie within eight of a border between two tiles."""
    near = [np.zeros(size, bool) for size in (height, width)]
    for line in near:
        for border in range(tile, len(line), tile):
            line[border - HALF_BAND : border + HALF_BAND] = True
    return near[0][:, None] | near[1]


def measure(name: str, pixels: Pixels, tiles: Sequence[int], model: bifocal.Model) -> list[Seam]:
    """Code one picture in tiles of every side and untiled, at every quality."""
    height, width = pixels.shape[:2]
    whole_side = -(-max(height, width) // 64) * 64
    if whole_side**2 > MAX_TILE_PIXELS:
        raise MeasureError(f"{name} is too large to be coded as one tile. Choose a smaller --side.")
    seams = []
    for quality in QUALITIES:
        data = bifocal.encode(pixels, quality, model=model, tile=whole_side)
        whole = bifocal.decode(data, model=model).pixels
        for tile in (side for side in tiles if side < max(height, width)):
            tiled_data = bifocal.encode(pixels, quality, model=model, tile=tile)
            tiled = bifocal.decode(tiled_data, model=model).pixels
            band = border_band(height, width, tile)
            ratios = (psnr(pixels[w][None], back[w][None]) for w in (band, ~band) for back in (tiled, whole))
            band_tiled, band_whole, rest_tiled, rest_whole = ratios
            seam = Seam(
                name,
                quality,
                tile,
                band_tiled,
                band_whole,
                rest_tiled,
                rest_whole,
                bytes_tiled=len(tiled_data),
                bytes_whole=len(data),
            )
            seams.append(seam)
    return seams


def table(seams: Sequence[Seam]) -> str:
    """Means over pictures, a row for each tile side and quality."""
    rows = []
    for tile, quality in sorted({(s.tile, s.quality) for s in seams}):
        of = [s for s in seams if (s.tile, s.quality) == (tile, quality)]
        drop = [s.band_whole - s.band_tiled for s in of]
        rows.append(
            [
                str(tile),
                str(quality),
                str(len(of)),
                f"{mean(s.band_whole for s in of):.3f} dB",
                f"{mean(s.band_tiled for s in of):.3f} dB",
                f"{mean(drop):+.3f} dB",
                f"{max(drop):+.3f} dB",
                f"{mean(s.rest_whole - s.rest_tiled for s in of):+.3f} dB",
                f"{100 * (sum(s.bytes_tiled for s in of) / sum(s.bytes_whole for s in of) - 1):+.2f} %",
            ]
        )
    header = ["tile", "quality", "pictures", "band, untiled", "band, tiled", "lost at borders"]
    return markdown([*header, "worst picture", "lost elsewhere", "bytes"], rows)


def run(chosen: argparse.Namespace) -> None:
    model = bifocal.Model.load(chosen.model)
    paths = find_pictures(chosen.pictures)
    photographs = [load_rgb(path) for path in paths]
    seams = []
    for path, pixels in zip(paths, photographs, strict=True):
        seams += measure(path.name, pixels, (128, 256), model)
        print(path.name, flush=True)
    for number in range(chosen.mosaics):
        turn = 5 * number % len(photographs)
        large = mosaic(photographs[turn:] + photographs[:turn], chosen.side, chosen.side)
        seams += measure(f"mosaic {number}", large, (512, 1024), model)
        print(f"mosaic {number}", flush=True)
    worst = max(s.band_whole - s.band_tiled for s in seams)
    note = (
        f"The worst loss of any picture at any quality is {worst:.3f} dB. Tiles of 128 and 256 pixels: "
        f"photographs; of 512 and 1024: mosaics of {chosen.side}×{chosen.side} pixels. Model "
        f"{model.entropy.fingerprint.hex()}."
    )
    record = {"model": model.entropy.fingerprint.hex(), "worst": worst, "seams": [asdict(s) for s in seams]}
    reporting.publish(chosen, "seams", f"{note}\n\n{table(seams)}", record)


def main() -> None:
    parser = reporting.parser(__doc__, Path(__file__).parent)
    parser.add_argument("--pictures", type=Path, nargs="+", required=True, help="photographs, or folders")
    parser.add_argument("--side", type=int, default=2048, help="side of the mosaics in pixels")
    parser.add_argument("--mosaics", type=int, default=2, help="how many mosaics")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    run(parser.parse_args())


if __name__ == "__main__":
    reporting.run(main)
