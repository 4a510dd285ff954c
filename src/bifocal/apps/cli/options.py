"""Options that several commands have, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Pictures = Annotated[
    list[str],
    typer.Argument(help="Pictures, or folders of them; URLs too; - is standard input.", show_default=False),
]
Streams = Annotated[
    list[str],
    typer.Argument(help="Streams, or folders of them; URLs too; - is standard input.", show_default=False),
]
StreamsOrNone = Annotated[
    list[str] | None,
    typer.Argument(help="Streams, or folders of them; URLs too; - is standard input.", show_default=False),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--out",
        "--output",
        "-o",
        help="The file to write; a folder, if NAME exists as one, ends in /, has no suffix or there are "
        "several results; - is standard output.",
        metavar="NAME",
        show_default="beside the input",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist already.")]
Model = Annotated[str | None, typer.Option(help="An installed model, or the folder of a packed one.")]
StreamModel = Annotated[
    str | None,
    typer.Option(
        help="The folder of a packed model.", show_default="the installed one that the stream names"
    ),
]
HeadName = Annotated[
    str, typer.Option("--head", help="What reads the streams: a shipped head, or a .bfh file of your own.")
]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        "--max-pixels", min=1, help="Refuse larger pictures before decoding them.", show_default="134217728"
    ),
]
Jobs = Annotated[
    int, typer.Option("--jobs", "-j", min=1, help="Processes to work with; they share the processors.")
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Threads of each process.", show_default="processors ÷ jobs"),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with a run that was stopped: finished files are kept.")
]
Shard = Annotated[str, typer.Option(help="Work on the i-th of n parts, such as 2/8.", metavar="I/N")]
Errors = Annotated[
    Path | None, typer.Option("--errors", help="Write the files that failed, and why, to this JSON file.")
]
