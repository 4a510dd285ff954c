"""The effects of faults, as every engine reports them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Effects:
    """The effects of n faults; all arrays are ``[n]``.

    ``wrong_cycles`` int32 counts cycles with any wrong output bit, ``wrong_bits`` int64 the wrong output bits
    of all cycles, ``first_wrong`` int32 is the first such cycle or −1, ``latent`` is true where no output was
    ever wrong but a flip-flop was after the last clock edge.
    """

    wrong_cycles: NDArray[np.int32]
    wrong_bits: NDArray[np.int64]
    first_wrong: NDArray[np.int32]
    latent: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.wrong_cycles)

    @classmethod
    def silent(cls, count: int) -> Effects:
        """The effects of faults that never change anything."""
        return cls(
            np.zeros(count, np.int32),
            np.zeros(count, np.int64),
            np.full(count, -1, np.int32),
            np.zeros(count, np.bool_),
        )

    def put(self, where: NDArray[np.intp] | slice, other: Effects) -> None:
        """Replace the effects of some faults."""
        self.wrong_cycles[where] = other.wrong_cycles
        self.wrong_bits[where] = other.wrong_bits
        self.first_wrong[where] = other.first_wrong
        self.latent[where] = other.latent

    def same_as(self, other: Effects) -> bool:
        """Whether all effects are exactly the same."""
        return all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("wrong_cycles", "wrong_bits", "first_wrong", "latent")
        )
