"""``bifocal-train``: its commands live beside the training loop and need torch, of the ``train`` extra."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from bifocal.cli.launch import launch


def run() -> None:
    """Entry point of the ``bifocal-train`` command."""
    if find_spec("torch") is None:
        print(
            "bifocal-train: torch is not installed. Install it with: pip install 'bifocal[train]'",
            file=sys.stderr,
        )
        sys.exit(1)
    from bifocal.training.command import app

    launch(app, "bifocal-train")
