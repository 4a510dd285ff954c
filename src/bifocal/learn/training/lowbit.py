"""Arms of a comparison: one classifier trained in float and in low-bit integers, for equal epochs.

A recipe names the network, the numbers of its training, and the arms: tables ``[arms.NAME]`` with the fields
of :class:`~bifocal.learn.lowbit.Policy`, none for float32. Every arm of a seed starts from the same weights
and sees the same batches. Each leaves a file, so that a comparison that was stopped goes on.
"""

from __future__ import annotations

import inspect
import json
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bifocal.errors import OptionError, TrainingError
from bifocal.learn.data.labelled import find_labelled, labelled_as, load_squares
from bifocal.learn.data.squares import Squares
from bifocal.learn.lowbit import Policy, convert, integer_masters
from bifocal.learn.nets.heads.resnet20 import ResNet20
from bifocal.learn.nets.heads.vit import VisionTransformer, VitConfig
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.fit import fit, print_now
from bifocal.learn.training.tasks.lowbit import classifier_job, share_right
from bifocal.storage.filesystem import write_atomically


@dataclass(frozen=True)
class Arm:
    """A way of training: a policy, none for float32; ``seeds`` of its own, if not the recipe's.

    ``masters`` keeps master weights in integers of so many bits; 0 leaves them float.
    """

    policy: Policy | None = None
    seeds: tuple[int, ...] = ()
    masters: int = 0


@dataclass(frozen=True)
class LowBitRecipe:
    """A comparison. ``width`` is that of a residual network, or the dimension of a transformer."""

    name: str
    arms: dict[str, Arm]
    network: str = "resnet20"
    width: int = 16
    depth: int = 4  # of a transformer
    patch: int = 4  # of a transformer: side of what becomes a token, in pixels
    side: int = 32
    margin: int = 4
    epochs: float = 30.0
    batch: int = 128
    lr: float = 2e-3
    decay: float = 0.05
    seeds: tuple[int, ...] = (0,)


NETWORKS = ("resnet20", "vit")


def load_lowbit_recipe(path: Path) -> LowBitRecipe:
    """Read a recipe; unknown keys are refused. A missing path is looked for among the shipped recipes.

    :raises TrainingError: if it cannot be read or says something impossible.
    """
    shipped = Path(__file__).parents[1] / "recipes"
    if not path.exists() and (shipped / path.name).exists():
        path = shipped / path.name
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        names = ", ".join(sorted(p.name for p in shipped.glob("lowbit-*.toml")))
        raise TrainingError(f"There is no recipe {path}. Shipped for low bits are {names}.") from error
    except ValueError as error:
        raise TrainingError(f"{path} is not valid TOML: {error}") from error
    given = table.pop("arms", {})
    unknown = set(table) - {field.name for field in fields(LowBitRecipe)}
    if unknown or not isinstance(given, dict) or not given:
        named = ", ".join(sorted(unknown))
        raise TrainingError(
            f"{path}: the recipe does not know {named}." if unknown else f"{path} has no table [arms.NAME]."
        )
    if table.get("network", "resnet20") not in NETWORKS:
        raise TrainingError(f"{path}: network is one of {', '.join(NETWORKS)}.")
    table.setdefault("name", path.stem)
    table["seeds"] = tuple(table.get("seeds", (0,)))
    return LowBitRecipe(arms={name: _arm(path, name, arm) for name, arm in given.items()}, **table)


def _arm(path: Path, name: str, table: dict[str, Any]) -> Arm:
    table = dict(table)
    seeds, masters = tuple(table.pop("seeds", ())), table.pop("masters", 0)
    unknown = set(table) - set(inspect.signature(Policy).parameters)
    if unknown:
        raise TrainingError(f"{path}: [arms.{name}] does not know {', '.join(sorted(unknown))}.")
    try:
        return Arm(Policy(**table) if table else None, seeds, masters)
    except OptionError as error:
        raise TrainingError(f"{path}: [arms.{name}]: {error}") from error


def network_of(recipe: LowBitRecipe, classes: int, seed: int) -> nn.Module:
    """The float network of a recipe, with the weights of a seed."""
    torch.manual_seed(seed)
    if recipe.network == "resnet20":
        return ResNet20(classes, recipe.width)
    config = VitConfig(
        dim=recipe.width, depth=recipe.depth, grid=recipe.side // recipe.patch, classes=classes
    )
    return VisionTransformer(nn.Conv2d(3, recipe.width, recipe.patch, recipe.patch), config)


def arm_network(recipe: LowBitRecipe, arm: Arm, classes: int, seed: int) -> nn.Module:
    """The network of an arm: that of :func:`network_of`, converted by its policy."""
    network = network_of(recipe, classes, seed)
    return network if arm.policy is None else convert(network, replace(arm.policy, seed=seed))


