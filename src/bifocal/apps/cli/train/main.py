"""The ``bifocal-train`` command: run a recipe, pack a checkpoint, train a head. Needs the ``train`` extra."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from bifocal.apps.cli.launch import launch, new_app
from bifocal.errors import install_command

_COMMANDS = {
    name: f"bifocal.apps.cli.train.{name}:{name}"
    for name in (
        *("run", "distil", "head", "detect", "quantise"),
        *("pack", "revive", "grow", "slim", "cost", "lowbit"),
        *("supernet", "search", "finetune"),
    )
}

app = new_app("Train and pack Bifocal's models.", commands=_COMMANDS)


@app.callback()
def root() -> None: ...


def run() -> None:
    """Entry point of the ``bifocal-train`` command."""
    if find_spec("torch") is None:
        print(
            f"bifocal-train: torch is not installed. Install it with: {install_command('train')}",
            file=sys.stderr,
        )
        sys.exit(1)
    launch(app, "bifocal-train")
