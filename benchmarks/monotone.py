"""Bytes at every quality from 1 to 100: they should never fall as quality rises.

    python -m benchmarks.monotone PICTURE... [--model FOLDER]

Prints the bytes of each picture and counts the falls; status 1 when there is one.
"""

from __future__ import annotations

from pathlib import Path

import bifocal
from benchmarks import reporting
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.runtime.model import DEFAULT_MODEL


def main() -> int:
    parser = reporting.parser(__doc__)
    parser.add_argument("pictures", type=Path, nargs="+", help="pictures, or folders of them")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    chosen = parser.parse_args()
    model = bifocal.Model.load(chosen.model)
    sizes: dict[str, list[int]] = {}
    falls = 0
    for path in find_pictures(chosen.pictures):
        pixels = load_rgb(path)
        row = [len(bifocal.encode(pixels, q, model=model)) for q in range(1, 101)]
        down = [(q, row[q - 1], row[q]) for q in range(1, 100) if row[q] < row[q - 1]]
        print(f"{path.name}: {row[0]} to {row[-1]} bytes, {len(down)} falls", flush=True)
        for q, before, after in down:
            print(f"  quality {q} to {q + 1}: {before} to {after} bytes")
        sizes[path.name] = row
        falls += len(down)
    report = {"model": model.entropy.fingerprint.hex(), "falls": falls, "bytes": sizes}
    reporting.write_json(chosen.out / "monotone.json", report)
    return int(falls > 0)


if __name__ == "__main__":
    reporting.run(main)
