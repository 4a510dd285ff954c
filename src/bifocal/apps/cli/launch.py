"""How every command begins and ends: one clear message for what goes wrong, and an exit status that tells.

0: all done. 1: something was refused or failed. 2: the command line was wrong.
"""

from __future__ import annotations

import sys
import warnings
from typing import NoReturn

import typer

from bifocal.errors import BifocalError


def new_app(summary: str) -> typer.Typer:
    return typer.Typer(
        help=summary,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def launch(app: typer.Typer, name: str) -> NoReturn:
    """Run a command line app; errors become one message on standard error."""
    if not sys.warnoptions:  # what Pillow mutters about odd files; real trouble is an error of ours
        warnings.simplefilter("ignore", UserWarning)
    try:
        app(prog_name=name)
    except (BifocalError, OSError) as error:
        complain(error, name)
        sys.exit(1)
    sys.exit(0)


def complain(error: Exception, name: str = "bifocal") -> None:
    """Print an error as one message, without a traceback."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        print(f"{name}: {where}{error.strerror}.", file=sys.stderr)
    else:
        print(f"{name}: {error}", file=sys.stderr)
