"""Restoration filters as bytes: what was written is read, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

from bifocal.errors import DamagedStream
from bifocal.stream.chunks.restoration import Restoration, decode_restorations, encode_restorations

TILES = [(0, 0, 128, 64), (128, 0, 192, 64)]


def some(seed: int, *, alone: bool) -> Restoration:
    coefficients = np.random.default_rng(seed).integers(-128, 128, (3, 3, 6)).astype(np.int8)
    return Restoration(
        1 + seed, coefficients * (np.eye(3, dtype=np.int8)[:, :, None] if alone else np.int8(1))
    )


def test_filters_come_back_with_their_regions() -> None:
    written = [some(1, alone=True), None, some(2, alone=False)]
    read = decode_restorations(encode_restorations(64, written), TILES)
    assert [region for region, _ in read] == [(0, 0, 64, 64), (128, 0, 192, 64)]
    assert [found.encode() for _, found in read] == [f.encode() for f in written if f]


def test_no_filter_needs_no_chunk() -> None:
    assert encode_restorations(256, [None, None]) == b""


def test_filters_that_do_not_fit_the_picture_are_refused() -> None:
    good = encode_restorations(64, [some(1, alone=True), None, some(2, alone=False)])
    wrong = [b"", b"\0", good[:-1], good + b"\0", b"\1" + b"\3" + good[2:], good[:2] + b"\0" + good[3:]]
    for chunk in [*wrong, *(good[:n] for n in range(len(good)))]:
        with pytest.raises(DamagedStream, match="restoration filters are damaged"):
            decode_restorations(chunk, TILES)
