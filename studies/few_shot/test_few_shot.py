"""Accuracy is that of the nearest mean."""

from __future__ import annotations

import numpy as np

from studies.few_shot.run import accuracy


def test_the_nearest_mean_decides() -> None:
    one, other = np.eye(2, dtype=np.float32)
    known = {"a": [one, one], "b": [other]}
    assert accuracy(known, {"a": [one], "b": [other, one]}, 1, seed=0) == 2 / 3
