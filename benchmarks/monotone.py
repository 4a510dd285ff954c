"""Bytes at every quality from 1 to 100: they should never fall as quality rises.

    python benchmarks/monotone.py PICTURE... [--model FOLDER]

Prints the bytes of each picture and counts the falls; status 1 when there is one.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from readme import RESULTS

import bifocal
from bifocal.errors import BifocalError
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.runtime.registry import DEFAULT_MODEL


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pictures", type=Path, nargs="+", help="pictures, or folders of them")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    try:
        model = bifocal.Model.load(chosen.model)
        sizes: dict[str, list[int]] = {}
        for path in find_pictures(chosen.pictures):
            pixels = load_rgb(path)
            sizes[path.name] = [len(bifocal.encode(pixels, q, model=model)) for q in range(1, 101)]
    except (BifocalError, OSError) as fault:
        print(f"monotone.py: {fault}", file=sys.stderr)
        return 1
    falls = 0
    for name, row in sizes.items():
        down = [(q, row[q - 1], row[q]) for q in range(1, 100) if row[q] < row[q - 1]]
        falls += len(down)
        print(f"{name}: {row[0]} to {row[-1]} bytes, {len(down)} falls")
        for q, before, after in down:
            print(f"  quality {q} to {q + 1}: {before} to {after} bytes")
    chosen.out.mkdir(parents=True, exist_ok=True)
    report = {"model": model.entropy.fingerprint.hex(), "falls": falls, "bytes": sizes}
    (chosen.out / "monotone.json").write_text(json.dumps(report) + "\n", encoding="utf-8")
    return 1 if falls else 0


if __name__ == "__main__":
    sys.exit(main())
