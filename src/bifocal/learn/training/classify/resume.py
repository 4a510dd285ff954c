"""The checkpoint of a head in training: what it says of its network, and going on from one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from bifocal.errors import TrainingError
from bifocal.learn.checkpoint import Weights, read_parts
from bifocal.learn.training.average import Average
from bifocal.learn.training.classify.recipe import HeadRecipe
from bifocal.runtime.model import Model


def head_header(
    recipe: HeadRecipe, classes: tuple[str, ...], model: Model, selectors: bool
) -> dict[str, str]:
    """What a checkpoint says: all that has to be the same for a run that goes on from it."""
    says = {
        "classes": list(classes),
        "codec": model.entropy.fingerprint.hex(),
        "network": type(recipe.classifier).__name__,
        "sizes": asdict(recipe.classifier),
        "keep": list(recipe.keep),
        **{name: getattr(recipe, name) for name in ("channels", "window", "whole", "side", "held", "seed")},
    }
    return {"head": json.dumps(says), "selectors": json.dumps(selectors)}


@dataclass(frozen=True)
class HeadCheckpoint:
    """A head on its way; ``selectors`` says whether they are in already."""

    path: Path
    header: dict[str, str]
    parts: dict[str, Weights]

    @property
    def selectors(self) -> bool:
        return bool(json.loads(self.header["selectors"]))

    @property
    def history(self) -> tuple[dict[str, Any], ...]:
        return tuple(json.loads(self.header["history"]))

    def check(self, recipe: HeadRecipe, classes: tuple[str, ...], model: Model) -> None:
        """Refuse to go on from it with other classes, another codec, or other numbers.

        The split too has to be the same, or the head would be judged on pictures that it was trained on.

        :raises TrainingError: if anything differs.
        """
        known = json.loads(self.header["head"])
        wanted = json.loads(head_header(recipe, classes, model, False)["head"])
        for name in wanted:
            if known.get(name) != wanted[name]:
                raise TrainingError(
                    f"{self.path} is the checkpoint of a run whose {name} was {known.get(name)}, not "
                    f"{wanted[name]}. Give the same data and options as then, or leave --resume out."
                )

    def restore(self, network: nn.Module, average: nn.Module, decay: float) -> Average:
        """Load both networks; the moving average that goes on."""
        network.load_state_dict(self.parts["weights"])
        average.load_state_dict(self.parts["average"])
        return Average(average, decay, updates=None)


def load_head_checkpoint(path: Path) -> HeadCheckpoint:
    """Read a checkpoint of ``bifocal-train head``.

    :raises TrainingError: if it cannot be read, or is none.
    """
    header, parts = read_parts(path, "weights", "average", "optimiser")
    if not {"head", "selectors", "history"} <= set(header):
        raise TrainingError(
            f"{path} is not the checkpoint of a head. `bifocal-train head` writes one into its report folder."
        )
    return HeadCheckpoint(path, header, parts)
