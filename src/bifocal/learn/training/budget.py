"""How long a training may take, and the clock that measures it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bifocal.errors import OptionError


class Clock:
    """Seconds since it was made, of wall time and of this process's processor time, without its pauses."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._wall

    @property
    def cpu_seconds(self) -> float:
        return time.process_time() - self._cpu

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done inside is not counted."""
        seconds, cpu_seconds = self.seconds, self.cpu_seconds
        try:
            yield
        finally:
            self._wall, self._cpu = time.monotonic() - seconds, time.process_time() - cpu_seconds


@dataclass(frozen=True)
class Budget:
    """Limits of a training, of which 0 is none; the one that is reached first ends it.

    ``minutes`` are of wall time; ``cpu_minutes`` of processor time, all threads of this process together, for
    machines that are shared; validation counts towards neither. With ``steps`` the learning rate follows the
    steps made, so that equal runs are equal whatever else the machine does; without, the time.

    :raises OptionError: if there is no limit, or a negative one.
    """

    minutes: float = 0.0
    cpu_minutes: float = 0.0
    steps: int = 0

    def __post_init__(self) -> None:
        limits = (self.minutes, self.cpu_minutes, self.steps)
        if not (all(limit >= 0 for limit in limits) and max(limits) > 0):
            raise OptionError(
                f"the training has {self.minutes} minutes, {self.cpu_minutes} processor minutes and "
                f"{self.steps} steps. Give at least one of --minutes, --cpu-minutes and --steps above 0."
            )

    def spent(self, clock: Clock, step: int) -> float:
        """The largest share of a limit that is used up, 1 or more when the training is over."""
        return max(self._time(clock), step / self.steps if self.steps else 0.0)

    def done(self, clock: Clock, step: int) -> float:
        """How much of the training is over, 0 to 1, as learning rates and losses see it."""
        return min(1.0, step / self.steps if self.steps else self._time(clock))

    def _time(self, clock: Clock) -> float:
        wall = clock.seconds / (60 * self.minutes) if self.minutes else 0.0
        return max(wall, clock.cpu_seconds / (60 * self.cpu_minutes) if self.cpu_minutes else 0.0)

    def split(self, share: float) -> tuple[Budget, Budget]:
        """A first part, ``share`` of it, and the rest; each has a step at least if steps are limited.

        >>> first, second = Budget(minutes=10, steps=100).split(0.7)
        >>> first.steps, second.steps, first.minutes
        (70, 30, 7.0)
        """
        first = max(1, round(share * self.steps)) if self.steps else 0
        second = max(1, self.steps - first) if self.steps else 0
        return (
            Budget(share * self.minutes, share * self.cpu_minutes, first),
            Budget((1 - share) * self.minutes, (1 - share) * self.cpu_minutes, second),
        )
