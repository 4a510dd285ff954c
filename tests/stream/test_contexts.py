"""Values of a group go to its positions and come back, whole blocks at once or position by position."""

from __future__ import annotations

import numpy as np
import pytest

from bifocal.stream.plan import Group, collect, phase_channels, place, positions, symbol_positions

GROUPS = [
    Group(8, 16, 1, 0),
    Group(8, 16, 2, 1),
    *(Group(4, 12, 4, step) for step in range(4)),
    Group(1, 4, 2, 0),
]


@pytest.mark.parametrize("size", [(4, 6), (2, 2), (3, 4), (5, 1)])
@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_values_stand_at_the_positions_of_their_group(group: Group, size: tuple[int, int]) -> None:
    where = positions(group, *size)
    values = np.arange(1, len(where) + 1, dtype=np.int32)
    maps = np.zeros((group.channels, *size), np.int32)
    place(values, maps, group)
    assert np.array_equal(maps.reshape(-1)[where], values) and np.count_nonzero(maps) == len(values)
    assert np.array_equal(collect(maps, group), values)
    last = np.zeros((*size, group.channels), np.int32)  # channels last, as an engine may keep them
    if phase_channels(group) and not (size[0] % 2 or size[1] % 2):
        place(values, last.transpose(2, 0, 1), group)
        assert np.array_equal(last.transpose(2, 0, 1), maps)
        channels, flat = symbol_positions(np.arange(len(where)), group, *size)
        assert np.array_equal(channels * size[0] * size[1] + flat, where)
