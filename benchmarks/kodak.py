"""Rate and distortion on a folder of pictures, Kodak by name: curves, BD-rates, a table and a plot.

    python -m benchmarks.kodak --data KODAK              measure, write results/, print the tables
    python -m benchmarks.kodak --data KODAK --docs       the same, and put the tables into docs/measured.md
    python -m benchmarks.kodak --docs                    only write the tables anew

Every figure comes from files really written and read back: bits per pixel, PSNR over RGB and MS-SSIM per
picture, then means. Rows of the classical codecs are kept in results/kodak.json and taken over by a later run
when codec, settings and the pixels of a picture are the same; Bifocal is measured anew every time, unless
--resume is given, which means that the model has not changed since an interrupted run.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from pathlib import Path

from benchmarks import reporting
from bifocal.measure import MeasureError
from bifocal.measure.bdrate import Curve, bd_rate, load_anchor
from bifocal.measure.bench import (
    Mean,
    Measurement,
    curves,
    read_json,
    run_bench,
    summarise,
    write_csv,
    write_json,
)
from bifocal.measure.peers import PEERS, available_peers, bifocal_codec
from bifocal.measure.plot import plot_svg
from bifocal.measure.tables import deltas, markdown, table

ANCHORS = Path(__file__).parent / "anchors" / "kodak"
#: Published curves we compare with: file, and the name it goes by here.
PUBLISHED = {
    "vtm": "VTM",
    "paper-elic2022_mse": "ELIC (paper)",
    "compressai-cheng2020-attn_mse_cpu": "cheng2020-attn",
    "compressai-mbt2018_mse_cpu": "mbt2018",
    "av1": "AV1",
    "compressai-mbt2018-mean_mse_cpu": "mbt2018-mean",
    "bpg_444_x265_ycbcr": "BPG 4:4:4",
    "compressai-bmshj2018-hyperprior_mse_cpu": "bmshj2018-hyperprior",
    "compressai-bmshj2018-factorized_mse_cpu": "bmshj2018-factorized",
    "webp": "WebP (published)",
    "jpeg2000": "JPEG 2000",
    "jpeg": "JPEG (published, 4:2:0)",
}
DASHED = ("VTM", "BPG 4:4:4", "bmshj2018-hyperprior")
PLOT = "kodak.svg"


def measure_all(data: Path, out: Path, model: str | None, names: list[str], resume: bool) -> None:
    """Measure whatever is not known yet; the rows so far are saved every minute."""
    ours = bifocal_codec(model)
    peers, missing = available_peers(names)
    for codec in (ours, *peers):
        print(f"{codec.name}: {codec.settings}; qualities {', '.join(map(str, codec.curve))}")
    print("\n".join(missing), flush=True)
    store = out / "kodak.json"
    known = read_json(store) if store.exists() else []
    kept = [r for r in known if resume or r.codec != ours.name]
    rows: list[Measurement] = []
    saved = time.monotonic()
    for row in run_bench([data], [ours, *peers], known=kept):
        rows.append(_timeless(row))
        if time.monotonic() - saved > 60.0:
            done = {(r.codec, r.settings, r.fingerprint, r.quality) for r in rows}
            rest = [r for r in kept if (r.codec, r.settings, r.fingerprint, r.quality) not in done]
            write_json(store, rows + rest)
            print(f"{len(rows)} rows, now at {row.picture}", flush=True)
            saved = time.monotonic()
    write_json(store, rows)


def _timeless(row: Measurement) -> Measurement:
    """A row without its times: a run of an hour beside other work measures sizes and pixels, not speed."""
    return dataclasses.replace(row, encode_seconds=math.nan, decode_seconds=math.nan)


def against_vtm(measured: dict[str, Curve], published: list[Curve]) -> list[tuple[float, str, str]]:
    """BD-rate of everything against VTM, best first: (percent, name, whose figures)."""
    vtm = published[0]
    named = [(c, "measured here") for c in measured.values()] + [(c, "published") for c in published[1:]]
    found = []
    for curve, source in named:
        try:
            found.append((bd_rate(vtm, curve), curve.name, source))
        except MeasureError as fault:
            print(fault, file=sys.stderr)
    return sorted(found)


def by_ms_ssim(means: list[Mean]) -> list[tuple[float, str, str]]:
    """What :func:`against_vtm` gives, for MS-SSIM."""
    published = []
    for file, name in PUBLISHED.items():
        try:
            published.append(load_anchor(ANCHORS / f"{file}.json", name, metric="ms_ssim"))
        except MeasureError:
            continue  # some papers report PSNR only
    return against_vtm(curves(means, metric="ms_ssim"), published)


def write_reports(out: Path) -> tuple[list[Mean], str]:
    """Write kodak.csv, kodak.md and kodak.svg from kodak.json; return the means and the BD-rate table."""
    rows = read_json(out / "kodak.json")
    means = summarise(rows)
    measured = curves(means)
    published = [load_anchor(ANCHORS / f"{file}.json", name) for file, name in PUBLISHED.items()]
    write_csv(out / "kodak.csv", means)
    by_name = {c.name: c for c in published}
    curves_shown = measured | {name: by_name[name] for name in DASHED}
    lines = {name: curve.points for name, curve in curves_shown.items()}
    reporting.write_text(out / PLOT, plot_svg(lines, title="Kodak, means of 24 pictures", dashed=DASHED))

    def bold(name: str, cells: list[str]) -> list[str]:
        return [f"**{cell}**" for cell in cells] if name == "bifocal" else cells

    ranking = markdown(
        ["codec", "BD-rate against VTM", "figures"],
        [
            bold(name, [name, f"{rate:+.1f} %", source])
            for rate, name, source in against_vtm(measured, published)
        ],
    )
    count = len({r.fingerprint for r in rows})
    if count != 24:
        print(f"These are means of {count} pictures; the published ones are of Kodak's 24.", file=sys.stderr)
    parts = [
        "# Kodak\n",
        "Written by `benchmarks/kodak.py`. Bits per pixel are those of whole files; PSNR over RGB and",
        "MS-SSIM (five scales, mean of the three channels) per picture, then means. BD-rate by Akima over",
        f"the PSNR range that both curves reach. {count} pictures. Rows per picture are in `kodak.json`,",
        "without times: speeds are in `speed.md`.\n",
        f"![curves]({PLOT})\n\n## Settings\n",
        *sorted({f"- {r.codec}: {r.settings}" for r in rows}),
        "\n## BD-rate against VTM\n",
        ranking,
    ]
    if ours := measured.get("bifocal"):
        others = [c for name, c in measured.items() if name != "bifocal"] + published
        parts += [
            "\n## Bifocal against each\n\nNegative BD-rate: Bifocal needs fewer bits at equal PSNR.\n",
            markdown(["against", "BD-rate", "BD-PSNR", "common range"], deltas(ours, others)),
        ]
    parts += [
        "\n## BD-rate against VTM by MS-SSIM\n\nIn dB, -10·log10(1 - MS-SSIM), where it is published.\n",
        markdown(
            ["codec", "BD-rate against VTM", "figures"],
            [bold(n, [n, f"{rate:+.1f} %", source]) for rate, n, source in by_ms_ssim(means)],
        ),
    ]
    parts += ["\n## Curves\n\n```", table(means), "```\n"]
    reporting.write_text(out / "kodak.md", "\n".join(parts))
    return means, ranking


def measured_text(means: list[Mean], ranking: str) -> str:
    """The tables of docs/measured.md: half the points of our curve, and everything once against VTM."""
    ours = [m for m in means if m.codec == "bifocal"]
    ranking = "\n".join(line for line in ranking.splitlines() if "(published" not in line)
    curve = markdown(
        ["quality", "bits per pixel", "PSNR (RGB), dB", "MS-SSIM"],
        [
            [str(m.quality), f"{m.bpp:.3f}", f"{m.psnr:.2f}", f"{m.ms_ssim:.4f}"]
            for m in (*ours[:-1:2], *ours[-1:])
        ],
    )
    return (
        f"![Rate-distortion curves on Kodak](../benchmarks/results/{PLOT})\n\n"
        f"Bifocal on Kodak, means of {ours[0].pictures if ours else 0} pictures:\n\n{curve}\n\n"
        f"BD-rate against VTM over the common PSNR range (Akima; lower is better):\n\n{ranking}"
    )


def main() -> None:
    parser = reporting.parser(__doc__)
    parser.add_argument("--data", type=Path, help="folder of pictures; without it nothing is measured")
    parser.add_argument("--model", help="name or folder of a packed model (default: the shipped one)")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), metavar="NAME")
    parser.add_argument("--resume", action="store_true", help="the model is the one of the interrupted run")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    if chosen.data is not None:
        measure_all(chosen.data, chosen.out, chosen.model, chosen.peers, chosen.resume)
    means, ranking = write_reports(chosen.out)
    if chosen.docs:
        reporting.fill("kodak", measured_text(means, ranking))
    print((chosen.out / "kodak.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    reporting.run(main)
