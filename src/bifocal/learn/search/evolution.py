"""Evolutionary search for the fittest subnet within a limit of latency, and two controls of it.

As AutoFormer's (arXiv 2107.00651): a population, its fittest as parents, children by mutation and by
crossover, generation after generation. Candidates over the limit, or too large for the device, are rejected
before they are evaluated. Control "macs" knows only multiply–adds: its limit is what the median subnet does
in the time; of what it finds, only candidates that meet the limit of latency count. Control "random" draws
candidates.

The generator of random numbers of a generation depends on seed, limit and number alone, so a search that was
interrupted goes on as if it had not been.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bifocal.errors import OptionError
from bifocal.learn.search.costs import Cost, CostModel, Fitness
from bifocal.learn.search.space import Subnet, as_subnet

GUIDES = ("latency", "macs", "random")
#: Candidates are drawn so often before a generation stays smaller; subnets that give the median of a space.
TRIES, MEDIAN_OF = 200, 65


@dataclass(frozen=True)
class Evolution:
    """The numbers of a search; by default AutoFormer's. ``gene`` and ``size`` are chances of mutation.

    :raises OptionError: if one is out of range.
    """

    population: int = 50
    parents: int = 10
    generations: int = 20
    gene: float = 0.2
    size: float = 0.4
    guide: str = "latency"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.parents <= self.population or self.generations < 1:
            raise OptionError(
                f"a search of {self.generations} generations of {self.population} candidates with "
                f"{self.parents} parents: all are at least 1, and parents at most the population."
            )
        if self.guide not in GUIDES:
            raise OptionError(f"guide is {self.guide!r}; give one of {', '.join(GUIDES)}.")


@dataclass(frozen=True)
class Candidate:
    """An evaluated subnet."""

    subnet: Subnet
    accuracy: float
    cost: Cost


@dataclass(frozen=True)
class Limit:
    """What candidates are rejected by: latency, and for control "macs" multiply–adds in its place."""

    seconds: float
    macs: float = 0.0

    def allows(self, cost: Cost | None) -> bool:
        """Whether a candidate is evaluated."""
        if cost is None:
            return False
        return cost.macs <= self.macs if self.macs else cost.seconds <= self.seconds


class Search:
    """A search over one space and device; ``accuracies`` of subnets by key are kept over all limits.

    :param save: called after each generation, with what :meth:`state` gives.
    :param progress: called with the candidates evaluated so far, and with all of them at most.
    """

    def __init__(
        self,
        costs: CostModel,
        fitness: Fitness,
        settings: Evolution,
        *,
        save: Callable[[dict[str, Any]], None] = lambda state: None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self.costs, self.fitness, self.settings = costs, fitness, settings
        self.save, self.progress = save, progress
        self.accuracies: dict[str, float] = {}
        self.populations: dict[str, list[list[str]]] = {}  # by limit: keys of each generation

    def state(self) -> dict[str, Any]:
        """Everything that a search goes on from, as plain values."""
        return {
            "settings": asdict(self.settings),
            "accuracies": self.accuracies,
            "populations": self.populations,
            "times": self.costs.times.known,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` gave.

        :raises OptionError: if it is of other settings.
        """
        if state.get("settings") != asdict(self.settings):
            raise OptionError(
                f"the search to go on from had other numbers: {state.get('settings')}. Give the same, or "
                "another folder with --out."
            )
        self.accuracies = dict(state["accuracies"])
        self.populations = {name: list(map(list, found)) for name, found in state["populations"].items()}
        self.costs.times.known |= state["times"]

    def run(self, seconds: float) -> Candidate:
        """The fittest candidate within ``seconds``; of equally fit ones the fastest.

        :raises OptionError: if no subnet of the space meets the limit, or control "macs" found none that
        does.
        """
        self.costs.check(seconds)
        limit = self.limit(seconds)
        name, settings = f"{1e3 * seconds:g}ms", self.settings
        made = self.populations.setdefault(name, [])
        for number in range(len(made), settings.generations):
            rng = np.random.default_rng([settings.seed, round(1e9 * seconds), number])
            seen = {key for generation in made for key in generation}
            keys = [subnet.key for subnet in self._generation(made, limit, rng, seen)]
            made.append(keys)
            self.save(self.state())
            if not keys:
                break  # every subnet within the limit is known
        found = [self.candidate(key) for generation in made for key in generation]
        found = [one for one in found if one.cost.seconds <= seconds]
        if not found:
            raise OptionError(
                f"of {sum(map(len, made))} candidates chosen by multiply–adds none takes at most "
                f"{1e3 * seconds:g} ms. Search by latency."
            )
        return max(found, key=lambda one: (one.accuracy, -one.cost.seconds, one.subnet.key))

    def limit(self, seconds: float) -> Limit:
        """The limit of a latency, as this search's guide sees it."""
        if self.settings.guide != "macs":
            return Limit(seconds)
        rng = np.random.default_rng(self.settings.seed)
        drawn = (self.costs(self.costs.space.sample(rng)) for _ in range(MEDIAN_OF))
        rate = float(np.median([cost.macs / cost.seconds for cost in drawn if cost is not None]))
        smallest = self.costs(self.costs.space.smallest)
        assert smallest is not None
        return Limit(seconds, max(rate * seconds, smallest.macs))

    def candidate(self, key: str) -> Candidate:
        """An evaluated subnet by its key."""
        subnet = as_subnet(json.loads(key))
        cost = self.costs(subnet)
        assert cost is not None
        return Candidate(subnet, self.accuracies[key], cost)

    def evaluated(self) -> list[Candidate]:
        """All evaluated subnets, in the order of their keys."""
        return [self.candidate(key) for key in sorted(self.accuracies)]

    def _generation(
        self, made: list[list[str]], limit: Limit, rng: np.random.Generator, seen: set[str]
    ) -> list[Subnet]:
        """New candidates within the limit, evaluated."""
        settings, fresh = self.settings, list[Subnet]()
        for subnet in self._proposed(made, limit, rng):
            if subnet.key in seen or not limit.allows(self.costs(subnet)):
                continue
            seen.add(subnet.key)
            fresh.append(subnet)
            if subnet.key not in self.accuracies:
                self.accuracies[subnet.key] = self.fitness(subnet)
            done = len(made) * settings.population + len(fresh)
            self.progress(done, settings.population * settings.generations)
            if len(fresh) == settings.population:
                break
        return fresh

    def _proposed(self, made: list[list[str]], limit: Limit, rng: np.random.Generator) -> Iterator[Subnet]:
        """Subnets to try, a bounded number: children in turn by mutation and crossover, or drawn."""
        space, settings = self.costs.space, self.settings
        tries = TRIES + 20 * settings.population
        known = [self.candidate(key) for generation in made for key in generation]
        known.sort(key=lambda one: (-one.accuracy, one.cost.seconds, one.subnet.key))
        parents = [one.subnet for one in known[: settings.parents]]
        if not parents or settings.guide == "random":
            for _ in range(tries):
                yield space.sample(rng)
            yield space.smallest
            parents = [space.smallest]  # hardly anything fits: what is near the smallest may
        for number in range(tries):
            first = parents[rng.integers(len(parents))]
            if number % 2 and len(parents) > 1:
                yield space.cross(first, parents[rng.integers(len(parents))], rng)
            else:
                yield space.mutate(first, rng, settings.gene, settings.size)


def pareto(candidates: list[Candidate]) -> list[Candidate]:
    """Those that no other beats in accuracy without taking longer, from the fastest on.

    >>> pareto([])
    []
    """
    front: list[Candidate] = []
    for one in sorted(candidates, key=lambda c: (c.cost.seconds, -c.accuracy, c.subnet.key)):
        if not front or one.accuracy > front[-1].accuracy:
            front.append(one)
    return front
