"""Programs that we call: how they are run and stopped, and how their errors are quoted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bifocal.errors import ToolError

#: Seconds. The yowasp wheel compiles itself to machine code when it first runs, about a minute of one core.
TIMEOUT = 900.0


@dataclass(frozen=True)
class Tool:
    """A program that was found: how to call it, its name and version, its origin, its environment."""

    command: tuple[str, ...]
    version: str
    origin: str
    variables: tuple[tuple[str, str], ...] = ()


def run_tool(
    command: Sequence[str],
    folder: Path,
    timeout: float,
    failure: str,
    variables: Mapping[str, str] | None = None,
    heard: list[str] | None = None,
) -> str:
    """Run a program in ``folder`` and return its standard output.

    ``variables`` are added to the environment; ``failure`` begins the message if it does not work; ``heard``
    gets what it printed as errors and warnings though it worked.

    :raises ToolError: with the errors that it printed.
    """
    try:
        done = run_to_end(command, timeout, folder=folder, variables=variables)
    except subprocess.TimeoutExpired as error:
        raise ToolError(
            f"{failure}: it was stopped after {timeout:g} s. Give it longer with --timeout, or a smaller "
            "design."
        ) from error
    if done.returncode:
        raise ToolError(f"{failure}. Its message:\n{_complaint(done.stdout, done.stderr)}")
    if heard is not None:
        heard.append(done.stderr)
    return done.stdout


def run_to_end(
    command: Sequence[str],
    timeout: float = TIMEOUT,
    *,
    folder: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program and capture what it prints; neither it nor its children outlive the call.

    That holds for a time-out and for an interrupt, too: Ctrl-C, and SIGTERM where that is handled.

    :raises OSError: if it cannot be started.
    :raises subprocess.TimeoutExpired: if it takes longer than ``timeout`` seconds.
    """
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **(variables or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # a group of its own, which can be ended as a whole
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except BaseException:
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.communicate()
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def shortened(names: Sequence[str], most: int = 10) -> str:
    """A list in a sentence: the first ten, and how many more there are.

    >>> shortened(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def version_of(command: Sequence[str]) -> str:
    """The name and version of a program, as ``Yosys 0.70``: its first line up to the version.

    :raises ToolError: if it does not run, or prints no version.
    """
    try:
        result = run_to_end(command)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{command[0]} does not run: {error}. Install it again.") from error
    lines = (result.stdout or result.stderr).splitlines()
    if result.returncode or not lines:
        raise ToolError(
            f"{command[0]} does not print its version ({result.stderr.strip()[:200]}). Install it again."
        )
    return re.sub(r"(\d[\d.]*).*", r"\1", lines[0]).strip()


def _complaint(out: str, err: str) -> str:
    """The relevant lines of what a tool printed: ten from the first error on, or else the last ten."""
    lines = [line.rstrip() for line in (err if err.strip() else out).splitlines() if line.strip()]
    first = next((i for i, line in enumerate(lines) if re.search(r"\berror\b|:\d+:\d+:", line, re.I)), None)
    chosen = lines[-10:] if first is None else lines[first : first + 10]
    return "\n".join(f"  {line}" for line in chosen)
