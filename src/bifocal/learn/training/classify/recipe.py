"""The numbers of a head's training, and which of them can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bifocal.errors import OptionError
from bifocal.learn.nets.heads.latent_stem import LatentClassifierConfig, LatentResNetConfig
from bifocal.runtime.heads.file import MAX_WINDOW
from bifocal.runtime.model import Model
from bifocal.stream.limits import TILE_UNIT

#: Windows are so many times as wide as views: a picture twice as large as a view is classified better whole
#: than in parts (docs/heads.md).
WINDOW = 3
MOST_VIEWS, LARGEST_SIDE = 1000, 1024


@dataclass(frozen=True)
class HeadRecipe:
    """Every number of a run. ``channels`` 0 reads the first group of the codec's channels: the cheapest.

    ``views`` of ``side`` pixels are made of each picture; ``held`` is the share that is judged on; ``plain``
    the share of plain pictures in a batch; ``mixed`` and ``cut`` are shares of the batches that mixup or
    CutMix, or a crop of the latents, is done to. ``keep`` has, for a transformer alone, the share of
    positions that each token selector keeps (``learn/training/classify/selectors.py``).
    """

    classifier: LatentResNetConfig | LatentClassifierConfig = LatentResNetConfig()
    keep: tuple[float, ...] = ()
    channels: int = 0
    window: int = 0  # positions of y a side that the head sees at once; 0: three times those of a view
    side: int = 128
    views: int = 8
    held: float = 0.1
    batch: int = 128
    lr: float = 2e-3  # AdamW: norms, biases, positions, the last layer
    matrix_lr: float = 5e-3  # Muon: kernels and matrices
    decay: float = 0.05
    smoothing: float = 0.1
    plain: float = 0.2
    mixed: float = 0.5
    cut: float = 0.3
    warmup: int = 60
    ema: float = 0.998
    seed: int = 0


def settled(recipe: HeadRecipe, model: Model) -> HeadRecipe:
    """The recipe with its zeros filled in from the codec.

    :raises OptionError: if a number is out of range.
    """
    plan = model.entropy.plan
    recipe = replace(
        recipe,
        channels=recipe.channels or plan.groups[0].stop,
        window=recipe.window or min(WINDOW * (recipe.side // plan.y_stride), MAX_WINDOW),
    )
    units = range(TILE_UNIT, LARGEST_SIDE + 1, TILE_UNIT)
    _check("side", recipe.side, recipe.side in units, f"a multiple of {TILE_UNIT} up to {LARGEST_SIDE}")
    _check("views", recipe.views, 1 <= recipe.views <= MOST_VIEWS, f"1 to {MOST_VIEWS}")
    _check("held", recipe.held, 0 < recipe.held < 1, "between 0 and 1")
    _check("channels", recipe.channels, 1 <= recipe.channels <= plan.y_channels, f"1 to {plan.y_channels}")
    _check("window", recipe.window, 1 <= recipe.window <= MAX_WINDOW, f"1 to {MAX_WINDOW}")
    _check("batch", recipe.batch, recipe.batch >= 2, "at least 2")
    many = len(recipe.keep) > recipe.classifier.most_selectors
    if many or not all(0 < part <= 1 for part in recipe.keep):
        raise OptionError(
            f"keep is {', '.join(map(str, recipe.keep))}. It needs a transformer, and a share above 0 and "
            "up to 1 for each selector, of which there can be one fewer than blocks."
        )
    return recipe


def _check(name: str, value: float, fits: bool, wanted: str) -> None:
    if not fits:
        raise OptionError(f"{name} is {value}; it has to be {wanted}.")


def head_recipe(task: str, keep: Sequence[float] = (), **numbers: Any) -> HeadRecipe:
    """The recipe of a head for ``task``: a residual network, or with ``keep`` a transformer with selectors.

    :raises OptionError: if there is no such task.
    """
    if task != "classify":
        raise OptionError(f"there is no task {task!r}: heads classify. Leave --task out.")
    classifier = LatentClassifierConfig() if keep else LatentResNetConfig()
    return HeadRecipe(classifier, tuple(keep), **numbers)


def read_card_entries(entries: Sequence[str]) -> dict[str, str]:
    """Entries ``KEY=VALUE`` for a card.

    :raises OptionError: if one is none.

    >>> read_card_entries(["licence=CC-BY-4.0"])
    {'licence': 'CC-BY-4.0'}
    """
    found = {key: value for key, _, value in (entry.partition("=") for entry in entries)}
    if "" in found or "" in found.values():
        raise OptionError("--card takes KEY=VALUE, for example --card licence=CC-BY-4.0.")
    return found
