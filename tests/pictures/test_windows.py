"""Windows cover a picture once, whatever its size."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bifocal.pictures.windows import pad, spans


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


@given(st.integers(1, 200), st.integers(1, 200))
def test_padding_repeats_the_edge(h: int, w: int) -> None:
    pixels = np.random.default_rng(h * 256 + w).integers(0, 256, (h, w), dtype=np.uint8)
    padded = pad(pixels, 64)
    assert padded.shape == (-(-h // 64) * 64, -(-w // 64) * 64)
    assert np.array_equal(padded[:h, :w], pixels)
    assert (padded[h:, :w] == pixels[-1:]).all() and (padded[:h, w:] == pixels[:, -1:]).all()
