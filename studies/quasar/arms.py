"""Arms of a supernet's training and search, on small pictures and in minutes: precision, layer scaling,
guides."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bifocal.hardware.devices.device import load_device
from bifocal.learn.search.costs import CostModel
from bifocal.learn.search.evolution import GUIDES, Evolution, Search
from bifocal.learn.search.space import MATRICES, SearchSpace, Subnet
from bifocal.learn.search.supernet import Supernet
from bifocal.learn.search.workload import average_bits
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.fit import fit
from bifocal.learn.training.search.data import DataOptions, SearchData, find_data, read_data
from bifocal.learn.training.search.supernet import accuracy_of
from bifocal.learn.training.tasks.supernet import subnet_job, supernet_job

#: Subnets that a layer-wise choice of precision is the best of, and that ranks are compared of.
LAYERWISE, RANKED = 12, 6


@dataclass(frozen=True)
class Sizes:
    """How much is done: steps of a supernet and of fine-tuning, pictures a step, candidates of a search."""

    steps: int = 150
    tune: int = 40
    batch: int = 32
    population: int = 8
    generations: int = 4
    seeds: int = 3


def quiet(line: str) -> None:
    """Nothing is said."""


def data_of(folder: Path, space: SearchSpace, batch: int, held: float) -> SearchData:
    """Pixels of a folder of classes, a share of them held out."""
    options = DataOptions(batch=batch, held=held)
    return read_data(find_data(folder, None, None), space, options, None, folder, "cpu", quiet)


def trained(space: SearchSpace, data: SearchData, sizes: Sizes, *, separate: bool = False) -> Supernet:
    """A supernet after so many steps, from seed 0."""
    torch.manual_seed(0)
    net = Supernet(space, data.form, len(data.classes), separate=separate)
    judge = accuracy_of(net, data.held, data.labels)
    fit(supernet_job(net, data.batches(0), judge, log=quiet), Budget(steps=sizes.steps))
    return net.eval()


def tuned(net: Supernet, subnet: Subnet, data: SearchData, sizes: Sizes) -> float:
    """Accuracy of a subnet after fine-tuning a copy of the supernet."""
    own = copy.deepcopy(net)
    torch.manual_seed(0)
    judge = accuracy_of(own, data.held, data.labels)
    fit(subnet_job(own, subnet, data.batches(1), judge, log=quiet), Budget(steps=sizes.tune))
    return judge(subnet)


def with_shares(space: SearchSpace, shares: Sequence[Sequence[float]]) -> Subnet:
    """The largest sizes with these shares of 8-bit rows."""
    return replace(space.largest, eight=tuple(tuple(block) for block in shares))


def precisions(space: SearchSpace, judge: Callable[[Subnet], float]) -> dict[str, Subnet]:
    """Subnets of equal sizes: uniform 8 and 4 bits, and on average 6 by whole layers or by rows."""
    depth, count = max(space.depth), len(MATRICES)
    made = {
        "uniform 8 bit": with_shares(space, [[1.0] * count] * depth),
        "uniform 4 bit": with_shares(space, [[0.0] * count] * depth),
        "row-wise, half of each matrix": with_shares(space, [[0.5] * count] * depth),
    }
    rng = np.random.default_rng(0)
    best: tuple[float, Subnet] | None = None
    for _ in range(LAYERWISE):
        order = rng.permutation(depth)
        coarse = set(order[: depth // 2].tolist())
        subnet = with_shares(space, [[0.0 if i in coarse else 1.0] * count for i in range(depth)])
        found = judge(subnet)
        if best is None or found > best[0]:
            best = (found, subnet)
    assert best is not None
    made["layer-wise, half of the blocks"] = best[1]
    return made


def precision_rows(space: SearchSpace, data: SearchData, sizes: Sizes) -> dict[str, Any]:
    """Inherited and fine-tuned accuracy of the precisions, for three ways of training the supernet."""
    ways = {
        "entangled, layer scaling": (space, False),
        "entangled, no layer scaling": (replace(space, layer_scale=0.0), False),
        "separate weights, layer scaling": (space, True),
    }
    found: dict[str, Any] = {}
    costs = CostModel(space, data.form, len(data.classes), load_device("zcu102"))
    for way, (own, separate) in ways.items():
        begun = time.process_time()
        net = trained(own, data, sizes, separate=separate)
        judge = accuracy_of(net, data.held, data.labels)
        rows = {}
        for name, subnet in precisions(own, judge).items():
            bits = round(average_bits(costs.work(subnet)), 3)
            after = tuned(net, subnet, data, sizes)
            rows[name] = {"bits": bits, "inherited": judge(subnet), "fine-tuned": after}
        found[way] = {"rows": rows, "processor seconds": round(time.process_time() - begun)}
    return found


def guide_rows(space: SearchSpace, data: SearchData, net: Supernet, sizes: Sizes) -> dict[str, Any]:
    """The best of each guide within half of the way between the smallest and the largest latency, by seed."""
    costs = CostModel(space, data.form, len(data.classes), load_device("zcu102"))
    ends = [costs(subnet) for subnet in (space.smallest, space.largest)]
    assert ends[0] is not None and ends[1] is not None
    limit = (ends[0].seconds + ends[1].seconds) / 2
    judge = accuracy_of(net, data.held, data.labels)
    known: dict[str, float] = {}
    rows: dict[str, Any] = {}
    for guide in GUIDES:
        best = []
        for seed in range(sizes.seeds):
            settings = Evolution(
                sizes.population, max(1, sizes.population // 3), sizes.generations, guide=guide, seed=seed
            )
            search = Search(costs, judge, settings)
            search.accuracies = known  # what another search evaluated is not evaluated again
            one = search.run(limit)
            best.append({"accuracy": one.accuracy, "ms": 1e3 * one.cost.seconds})
        rows[guide] = best
    return {"limit ms": 1e3 * limit, "guides": rows, "evaluated": len(known)}


def rank_rows(space: SearchSpace, data: SearchData, net: Supernet, sizes: Sizes) -> dict[str, Any]:
    """Inherited and fine-tuned accuracy of drawn subnets, and the rank correlation of both."""
    rng = np.random.default_rng(7)
    judge = accuracy_of(net, data.held, data.labels)
    pairs = []
    for subnet in [space.sample(rng) for _ in range(RANKED)]:
        pairs.append((judge(subnet), tuned(net, subnet, data, sizes)))
    return {"pairs": pairs, "spearman": spearman(pairs)}


def spearman(pairs: Sequence[tuple[float, float]]) -> float:
    """Rank correlation, ties by their mean rank; 0 where one side is constant.

    >>> spearman([(1, 10), (2, 30), (3, 20)])
    0.5
    """
    sides = np.array(pairs, float).T
    ranks = [np.array([(np.sum(side < v) + np.sum(side <= v) - 1) / 2 for v in side]) for side in sides]
    if min(np.ptp(rank) for rank in ranks) == 0:
        return 0.0
    return round(float(np.corrcoef(np.stack(ranks))[0, 1]), 4)
