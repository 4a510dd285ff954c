"""What a candidate costs on a device: seconds, modelled with the tile sizes that suit it best, or
measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bifocal.errors import OptionError
from bifocal.hardware.devices.device import Device, Tiles
from bifocal.hardware.devices.latency import Resources, Workload, design, fitting
from bifocal.learn.search.measured import LayerTimes
from bifocal.learn.search.space import SearchSpace, Subnet
from bifocal.learn.search.supernet import InputForm
from bifocal.learn.search.workload import workload


@dataclass(frozen=True)
class Cost:
    """``seconds`` of one input, its multiply–adds, and for a modelled device tiles and resources."""

    seconds: float
    macs: int
    tiles: Tiles | None = None
    resources: Resources | None = None


class CostModel:
    """Costs of subnets of a space on a device; those asked for before are kept.

    Every subnet is costed by its own fastest design. Of a measured device each different layer is timed once.
    """

    def __init__(
        self,
        space: SearchSpace,
        form: InputForm,
        classes: int,
        device: Device,
        times: LayerTimes | None = None,
    ) -> None:
        self.space, self.form, self.classes, self.device = space, form, classes, device
        self.times = times if times is not None else LayerTimes()
        self.known: dict[str, Cost] = {}
        self.tiles = () if device.measured else self._possible()

    def _possible(self) -> tuple[Tiles, ...]:
        """The tile sizes that fit the smallest subnet: no other subnet can use more.

        :raises OptionError: if there are none.
        """
        work = self.work(self.space.smallest)
        device = self.device
        try:
            design(work, device)
        except OptionError as error:
            raise OptionError(
                f"{device.name} excludes every subnet of space {self.space.name}: {error}"
            ) from error
        return fitting(work, device)

    def work(self, subnet: Subnet) -> Workload:
        return workload(self.space, self.form, self.classes, subnet)

    def __call__(self, subnet: Subnet) -> Cost | None:
        """The cost of a subnet; None if no tile sizes fit it."""
        if subnet.key not in self.known:
            work = self.work(subnet)
            if self.device.measured:
                self.known[subnet.key] = Cost(self.times.seconds(work), work.macs)
            else:
                try:
                    found = design(work, self.device, self.tiles)
                except OptionError:
                    return None
                self.known[subnet.key] = Cost(found.seconds, work.macs, found.tiles, found.resources)
        return self.known[subnet.key]

    def check(self, seconds: float) -> None:
        """Refuse a limit that no subnet of the space can meet.

        :raises OptionError: with the limit that excludes them all.
        """
        smallest = self(self.space.smallest)
        assert smallest is not None
        if smallest.seconds > seconds:
            how = "measured" if self.device.measured else "modelled"
            raise OptionError(
                f"the limit of latency, {1e3 * seconds:g} ms, excludes every subnet of space "
                f"{self.space.name}: the smallest takes {1e3 * smallest.seconds:.3g} ms ({how}) on "
                f"{self.device.name}. Allow more, or make the space smaller."
            )


#: Subnet -> share of the held-out inputs that it classifies rightly.
Fitness = Callable[[Subnet], float]
