"""Recipes: TOML files that give a training run every number it has."""

from __future__ import annotations

import inspect
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bifocal.errors import TrainingError
from bifocal.learn.nets.activations import ESTIMATES
from bifocal.learn.nets.codec import CodecConfig
from bifocal.learn.systems.lowfirst import LowFirstConfig
from bifocal.learn.systems.registry import find_system

#: What a recipe may train alone; with the empty one it trains everything (`learn/training/parts.py`).
PARTS = ("", "entropy", "synthesis")


@dataclass(frozen=True)
class JointPhases:
    """The two phases of a joint codec's training (``tasks/joint.py``): table ``[joint]`` of a recipe.

    ``first`` is the share of the run without an entropy model; 0 trains everything from the start.
    """

    first: float = 0.5
    second: float = 0.5  # learning rates of the second phase, as a share of the recipe's
    weight_decay: float = 0.05  # of the first phase
    picture: float = 1e-3  # what MSE (0..255) counts in the first phase
    smoothing: float = 0.1  # of labels
    margin: int = 8  # pixels by which pictures in memory are larger than a crop


@dataclass(frozen=True)
class Distillation:
    """The phases of a student's training (``tasks/distil.py``): table ``[distil]`` of a recipe.

    ``features`` and ``channels`` are shares of the run; the rest of it is fine-tuning without the teacher.
    """

    features: float = 0.4
    channels: float = 0.4
    alpha: float = 1.0  # what features count at first
    alpha_last: float = 0.1  # and at the end of their phase
    beta: float = 0.1  # what channels count


@dataclass(frozen=True)
class Activation:
    """Small activations (``nets/activations.py``): table ``[activation]`` of a recipe.

    ``strength`` is what a bit of activations for each pixel counts, where a bit of the stream counts 1.
    """

    strength: float = 1e-3
    coder: str = "gaussian"  # or symmetric: whose bits are estimated


@dataclass(frozen=True)
class Recipe:
    """One run. ``cooldown`` is the share of the run's minutes over which the learning rate falls to zero.

    ``system`` is the configuration of the codec to train, of any registered system. ``band_weights`` weigh
    the rates of the channel ranges that the plan's groups cover, in their order (empty: all count 1).
    """

    name: str
    system: CodecConfig = LowFirstConfig()
    part: str = ""  # train entropy or synthesis alone, the rest as it is; empty: everything
    exact: bool = False  # train the entropy networks on their integers
    exact_from: float = 0.0  # from this share of the run on; floats are quicker until then
    crop: int = 128
    batch: int = 16
    accumulate: int = 1  # batches whose gradients make one step
    exclude: tuple[str, ...] = ()
    smallest: float = 1.0  # each picture is scaled once, by a factor between this and 1
    tiled: float = 0.0  # share of batches whose latents are coded in 2×2 tiles, to learn their borders
    drawn: float = 0.0  # share of pixels that are text, charts and windows made by code
    validation: int = 64
    lr: float = 1e-3  # AdamW: biases, gains, linear paths
    kernel_lr: float = 2e-3  # Muon or SOAP: kernels; 0 gives them to AdamW
    kernel_optimiser: str = "muon"  # or soap
    warmup: int = 200
    cooldown: float = 0.0
    clip: float = 1.0
    ema: float = 0.999
    precision: str = "bfloat16"  # or float32, or fastest: that in which this machine is faster
    float32_from: float = 1.0  # from this share of the run on, float32 whatever the precision was
    balance: float = 0.5  # losses count (lambda_min/lambda)^balance, so that low rates are heard
    seed: int = 0
    band_weights: tuple[float, ...] = ()
    joint: JointPhases | None = None  # a run with labels
    distil: Distillation | None = None  # a run with a teacher
    activation: Activation | None = None  # a run for small activations


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; unknown keys are refused so that a misspelt number is not a silent default.

    A path that does not exist is looked for by its file name among the shipped recipes.
    """
    shipped = Path(__file__).parent / "recipes"
    if not path.exists() and (shipped / path.name).exists():
        path = shipped / path.name
    try:
        with path.open("rb") as file:
            table: dict[str, Any] = tomllib.load(file)
    except FileNotFoundError as error:
        names = ", ".join(sorted(p.name for p in shipped.glob("*.toml")))
        raise TrainingError(f"There is no recipe {path}. Shipped with Bifocal are {names}.") from error
    except tomllib.TOMLDecodeError as error:
        raise TrainingError(f"{path} is not valid TOML: {error}") from error
    numbers, system = table.pop("system", {}), find_system(table.pop("codec", "lowfirst"))
    joint, distil, activation = (table.pop(key, None) for key in ("joint", "distil", "activation"))
    for given, known, where in (
        (numbers, system.config, "[system]"),
        (joint or {}, JointPhases, "[joint]"),
        (distil or {}, Distillation, "[distil]"),
        (activation or {}, Activation, "[activation]"),
        (table, Recipe, "the recipe"),
    ):
        unknown = set(given) - set(inspect.signature(known).parameters)
        if unknown:
            raise TrainingError(f"{path}: {where} does not know {', '.join(sorted(unknown))}.")
    if table.get("part", "") not in PARTS:
        raise TrainingError(f"{path}: part is {table['part']!r}; it has to be one of {', '.join(PARTS[1:])}.")
    if table.get("part") and (joint, distil, activation) != (None, None, None):
        raise TrainingError(f"{path}: a part is trained by rate and distortion alone. Leave the tables out.")
    table.setdefault("name", path.stem)
    table["exclude"] = tuple(table.get("exclude", ()))
    table["band_weights"] = tuple(table.get("band_weights", ()))
    return Recipe(
        system=system.config(**numbers),
        joint=None if joint is None else JointPhases(**joint),
        distil=None if distil is None else _phases(path, Distillation(**distil)),
        activation=None if activation is None else _known_coder(path, Activation(**activation)),
        **table,
    )


def _known_coder(path: Path, activation: Activation) -> Activation:
    if activation.coder not in ESTIMATES or not activation.strength >= 0:
        raise TrainingError(
            f"{path}: [activation] has a coder of {', '.join(ESTIMATES)}, and a strength of 0 or more."
        )
    return activation


def _phases(path: Path, phases: Distillation) -> Distillation:
    if phases.features <= 0 or phases.channels < 0 or phases.features + phases.channels > 1:
        raise TrainingError(
            f"{path}: the shares of [distil] are of one run: features above 0 (the teacher's rates are "
            "counted there), channels at least 0, both together at most 1."
        )
    return phases
