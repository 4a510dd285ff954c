"""Searching a trained supernet: one folder with the state, the Pareto front and a winner for each limit."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bifocal.errors import OptionError, TrainingError
from bifocal.hardware.devices.device import load_device
from bifocal.hardware.devices.published import held_out_error
from bifocal.learn.search.costs import CostModel
from bifocal.learn.search.evolution import Candidate, Evolution, Search
from bifocal.learn.search.found import write_front, write_winner
from bifocal.learn.training.fit import print_now
from bifocal.learn.training.search.supernet import TrainedSupernet, accuracy_of, load_supernet
from bifocal.storage.filesystem import write_atomically

STATE = "search.json"
AUTOFORMER = Evolution()


def search_supernet(
    supernet: Path,
    device: str,
    limits: Sequence[float],
    out: Path,
    *,
    settings: Evolution = AUTOFORMER,
    log: Callable[[str], None] = print_now,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Candidate]:
    """The fittest subnet of a supernet within each of ``limits``, in seconds, by the file that describes it.

    Fitness is the accuracy of inherited weights on the pictures that the supernet's training held out. A
    folder ``out`` of the same search goes on where it was.

    :raises OptionError: if no subnet meets a limit or fits the device, or ``out`` has another search.
    :raises TrainingError: if ``supernet`` is none.
    """
    if not limits:
        raise OptionError("there is no limit of latency. Give one or more: --latency 2ms,4ms.")
    machine = load_device(device)
    trained = load_supernet(supernet)
    costs = CostModel(trained.net.space, trained.net.form, trained.net.classes, machine)
    note = note_of(costs)
    for seconds in limits:
        costs.check(seconds)
    identity = _identity(trained, machine.name)
    out.mkdir(parents=True, exist_ok=True)
    state = out / STATE

    def save(found: dict[str, Any]) -> None:
        write_atomically(state, json.dumps({**identity, **found}).encode(), overwrite=True)

    judge = accuracy_of(trained.net, trained.held, trained.labels)
    search = Search(costs, judge, settings, save=save, progress=progress)
    if state.exists():
        search.restore(_read_state(state, identity))
        log(f"going on from {state}: {len(search.accuracies):,} subnets are evaluated")
    chosen: dict[str, Candidate] = {}
    facts = {"guide": settings.guide, "seed": settings.seed, "note": note}
    for seconds in limits:
        name = f"{1e3 * seconds:g}ms.toml"
        best = chosen[name] = search.run(seconds)
        write_winner(out / name, best, costs, trained.path.resolve(), trained.digest, facts)
        log(f"{name}: {best.accuracy:.1%} right, {describe(best, costs)}")
    log(f"latency is {note}")
    write_front(out, search.evaluated(), chosen, costs, note)
    return chosen


def note_of(costs: CostModel) -> str:
    """How far the latencies of a device can be trusted."""
    if costs.device.measured:
        return "measured layer by layer on this machine, processor seconds of one thread"
    return held_out_error(costs.device)


def describe(one: Candidate, costs: CostModel) -> str:
    """A candidate's latency for people."""
    how = "measured" if costs.device.measured else "modelled"
    rate = f"{1e3 * one.cost.seconds:.3g} ms ({1 / one.cost.seconds:,.0f} a second)"
    text = f"{rate} on {costs.device.name}, {how}"
    if one.cost.tiles is None:
        return text
    tiles = one.cost.tiles
    return f"{text}; tiles {tiles.rows}×{tiles.columns}, {tiles.heads} heads, {tiles.multipliers} multipliers"


def _identity(trained: TrainedSupernet, device: str) -> dict[str, Any]:
    """What has to be the same for a search that goes on."""
    first = next(iter(trained.net.parameters())).detach().double()
    weights = [float(first.sum()), float(first.square().sum())]
    known = {"space": trained.net.space.digest, "data": trained.digest, "device": device}
    return known | {"weights": weights}


def _read_state(path: Path, identity: dict[str, Any]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        different = [name for name, value in identity.items() if found.get(name) != value]
    except (OSError, ValueError, AttributeError) as error:
        raise TrainingError(f"{path} cannot be read ({error}). Give another folder with --out.") from error
    if different:
        raise TrainingError(
            f"{path} is the search of another {different[0]}. Give another folder with --out, or remove it."
        )
    return found


def read_limits(text: str) -> tuple[float, ...]:
    """Limits of latency in seconds from text.

    :raises OptionError: if one is no positive time in ms or us.

    >>> read_limits("2ms, 500us")
    (0.002, 0.0005)
    """
    units = {"ms": 1e-3, "us": 1e-6, "µs": 1e-6}
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        unit = part[-2:]
        try:
            value = float(part[:-2]) * units[unit]
        except (ValueError, KeyError):
            value = 0.0
        if not 0 < value < 1e3:
            raise OptionError(f"{part!r} is no latency. Write it as 2ms or 500us, several with commas.")
        found.append(value)
    return tuple(found)