def run_arms(
    recipe: LowBitRecipe,
    data: Path,
    test: Path,
    out: Path,
    *,
    arms: Sequence[str] = (),
    seeds: Sequence[int] = (),
    epochs: float = 0.0,
    pictures: int = 0,
    names: Path | None = None,
    device: str = "cpu",
    log: Callable[[str], None] = print_now,
) -> list[dict[str, Any]]:
    """Train the ``arms`` of a recipe (all by default) on ``data`` and judge them on ``test``.

    :param data: a folder with a subfolder for each class; ``test`` likewise, never trained on.
    :param seeds: instead of those of the recipe and its arms.
    :param epochs: instead of the recipe's; ``pictures``: train on so many only, 0 for all.
    :returns: a row for each arm and seed, also those of earlier calls with the same ``out``.
    :raises TrainingError: if an arm is not in the recipe, or the data cannot be trained on.
    """
    unknown = [name for name in arms if name not in recipe.arms]
    if unknown:
        raise TrainingError(f"{recipe.name} has no arm {unknown[0]!r}. It has {', '.join(recipe.arms)}.")
    if test.resolve() == data.resolve():
        raise TrainingError(f"{test} is what is trained on. Give a folder of other pictures to judge by.")
    epochs = epochs or recipe.epochs
    labelled, pixels = load_squares(find_labelled(data, names=names), recipe.side + recipe.margin)
    judged, tested = load_squares(
        labelled_as(find_labelled(test, names=names), labelled.classes), recipe.side
    )
    squares, held = Squares(pixels, labelled.labels), Squares(tested, judged.labels)
    squares = squares.some(pictures) if pictures else squares
    steps = max(1, round(epochs * len(squares.labels) / recipe.batch))
    rows = []
    for name in arms or recipe.arms:
        arm = recipe.arms[name]
        for seed in seeds or arm.seeds or recipe.seeds:
            file = out / f"{name}-{seed}.json"
            same = {"arm": name, "seed": seed, "steps": steps, "pictures": len(squares.labels)}
            row = _made_before(file, same)
            if row is None:
                log(f"arm {name}, seed {seed}: {steps} steps")
                network = arm_network(recipe, arm, len(labelled.classes), seed).to(device)
                row = same | _trained(recipe, arm, network, squares, held, steps, seed, log)
                out.mkdir(parents=True, exist_ok=True)
                write_atomically(file, json.dumps(row, indent=1).encode())
            rows.append(row)
    return rows


def _made_before(file: Path, same: dict[str, Any]) -> dict[str, Any] | None:
    """The row of an earlier call for the same training, None if there is none."""
    try:
        row: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return row if all(row.get(key) == value for key, value in same.items()) else None


def _trained(
    recipe: LowBitRecipe,
    arm: Arm,
    network: nn.Module,
    squares: Squares,
    held: Squares,
    steps: int,
    seed: int,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Accuracy and cost of one training; an arm whose gradients stop being finite says where."""
    numbers = {"side": recipe.side, "batch": recipe.batch, "lr": recipe.lr, "decay": recipe.decay}
    job = classifier_job(network, squares, **numbers, seed=seed, log=log)  # type: ignore[arg-type]
    begun = time.process_time()
    failed = ""
    try:
        if arm.masters:
            integer_masters(network, bits=arm.masters, seed=seed)
        fit(job, Budget(steps=steps))
    except TrainingError as error:
        failed = str(error)
    spent = time.process_time() - begun
    right = share_right(network, held) if not failed else None
    log(f"  {failed or f'{right:.1%} right'}, {spent:.0f} processor seconds")
    return {"accuracy": right, "failed": failed, "processor_seconds": round(spent, 1)}


def arms_table(recipe: LowBitRecipe, rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of the arms: bits of the three products, groups, norm, accuracy, processor seconds.

    Of several seeds the mean, and half the range. The last column is against arm ``fp32``, if it is there.
    """
    lines = [
        "| arm | bits | groups | norm | right | against fp32 | processor s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    found = {name: [row for row in rows if row["arm"] == name] for name in recipe.arms}
    plain = _mean([row["accuracy"] for row in found.get("fp32", [])])
    for name, arm in recipe.arms.items():
        if not found[name]:
            continue
        rights = [row["accuracy"] for row in found[name] if row["accuracy"] is not None]
        failed = len(found[name]) - len(rights)
        mean = _mean(rights)
        right = "-" if mean is None else f"{mean:.1%}"
        if len(rights) > 1:
            right += f" ± {(max(rights) - min(rights)) / 2:.1%}"
        right += f" ({failed} failed)" * (failed > 0)
        against = "-" if mean is None or plain is None else f"{100 * (mean - plain):+.1f}"
        seconds = _mean([row["processor_seconds"] for row in found[name]])
        lines.append(f"| {name} | {' | '.join(_described(arm))} | {right} | {against} | {seconds or 0:.0f} |")
    return "\n".join(lines)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _described(arm: Arm) -> tuple[str, str, str]:
    """Bits of the three products, groups, and norm of an arm."""
    policy = arm.policy
    if policy is None:
        return "float", "-", "L2"
    widths = [str(bits or "float") for bits in policy.inner.products.values()]
    bits = "float" if set(widths) == {"float"} else "/".join(widths)
    norm = f"L{policy.norm}" + (f", {policy.norm_bits} bits" if policy.norm_bits else "")
    return bits, "-" if bits == "float" else str(policy.groups), norm
