"""Which models are installed: one folder each under ``bifocal/models``, known by ``model.json``.

A stream names its model by wire id and fingerprint, never by a name or a place in a list, so that it cannot
be opened with the wrong one.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bifocal.errors import ModelError, ModelMissing

#: Model of :func:`bifocal.encode` unless another is asked for.
DEFAULT_MODEL = "lowfirst"

#: Where the shipped models are.
MODELS = Path(__file__).parent.parent / "models"

FORMAT = 1


@dataclass(frozen=True)
class ModelCard:
    """What ``model.json`` says of a model, without loading its weights.

    ``size`` counts the bytes of the whole folder; ``fingerprint`` is in hexadecimal; ``parameters`` is 0 and
    ``licence`` is empty where the card leaves them out.
    """

    name: str
    wire_id: int
    system: str
    version: str
    fingerprint: str
    parameters: int
    licence: str
    size: int
    folder: Path


def installed() -> list[ModelCard]:
    """Cards of all shipped models, by name.

    >>> all(card.wire_id >= 1 for card in installed())
    True
    """
    return [read_card(path.parent) for path in sorted(MODELS.glob("*/model.json"))]


def read_card(folder: Path) -> ModelCard:
    """The card of the model in ``folder``.

    :raises ModelError: if there is no model, or it is of a format that this release does not read.
    """
    spec = read_spec(folder)
    card = spec.get("card", {})
    try:
        return ModelCard(
            name=str(spec["name"]),
            wire_id=int(spec["wire_id"]),
            system=str(spec["system"]),
            version=str(spec["version"]),
            fingerprint=str(spec["fingerprint"]),
            parameters=int(card.get("parameters", 0)),
            licence=str(card.get("licence", "")),
            size=sum(file.stat().st_size for file in folder.iterdir() if file.is_file()),
            folder=folder,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{folder / 'model.json'} is incomplete ({error!r}). Install or pack the model again."
        ) from error


def read_spec(folder: Path) -> dict[str, Any]:
    """The parsed ``model.json`` of a folder; errors as in :func:`read_card`."""
    path = folder / "model.json"
    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror}): there is no packed model in {folder}. `bifocal "
            "models` lists the installed ones."
        ) from error
    except ValueError as error:
        raise ModelError(f"{path} is no valid JSON ({error}). Install or pack the model again.") from error
    if not isinstance(spec, dict) or spec.get("format") != FORMAT:
        raise ModelError(
            f"{path} is not of format {FORMAT}, the only one that this release reads. Install a newer "
            "Bifocal, or pack the model again."
        )
    return spec


def model_folder(name: str | os.PathLike[str]) -> Path:
    """The folder of a model: an installed name, or a path to a folder.

    :raises ModelError: if it is neither.
    """
    if isinstance(name, str) and (MODELS / name / "model.json").is_file() and Path(name).name == name:
        return MODELS / name
    folder = Path(name)
    if (folder / "model.json").is_file():
        return folder
    known = ", ".join(card.name for card in installed()) or "none"
    raise ModelError(
        f"there is no model '{os.fspath(name)}': it is neither an installed name ({known}) nor a folder "
        "with a model.json."
    )


def find_card(wire_id: int, fingerprint: bytes, release: tuple[int, int, int]) -> ModelCard:
    """The card of the installed model that a stream names.

    :raises ModelMissing: if it is not here; the message says which release has it.
    """
    for card in installed():
        if (card.wire_id, card.fingerprint) == (wire_id, fingerprint.hex()):
            return card
    raise ModelMissing(wire_id, fingerprint, release)
