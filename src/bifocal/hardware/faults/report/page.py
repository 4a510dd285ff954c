"""A campaign as one HTML page with its pictures inside.

The histogram of vulnerability scores is the figure of the paper (arXiv 2303.12269). The other pictures are
ours: scores depend on how many cycles are simulated, and few LUTs carry most of the score.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from bifocal import __version__
from bifocal.hardware.circuits.origins import origin_of_gate, text_of
from bifocal.hardware.faults.campaigns.scores import (
    DesignScore,
    SiteScore,
    saturation,
    score_design,
    score_sites,
    share_of_wrong_cycles,
)
from bifocal.hardware.faults.engines.fault_free import trace
from bifocal.hardware.faults.models import INIT
from bifocal.hardware.faults.report.contents import Report
from bifocal.hardware.faults.report.groups import KINDS, group_sites, table_rows
from bifocal.hardware.faults.report.tables import origins_of
from bifocal.hardware.faults.result import LEFT_OUT, UNADDRESSED, CampaignResult
from bifocal.hardware.pages.drawing import Bar, Wave, curve, histogram, stacked, waveform
from bifocal.hardware.pages.html import document, listing, meter, rows, section, tiles

_BINS = 20
_WINDOW = 20
_LIMITS = (
    "Faults are those of the netlist after synthesis. It has no routing yet, so a real device has more bits "
    "that matter than are counted here. Scores depend on the stimulus and its length. The formulas of the "
    "scores are Bifocal's, not those of arXiv 2303.12269."
)
_NOUNS = {"lut-init": "INIT bits", "ff-upset": "flip-flop upsets", "stuck": "stuck-at faults"}


def page(report: Report, *, shown: int | None = None, ranked: int = 25, hardened: Sequence[str] = ()) -> str:
    """The page.

    :param hardened: of a hardened design, what was done and what that gained, in lines of text.

    :param shown: the fault whose outputs are drawn; the worst fault of the worst site if None.
    :param ranked: how many sites the table lists.
    """
    result = report.result
    design, sites = score_design(result), score_sites(result)
    noun = _NOUNS.get(result.model, "faults")
    parts = [
        f"<h1>What a bit flip does to <span class='mono'>{escape(result.design)}</span></h1>",
        f"<p class='sub'>{escape(_summary(report, noun))}</p>",
        tiles(_numbers(report, design, noun)),
        *_warnings(report, design),
        *_hardening(hardened),
        *_further(report),
        section(
            "Effects of the faults",
            "Each fault is simulated by itself and compared with the circuit without a fault.",
            stacked(_classes(result)),
        ),
        section(
            "Vulnerability",
            f"Left: for each of the {_kinds(sites)}, the share of its faults that ever make an output wrong. "
            "Right: for each fault, the share of cycles with a wrong output. The axes of counts are "
            "logarithmic; “none” counts those that are never wrong.",
            histogram(
                _site_bars(sites),
                x_label="share that makes an output wrong",
                y_label=_kinds(sites),
                log=True,
            ),
            histogram(_fault_bars(result), x_label="share of wrong cycles", y_label=noun, log=True),
        ),
        section(
            "Saturation, and where the score comes from",
            "Left: how many faults have made an output wrong after a number of cycles. If the curve still "
            "rises, a longer run would find more. Right: the part of the score that the worst "
            f"{_kinds(sites)} carry.",
            _saturation(result, noun),
            _concentration(sites),
        ),
        _grouped(report),
        _ranking(report, sites[:ranked], design),
        _outputs(report, shown if shown is not None else _worst(result, sites)),
        section("Provenance", "What was run, so that it can be repeated.", listing(_provenance(report))),
        f"<p class='note'>{escape(_LIMITS)}</p>",
    ]
    return document(f"Soft errors in {result.design}", parts)


def _summary(report: Report, noun: str) -> str:
    result, netlist = report.result, report.netlist
    kind = "a sample of the " if result.sampled else "all "
    return (
        f"{len(netlist.luts):,} LUTs and {len(netlist.flipflops):,} flip-flops of a Xilinx 7-series "
        f"netlist; {kind}{len(result):,} {noun}, each over {result.cycles:,} cycles ({result.stimulus})."
    )


def _numbers(report: Report, design: DesignScore, noun: str) -> list[tuple[str, str]]:
    low, high = design.interval
    share = f"{design.wrong_share * 100:.1f} %"
    if report.result.sampled:
        share = f"{low * 100:.1f}–{high * 100:.1f} %"
    first = "–" if design.median_first < 0 else f"{design.median_first:,}"
    return [
        (share, f"of the {noun} make an output wrong at least once ({design.wrong:,} of {design.faults:,})"),
        (f"{design.mean_share * 100:.2f} %", "of the cycles are wrong, averaged over all faults"),
        (
            f"{design.score:,.1f}",
            "score of the design: the sum over all faults of their share of wrong cycles",
        ),
        (f"{design.mean_hamming * 100:.2f} %", "of the output bits are wrong, averaged over all faults"),
        (f"{design.latent:,}", "are latent: the outputs are right, but a flip-flop is wrong at the end"),
        (first, "is the median first wrong cycle of the faults that are ever wrong"),
    ]


def _warnings(report: Report, design: DesignScore) -> list[str]:
    found = [text[0].upper() + text[1:] for text in report.activity.warnings()]
    if report.result.sampled:
        found.append(
            f"Sampled: {design.left_out:,} faults were left out to stay within the budget. Shares are "
            "estimates with 95 % Wilson intervals, and the score is scaled up."
        )
    check = report.verification
    if check is not None and not check.tool:
        found.append(f"Check by Verilator: {check.remark}")
    elif check is not None and check.differences:
        found.append(f"Check by Verilator FAILED: {check.tool} disagrees on {'; '.join(check.differences)}")
    return [f'<p class="ill">{escape(text)}</p>' for text in found]


def _hardening(lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    text = "<br>".join(escape(line).replace("  ", "&nbsp; ") for line in lines)
    return [f"<section><h2>What was triplicated</h2><div class='card mono'>{text}</div></section>"]


def _further(report: Report) -> list[str]:
    """Scores under several stimuli, and FIT."""
    parts = []
    if report.seeds is not None:
        header = ["score", "mean", "95 % interval", *(f"seed {seed}" for seed in report.seeds.seeds[:6])]
        spreads = [report.seeds.score, report.seeds.share, *report.seeds.sites[:10]]
        lines = [
            [
                f"<span class='mono'>{escape(spread.name)}</span>",
                f"{spread.mean:.4g}",
                f"{spread.low:.4g} to {spread.high:.4g}",
                *(f"{value:.4g}" for value in spread.values[:6]),
            ]
            for spread in spreads
        ]
        text = report.seeds.sentence() + ". All sites and seeds are in seeds.csv."
        parts.append(section("Under several stimuli", text, rows(header, lines, left=1)))
    if report.rate is not None:
        parts.append(section("Failures in time", report.rate.sentence(report.result) + "."))
    return parts


def _classes(result: CampaignResult) -> list[tuple[str, str, int]]:
    wrong = int((result.first_wrong >= 0).sum())
    latent = int(result.latent.sum())
    unaddressed = int((result.status == UNADDRESSED).sum())
    left_out = int((result.status == LEFT_OUT).sum())
    masked = len(result) - wrong - latent - unaddressed - left_out
    parts = [
        ("an output was wrong", "bad", wrong),
        ("latent", "mild", latent),
        ("simulated, no effect at the end", "one", masked),
        ("not addressed under this stimulus", "quiet", unaddressed),
    ]
    return parts + ([("left out by sampling", "rule", left_out)] if left_out else [])


def _bars(values: Sequence[float], what: str) -> list[Bar]:
    """A bar at the left for those that are exactly 0, then equal bins over (0, 1]."""
    array = np.asarray(values, np.float64)
    bars = [Bar(-0.14, -0.08, int((array == 0).sum()), f"{int((array == 0).sum()):,} {what}: none", "quiet")]
    counts, edges = np.histogram(array[array > 0], _BINS, (0.0, 1.0))
    for count, low, high in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        bars.append(Bar(low, high, count, f"{count:,} {what}: {low * 100:.0f}–{high * 100:.0f} %"))
    return bars


def _kinds(sites: Sequence[SiteScore]) -> str:
    """What the sites are, in the plural."""
    kinds = {"net" if row.site.kind == "net" else row.site.kind[:2] for row in sites}
    return {frozenset({"LU"}): "LUTs", frozenset({"FD"}): "flip-flops"}.get(frozenset(kinds), "sites")


def _site_bars(sites: Sequence[SiteScore]) -> list[Bar]:
    return _bars([row.vulnerability for row in sites if row.known], _kinds(sites))


def _fault_bars(result: CampaignResult) -> list[Bar]:
    return _bars(share_of_wrong_cycles(result)[result.status != LEFT_OUT].tolist(), "faults")


def _saturation(result: CampaignResult, noun: str) -> str:
    cycles, counts = saturation(result)
    lines = [("", "bad", counts.tolist())]
    return curve(cycles.tolist(), lines, x_label="cycles", y_label=f"{noun} seen", log_x=result.cycles > 30)


def _concentration(sites: Sequence[SiteScore]) -> str:
    scores = np.array([row.score for row in sites])
    total = max(float(scores.sum()), 1e-300)
    xs = [k / max(1, len(sites)) for k in range(len(sites) + 1)]
    ys = [0.0, *(np.cumsum(scores) / total).tolist()]
    if len(xs) > 400:
        keep = np.unique(np.linspace(0, len(xs) - 1, 400).round().astype(int)).tolist()
        xs, ys = [xs[k] for k in keep], [ys[k] for k in keep]
    label = f"{_kinds(sites)}, the worst first"
    return curve(
        xs, [("", "one", ys)], x_label=label, y_label="share of the score", share_y=True, diagonal=True
    )


def _ranking(report: Report, sites: Sequence[SiteScore], design: DesignScore) -> str:
    lines = []
    files = report.mapped.sources if report.mapped else ()
    origins = origins_of(report.netlist, sites)
    for rank, (row, origin) in enumerate(zip(sites, origins, strict=True), 1):
        site = f"<span class='mono'>{escape(row.site.name)}</span>"
        if origin.leads_to:
            towards = escape(", ".join(origin.leads_to))
            site = f"{escape(row.site.kind)} → <b>{towards}</b><span class='src'>{site}</span>"
        source = "".join(
            f"<code>{escape(line)}</code> <span class='src mono'>{escape(text_of(line, files))}</span>"
            for line in origin.lines
        )
        share = row.score / design.score if design.score else 0.0
        numbers = [f"{row.wrong} of {row.known}", meter(row.vulnerability), f"{row.mean_share * 100:.2f} %"]
        lines.append([str(rank), site, source or "–", *numbers, f"{row.score:.3f}", f"{share * 100:.1f} %"])
    header = ["", "site", "lines of HDL", "wrong", "vulnerability", "mean share", "score", "of all"]
    text = (
        "By score: the sum over the faults of a site of their shares of wrong cycles. Synthesis does not "
        "record the line of most LUTs; for these, the lines of the flip-flops that they lead to are listed."
    )
    table = rows(header, lines, left=3)
    return (
        f"<section><h2>The most vulnerable {escape(_kinds(sites))}</h2><p class='sub'>{escape(text)}</p>"
        f"<div class='card'>{table}</div></section>"
    )


def _grouped(report: Report) -> str:
    """The score by register and by instance."""
    cards = []
    for kind in KINDS:
        groups = group_sites(report, kind)
        total = sum(group.score for group in groups)
        header = [f"{kind}, of {len(groups):,}", "sites", "wrong", "score", "of all"]
        lines = [
            [f"<span class='mono'>{escape(row[0])}</span>", *row[1:]] for row in table_rows(groups, total, 12)
        ]
        cards.append(f"<div class='card'>{rows(header, lines, left=1)}</div>")
    text = (
        "A site counts once, for the nearest register or output that it leads to; an instance is what stands "
        "before the last dot of that name. All of them are in groups.csv."
    )
    return (
        f"<section><h2>By register and by instance</h2><p class='sub'>{escape(text)}</p>{''.join(cards)}"
        "</section>"
    )


def _worst(result: CampaignResult, sites: Sequence[SiteScore]) -> int:
    """The fault with the most wrong cycles at the worst site."""
    worst = [i for i, site in enumerate(result.sites) if site == sites[0].site]
    candidates = np.flatnonzero(np.isin(result.site, worst))
    return int(candidates[np.argmax(result.wrong_cycles[candidates])])


def _outputs(report: Report, index: int) -> str:
    """The outputs with and without the fault, around the first wrong cycle of one fault."""
    result, netlist, stimulus = report.result, report.netlist, report.stimulus
    fault = result.faults[index]
    correct, faulty = trace(netlist, stimulus), trace(netlist, stimulus, fault)
    first = int(result.first_wrong[index])
    start = max(0, first - 6)
    stop = min(result.cycles, start + _WINDOW)
    rows_of = slice(start, stop)
    waves = _group([name for name, _ in netlist.compared], correct[rows_of], faulty[rows_of])
    waves.sort(key=lambda wave: list(wave.correct) == list(wave.faulty))
    played = stimulus.bits[stimulus.reset_cycles :][rows_of]
    inputs = _group(list(stimulus.names), played, played)
    label = fault.label(netlist)
    if fault.kind == INIT:
        leads = origin_of_gate(netlist, fault.target, most=1).leads_to
        label += f" ({netlist.gates[fault.target].kind}{' towards ' + leads[0] if leads else ''})"
    if first < 0:
        text = f"{label}: no output is ever wrong."
    else:
        count = int(result.wrong_cycles[index])
        text = (
            f"{label}: first wrong in cycle {first:,}, wrong in {count:,} of {result.cycles:,} cycles. "
            "Cycles are counted after the reset; wrong ones are shaded. To draw another fault, give its row "
            "in faults.csv with --show."
        )
    return (
        f"<section><h2>Outputs with and without the fault</h2><p class='sub'>{escape(text)}</p>"
        f"<div class='card'>{waveform([*waves[:12], *inputs[:6]], start)}</div></section>"
    )


def _group(
    names: Sequence[str],
    correct: NDArray[np.uint8],
    faulty: NDArray[np.uint8],
) -> list[Wave]:
    """Bits ``[cycles, bits]`` as signals: ``a[0]``, ``a[1]`` … become the numbers of ``a``."""
    ports: dict[str, list[tuple[int, int]]] = {}
    for column, name in enumerate(names):
        port, bracket, bit = name.rpartition("[")
        if bracket and bit[:-1].isdecimal():
            ports.setdefault(port, []).append((int(bit[:-1]), column))
        else:
            ports.setdefault(name, []).append((0, column))
    waves = []
    for port, bits in ports.items():
        values = [
            [sum(int(row[column]) << bit for bit, column in bits) for row in table]
            for table in (correct, faulty)
        ]
        waves.append(Wave(port, max(bit for bit, _ in bits) + 1, *values))
    return waves


def _provenance(report: Report) -> list[tuple[str, str]]:
    result, netlist, facts = report.result, report.netlist, report.result.facts
    mapped = report.mapped
    tools = f"{', '.join(mapped.tools)}: {' '.join(mapped.flags)}" if mapped and mapped.tools else ""
    outputs = ", ".join(name for name, _ in netlist.compared)
    seconds = (facts.fault_free_seconds, facts.build_seconds, facts.simulate_seconds)
    parts = ("fault-free run", "build", "simulate")
    times = ", ".join(f"{part} {value:.2f} s" for part, value in zip(parts, seconds, strict=True))
    verified = report.verification.sentence() if report.verification else ""
    return [
        ("design", f"{result.design}, netlist sha256 {result.netlist_digest[:16]}…"),
        *((f"source {s.path}", f"sha256 {s.sha256}") for s in (mapped.sources if mapped else ())),
        ("synthesis", tools),
        ("clock, reset", f"{netlist.clock_name}; {netlist.reset_name}"),
        (
            "compared outputs",
            outputs if len(outputs) < 400 else f"{outputs[:400]}… ({len(netlist.compared)})",
        ),
        ("stimulus", f"{result.stimulus}, sha256 {result.stimulus_digest[:16]}…"),
        ("cycles", f"{result.cycles:,} counted after {result.reset_cycles} of reset"),
        (
            "fault model",
            f"{result.model}, {len(result):,} faults; sampling seed {result.seed}, budget {result.budget:,}",
        ),
        ("engine", f"{facts.engine}, {facts.jobs} process(es); {times}"),
        ("check by Verilator", verified),
        ("resumed", f"{facts.resumed:,} faults came from a journal" if facts.resumed else ""),
        ("notes", "; ".join((*result.notes, *facts.notes))),
        ("made with", f"Bifocal {__version__}, Python {platform.python_version()}, NumPy {np.__version__}"),
    ]
