"""A campaign as one HTML page with its pictures inside, and as a table of sites for a spreadsheet.

The histogram of vulnerability scores is the figure of the paper (arXiv 2303.12269); the other pictures are
what we found to be needed to read it: scores depend on how long is simulated, and few LUTs carry most of
them.
"""

from __future__ import annotations

import csv
import io
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from bifocal import __version__
from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.origins import Origin, origin_of_gate, readers_of, text_of
from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.circuits.synthesis import SourceFile
from bifocal.hardware.faults.campaigns.scores import (
    DesignScore,
    SiteScore,
    saturation,
    score_design,
    score_sites,
    share_of_wrong_cycles,
)
from bifocal.hardware.faults.engines.fault_free import trace
from bifocal.hardware.faults.engines.verilator import Verification
from bifocal.hardware.faults.models import INIT
from bifocal.hardware.faults.report.drawing import Bar, Wave, curve, histogram, stacked, waveform
from bifocal.hardware.faults.report.html import document, listing, meter, rows, section, tiles
from bifocal.hardware.faults.result import LEFT_OUT, UNADDRESSED, CampaignResult

_BINS = 20
_WINDOW = 20
_NOUNS = {"lut-init": "INIT bits", "ff-upset": "flip-flop upsets", "stuck": "stuck-at faults"}


@dataclass(frozen=True)
class Report:
    """A campaign and what belongs to it; ``tools``, ``flags`` and ``sources`` are of the synthesis."""

    netlist: Netlist
    stimulus: Stimulus
    result: CampaignResult
    tools: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    sources: tuple[SourceFile, ...] = ()
    verification: Verification | None = None


def report(study: Report, *, shown: int | None = None, ranked: int = 25) -> str:
    """The page. ``shown`` is the fault whose traces are drawn, the worst of the worst site if None."""
    result = study.result
    design, sites = score_design(result), score_sites(result)
    noun = _NOUNS.get(result.model, "faults")
    parts = [
        f"<h1>What a bit flip does to <span class='mono'>{escape(result.design)}</span></h1>",
        f"<p class='sub'>{escape(_summary(study, noun))}</p>",
        tiles(_numbers(study, design, noun)),
        *_warnings(study, design),
        section(
            "What became of the faults",
            "Every fault is simulated by itself and compared with the circuit without a fault.",
            stacked(_classes(result)),
        ),
        section(
            "Vulnerability",
            "Left: for each place, the share of its faults that ever make an output wrong. Right: for "
            "each fault, the "
            "share of cycles with a wrong output. Counts are logarithmic; “none” are those that never do.",
            histogram(
                _site_bars(sites),
                x_label="share that makes an output wrong",
                y_label=_places(sites),
                log=True,
            ),
            histogram(_fault_bars(result), x_label="share of wrong cycles", y_label=noun, log=True),
        ),
        section(
            "Saturation, and where the score sits",
            "Left: how many faults had shown themselves after so many cycles; a curve that still rises says "
            "that a longer run would find more. Right: the part of the score that the worst places carry.",
            _saturation(result, noun),
            _concentration(sites),
        ),
        _ranking(study, sites[:ranked], design),
        _traces(study, shown if shown is not None else _worst(result, sites)),
        section("Provenance", "What was run, so that it can be run again.", listing(_provenance(study))),
        "<p class='note'>Faults are those of the netlist after synthesis: there is no routing before "
        "place and route, so "
        "a real device has more bits that matter than are counted here. Scores depend on the stimulus and "
        "its "
        "length. The score formulas are Bifocal's, not those of arXiv 2303.12269.</p>",
    ]
    return document(f"Soft errors in {result.design}", parts)


