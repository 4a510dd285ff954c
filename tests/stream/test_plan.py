"""Masks of a plan: every latent is in one group, once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifocal.stream.plan import PHASE_ORDER, Group, Plan, code_groups, group_mask

PLANS = {
    "slices": tuple(Group(start, start + 4, 1, 0) for start in range(0, 16, 4)),
    "checkerboard": tuple(Group(start, start + 8, 2, step) for start in (0, 8) for step in range(2)),
    "low first": (Group(0, 4, 2, 0), Group(0, 4, 2, 1), *(Group(4, 16, 4, step) for step in range(4))),
}


@pytest.mark.parametrize("groups", PLANS.values(), ids=PLANS.keys())
@given(h=st.integers(1, 9), w=st.integers(1, 9))
def test_groups_partition_the_latent(groups: tuple[Group, ...], h: int, w: int) -> None:
    cover = np.zeros((16, h, w), dtype=int)
    for group in groups:
        cover[group.start : group.stop] += group_mask(group, h, w)
    assert (cover == 1).all()


def test_masks_follow_the_formula_of_the_specification() -> None:
    for step in range(4):
        mask = group_mask(Group(4, 16, 4, step), 3, 5)
        for c in range(4, 16):
            for i in range(3):
                for j in range(5):
                    here = ((2 * (i & 1) + (j & 1)) ^ PHASE_ORDER[step]) == (c & 3)
                    assert mask[c - 4, i, j] == here


def test_masks_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        group_mask(Group(0, 4, 2, 0), 2, 2)[0, 0, 0] = True


def test_an_unknown_number_of_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="not 3"):
        group_mask(Group(0, 4, 3, 0), 2, 2)


def test_the_loop_hands_each_group_what_came_before() -> None:
    class Log:
        def __init__(self) -> None:
            self.seen: list[tuple[int, int]] = []

        def start(self) -> list[int]:
            return []

        def predict(self, k: int, group: Group, decoded: list[int]) -> tuple[int, int]:
            self.seen.append((k, len(decoded)))
            return k, k

        def code(self, group: Group, mu: int, index: int, decoded: list[int]) -> list[int]:
            return [*decoded, mu]

    log = Log()
    assert code_groups(Plan(16, 4, PLANS["low first"]), log) == [0, 1, 2, 3, 4, 5]
    assert log.seen == [(k, k) for k in range(6)]
