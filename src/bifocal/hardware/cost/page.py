"""Memory traffic as one HTML page with its drawings inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from bifocal.hardware.cost.coders import CODERS
from bifocal.hardware.cost.constants import Energy, Memory
from bifocal.hardware.cost.measure import FLOAT32, Traffic
from bifocal.hardware.cost.result import NetworkResult, energy
from bifocal.hardware.pages.drawing import curve, grouped_bars
from bifocal.hardware.pages.html import document, listing, rows, section, tiles

#: Energies of DRAM over which the comparison is drawn, in pJ a bit.
SWEEP = (4.0, 8.0, 12.0, 16.0, 20.0, 24.0, 28.0, 32.0, 36.0, 40.0)
_COLOURS = ("quiet", "mild", "one", "two")
_NOTES = (
    "The pipeline is that of arXiv 2309.02855: quantise, code, write, read, decode, layer by layer. From its "
    "public code are the 8-bit quantiser between the smallest and largest value, the median and the "
    "Gaussian of "
    "each channel, and sparse and plain exponential Golomb. Ours are the fold that wastes no codeword, an "
    "order "
    "for each channel, blocks of rows in whole bursts with their statistics inside, the index, and counting "
    "residual sums, inputs, outputs and weights.",
    "Where a residual sum is made, the layer that completes it reads the other summand and writes the "
    "sum: the "
    "sum is stored, not recomputed. Functions and views that several layers want of one tensor are "
    "applied as "
    "they read.",
    "Each layer reads its input once and in order, as a line buffer allows. Inputs and outputs of the "
    "network "
    "count 8 bits a value (32 in float32) and are not coded; weights are read once a pass, with 8 bits (32).",
)


def page(
    results: Sequence[NetworkResult], memory: Memory, constants: Energy, facts: Mapping[str, str]
) -> str:
    """The page of some networks."""
    parts = [
        f"<h1>Memory traffic of {escape(', '.join(result.name for result in results))}</h1>",
        "<p class='sub'>Every activation that leaves a layer was written by a real coder and read back; "
        "bytes are those of whole bursts.</p>",
    ]
    for result in results:
        parts += _network(result, constants)
    parts.append(
        section("Constants", "What energies and memory are taken to be.", _constants(memory, constants))
    )
    parts.append(section("Provenance", "What was run.", listing(list(facts.items()))))
    parts += [f"<p class='note'>{escape(note)}</p>" for note in _NOTES]
    return document("Memory traffic", parts)


def title_of(way: str) -> str:
    """What a way of storing activations is called.

    >>> title_of("float32"), title_of("sparse")
    ('float32', 'sparse exponential Golomb')
    """
    return CODERS[way].title if way in CODERS else way


def best_coder(traffic: Traffic) -> str:
    """The coder with the fewest bytes, of those that hardware could have."""
    ways = [way for way in traffic.ways if way in CODERS and way not in ("zstd", "lz4")]
    return min(ways or list(traffic.ways), key=traffic.activations)


def _network(result: NetworkResult, constants: Energy) -> list[str]:
    traffic, best = result.traffic, best_coder(result.traffic)
    share = traffic.activations(FLOAT32) / max(1, traffic.activations(best))
    total = traffic.total(FLOAT32) / max(1, traffic.total(best))
    parts = energy(traffic, best, constants).total, energy(traffic, FLOAT32, constants).total
    numbers = [
        (f"{share:.1f}×", f"fewer bytes of activations than float32, by {title_of(best)}"),
        (f"{traffic.bits(best):.2f}", "bits an activation, side information included"),
        (f"{total:.1f}×", "fewer bytes in all, with inputs, outputs and weights"),
        (
            f"{parts[1] / max(parts[0], 1e-12):.1f}×",
            f"less energy: {parts[0]:.2f} mJ in place of {parts[1]:.2f}",
        ),
    ]
    quality = [
        (q.what, f"{q.before:.4g} in float, {q.after:.4g} with decoded activations") for q in result.quality
    ]
    size = [
        ("passes", f"{result.passes}, summed"),
        ("multiply–adds", f"{traffic.macs:,}"),
        ("of learned transforms", f"{traffic.transform_macs:,}" if traffic.transform_macs else "none"),
        ("weights read", f"{traffic.weights:,}"),
        ("activations", f"{traffic.values:,} in {len(traffic.tensors)} tensors"),
    ]
    return [
        f"<h2>{escape(result.name)}</h2>",
        tiles(numbers),
        section(
            "What is lost", "In float, and with what the coders give back.", listing(quality), listing(size)
        ),
        section("By coder", "All bytes are written and read.", _by_coder(traffic, constants)),
        section("By layer", "What each layer writes, in KiB; each tensor once.", _bars(traffic, best)),
        section(
            "By the energy of DRAM",
            "Energy of all passes if a bit to or from DRAM takes 4 to 40 pJ; float32 with its own "
            "arithmetic.",
            _sweep(traffic, best, constants),
        ),
        section("On the chip instead", _tiled_text(traffic), _tiled(traffic)),
    ]


def _by_coder(traffic: Traffic, constants: Energy) -> str:
    header = [
        "",
        "activations MiB",
        "less",
        "bits",
        "side",
        "in, out MiB",
        "total MiB",
        "less",
        "live KiB",
        "mJ",
    ]
    lines = []
    for way in traffic.ways:
        activations, total = traffic.activations(way), traffic.total(way)
        side = traffic.side(way) / max(1, traffic.written(way))
        lines.append(
            [
                escape(title_of(way)),
                f"{activations / 2**20:,.2f}",
                f"{traffic.activations(FLOAT32) / max(1, activations):.2f}×",
                f"{traffic.bits(way):.3f}",
                f"{100 * side:.1f} %",
                f"{traffic.boundary[way] / 2**20:,.2f}",
                f"{total / 2**20:,.2f}",
                f"{traffic.total(FLOAT32) / max(1, total):.2f}×",
                f"{traffic.live[way] / 2**10:,.0f}",
                f"{energy(traffic, way, constants).total:,.3f}",
            ]
        )
    return rows(header, lines)


def _bars(traffic: Traffic, best: str) -> str:
    shown = [way for way in (FLOAT32, "raw", best) if way in traffic.ways]
    shown = list(dict.fromkeys(shown))
    groups = [
        (f"{t.name} {'×'.join(map(str, t.shape[1:]))}", [t.bytes[way] / 1024 for way in shown])
        for t in traffic.tensors
    ]
    return grouped_bars(groups, list(zip(map(title_of, shown), _COLOURS, strict=False)), unit="KiB")


def _sweep(traffic: Traffic, best: str, constants: Energy) -> str:
    shown = [way for way in (FLOAT32, "raw", best) if way in traffic.ways]
    lines = []
    for way, colour in zip(dict.fromkeys(shown), ("bad", "mild", "two"), strict=False):
        ys = [energy(traffic, way, Energy(**{**vars(constants), "dram": pj})).total for pj in SWEEP]
        lines.append((title_of(way), colour, ys))
    return curve(SWEEP, lines, x_label="DRAM, pJ a bit", y_label="mJ")


def _tiled_text(traffic: Traffic) -> str:
    if traffic.not_tiled:
        return f"Line-buffered execution in tiles is not possible: {traffic.not_tiled}."
    return (
        "A tile with its halo passes through all layers without going to memory. Halos are read and computed "
        "again; weights are read again for each tile where they do not fit beside it. Streaming whole rows "
        f"without computing anything twice would need {traffic.line_buffer / 2**10:,.0f} KiB of line buffers."
    )


def _tiled(traffic: Traffic) -> str:
    header = [
        "side",
        "tiles",
        "in, out MiB",
        "weights MiB",
        "total MiB",
        "less",
        "products",
        "on the chip KiB",
    ]
    first = traffic.total(FLOAT32)
    passes = traffic.macs / max(1, traffic.tiled[0].macs_once) if traffic.tiled else 1
    lines = [
        [
            f"{t.side}",
            f"{t.tiles}",
            f"{t.boundary / 2**20:,.2f}",
            f"{t.weights / 2**20:,.2f}",
            f"{t.bytes / 2**20:,.2f}",
            f"{first / passes / max(1, t.bytes):.1f}×",
            f"{t.recomputed:.2f}×",
            f"{t.sram / 2**10:,.0f}",
        ]
        for t in traffic.tiled
    ]
    return rows(header, lines, left=0)


def _constants(memory: Memory, constants: Energy) -> str:
    return listing(
        [
            *constants.sources(),
            ("burst", f"{memory.burst} bytes: our choice"),
            ("block", f"as many whole rows as hold {memory.block:,} values, at least one: our choice"),
            ("memory on the chip", f"{memory.sram:,} bytes, for tiles alone: our choice"),
        ]
    )
