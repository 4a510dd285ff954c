"""Windows cover a picture once, whatever its size."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bifocal.runtime.windows import boxes, cut_padded, spans


@given(st.integers(1, 60), st.integers(1, 8), st.integers(0, 3))
def test_cores_cover_every_pixel_once_and_have_their_halo(units: int, core: int, halo: int) -> None:
    size, core, halo = 64 * units, 64 * core, 64 * halo
    found = spans(size, core=core, halo=halo, multiple=64)
    covered = np.zeros(size, int)
    for span in found:
        covered[span.start : span.stop] += 1
        assert span.outer_start == max(span.start - halo, 0) or len(found) == 1
        assert span.outer_stop == min(span.stop + halo, size)
        assert span.stop - span.start <= core or len(found) == 1
        assert span.outer_stop - span.outer_start <= core + 2 * halo
        assert np.array_equal(np.arange(size)[span.outer(1)][span.inner(1)], np.arange(size)[span.core(1)])
    assert (covered == 1).all()


@given(st.integers(1, 200), st.integers(1, 200), st.data())
def test_padding_repeats_the_edge(h: int, w: int, data: st.DataObject) -> None:
    pixels = np.random.default_rng(h * 256 + w).integers(0, 256, (h, w), dtype=np.uint8)
    padded = np.pad(pixels, ((0, -h % 64), (0, -w % 64)), mode="edge")
    (top, bottom), (left, right) = (
        sorted(data.draw(st.tuples(st.integers(0, size - 1), st.integers(1, -(-size // 64) * 64))))
        for size in (h, w)
    )
    part = cut_padded(pixels, slice(top, bottom), slice(left, right))
    assert np.array_equal(part, padded[top:bottom, left:right])


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 5))
def test_boxes_cover_every_pixel_once(h: int, w: int, side: int) -> None:
    covered = np.zeros((h, w), int)
    for left, top, right, bottom in boxes(w, h, side):
        covered[top:bottom, left:right] += 1
        assert 0 < right - left <= side and 0 < bottom - top <= side
    assert (covered == 1).all()


@given(st.integers(1, 60), st.integers(1, 8), st.integers(0, 3), st.data())
def test_a_stretch_is_covered_and_halos_reach_beyond_it(
    units: int, core: int, halo: int, data: st.DataObject
) -> None:
    start, stop = sorted(data.draw(st.lists(st.integers(0, units), min_size=2, max_size=2, unique=True)))
    size, start, stop = 64 * units, 64 * start, 64 * stop
    found = spans(size, core=64 * core, halo=16 * halo, multiple=64, start=start, stop=stop)
    assert [span.start for span in found] == [start, *(span.stop for span in found[:-1])]
    assert found[-1].stop == stop
    for span in found:
        assert span.outer_start == max(span.start - 16 * halo, 0)
        assert span.outer_stop == min(span.stop + 16 * halo, size)
