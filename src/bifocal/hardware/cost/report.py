"""The files of a report: a page, a table for spreadsheets, and all figures as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from bifocal.errors import OutputError
from bifocal.hardware.cost.constants import Energy, Memory
from bifocal.hardware.cost.page import page
from bifocal.hardware.cost.result import NetworkResult, as_json, csv_text
from bifocal.storage.filesystem import refuse_existing, write_atomically

_MEMORY, _ENERGY = Memory(), Energy()
FILES = ("report.html", "layers.csv", "traffic.json")


def check_folder(folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Refuse a folder in which a report is already, or which is a file, before anything is measured.

    :raises OutputError: if so.
    """
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file. Name a folder with --out.")
    for name in FILES:
        if not overwrite:
            refuse_existing(path / name)


def write_report(
    folder: str | os.PathLike[str],
    results: Sequence[NetworkResult],
    memory: Memory = _MEMORY,
    constants: Energy = _ENERGY,
    facts: Mapping[str, str] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write the files of :data:`FILES`, each whole or not at all.

    :raises OutputError: if one exists and may not be replaced, or cannot be written.
    """
    path = Path(folder)
    known = facts or {}
    texts = (
        page(results, memory, constants, known),
        csv_text(results),
        json.dumps(as_json(results, constants, known), indent=1) + "\n",
    )
    check_folder(path, overwrite=overwrite)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"the folder {path} cannot be made: {error.strerror}. Name another one with --out."
        ) from error
    for name, text in zip(FILES, texts, strict=True):
        write_atomically(path / name, text.encode(), overwrite=overwrite)
