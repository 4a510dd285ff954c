"""The search: within its limits, the same for the same seed, resumable, better than its controls on a toy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bifocal.errors import OptionError
from bifocal.hardware.devices.device import load_device
from bifocal.learn.search.costs import CostModel
from bifocal.learn.search.evolution import Candidate, Evolution, Search, pareto
from bifocal.learn.search.measured import LayerTimes, layers
from bifocal.learn.search.space import SearchSpace, Subnet
from bifocal.learn.search.supernet import InputForm
from bifocal.learn.search.workload import average_bits, weight_bytes

SPACE = SearchSpace("s", (16, 24, 32), (1, 2, 3), (1, 2), (2, 3, 4), (0.0, 0.5, 1.0), head_dim=16)
FORM = InputForm("latents", 32, 4)
SMALL = Evolution(population=8, parents=3, generations=5)


@pytest.fixture(scope="module")
def costs() -> CostModel:
    device = load_device("zcu102")
    return CostModel(SPACE, FORM, 3, replace(device, tiles=device.tiles[::20]))


def fitness(subnet: Subnet) -> float:
    """More of everything is better, most of all embedding and precision."""
    eight = sum(sum(block) for block in subnet.eight) / (4 * subnet.depth)
    return subnet.dim / 64 + subnet.depth / 20 + sum(subnet.mlp) / 100 + eight / 10


def middle(costs: CostModel) -> float:
    ends = [costs(subnet) for subnet in (SPACE.smallest, SPACE.largest)]
    assert ends[0] is not None and ends[1] is not None
    return (ends[0].seconds + ends[1].seconds) / 2


@pytest.mark.parametrize("guide", ["latency", "random", "macs"])
def test_what_is_found_meets_the_limit_and_is_the_same_for_the_same_seed(
    guide: str, costs: CostModel
) -> None:
    limit, settings = middle(costs), replace(SMALL, guide=guide)
    first, second = (Search(costs, fitness, settings).run(limit) for _ in range(2))
    assert first == second and first.cost.seconds <= limit
    assert first.accuracy > fitness(SPACE.smallest)


def test_candidates_over_the_limit_are_never_evaluated(costs: CostModel) -> None:
    limit = middle(costs)
    seen: list[Subnet] = []

    def watched(subnet: Subnet) -> float:
        seen.append(subnet)
        return fitness(subnet)

    Search(costs, watched, SMALL).run(limit)
    assert len(seen) == len({subnet.key for subnet in seen}) == 40
    assert all(cost is not None and cost.seconds <= limit for cost in map(costs, seen))


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(costs: CostModel) -> None:
    limit = middle(costs)
    states: list[dict[str, object]] = []
    whole = Search(costs, fitness, SMALL, save=lambda state: states.append(_copied(state)))
    best = whole.run(limit)
    again = Search(costs, fitness, SMALL)
    again.restore(states[1])
    assert len(again.accuracies) == 16
    assert again.run(limit) == best and again.accuracies == whole.accuracies
    with pytest.raises(OptionError, match="other numbers"):
        Search(costs, fitness, replace(SMALL, seed=1)).restore(states[1])


def _copied(state: dict[str, object]) -> dict[str, object]:
    import json

    made: dict[str, object] = json.loads(json.dumps(state))
    return made


def test_a_space_without_feasible_subnet_says_which_limit_excludes_it(costs: CostModel) -> None:
    with pytest.raises(OptionError, match="latency, 0.001 ms, excludes every subnet of space s"):
        Search(costs, fitness, SMALL).run(1e-6)
    device = load_device("zcu102")
    numbers = {**device.numbers, "resources.bram": 1.0}
    with pytest.raises(OptionError, match="zcu102 excludes every subnet of space s: .* too little BRAM"):
        CostModel(SPACE, FORM, 3, replace(device, numbers=numbers))


def test_a_measured_device_times_each_different_layer_once() -> None:
    times = LayerTimes()
    costs = CostModel(SPACE, FORM, 3, load_device("cpu"), times)
    cost = costs(SPACE.smallest)
    assert cost is not None and cost.seconds > 0 and cost.tiles is None
    work = costs.work(SPACE.smallest)
    assert len(times.known) == len(set(layers(work)))
    known = dict.fromkeys(times.known, 1.0)
    assert LayerTimes(known).seconds(work) == len(layers(work))


def test_a_workload_counts_bits_and_bytes(costs: CostModel) -> None:
    work = costs.work(SPACE.largest)
    assert average_bits(work) == 8
    assert weight_bytes(work) == sum(p.inner * p.eight for p in work.products if not p.heads)
    assert 4 < average_bits(costs.work(SPACE.smallest)) < 8  # embedding and last layer keep 8


def test_the_front_has_no_candidate_that_another_beats(costs: CostModel) -> None:
    search = Search(costs, fitness, SMALL)
    search.run(middle(costs))
    found = search.evaluated()
    front = pareto(found)
    assert 0 < len(front) <= len(found)
    assert [one.accuracy for one in front] == sorted({one.accuracy for one in front})

    def beaten(one: Candidate) -> bool:
        return any(o.cost.seconds <= one.cost.seconds and o.accuracy > one.accuracy for o in found)

    assert not any(map(beaten, front))


def test_numbers_of_a_search_are_checked() -> None:
    for wrong in ({"parents": 60}, {"generations": 0}, {"guide": "luck"}):
        with pytest.raises(OptionError):
            Evolution(**wrong)  # type: ignore[arg-type]
