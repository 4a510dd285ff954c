"""What a quality map moves: PSNR inside and outside an ellipse at equal bytes, against coding without a map.

    python -m studies.quality_map.run --data KODAK [--pictures 6] [--effort 1 3] [--docs]

The map is 1 inside an ellipse in the middle, half as wide and high as the picture, and 0 or 1/4 outside. Each
picture is coded with it at three qualities; the files without a map are those of fifteen qualities at the
same effort, and their PSNR at the bytes of the other is interpolated over the logarithm of bytes. Pictures
are evenly spread over the set.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bifocal
from benchmarks import reporting
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.measure.tables import markdown
from bifocal.runtime.model import DEFAULT_MODEL
from studies.effort.run import spread

Array = NDArray[Any]
QUALITIES = (30, 50, 70)
OUTSIDE = (0.0, 0.25)
PLAIN = range(1, 101, 9)
HEADER = [
    "effort",
    "map outside",
    "quality",
    "bytes of plain",
    "inside, dB",
    "outside, dB",
    "inside at equal bytes",
    "outside at equal bytes",
]


def ellipse(height: int, width: int) -> Array:
    """bool ``[h, w]``: an ellipse in the middle, half as high and wide as the picture."""
    rows, columns = np.mgrid[:height, :width]
    down, right = (rows + 0.5) / height - 0.5, (columns + 0.5) / width - 0.5
    return np.asarray(down**2 + right**2 < 0.25**2)


def point(data: bytes, pixels: Array, inside: Array, model: bifocal.Model) -> tuple[float, ...]:
    """Logarithm of bytes, PSNR inside and PSNR outside."""
    error = np.square(bifocal.decode(data, model=model).pixels.astype(np.float64) - pixels).mean(axis=2)
    levels = (10 * math.log10(255**2 / max(error[part].mean(), 1e-9)) for part in (inside, ~inside))
    return math.log(len(data)), *levels


def measure(pixels: Array, effort: int, model: bifocal.Model) -> list[dict[str, float]]:
    """One row for each map and quality of one picture."""
    inside = ellipse(*pixels.shape[:2])
    encode: dict[str, Any] = {"model": model, "effort": effort}
    plain = {
        q: point(bifocal.encode(pixels, q, **encode), pixels, inside, model) for q in (*PLAIN, *QUALITIES)
    }
    curve = np.array(sorted(plain.values()))
    rows = []
    for outside in OUTSIDE:
        weights = np.where(inside, 1.0, outside)
        for quality in QUALITIES:
            data = bifocal.encode(pixels, quality, quality_map=weights, **encode)
            size, within, without = point(data, pixels, inside, model)
            equal = [float(np.interp(size, curve[:, 0], curve[:, k])) for k in (1, 2)]
            rows.append(
                {
                    "effort": effort,
                    "outside": outside,
                    "quality": quality,
                    "bytes": math.exp(size - plain[quality][0]),
                    "inside_same": within - plain[quality][1],
                    "outside_same": without - plain[quality][2],
                    "inside_equal": within - equal[0],
                    "outside_equal": without - equal[1],
                }
            )
    return rows


def table(rows: list[dict[str, float]]) -> str:
    """Means over pictures, a row for each effort, map and quality."""
    lines = []
    for key in sorted({(row["effort"], row["outside"], row["quality"]) for row in rows}):
        of = [row for row in rows if (row["effort"], row["outside"], row["quality"]) == key]
        mean = {name: float(np.mean([row[name] for row in of])) for name in of[0]}
        gains = (
            f"{mean[name]:+.2f}" for name in ("inside_same", "outside_same", "inside_equal", "outside_equal")
        )
        lines.append([str(key[0]), f"{key[1]:g}", str(key[2]), f"{100 * mean['bytes']:.0f} %", *gains])
    return markdown(HEADER, lines)


def main() -> None:
    parser = reporting.parser(__doc__, Path(__file__).parent)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--pictures", type=int, default=6)
    parser.add_argument("--effort", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--model", default=DEFAULT_MODEL)
    chosen = parser.parse_args()
    model = bifocal.Model.load(chosen.model)
    paths = find_pictures(chosen.data)
    taken = [paths[k] for k in spread(len(paths))[: chosen.pictures]]
    rows = [row for path in taken for e in chosen.effort for row in measure(load_rgb(path), e, model)]
    text = f"{table(rows)}\n\nMeans of {len(taken)} pictures."
    reporting.publish(chosen, "quality-map", text, {"rows": rows})


if __name__ == "__main__":
    reporting.run(main)
