"""Which models are installed: one folder each under ``bifocal/models``, known by ``model.json``.

A stream names its model by wire id and fingerprint, never by a name or a position in a list, so that it
cannot be opened with the wrong one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bifocal.errors import ModelError, ModelMissing
from bifocal.runtime import model as packed
from bifocal.runtime.model import read_spec


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
    return [read_card(path.parent) for path in sorted(packed.MODELS.glob("*/model.json"))]


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


def find_card(wire_id: int, fingerprint: bytes, release: tuple[int, int, int]) -> ModelCard:
    """The card of the installed model that a stream names.

    :raises ModelMissing: if it is not here; the message says which release has it.
    """
    for card in installed():
        if (card.wire_id, card.fingerprint) == (wire_id, fingerprint.hex()):
            return card
    raise ModelMissing(wire_id, fingerprint, release)
