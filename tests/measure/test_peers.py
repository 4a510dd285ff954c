"""The classical codecs really code with the settings they print; the size search finds the nearest file."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bifocal.measure import MeasureError
from bifocal.measure.metrics import psnr
from bifocal.measure.peers import PEERS, FileCodec, available_peers, encode_near, jpeg, jpeg_xl_distance

FOUND, MISSING = available_peers()


def smooth(h: int = 48, w: int = 64) -> np.ndarray:
    y, x = np.mgrid[0:h, 0:w]
    waves = [127 + 100 * np.sin(x / (5 + c) + y / 9) * np.cos(y / (7 - c)) for c in range(3)]
    return np.stack(waves, axis=2).astype(np.uint8)


@pytest.mark.parametrize("peer", FOUND, ids=lambda peer: peer.name)
def test_peers_round_trip_and_get_better_with_quality(peer: FileCodec) -> None:
    pixels = smooth()
    low, high = (peer.encode(pixels, q) for q in (peer.curve[1], peer.curve[-2]))
    worse, better = peer.decode(low), peer.decode(high)
    assert worse.shape == better.shape == pixels.shape
    assert worse.dtype == np.uint8
    assert len(low) < len(high)
    assert 15.0 < psnr(pixels, worse) < psnr(pixels, better)
    assert peer.lowest <= min(peer.curve) < max(peer.curve) <= peer.highest
    assert len(peer.curve) >= 9


def test_every_peer_is_found_or_explained() -> None:
    assert {p.name for p in FOUND} | {line.split()[0] for line in MISSING} == set(PEERS)
    assert all(line.endswith(".") for line in MISSING)


def test_an_unknown_peer_is_refused() -> None:
    with pytest.raises(MeasureError, match="gif"):
        available_peers(["gif"])


def test_jpeg_is_not_subsampled() -> None:
    with Image.open(io.BytesIO(jpeg().encode(smooth(), 50))) as picture:
        assert [layer[1:3] for layer in picture.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]


def test_jpeg_xl_distances_of_libjxl() -> None:
    # values of JxlEncoderDistanceFromQuality
    assert [jpeg_xl_distance(q) for q in (100, 90, 75, 30, 10)] == [0.1, 1.0, 2.35, 6.4, 15.2667]


def staircase(sizes: list[int]) -> FileCodec:
    return FileCodec("stairs", "", (), 0, len(sizes) - 1, lambda _, q: bytes(sizes[q]), lambda data: smooth())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 500), min_size=2, max_size=40).map(sorted), st.integers(0, 600))
def test_the_search_finds_the_nearest_of_rising_sizes(sizes: list[int], target: int) -> None:
    found = encode_near(staircase(sizes), smooth(2, 2), target)
    assert abs(len(found.data) - target) == min(abs(size - target) for size in sizes)
    assert len(found.data) == sizes[found.quality]


def test_the_search_remembers_what_it_tried() -> None:
    calls: list[int] = []

    def encode(_: np.ndarray, quality: int) -> bytes:
        calls.append(quality)
        return bytes(quality * 10)

    codec = FileCodec("counted", "", (), 0, 100, encode, lambda data: smooth())
    memo: dict[int, bytes] = {}
    for target in (233, 700, 512):
        encode_near(codec, smooth(2, 2), target, memo)
    assert len(calls) == len(set(calls)) == len(memo) < 22
