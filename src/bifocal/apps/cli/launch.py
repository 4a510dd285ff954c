"""How every command begins and ends: one clear message for what goes wrong, and an exit status.

0: all is well. 1: something failed. 2: the command line was wrong, and nothing was tried. 130: stopped by
Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import io
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from bifocal.errors import (
    BifocalError,
    ModelError,
    ModelMissing,
    OptionError,
    OutputError,
    PictureError,
    PictureWarning,
    StreamError,
)


def new_app(summary: str, *, commands: dict[str, str] | None = None, completion: bool = True) -> typer.Typer:
    """A command line app. ``commands`` maps names to ``module:function``; a module is imported when its
    command is named. ``completion`` is for apps that are not part of another."""
    return typer.Typer(
        help=summary,
        no_args_is_help=True,
        add_completion=completion,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        cls=_group_of(commands) if commands else None,
    )


def _group_of(commands: dict[str, str]) -> type[TyperGroup]:
    class Group(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            for name in commands:
                self._import(name)
            return list(commands)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            for name in [cmd_name] if cmd_name in commands else commands:  # all, to suggest one of them
                self._import(name)
            return super().get_command(ctx, cmd_name)

        def _import(self, name: str) -> None:
            if name not in self.commands:
                module, _, attribute = commands[name].partition(":")
                self.commands[name] = _command(name, getattr(import_module(module), attribute))

    return Group


def _command(name: str, made_of: typer.Typer | Callable[..., None]) -> Any:
    """The command of a function, or the group of another app."""
    if not isinstance(made_of, typer.Typer):
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(name)(made_of)
        made_of = app
    return typer.main.get_command(made_of)


def launch(app: typer.Typer, name: str) -> NoReturn:
    """Run a command line app; errors become one message on standard error."""
    for stream in (sys.stdout, sys.stderr):  # a terminal or pipe may not know every character
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # SIGTERM is what stops jobs on clusters: as clean as Ctrl-C
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _our_warnings(name):
            app(prog_name=name)
    except (BifocalError, OSError, MemoryError) as error:
        complain(error, name)
        wrong_usage = isinstance(error, OptionError | ModelError) and not isinstance(error, ModelMissing)
        sys.exit(2 if wrong_usage else 1)
    finally:
        signal.signal(signal.SIGTERM, before)
    sys.exit(0)


@contextmanager
def _our_warnings(name: str) -> Iterator[None]:
    """Our warnings as one line each. What Pillow says about odd files is left out, unless Python was asked to
    show warnings: real trouble is an error of ours."""
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("always", PictureWarning)
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            if issubclass(category, PictureWarning):
                print(f"{name}: {printable(str(message))}", file=sys.stderr)
            else:
                shown(message, category, *rest, **more)

        warnings.showwarning = show
        yield


def complain(error: Exception, name: str = "bifocal") -> None:
    """Print an error as one message, without a traceback."""
    if isinstance(error, MemoryError):
        print(f"{name}: not enough memory. Use a machine with more, or a smaller picture.", file=sys.stderr)
    elif isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        print(f"{name}: {printable(where)}{error.strerror}.", file=sys.stderr)
    else:
        lines = "" if isinstance(error, _OF_FILES) else "\n\t"
        print(f"{name}: {printable(str(error), keep=lines)}", file=sys.stderr)


#: Errors that name files and have one line: a line end in them is one of a name.
_OF_FILES = (OptionError, OutputError, PictureError, StreamError)


def printable(text: str, *, keep: str = "") -> str:
    """``text`` with its control characters written out, but for those to ``keep``: names of files may hold
    any, and a terminal would obey them.

    >>> printable("a\\nb\\x1b[2J.png")
    'a\\\\nb\\\\x1b[2J.png'
    """
    return re.sub(
        r"[\x00-\x1f\x7f-\x9f]", lambda found: found[0] if found[0] in keep else repr(found[0])[1:-1], text
    )
