"""What changes over a training: the learning rate, and how often something is done beside the steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """Where a training stands: ``step`` steps made, ``done`` (0..1) of its budget used.

    ``seconds`` and ``cpu_seconds`` are without validation. ``skipped`` counts steps whose gradient was not
    finite; ``figures`` are means of what the task logs, since they were last asked for; ``stopped`` says that
    it was interrupted.
    """

    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    done: float = 0.0
    skipped: int = 0
    figures: Mapping[str, float] = field(default_factory=dict)
    stopped: bool = False


@dataclass(frozen=True)
class Schedule:
    """The learning rate as a share of the full one: a linear ``warmup`` of so many steps, then constant.

    With ``cooldown`` it falls linearly to zero over that last share of the training; with ``cosine`` along
    half a cosine over all of it, to the share ``floor``.
    """

    warmup: int = 1
    cooldown: float = 0.0
    cosine: bool = False
    floor: float = 0.0

    def rate(self, step: int, done: float) -> float:
        """The share at ``step`` (from 0), ``done`` (0..1) of the training.

        >>> Schedule(warmup=4).rate(1, 0.1), Schedule(cooldown=0.5).rate(9, 0.75)
        (0.5, 0.5)
        """
        warm = min(1.0, (step + 1) / self.warmup)
        if self.cosine:
            return warm * (self.floor + (1 - self.floor) * (0.5 + 0.5 * math.cos(math.pi * done)))
        return warm * (min(1.0, max(0.0, 1 - done) / self.cooldown) if self.cooldown > 0 else 1.0)


@dataclass(frozen=True)
class Every:
    """How often: after so many ``seconds`` or ``steps``, or such a ``share`` of the training; 0 is never."""

    seconds: float = 0.0
    steps: int = 0
    share: float = 0.0

    def due(self, last: Progress, now: Progress) -> bool:
        """Whether it is time again at ``now``, after the time before at ``last``."""
        return (
            0 < self.seconds <= now.seconds - last.seconds
            or 0 < self.steps <= now.step - last.step
            or 0 < self.share <= now.done - last.done
        )
