"""The numbers of a head's training, and which of them can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bifocal.errors import OptionError
from bifocal.learn.nets.heads.latent_stem import LatentClassifierConfig, LatentResNetConfig
from bifocal.learn.training.classify.teacher import check_teacher
from bifocal.runtime.heads.file import MAX_WINDOW
from bifocal.runtime.model import Model
from bifocal.stream.limits import TILE_UNIT

#: Windows are so many times as wide as views: a picture twice as large as a view is classified better whole
#: than in parts (docs/heads.md).
WINDOW = 3
MOST_VIEWS, LARGEST_SIDE = 1000, 1024
#: What a head can be trained for, and how many numbers an embedding has.
TASKS, EMBEDDING = ("classify", "embed"), 256


@dataclass(frozen=True)
class HeadRecipe:
    """Every number of a run. ``channels`` 0 reads the first group of the codec's channels: the cheapest.
    With ``whole`` the head sees a picture of any size at once, pooled to the positions of a view, and a third
    of the views are of larger pictures; otherwise it sees large pictures in windows.

    ``views`` of ``side`` pixels are made of each picture; ``held`` is the share that is judged on; ``plain``
    the share of plain pictures in a batch; ``mixed`` and ``cut`` are shares of the batches that mixup or
    CutMix, or a crop of the latents, is done to; ``nothing`` the share of a batch that shows no class, so
    that such pictures get no probable label. A ``teacher`` (``learn/training/classify/teacher.py``) makes up
    the share ``taught`` of what a label says. ``keep`` has, for a transformer alone, the share of
    positions that each token selector keeps (``learn/training/classify/selectors.py``).
    """

    classifier: LatentResNetConfig | LatentClassifierConfig = LatentResNetConfig()
    keep: tuple[float, ...] = ()
    channels: int = 0
    whole: bool = False
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
    nothing: float = 0.05
    teacher: str = ""
    taught: float = 0.7
    warmup: int = 60
    ema: float = 0.998
    seed: int = 0

    @property
    def classes(self) -> bool:
        """Whether the network gives labels."""
        return self.classifier.classes > 0

    @property
    def embedding(self) -> int:
        """Numbers of the embedding that the network gives beside its labels, 0 for none."""
        return int(getattr(self.classifier, "embedding", 0))


def settled(recipe: HeadRecipe, model: Model) -> HeadRecipe:
    """The recipe with its zeros filled in from the codec.

    :raises OptionError: if a number is out of range.
    """
    plan = model.entropy.plan
    recipe = replace(
        recipe,
        channels=recipe.channels or plan.groups[0].stop,
        window=recipe.side // plan.y_stride
        if recipe.whole
        else recipe.window or min(WINDOW * (recipe.side // plan.y_stride), MAX_WINDOW),
    )
    units = range(TILE_UNIT, LARGEST_SIDE + 1, TILE_UNIT)
    _check("side", recipe.side, recipe.side in units, f"a multiple of {TILE_UNIT} up to {LARGEST_SIDE}")
    _check("views", recipe.views, 1 <= recipe.views <= MOST_VIEWS, f"1 to {MOST_VIEWS}")
    _check("held", recipe.held, 0 < recipe.held < 1, "between 0 and 1")
    _check("channels", recipe.channels, 1 <= recipe.channels <= plan.y_channels, f"1 to {plan.y_channels}")
    _check("window", recipe.window, 1 <= recipe.window <= MAX_WINDOW, f"1 to {MAX_WINDOW}")
    _check("batch", recipe.batch, recipe.batch >= 2, "at least 2")
    _check("taught", recipe.taught, 0 <= recipe.taught <= 1, "0 to 1")
    if recipe.teacher:
        check_teacher(recipe.teacher)
    elif recipe.embedding:
        raise OptionError("an embedding is learned from a teacher. Name one: --teacher efficientnet-lite0.")
    if recipe.keep and recipe.whole:
        raise OptionError("a head with token selectors reads windows: leave --keep or --whole out.")
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


def head_recipe(task: str, keep: Sequence[float] = (), *, teacher: str = "", **numbers: Any) -> HeadRecipe:
    """The recipe of a head for ``task``: a residual network, or with ``keep`` a transformer with selectors.

    With a teacher the residual network also gives an embedding, which is all that task "embed" trains.

    :raises OptionError: if there is no such task.
    """
    if task not in TASKS:
        raise OptionError(f"there is no task {task!r}. Heads do one of {', '.join(TASKS)}.")
    if task == "embed" and keep:
        raise OptionError("token selectors are for classes: leave --keep or --task embed out.")
    if keep:
        return HeadRecipe(LatentClassifierConfig(), tuple(keep), teacher=teacher, **numbers)
    network = LatentResNetConfig(embedding=EMBEDDING if teacher else 0)
    if task == "embed":
        network = replace(network, classes=0, embedding=EMBEDDING)
    return HeadRecipe(network, teacher=teacher, **numbers)


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
