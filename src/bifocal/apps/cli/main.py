"""The ``bifocal`` command."""

from __future__ import annotations

from typing import Annotated

import typer

from bifocal import __version__
from bifocal.apps.cli.launch import launch, new_app

_SUMMARY = "A learned image codec whose streams decode to the same latents on every machine."

#: Each is imported when it is named: encoding a picture loads nothing of the others.
_COMMANDS = (
    {name: f"bifocal.apps.cli.convert:{name}" for name in ("encode", "decode")}
    | {
        name: f"bifocal.apps.cli.{name}:{name}"
        for name in (
            *("classify", "detect", "search", "info", "bench", "models", "doctor", "desktop", "faults"),
            *("traffic", "view"),
        )
    }
    | {"pack-dataset": "bifocal.apps.cli.pack_dataset:pack_dataset"}
)

app = new_app(_SUMMARY, commands=_COMMANDS)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"bifocal {__version__}")
        raise typer.Exit


@app.callback(help=_SUMMARY)
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None: ...


def run() -> None:
    """Entry point of the ``bifocal`` command."""
    launch(app, "bifocal")
