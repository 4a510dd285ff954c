"""Steps for every tensor: as few bits as it takes for the outputs to err by no more than is allowed.

For small steps a tensor adds ``gain · step² / 12`` a value to the squared error of the outputs, and one bit
a value where its step halves. So bits are fewest where every value adds the same: steps are ``a / √gain``,
and one number ``a`` is left to find. Gains are measured, a tensor at a time. (This is the allocation of bits
to the coefficients of a transform; the paper searches depths in training instead.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bifocal.errors import OptionError
from bifocal.hardware.cost.graph import Array, Graph
from bifocal.hardware.cost.layers import Plan, plan_layers, run_layers
from bifocal.hardware.cost.measure import as_map, restored_as
from bifocal.hardware.cost.quantise import Floats, Quantised, Quantiser, Steps

#: Rounds of the search for the one number.
ROUNDS = 9


@dataclass(frozen=True)
class Only:
    """Quantises one tensor with a step, and no other."""

    name: str
    step: float

    def __call__(self, name: str, x: Floats) -> Quantised | None:
        return Steps(other=self.step)(name, x) if name == self.name else None


def find_steps(
    graph: Graph,
    feeds: Sequence[Mapping[str, Array]],
    allowed: float,
    *,
    weights: Mapping[str, Array] | None = None,
    threads: int = 0,
) -> Steps:
    """Steps with which the mean squared error of the outputs, against those in float, is at most
    ``allowed`` on the feeds together. ``weights`` multiply an output before errors are taken.

    :raises OptionError: if nothing is allowed, or there is nothing to feed.
    """
    if not feeds or not 0 < allowed < math.inf:
        raise OptionError("the search for steps needs feeds, and an error above 0 to allow.")
    plans = [plan_layers(graph, feed) for feed in feeds]
    passes = list(zip(plans, feeds, strict=True))
    wanted = [_outputs(plan, feed, None, threads)[0] for plan, feed in passes]
    spreads = _outputs(*passes[0], None, threads)[1]

    def error(quantiser: Quantiser | Only) -> float:
        total, count = 0.0, 0
        for (plan, feed), target in zip(passes, wanted, strict=True):
            for name, array in _outputs(plan, feed, quantiser, threads)[0].items():
                off = (array - target[name]) * (weights or {}).get(name, np.float32(1))
                total += float((off.astype(np.float64) ** 2).sum())
                count += array.size
        return total / max(1, count)

    gains = {}
    for name, (spread, values) in spreads.items():
        step = max(spread / 16, 1e-6)
        gains[name] = max(error(Only(name, step)) / (values * step**2 / 12), 1e-30)
    return _largest(gains, error, allowed)


def _largest(gains: Mapping[str, float], error: object, allowed: float) -> Steps:
    """The largest steps of the family within what is allowed, by bisection of the exponent."""
    assert callable(error)
    low, high = -1.0, 1.0
    start = math.log2(math.sqrt(12 * allowed))

    def steps(exponent: float) -> Steps:
        scale = 2.0 ** (start + exponent)
        return Steps({name: scale / math.sqrt(gain) for name, gain in gains.items()})

    for _ in range(8):  # until low is allowed and high is not
        if error(steps(low)) > allowed:
            low, high = low - 4, low
        elif error(steps(high)) <= allowed:
            low, high = high, high + 4
        else:
            break
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if error(steps(middle)) <= allowed else (low, middle)
    return steps(low)


def _outputs(
    plan: Plan, feeds: Mapping[str, Array], quantiser: Quantiser | Only | None, threads: int
) -> tuple[dict[str, Array], dict[str, tuple[float, int]]]:
    """Float outputs, and of every float tensor in memory its deviation and number of values."""
    read = plan.last_uses()
    outputs: dict[str, Array] = {}
    spreads: dict[str, tuple[float, int]] = {}
    for _, made, put in run_layers(plan, feeds, threads=threads):
        for name, array in made.items():
            if array.dtype.kind != "f":
                continue
            if name in plan.graph.outputs:
                outputs[name] = array
            if name in read:
                spreads[name] = float(array.std()), array.size
                quantised = quantiser(name, np.ascontiguousarray(as_map(array))) if quantiser else None
                if quantised is not None:
                    put(name, restored_as(quantised.restore(), array))
    return outputs, spreads