def sites_csv(study: Report) -> str:
    """One row a site, the most vulnerable first, with its lines of HDL and what it leads to."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        "site cell faults known wrong latent vulnerability mean_share score leads_to source".split()
    )
    sites = score_sites(study.result)
    for row, origin in zip(sites, _origins(study.netlist, sites), strict=True):
        numbers = (row.faults, row.known, row.wrong, row.latent)
        shares = (f"{value:.6g}" for value in (row.vulnerability, row.mean_share, row.score))
        writer.writerow(
            [
                row.site.name,
                row.site.kind,
                *numbers,
                *shares,
                " ".join(origin.leads_to),
                " ".join(origin.places),
            ]
        )
    return out.getvalue()


def _summary(study: Report, noun: str) -> str:
    result, netlist = study.result, study.netlist
    kind = "a sample of the " if result.sampled else "all "
    return (
        f"{len(netlist.luts):,} LUTs and {len(netlist.flipflops):,} flip-flops of a Xilinx 7-series "
        f"netlist; {kind}"
        f"{len(result):,} {noun}, each over {result.cycles:,} cycles ({result.stimulus})."
    )


def _numbers(study: Report, design: DesignScore, noun: str) -> list[tuple[str, str]]:
    low, high = design.interval
    share = f"{design.wrong_share * 100:.1f} %"
    if study.result.sampled:
        share = f"{low * 100:.1f}–{high * 100:.1f} %"
    first = "–" if design.median_first < 0 else f"{design.median_first:,}"
    return [
        (share, f"of the {noun} make an output wrong at least once ({design.wrong:,} of {design.faults:,})"),
        (f"{design.mean_share * 100:.2f} %", "of the cycles are wrong, in the mean over all faults"),
        (
            f"{design.score:,.1f}",
            "score of the design: the sum over all faults of their share of wrong cycles",
        ),
        (f"{design.mean_hamming * 100:.2f} %", "of the output bits are wrong, in the mean"),
        (f"{design.latent:,}", "are latent: outputs right, but a flip-flop wrong at the end"),
        (first, "is the median first wrong cycle, of those that are ever wrong"),
    ]


def _warnings(study: Report, design: DesignScore) -> list[str]:
    found = []
    if study.result.sampled:
        found.append(
            f"Sampled: {design.left_out:,} faults were left out to stay within the budget; shares are "
            "estimates with "
            "95 % Wilson intervals, and the score is scaled up."
        )
    check = study.verification
    if check is not None and not check.tool:
        found.append(f"Cross-check: {check.remark}")
    elif check is not None and check.differences:
        found.append(f"Cross-check FAILED: {check.tool} disagrees on {'; '.join(check.differences)}")
    return [f'<p class="ill">{escape(text)}</p>' for text in found]


def _classes(result: CampaignResult) -> list[tuple[str, str, int]]:
    wrong = int((result.first_wrong >= 0).sum())
    latent = int(result.latent.sum())
    unaddressed = int((result.status == UNADDRESSED).sum())
    left_out = int((result.status == LEFT_OUT).sum())
    masked = len(result) - wrong - latent - unaddressed - left_out
    parts = [
        ("an output was wrong", "bad", wrong),
        ("latent", "mild", latent),
        ("simulated, no difference left", "one", masked),
        ("never addressed: cannot matter", "quiet", unaddressed),
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


def _places(sites: Sequence[SiteScore]) -> str:
    kinds = {"net" if row.site.kind == "net" else row.site.kind[:2] for row in sites}
    return {frozenset({"LU"}): "LUTs", frozenset({"FD"}): "flip-flops"}.get(frozenset(kinds), "places")


def _site_bars(sites: Sequence[SiteScore]) -> list[Bar]:
    return _bars([row.vulnerability for row in sites if row.known], _places(sites))


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
    label = f"{_places(sites)}, the worst first"
    return curve(
        xs, [("", "one", ys)], x_label=label, y_label="share of the score", share_y=True, diagonal=True
    )


def _origins(netlist: Netlist, sites: Sequence[SiteScore]) -> list[Origin]:
    gates = {gate.name: i for i, gate in enumerate(netlist.gates)}
    readers = readers_of(netlist)
    return [
        origin_of_gate(netlist, gates[row.site.name], readers=readers)
        if row.site.name in gates and row.site.kind != "net"
        else Origin(row.site.sources, ())
        for row in sites
    ]


def _ranking(study: Report, sites: Sequence[SiteScore], design: DesignScore) -> str:
    lines = []
    origins = _origins(study.netlist, sites)
    for rank, (row, origin) in enumerate(zip(sites, origins, strict=True), 1):
        place = f"<span class='mono'>{escape(row.site.name)}</span>"
        if origin.leads_to:
            towards = escape(", ".join(origin.leads_to))
            place = f"{escape(row.site.kind)} → <b>{towards}</b><span class='src'>{place}</span>"
        source = "".join(
            f"<code>{escape(p)}</code> <span class='src mono'>{escape(text_of(p, study.sources))}</span>"
            for p in origin.places
        )
        share = row.score / design.score if design.score else 0.0
        numbers = [f"{row.wrong} of {row.known}", meter(row.vulnerability), f"{row.mean_share * 100:.2f} %"]
        lines.append([str(rank), place, source or "–", *numbers, f"{row.score:.3f}", f"{share * 100:.1f} %"])
    header = ["", "place", "lines of HDL", "wrong", "vulnerability", "mean share", "score", "of all"]
    text = (
        "By score, the sum over its faults of the share of wrong cycles. A LUT forgets its line in "
        "synthesis: where it "
        "has none of its own, those of the flip-flops that it leads to are given."
    )
    table = rows(header, lines, left=3)
    return (
        f"<section><h2>The most vulnerable {escape(_places(sites))}</h2><p class='sub'>{escape(text)}</p>"
        f"<div class='card'>{table}</div></section>"
    )


def _worst(result: CampaignResult, sites: Sequence[SiteScore]) -> int:
    """The fault with the most wrong cycles at the worst site."""
    places = [i for i, site in enumerate(result.sites) if site == sites[0].site]
    candidates = np.flatnonzero(np.isin(result.site, places))
    return int(candidates[np.argmax(result.wrong_cycles[candidates])])


def _traces(study: Report, index: int) -> str:
    """The outputs with and without the fault, around the first wrong cycle of one fault."""
    result, netlist, stimulus = study.result, study.netlist, study.stimulus
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
            "Cycles are "
            "counted after the reset; wrong ones are shaded. Another fault: --show with its row in "
            "faults.csv."
        )
    return (
        f"<section><h2>Outputs with and without the fault</h2><p class='sub'>{escape(text)}</p>"
        f"<div class='card'>{waveform([*waves[:12], *inputs[:6]], start)}</div></section>"
    )


def _group(
    names: Sequence[str],
    correct: np.ndarray[tuple[int, int], np.dtype[np.uint8]],
    faulty: np.ndarray[tuple[int, int], np.dtype[np.uint8]],
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


def _provenance(study: Report) -> list[tuple[str, str]]:
    result, netlist, facts = study.result, study.netlist, study.result.facts
    clock = "none" if netlist.clock is None else netlist.nets[netlist.clock]
    reset = (
        "none"
        if netlist.reset is None
        else f"{netlist.nets[netlist.reset.net]} (active {netlist.reset.active})"
    )
    outputs = ", ".join(name for name, _ in netlist.compared)
    seconds = f"fault-free run {facts.fault_free_seconds:.2f} s, build {facts.build_seconds:.2f} s, simulate "
    check = study.verification
    verified = "" if check is None else check.sentence()
    return [
        ("design", f"{result.design}, netlist sha256 {result.netlist_digest[:16]}…"),
        *((f"source {s.path}", f"sha256 {s.sha256}") for s in study.sources),
        ("synthesis", f"{', '.join(study.tools)}: {' '.join(study.flags)}" if study.tools else ""),
        ("clock, reset", f"{clock}; {reset}"),
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
        ("engine", f"{facts.engine}, {facts.jobs} process(es); {seconds}{facts.simulate_seconds:.2f} s"),
        ("cross-check", verified),
        ("resumed", f"{facts.resumed:,} faults came from a journal" if facts.resumed else ""),
        ("notes", "; ".join((*result.notes, *facts.notes))),
        ("made with", f"Bifocal {__version__}, Python {platform.python_version()}, NumPy {np.__version__}"),
    ]
