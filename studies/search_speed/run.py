"""How long does `bifocal search` take with many files?

    python -m studies.search_speed.run [--files 100000] [--docs]

Small streams with captions of two halves of different sentences, in folders of a thousand. Seconds are of the
processor, children included, one thread; the cache of the file system is warm. 400 MB of disk, removed.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import reporting
from bifocal.api.search import Index, index_file
from bifocal.apps.batch.kinds import STREAMS
from bifocal.measure.tables import markdown
from bifocal.storage.paths import find_by_folder
from bifocal.stream import container
from bifocal.stream.chunks.caption import encode_caption
from bifocal.types import Caption

HERE = Path(__file__).parent
STREAM = HERE.parents[1] / "tests" / "conformance" / "captioned" / "deflated-64x64.bfc"
SENTENCES = tuple(
    f"{one} {place}"
    for one in (
        "a red cup with a white handle",
        "two dogs running fast",
        "an old stone house with green shutters",
        "a child in a yellow coat",
        "blue and white sailing boats",
        "close view of a dark pink flower",
        "a man reading his newspaper",
        "mountains under heavy clouds",
    )
    for place in ("on a wooden table", "at the beach", "in the morning light", "beside a wide river")
)
QUERIES = ("child at the beach", "a red flower in the morning light beside a river")


def make_files(folder: Path, count: int) -> None:
    """Streams of 64×64 pixels that differ in their captions."""
    stream, rng = container.read(STREAM.read_bytes()), random.Random(0)
    tiles = [(bytes(stream.payload(0)), stream.tiles[0].latent_crc)]
    words = [sentence.split() for sentence in SENTENCES]
    for k in range(count):
        one, other = rng.choice(words), rng.choice(words)
        text = " ".join(one[: len(one) // 2] + other[len(other) // 2 :])
        path = folder / f"{k // 1000:04}" / f"{k}.bfc"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(container.write(stream.header, {"capt": encode_caption(Caption(text))}, tiles))


def seconds(call: Callable[[], object]) -> float:
    """Processor seconds of a call, child processes included."""
    before = os.times()
    call()
    after = os.times()
    return round(sum(after[:4]) - sum(before[:4]), 2)


def command(folder: Path) -> None:
    code = "from bifocal.apps.cli.main import run; run()"
    call = [sys.executable, "-c", code, "search", QUERIES[0], str(folder), "--by", "words", "--top", "1"]
    subprocess.run(call, check=True, capture_output=True)


def measure(count: int) -> dict[str, Any]:
    """Seconds of each step."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = os.path.join(scratch, "cache")
        folder = Path(scratch, "archive")
        folder.mkdir()
        make_files(folder, count)
        rows = {"first search, whole command": seconds(lambda: command(folder))}
        rows["next search, whole command"] = min(seconds(lambda: command(folder)) for _ in range(3))
        begun = time.process_time()
        folders, _ = find_by_folder([str(folder)], STREAMS)
        rows["of that: folders are listed"] = round(time.process_time() - begun, 2)
        with Index(index_file([str(folder)])) as index:
            rows["of that: sizes and times are compared"] = seconds(lambda: index.update(folders))
            for query in QUERIES:
                rows[f"ranking: {query}"] = seconds(partial(index.by_words, query))
    return {"files": count, "machine": reporting.machine(), "seconds": rows}


def table(result: dict[str, Any]) -> str:
    rows = [[name, f"{value:.2f}"] for name, value in result["seconds"].items()]
    return markdown([f"{result['files']:,} files", "processor seconds"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--docs", action="store_true", help="keep the result, and fill the page")
    chosen = parser.parse_args()
    result = measure(chosen.files)
    print(table(result))
    if chosen.docs:
        reporting.write_json(HERE / "results.json", result)
        reporting.fill("search-speed", table(result))


if __name__ == "__main__":
    reporting.run(main)
