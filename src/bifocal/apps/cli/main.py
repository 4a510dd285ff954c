"""The ``bifocal`` command."""

from __future__ import annotations

from typing import Annotated

import typer

from bifocal import __version__
from bifocal.apps.cli.bench import bench
from bifocal.apps.cli.classify import classify
from bifocal.apps.cli.decode import decode
from bifocal.apps.cli.doctor import doctor
from bifocal.apps.cli.encode import encode
from bifocal.apps.cli.faults import faults
from bifocal.apps.cli.info import info
from bifocal.apps.cli.launch import launch, new_app
from bifocal.apps.cli.models import models

app = new_app("A learned image codec whose streams decode bit-exactly on every machine.")
for command in (encode, decode, classify, info, bench, models, doctor):
    app.command()(command)
app.add_typer(faults, name="faults")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"bifocal {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which release this is.")
    ] = False,
) -> None:
    """A learned image codec whose streams decode bit-exactly on every machine."""


def run() -> None:
    """Entry point of the ``bifocal`` command."""
    launch(app, "bifocal")
