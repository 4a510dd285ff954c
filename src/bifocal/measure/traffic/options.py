"""How memory traffic is measured: the options of ``bifocal traffic``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from numpy.typing import NDArray

from bifocal.errors import OptionError
from bifocal.hardware.cost.coders import Coder
from bifocal.hardware.cost.graph import Graph
from bifocal.hardware.cost.measure import Traffic, measure
from bifocal.hardware.cost.quantise import MinMax, PowerOfTwo, Quantiser
from bifocal.hardware.cost.result import summed
from bifocal.hardware.cost.search import find_steps
from bifocal.hardware.cost.transform import decorrelating

Array = NDArray[Any]
Notify = Callable[[str], None]
Measurer = Callable[[Mapping[str, Array]], Traffic]


def silent(_: str) -> None:
    """Notifies nobody."""


@dataclass(frozen=True)
class Options:
    """How everything is measured: the options of ``bifocal traffic``.

    :param quantiser: ``minmax``, ``power``, ``channel`` or ``search``.
    :param bits: of an activation, but for ``search``.
    :param loss: dB by which ``search`` lets the mean squared error grow: of a codec's pixels, or of the
        outputs of another network against a hundredth of their power.
    :param transforms: whether to decorrelate channels before coding.
    :param limit: the most pictures.
    """

    coders: Sequence[Coder] = ()
    quantiser: str = "minmax"
    bits: int = 8
    loss: float = 0.1
    quality: int = 60
    scale: str = "unit"
    transforms: bool = False
    limit: int = 24
    threads: int = 0

    def facts(self) -> dict[str, str]:
        """What a report says of them."""
        search = self.quantiser == "search"
        found = f"steps found for a loss of {self.loss:g} dB on the first picture" if search else ""
        return {
            "coders": ", ".join(coder.name for coder in self.coders),
            "quantiser": found or f"{self.quantiser}, {self.bits} bits",
            "transforms": "decorrelating, from the first picture" if self.transforms else "none",
        }

    def measurer(
        self,
        graph: Graph,
        feeds: Mapping[str, Array],
        allowed: float,
        weights: Mapping[str, Array] | None = None,
    ) -> Measurer:
        """How passes of a graph are measured; what must be found first is found on ``feeds``, with a mean
        squared error of the outputs, times ``weights``, of ``allowed``.

        :raises OptionError: if there is no such quantiser.
        """
        fixed: dict[str, Quantiser] = {
            "minmax": MinMax(self.bits),
            "power": PowerOfTwo(self.bits),
            "channel": PowerOfTwo(self.bits, channels=True),
        }
        if self.quantiser not in (*fixed, "search"):
            raise OptionError(
                f"there is no quantiser '{self.quantiser}'. There are {', '.join((*fixed, 'search'))}."
            )
        if self.quantiser == "search":
            quantiser: Quantiser = find_steps(graph, [feeds], allowed, weights=weights, threads=self.threads)
        else:
            quantiser = fixed[self.quantiser]
        turned = decorrelating(graph, [feeds], threads=self.threads) if self.transforms else None
        return partial(
            measure,
            graph,
            coders=self.coders or None,
            quantiser=quantiser,
            transforms=turned,
            threads=self.threads,
        )


def light(traffic: Traffic) -> Traffic:
    """A pass without its arrays."""
    return summed([traffic])
