"""``python -m bifocal.measure.demo``: one photograph, three qualities, the classical codecs at equal size.

Encodes the bundled photograph with the shipped model, decodes it, prints a table and writes one comparison
picture. Rates are lengths of real files; each peer is given the quality whose file comes nearest in size.
Then a label is read from one of the streams, with no picture decoded.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bifocal.api.labels import analyse
from bifocal.errors import BifocalError
from bifocal.measure import MeasureError
from bifocal.measure.bench import Measurement, load_rgb, measure, summarise
from bifocal.measure.figure import Crop, Panel, busiest_crop, comparison
from bifocal.measure.metrics import Pixels
from bifocal.measure.peers import FileCodec, available_peers, bifocal_codec, encode_near
from bifocal.measure.tables import table
from bifocal.storage.filesystem import write_atomically

QUALITIES = (15, 45, 75)
PEERS = ("jpeg", "webp", "avif")
#: Spoon, saucer and wood of the bundled photograph: edges, highlights and texture in one detail.
SPOON = Crop(305, 235, 100, 90)


def bundled_photograph() -> Path:
    """The sample photograph of the source tree. Raises MeasureError outside of one."""
    path = Path(__file__).resolve().parents[3] / "examples" / "coffee.png"
    if not path.is_file():
        raise MeasureError(
            f"The sample photograph is not at {path}: it comes with the source tree, not with the package. "
            "Name a picture with --picture."
        )
    return path


def matched_sizes(
    ours: FileCodec, peers: Sequence[FileCodec], pixels: Pixels, qualities: Sequence[int]
) -> list[list[Measurement]]:
    """For each quality: our row, then one row for each peer at the quality nearest to our size."""
    memos: list[dict[int, bytes]] = [{} for _ in peers]
    groups = []
    for quality in qualities:
        rows = [measure(ours, pixels, quality)]
        for peer, memo in zip(peers, memos, strict=True):
            near = encode_near(peer, pixels, rows[0].bytes, memo)
            rows.append(measure(peer, pixels, near.quality))
        groups.append(rows)
    return groups


def draw_comparison(
    codecs: Sequence[FileCodec], rows: Sequence[Measurement], pixels: Pixels, crop: Crop, path: Path
) -> None:
    """Write the original and what each codec makes of it, in one picture."""
    h, w = pixels.shape[:2]
    panels = [Panel("Original", f"{w}x{h}, 24 bit/pixel", pixels)]
    for codec, row in zip(codecs, rows, strict=True):
        figures = f"{row.bytes:,} bytes, {row.bpp:.3f} bpp, {row.psnr:.2f} dB"
        panels.append(Panel(codec.name, figures, codec.decode(codec.encode(pixels, row.quality))))
    sheet = comparison(panels, crop, columns=len(panels))
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    write_atomically(path, file.getvalue())


def read_label(ours: FileCodec, pixels: Pixels, quality: int) -> str:
    """The labels that the shipped head reads from the stream, and how long that takes beside decoding."""
    stream = ours.encode(pixels, quality)
    try:
        analyse(stream)  # loads the head
    except BifocalError as fault:
        return f"No label from the stream: {fault}"
    start = time.perf_counter()
    labels = analyse(stream)
    read = time.perf_counter() - start
    start = time.perf_counter()
    ours.decode(stream)
    decoded = time.perf_counter() - start
    top = ", ".join(f"{name} {chance:.0%}" for name, chance in labels.top(3))
    return (
        f"Read from the stream at quality {quality}, no picture decoded: {top}\n"
        f"  head {labels.head}: it knows {len(labels.names)} classes, and always answers with one of them\n"
        f"  {read:.3f} s; decoding alone, for which a classifier of pixels must wait, takes {decoded:.3f} s: "
        f"{decoded - read:.3f} s saved"
    )


def run(picture: Path | None, out: Path, qualities: Sequence[int], model: str | None) -> None:
    """Encode, decode, print the table and write ``comparison.png`` into the folder ``out``."""
    path = picture or bundled_photograph()
    pixels = load_rgb(path)
    h, w = pixels.shape[:2]
    crop = SPOON if picture is None else busiest_crop(pixels, min(100, w), min(90, h))
    ours = bifocal_codec(model)
    peers, missing = available_peers(PEERS)
    print(f"{path.name}, {w}x{h}")
    for codec in (ours, *peers):
        print(f"  {codec.name}: {codec.settings}")
    for sentence in missing:
        print(f"  {sentence}")

    start = time.perf_counter()
    ours.decode(ours.encode(pixels, qualities[0]))
    print(f"First encode and decode, loading of the model included: {time.perf_counter() - start:.2f} s\n")

    groups = matched_sizes(ours, peers, pixels, qualities)
    for rows in groups:
        print(f"bifocal at quality {rows[0].quality}, and the peers at the size nearest to its file")
        print(table(summarise(rows)) + "\n")
    sheet = out / "comparison.png"
    draw_comparison((ours, *peers), groups[0], pixels, crop, sheet)
    print(f"Comparison at quality {qualities[0]}: {sheet}\n")
    print(read_label(ours, pixels, qualities[len(qualities) // 2]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bifocal.measure.demo", description=run.__doc__)
    parser.add_argument("--picture", type=Path, help="another picture than the bundled photograph")
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="folder for the comparison")
    parser.add_argument("--qualities", type=int, nargs="+", default=list(QUALITIES), metavar="Q")
    parser.add_argument("--model", help="name or folder of a packed model (default: the shipped one)")
    chosen = parser.parse_args(arguments)
    try:
        run(chosen.picture, chosen.out, chosen.qualities, chosen.model)
    except (BifocalError, OSError) as fault:
        print(f"demo: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
