"""``bifocal faults``: what a bit flip does to an FPGA design."""

from __future__ import annotations

from bifocal.apps.cli.launch import new_app

_SUMMARY = "What a bit flip does: soft-error analysis of small FPGA designs, before place and route."

#: Each is imported when it is named.
_COMMANDS = {name: f"bifocal.apps.cli.faults.{name}:{name}" for name in ("run", "compare", "harden")}

faults = new_app(_SUMMARY, commands=_COMMANDS, completion=False)


@faults.callback(help=_SUMMARY)
def root() -> None: ...
