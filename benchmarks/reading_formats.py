"""From the bytes of a file to its label, beside JPEG, WebP or AVIF and a network on pixels.

    python -m benchmarks.reading_formats time --data KODAK --docs
    python -m benchmarks.reading_formats accuracy --data IMAGENETTE/val --names imagenette128-classes.tsv \\
        --against pixels.bfh --docs

``time`` takes squares of 128 and 256 pixels and whole pictures. Every file is as large as the JPEG of quality
75. A format is decoded, and then read by the network on pixels: as it is, or resized to 128×128 first; JPEG
also with libjpeg's own scaled decoding before that. Ways take turns in an order that changes; of a
picture's repeats medians count, over pictures means. Wall time wants a machine with nothing else to do;
processor time is measured beside it. Without --head and --against both networks are untrained, which costs
the same. --int8 quantises ours alone, so its rows no longer compare equal networks.

``accuracy`` judges both heads on labelled pictures: streams at four qualities, and other formats at the bytes
of each stream. `studies/head_accuracy/pixels.py` makes both kinds of network on pixels.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

import bifocal
from benchmarks import reporting
from bifocal.learn.data.labelled import find_labelled, read_rgb
from bifocal.measure import MeasureError
from bifocal.measure.answers import label_pixels
from bifocal.measure.bench import load_rgb
from bifocal.measure.metrics import Pixels
from bifocal.measure.peers import FileCodec, available_peers, bifocal_codec, encode_near
from bifocal.measure.tables import markdown
from bifocal.runtime.model import DEFAULT_MODEL

#: Pixels a side that people resize to, and positions a side of our grid: both networks then do equal work.
SIDE, GRID = 128, 8
SQUARES = (128, 256)
QUALITIES = (10, 30, 60, 90)
JPEG_QUALITY = 75
FORMATS = ("jpeg", "webp", "avif")
OURS = "Bifocal, latents"


@dataclass(frozen=True)
class Times:
    """Mean milliseconds of a way from bytes to label, and how large its files are."""

    size: str
    threads: int
    way: str
    bytes: int
    wall: float
    processor: float


def untrained(model: bifocal.Model, folder: Path, *, int8: bool) -> tuple[Path, Path]:
    """Untrained heads for streams of ``model`` and for pixels, of one architecture."""
    import torch

    from bifocal.learn.nets.heads.latent_stem import LatentResNet, LatentResNetConfig
    from bifocal.learn.nets.heads.pixel_stem import pixel_network
    from bifocal.learn.packing.heads import pack_head
    from bifocal.learn.packing.int8_heads import int8_head
    from bifocal.learn.packing.pixel_heads import pixel_head

    torch.manual_seed(0)
    classes = tuple(f"class {k}" for k in range(10))
    low = model.entropy.plan.groups[0].stop
    config = LatentResNetConfig(channels=2 * low, low=low)
    network = LatentResNet(config, torch.zeros(2 * low), torch.ones(2 * low)).eval()
    sizes = {"channels": low, "classes": classes, "window": GRID, "grid": GRID, "magnitudes": True}
    made = pack_head(network, name="untrained", base=model, **sizes)
    if int8:
        rng = np.random.default_rng(0)
        made = int8_head(made, [rng.normal(size=(2 * low, GRID, GRID)).astype(np.float32) for _ in range(8)])
    on_latents, on_pixels = folder / "untrained.bfh", folder / "pixels.bfh"
    on_latents.write_bytes(made.data())
    on_pixels.write_bytes(pixel_head(pixel_network(len(classes)).eval(), classes, {"trained": "no"}))
    return on_latents, on_pixels


def decoded(data: bytes, *, side: int = 0, scaled: bool = False) -> Pixels:
    """Pixels of a file, resized to a square of ``side`` unless that is 0; ``scaled``: decoded smaller."""
    with Image.open(io.BytesIO(data)) as picture:
        if scaled:
            picture.draft("RGB", (side, side))
        shown = picture.convert("RGB")
        return np.asarray(shown.resize((side, side), Image.Resampling.BILINEAR) if side else shown)


def time_ways(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds of each way: wall and processor time. The order changes with every turn."""
    names = list(ways)
    for name in names:
        ways[name]()  # sessions are made, and caches filled
    seen = np.zeros((len(names), repeats, 2))
    for turn in range(repeats):
        for position in range(len(names)):
            number = (position + turn) % len(names)
            start = time.perf_counter(), time.process_time()
            ways[names[number]]()
            seen[number, turn] = time.perf_counter() - start[0], time.process_time() - start[1]
    medians = 1000 * np.median(seen, axis=1)
    return {name: (float(wall), float(used)) for name, (wall, used) in zip(names, medians, strict=True)}


