"""Estimated bits against bytes: does the coder reach the length that the model's tables promise?

    python -m benchmarks.rate_check --data KODAK [--qualities 10 50 90]

The estimate is the sum of -log2 of the integer frequencies of every coded symbol, escapes included; the bytes
are those of the payload of the one tile of each picture. Fails (status 1) when a picture is off by more than
1 %.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import bifocal
from benchmarks import reporting
from benchmarks.decoding import Recorder, symbols_of
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.measure.tables import markdown
from bifocal.runtime.model import DEFAULT_MODEL
from bifocal.stream import container
from bifocal.stream.latents import unpack

LIMIT = 0.01


def check(path: Path, quality: int, model: bifocal.Model) -> dict[str, Any]:
    """Estimate and bytes of one picture at one quality."""
    data = bifocal.encode(load_rgb(path), quality=quality, model=model)
    recorder = Recorder(model.engine)
    latents = unpack(data, model.entropy, recorder)
    steps = symbols_of(latents, model.entropy, recorder)
    estimated = sum(model.entropy.tables.bits(s.values, s.index) for s in steps) / 8
    read = container.read(data)
    payload = sum(len(read.payload(n)) for n in range(len(read.tiles)))
    coded = sum(s.values.size for s in steps)
    return {
        "picture": path.name,
        "quality": quality,
        "estimated_bytes": round(estimated, 2),
        "payload_bytes": payload,
        "file_bytes": len(data),
        "difference": payload / estimated - 1,
        "coded_symbols": coded,
        "skipped_symbols": sum(s.skipped for s in steps),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The least and the largest difference of each quality, and what is not payload."""
    lines = []
    for quality in dict.fromkeys(row["quality"] for row in rows):
        of = [row for row in rows if row["quality"] == quality]
        apart = [100 * row["difference"] for row in of]
        overhead = max(row["file_bytes"] - row["payload_bytes"] for row in of)
        ends = (f"{value:+.3f} %" for value in (min(apart), max(apart)))
        lines.append([str(quality), str(len(of)), *ends, f"{overhead} bytes"])
    header = ["quality", "pictures", "least difference", "largest difference", "largest header and index"]
    return markdown(header, lines)


def main() -> int:
    parser = reporting.parser(__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--qualities", type=int, nargs="+", default=[10, 50, 90])
    parser.add_argument("--model", default=DEFAULT_MODEL)
    chosen = parser.parse_args()
    model, paths = bifocal.Model.load(chosen.model), find_pictures(chosen.data)
    rows = [check(path, quality, model) for path in paths for quality in chosen.qualities]
    reporting.publish(chosen, "rate-check", table(rows), {"rows": rows}, file="rate_check")
    wide = [row for row in rows if abs(row["difference"]) > LIMIT]
    for row in wide:
        print(f"{row['picture']} at quality {row['quality']} is off by {row['difference']}", file=sys.stderr)
    return int(bool(wide))


if __name__ == "__main__":
    reporting.run(main)
