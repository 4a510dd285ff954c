"""Data for training: bytes of a picture, and samples that one processor second gives, by kind of file.

    python -m benchmarks.loader --docs --pictures DIR --name "photographs, 768×512" --crop 256

Every row reads the same pictures, cuts the middle square of ``--crop`` pixels and gives a tensor: latents of
``StreamDataset`` from tar shards, decoded pictures of the same streams, and what people have, files that
Pillow reads from memory. Bytes are those of the files alone: a tar file adds one to two kilobytes to each,
whatever it is. Time is that of this process (``time.process_time``) with one thread, the least of three
passes. Results of several ``--name`` stand side by side.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import bifocal
from benchmarks import reporting
from bifocal.apps.data import StreamDataset
from bifocal.apps.data.packing import pack_dataset
from bifocal.measure import MeasureError
from bifocal.measure.metrics import rgb
from bifocal.measure.tables import markdown
from bifocal.pictures.reading import is_picture_file, read_picture

QUALITIES, PASSES = (10, 60), 3
FILES = (("JPEG", 75), ("JPEG", 87), ("WEBP", 75))


def measure(arguments: argparse.Namespace) -> None:
    """Encode the pictures in every way, read them, and publish a table of all runs so far."""
    files = sorted(path for path in arguments.pictures.rglob("*") if path.is_file() and is_picture_file(path))
    files = files[:: max(1, len(files) // arguments.count)][: arguments.count]
    if not files:
        raise MeasureError(f"{arguments.pictures} has no pictures.")
    pictures = [rgb(read_picture(path).pixels) for path in files]
    with tempfile.TemporaryDirectory() as folder:
        rows = [*_streams(pictures, Path(folder), arguments.crop), *_files(pictures, arguments.crop)]
    known = reporting.read_json(arguments.out / "loader.json")
    about = {"pictures": len(files), "crop": arguments.crop, "machine": reporting.machine(), "rows": rows}
    known[arguments.name] = about
    reporting.publish(arguments, "loader", table(known), known, file="loader")


def table(known: dict[str, Any]) -> str:
    """All runs: a row for each way of keeping pictures."""
    lines = [
        [f"{name}: {row['what']}", f"{row['bytes']:,.0f}", f"{row['per_second']:.0f}"]
        for name, about in known.items()
        for row in about["rows"]
    ]
    return markdown(["pictures, and what is read", "bytes a picture", "samples a processor second"], lines)


def _streams(pictures: list[Any], folder: Path, crop: int) -> Iterable[dict[str, Any]]:
    source = folder / "pictures" / "all"
    source.mkdir(parents=True)
    for number, pixels in enumerate(pictures):
        bifocal.write_picture(bifocal.Picture(pixels), source / f"{number:05}.png")
    channels = bifocal.Model.load("bifocal-2").entropy.plan.y_channels
    for quality in QUALITIES:
        packed = pack_dataset(source.parent, folder / f"q{quality}", qualities=(quality,))
        parts = [part for sample in StreamDataset(packed.folder).samples for _, part in sample.streams]
        each = sum(part.size for part in parts) / len(pictures)
        ways: tuple[tuple[str, dict[str, Any]], ...] = (
            ("low band of the latents", {"gives": "latents"}),
            ("all latents", {"gives": "latents", "channels": channels}),
            ("decoded picture", {"gives": "picture"}),
        )
        for what, options in ways:
            found = StreamDataset(packed.folder, crop=crop, random_crop=False, **options)
            rate = _rate(lambda found=found: [found[k] for k in range(len(found))], len(found))  # type: ignore[misc]
            yield {"what": f"Bifocal {quality}, {what}", "bytes": each, "per_second": rate}


def _files(pictures: list[Any], crop: int) -> Iterable[dict[str, Any]]:
    for kind, quality in FILES:
        coded = []
        for pixels in pictures:
            made = io.BytesIO()
            Image.fromarray(pixels).save(made, kind, quality=quality)
            coded.append(made.getvalue())
        rate = _rate(lambda coded=coded: [_read(data, crop) for data in coded], len(coded))  # type: ignore[misc]
        each = sum(map(len, coded)) / len(coded)
        yield {"what": f"{kind} {quality}, decoded by Pillow", "bytes": each, "per_second": rate}


def _read(data: bytes, crop: int) -> torch.Tensor:
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image.convert("RGB"))
    top, left = (max(0, side - crop) // 2 for side in pixels.shape[:2])
    part = pixels[top : top + crop, left : left + crop].transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(part))


def _rate(job: Callable[[], object], count: int) -> float:
    """Samples a processor second: the best of a few passes, after one that opens what is needed."""
    job()
    times = []
    for _ in range(PASSES):
        begun = time.process_time()
        job()
        times.append(time.process_time() - begun)
    return round(count / max(min(times), 1e-9), 1)


def main() -> None:
    parser = reporting.parser(__doc__)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--name", required=True, help="what the pictures are, for the table")
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--count", type=int, default=200, help="at most so many pictures")
    torch.set_num_threads(1)
    measure(parser.parse_args())


if __name__ == "__main__":
    reporting.run(main)
