"""Programs that are called and not linked: how they are run, stopped and quoted when they refuse."""

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
    """A program that was found: how to call it, what it calls itself, where it came from, its environment."""

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
) -> str:
    """Run a program in ``folder`` and give its standard output; nothing of it outlives the call.

    ``variables`` are added to the environment; ``failure`` begins the message if it does not work.

    :raises ToolError: with the errors that it printed.
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
        start_new_session=True,  # so that a time-out ends its children too
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise ToolError(
                f"{failure}: it was stopped after {timeout:g} s. Give it longer with --timeout, or a "
                "smaller design."
            ) from error
        raise
    if process.returncode:
        raise ToolError(f"{failure}. It says:\n{_complaint(out, err)}")
    return out


def version_of(command: Sequence[str]) -> str:
    """What a program calls itself, as ``Yosys 0.70``: its first line up to the version."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{command[0]} does not run: {error}. Install it anew.") from error
    lines = (result.stdout or result.stderr).splitlines()
    if result.returncode or not lines:
        raise ToolError(
            f"{command[0]} does not say its version ({result.stderr.strip()[:200]}). Install it anew."
        )
    return re.sub(r"(\d[\d.]*).*", r"\1", lines[0]).strip()


def _complaint(out: str, err: str) -> str:
    """The lines that matter of what a tool printed: those with an error, or else the last ten."""
    lines = [line.rstrip() for line in (err if err.strip() else out).splitlines() if line.strip()]
    first = next((i for i, line in enumerate(lines) if re.search(r"\berror\b|:\d+:\d+:", line, re.I)), None)
    chosen = lines[-10:] if first is None else lines[first : first + 10]
    return "\n".join(f"  {line}" for line in chosen)
