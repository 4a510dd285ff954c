"""``bifocal faults compare``: two campaigns side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    before: Annotated[Path, typer.Argument(help="result.json of a campaign.", show_default=False)],
    after: Annotated[Path, typer.Argument(help="result.json of another.", show_default=False)],
) -> None:
    """Compare two campaigns, before and after a change."""
    from bifocal.hardware import compare

    print(compare(before, after).text())