def ways_of(
    files: dict[str, bytes], model: bifocal.Model, head: bifocal.Head, pixels: bifocal.Head, whole: bool
) -> dict[str, tuple[Callable[[], object], int]]:
    """The ways to a label of one picture, and the bytes that each reads."""

    def read(data: bytes, side: int, scaled: bool) -> object:
        return label_pixels(decoded(data, side=side, scaled=scaled), pixels)

    ours = partial(bifocal.analyse, files["bifocal"], head=head, model=model)
    ways: dict[str, tuple[Callable[[], object], int]] = {OURS: (ours, len(files["bifocal"]))}
    for name, data in files.items():
        if name == "bifocal":
            continue
        shown = name.upper() if name != "webp" else "WebP"
        ways[f"{shown}, network on all pixels"] = partial(read, data, 0, False), len(data)
        if not whole:
            continue
        ways[f"{shown}, resized to {SIDE}×{SIDE}, network"] = partial(read, data, SIDE, False), len(data)
        if name == "jpeg":
            scaled = partial(read, data, SIDE, True), len(data)
            ways[f"{shown} decoded at a smaller scale, resized, network"] = scaled
    return ways


def time_size(
    pictures: Sequence[Pixels],
    codecs: Sequence[FileCodec],
    model: bifocal.Model,
    heads: tuple[bifocal.Head, bifocal.Head],
    *,
    threads: int,
    repeats: int,
) -> list[Times]:
    """Every way on pictures of one size."""
    sums: dict[str, list[tuple[int, float, float]]] = {}
    for picture in pictures:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY)
        files = {"bifocal": b"", "jpeg": buffer.getvalue()}
        for codec in codecs:
            files[codec.name] = encode_near(codec, picture, len(files["jpeg"])).data
        ways = ways_of(files, model, *heads, whole=picture.shape[:2] != (SIDE, SIDE))
        measured = time_ways({name: way for name, (way, _) in ways.items()}, repeats)
        for name, (_, size) in ways.items():
            sums.setdefault(name, []).append((size, *measured[name]))
    height, width = pictures[0].shape[:2]
    means = {name: np.mean(rows, axis=0) for name, rows in sums.items()}
    return [
        Times(f"{width}×{height}", threads, name, round(size), float(wall), float(used))
        for name, (size, wall, used) in means.items()
    ]


def squares(files: Sequence[Path], side: int) -> list[Pixels]:
    """The middle square of each picture, scaled."""
    made = []
    for file in files:
        picture = Image.fromarray(load_rgb(file))
        edge = min(picture.size)
        left, top = (picture.width - edge) // 2, (picture.height - edge) // 2
        cut = picture.crop((left, top, left + edge, top + edge))
        made.append(np.asarray(cut.resize((side, side), Image.Resampling.LANCZOS)))
    return made


