"""Simulate the faults of a design, and report what they do."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from bifocal.errors import OptionError
from bifocal.hardware.faults.campaigns.campaign import Campaign
from bifocal.hardware.faults.campaigns.rates import load_rate
from bifocal.hardware.faults.campaigns.seeds import run_seeds
from bifocal.hardware.faults.campaigns.verification import Verification, verify
from bifocal.hardware.faults.design import Design, Files, read_design
from bifocal.hardware.faults.folder import ResultFolder
from bifocal.hardware.faults.models import Faults, make_faults
from bifocal.hardware.faults.options import AnalysisOptions
from bifocal.hardware.faults.report.contents import Report
from bifocal.hardware.faults.report.groups import groups_csv
from bifocal.hardware.faults.report.page import page
from bifocal.hardware.faults.report.tables import sites_csv

FILES = ("netlist.json", "result.json", "faults.csv", "sites.csv", "groups.csv", "report.html")
SEEDS = "seeds.csv"
JOURNAL = "faults.journal"


def analyse(
    design: Files,
    options: AnalysisOptions | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    log: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Simulate the faults of a design, and report what each of them does to the outputs.

    >>> report = analyse("uart.v", AnalysisOptions(cycles=2000), out="report")  # doctest: +SKIP

    :param design: Verilog or VHDL files, a structural Xilinx netlist, or a Yosys JSON netlist.
    :param out: a folder for netlist.json, result.json, faults.csv, sites.csv, groups.csv and report.html, and
        seeds.csv of several stimuli; nothing is written if None.
    :param resume: continue from the journal that a stopped run has left in ``out``.
    :param overwrite: replace results that are in ``out`` already.
    :param log: called with a line of text for each thing that becomes known.
    :param progress: called with how many faults are finished, and how many are to be simulated.
    :raises OptionError: if an option is out of its range.
    :raises ToolError: if a file cannot be read, or another program is missing or fails.
    :raises CircuitError: if the design, the stimulus or the faults cannot be simulated.
    :raises CampaignError: if the campaign cannot run or be resumed.
    :raises OutputError: if a result exists already, or cannot be written.
    """
    options, log = options or AnalysisOptions(), log or (lambda line: None)
    _check(options)
    rate = None if options.device is None else load_rate(options.device)
    files = (*FILES, SEEDS) if options.seeds > 1 else FILES
    folder = ResultFolder(out, files, overwrite=overwrite, journal=JOURNAL, resume=resume)
    opened = read_design(design, options)
    for line in opened.description():
        log(line)
    faults = _choose_faults(opened, options)
    log(f"faults    {len(faults):,} of the model {options.faults}, {opened.stimulus.cycles:,} cycles each")
    campaign = _campaign(opened, faults, options, folder, resume, progress)
    folder.make()
    result = campaign.run()
    log(f"engine    {result.facts.sentence()}")
    folder.write("netlist.json", opened.mapped.json)
    folder.write("result.json", result.to_json())
    folder.write("faults.csv", result.to_csv())
    report = Report(opened.netlist, opened.stimulus, result, opened.mapped, rate=rate)
    if options.seeds > 1:
        report = replace(report, seeds=run_seeds(campaign, result, options.seeds, log))
        folder.write(SEEDS, report.seeds.to_csv() if report.seeds else "")
    if options.verify > 0:
        verification = _verify(report, options)
        log(f"verified  {verification.sentence()}")
        report = replace(report, verification=verification)
    for warning in report.activity.warnings():
        log(f"warning   {warning}")
    folder.write("sites.csv", sites_csv(report))
    folder.write("groups.csv", groups_csv(report))
    folder.write("report.html", page(report, shown=options.show))
    folder.finish()
    return report


def _check(options: AnalysisOptions) -> None:
    """Refuse options that do not go together, before work begins."""
    if not 1 <= options.seeds <= 1000:
        raise OptionError(f"{options.seeds} stimuli (--seeds): give a number from 1 to 1000.")
    if options.seeds > 1 and options.stimulus is not None:
        raise OptionError("--seeds draws random stimuli, and --stimulus gives one. Leave out one of them.")
    if options.device is not None and options.faults != "lut-init":
        raise OptionError(
            "--device gives the rate of upsets of configuration memory, which are --faults lut-init."
        )


def _choose_faults(opened: Design, options: AnalysisOptions) -> Faults:
    netlist, cycles = opened.netlist, opened.stimulus.cycles
    faults = make_faults(options.faults, netlist, cycles, upsets=options.upsets, seed=options.seed)
    if options.show is not None and not 0 <= options.show < len(faults):
        raise OptionError(
            f"fault {options.show} cannot be shown (--show): there are faults 0 to {len(faults) - 1}."
        )
    return faults


def _campaign(
    opened: Design,
    faults: Faults,
    options: AnalysisOptions,
    folder: ResultFolder,
    resume: bool,
    progress: Callable[[int, int], None] | None,
) -> Campaign:
    if not 1 <= options.budget < float("inf"):
        raise OptionError(f"a budget of {options.budget:g} fault-cycles (--budget): give a number from 1 on.")
    return Campaign(
        opened.netlist,
        opened.stimulus,
        faults,
        engine=options.engine,
        jobs=options.jobs,
        budget=int(options.budget),
        seed=options.seed,
        journal=folder.journal,
        resume=resume,
        progress=progress,
    )


def _verify(report: Report, options: AnalysisOptions) -> Verification:
    return verify(
        report.netlist,
        report.stimulus,
        report.result,
        count=options.verify,
        builds=options.verify_builds,
        seed=options.seed,
        timeout=options.timeout,
    )
