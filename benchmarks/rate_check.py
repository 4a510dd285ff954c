"""Estimated bits against bytes: does the coder reach the length that the model's tables promise?

    python benchmarks/rate_check.py --data KODAK [--qualities 10 50 90]

The estimate is the sum of -log2 of the integer frequencies of every coded symbol, escapes included; the bytes
are those of the payload of the one tile of each picture. Fails (status 1) when a picture is off by more than
1 %.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from decoding import Recorder, symbols_of
from readme import RESULTS

import bifocal
from bifocal.errors import BifocalError
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.measure.report import markdown
from bifocal.runtime.registry import DEFAULT_MODEL
from bifocal.stream import container
from bifocal.stream.latents import unpack

LIMIT = 0.01


def check(path: Path, quality: int, model: bifocal.Model) -> dict[str, object]:
    """Estimate and bytes of one picture at one quality."""
    data = bifocal.encode(load_rgb(path), quality=quality, model=model)
    recorder = Recorder(model.backend)
    latents = unpack(data, model.entropy, recorder)
    steps = symbols_of(latents, model.entropy, recorder)
    estimated = sum(model.entropy.tables.bits(s.values, s.index) for s in steps) / 8
    box = container.read(data)
    payload = sum(len(box.payload(n)) for n in range(len(box.tiles)))
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--qualities", type=int, nargs="+", default=[10, 50, 90])
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    try:
        model = bifocal.Model.load(chosen.model)
        rows = [
            check(path, quality, model) for path in find_pictures(chosen.data) for quality in chosen.qualities
        ]
    except (BifocalError, OSError, ValueError) as fault:
        print(f"rate_check.py: {fault}", file=sys.stderr)
        return 1
    lines = []
    for quality in chosen.qualities:
        of = [r for r in rows if r["quality"] == quality]
        apart = [float(str(r["difference"])) for r in of]
        overhead = max(int(str(r["file_bytes"])) - int(str(r["payload_bytes"])) for r in of)
        lines.append(
            [
                str(quality),
                str(len(of)),
                f"{min(apart) * 100:+.3f} %",
                f"{max(apart) * 100:+.3f} %",
                f"{overhead} bytes",
            ]
        )
    header = ["quality", "pictures", "least difference", "largest difference", "largest header and index"]
    text = (
        "# Estimated bits and payload bytes\n\nDifference of the payload's bytes from the estimate by table "
        f"costs, per picture. Written by `benchmarks/rate_check.py`.\n\n{markdown(header, lines)}\n"
    )
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "rate_check.json").write_text(json.dumps({"rows": rows}, indent=1) + "\n", "utf-8")
    (chosen.out / "rate_check.md").write_text(text, "utf-8")
    print(text)
    wide = [r for r in rows if abs(float(str(r["difference"]))) > LIMIT]
    for r in wide:
        print(f"{r['picture']} at quality {r['quality']} is off by {r['difference']}", file=sys.stderr)
    return 1 if wide else 0


if __name__ == "__main__":
    sys.exit(main())