def measure_times(chosen: argparse.Namespace) -> list[Times]:
    found = sorted(chosen.data.glob("*.png"))
    landscape = [file for file in found if load_rgb(file).shape[0] < load_rgb(file).shape[1]]
    files = landscape[:: max(1, len(landscape) // chosen.count)][: chosen.count]
    if not files:
        raise MeasureError(f"{chosen.data} holds no PNGs that are wider than high. Name the Kodak folder.")
    sets = [*(squares(files, side) for side in SQUARES), [load_rgb(file) for file in files]]
    peers, missing = available_peers([name for name in FORMATS if name != "jpeg"], avif_speed=8)
    print(*missing, sep="\n")
    rows: list[Times] = []
    allowed = processors()
    with tempfile.TemporaryDirectory() as folder:
        head, against = chosen.head, chosen.against
        if not (head and against):
            made = untrained(bifocal.Model.load(chosen.model), Path(folder), int8=chosen.int8)
            head, against = head or made[0], against or made[1]
        for threads in chosen.threads:
            limit(threads, allowed)
            model = bifocal.Model.load(chosen.model, threads=threads)
            heads = tuple(bifocal.Head.load(path, threads=threads) for path in (head, against))
            codecs = [bifocal_codec(chosen.model), *peers]
            for pictures in sets:
                numbers = {"threads": threads, "repeats": chosen.repeats}
                rows += time_size(pictures, codecs, model, (heads[0], heads[1]), **numbers)
    return rows


def processors() -> list[int]:
    """Those that this process may use; an empty list where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def limit(threads: int, allowed: Sequence[int]) -> None:
    """Let this process, and decoders with threads of their own, use so many of the processors ``allowed``."""
    if allowed:
        if len(allowed) < threads:
            raise MeasureError(f"{threads} threads need as many processors, and there are {len(allowed)}.")
        os.sched_setaffinity(0, allowed[:threads])
    from PIL import AvifImagePlugin

    AvifImagePlugin.DEFAULT_MAX_THREADS = threads


def times_table(rows: Sequence[Times], note: str) -> str:
    """Milliseconds of every way, and ours as a share of it."""
    ours = {(row.size, row.threads): row for row in rows if row.way == OURS}
    lines = []
    for row in rows:
        mine = ours[row.size, row.threads]
        shares = (
            ("", "")
            if row is mine
            else (
                f"{mine.wall / row.wall:.2f}",
                f"{mine.processor / row.processor:.2f}",
            )
        )
        numbers = (f"{row.bytes:,}", f"{row.wall:.2f}", f"{row.processor:.2f}")
        lines.append((row.size, str(row.threads), row.way, *numbers, *shares))
    head = ("size", "threads", "way", "bytes", "wall ms", "processor ms", "ours ÷ it, wall", "processor")
    return f"{note}\n\n{markdown(head, lines)}"


def measure_accuracy(chosen: argparse.Namespace) -> list[dict[str, float]]:
    """Share of pictures labelled rightly, ours and other formats at the bytes of each of our streams."""
    if not chosen.against:
        raise MeasureError("accuracy needs a trained network on pixels. Give it with --against FILE.bfh.")
    model = bifocal.Model.load(chosen.model)
    head, pixels = bifocal.Head.load(chosen.head or "imagenette"), bifocal.Head.load(chosen.against)
    labelled = find_labelled(chosen.data, names=chosen.names)
    codecs, missing = available_peers(chosen.formats, avif_speed=8)
    print(*missing, sep="\n")
    rows = []
    for quality in QUALITIES:
        sums: dict[str, list[float]] = {}
        for file, label in list(zip(labelled.files, labelled.labels, strict=True))[:: chosen.step]:
            picture, truth = read_rgb(file), labelled.classes[label]
            if picture is None:
                continue
            data = bifocal.encode(picture, quality, model=model)
            right = {"ours": bifocal.analyse(data, head=head, model=model).name == truth}
            sums.setdefault("bytes", []).append(len(data))
            for codec in codecs:
                near = encode_near(codec, picture, len(data)).data
                right[codec.name] = label_pixels(codec.decode(near), pixels).name == truth
                sums.setdefault(f"{codec.name} bytes", []).append(len(near))
            for name, value in right.items():
                sums.setdefault(name, []).append(value)
        rows.append({"quality": quality, **{name: float(np.mean(found)) for name, found in sums.items()}})
        print(rows[-1], flush=True)
    return rows


def accuracy_table(rows: Sequence[dict[str, float]], formats: Sequence[str], note: str) -> str:
    """Top-1 by quality; for every other format what its files came to."""
    head = ["quality", "bytes", "our stream"]
    head += [part for name in formats for part in (f"{name} bytes", f"{name}, network on pixels")]
    lines = []
    for row in rows:
        line = [f"{row['quality']:.0f}", f"{row['bytes']:,.0f}", f"{row['ours']:.1%}"]
        for name in formats:
            line += [f"{row[f'{name} bytes']:,.0f}", f"{row[name]:.1%}"]
        lines.append(line)
    return f"{note}\n\n{markdown(head, lines)}"


def main() -> None:
    parser = reporting.parser(__doc__)
    parser.add_argument("what", choices=("time", "accuracy"))
    parser.add_argument("--data", type=Path, required=True, help="Kodak's PNGs; or a folder per class")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="an installed model, or a folder")
    parser.add_argument("--head", help="the head that reads streams")
    parser.add_argument("--against", help="the .bfh of a network on pixels")
    parser.add_argument("--int8", action="store_true", help="time: our untrained head in 8 bits")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--count", type=int, default=6, help="time: pictures")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--names", type=Path, help="accuracy: folder TAB class")
    parser.add_argument("--formats", nargs="+", default=["webp", "jpeg"], choices=FORMATS)
    parser.add_argument("--step", type=int, default=1, help="accuracy: only every n-th picture")
    chosen = parser.parse_args()
    made_by = chosen.head or ("an untrained head" if chosen.what == "time" else "imagenette")
    note = f"{reporting.machine()}; model `{Path(chosen.model).name}`, head `{Path(made_by).name}`"
    if chosen.what == "time":
        rows = measure_times(chosen)
        note += f"{', 8 bits' if chosen.int8 and not chosen.head else ''}; {chosen.count} pictures of a size."
        result = {"note": note, "rows": [asdict(row) for row in rows]}
        reporting.publish(chosen, "reading-formats", times_table(rows, note), result, file="reading_formats")
        return
    shares = measure_accuracy(chosen)
    table = accuracy_table(shares, chosen.formats, f"Top-1, {note}.")
    result = {"note": note, "rows": shares}
    reporting.publish(chosen, "reading-accuracy", table, result, file="reading_accuracy")


if __name__ == "__main__":
    reporting.run(main)
