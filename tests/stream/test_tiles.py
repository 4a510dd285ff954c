"""Tiles are decoded where they are asked for, from bytes or from a file, and only there."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bifocal.errors import DamagedStream, ModelMissing, StreamError, TruncatedStream
from bifocal.stream import container
from bifocal.stream.exact import NumpyEngine
from bifocal.stream.latents import decode_tile, encode_latents, unpack
from bifocal.stream.plan import low_groups
from bifocal.stream.source import FileBytes
from bifocal.stream.tiles import TileReader
from tests.conformance.make_golden import Y, Z, tiny_model

MODEL = tiny_model()
OTHER = replace(MODEL, plan=replace(MODEL.plan, skip=3))
BACKEND = NumpyEngine()


def made_stream(width: int, height: int, tile: int = 64, metadata: dict[str, bytes] | None = None) -> bytes:
    rng = np.random.default_rng(width * 1000 + height)
    h, w = -(-height // 64), -(-width // 64)
    y, z = rng.standard_normal((Y, 4 * h, 4 * w)) * 4, rng.standard_normal((Z, h, w)) * 4
    size = {"width": width, "height": height, "gray": False, "quality": 40, "tile": tile}
    return encode_latents(y, z, **size, model=MODEL, engine=BACKEND, metadata=metadata)[0]


def stretch(data: st.DataObject, size: int) -> slice:
    start, stop = sorted(data.draw(st.lists(st.integers(0, size), min_size=2, max_size=2, unique=True)))
    return slice(start, stop)


@given(st.integers(1, 260), st.integers(1, 200), st.sampled_from([64, 128, 192]), st.data())
@settings(deadline=None, max_examples=25)
def test_any_part_is_that_of_the_whole(width: int, height: int, tile: int, data: st.DataObject) -> None:
    stream = container.read(made_stream(width, height, tile))
    whole = unpack(stream, MODEL, BACKEND).y
    reader = TileReader(stream, MODEL, BACKEND)
    for _ in range(3):  # also upwards again, which only costs time
        rows, columns = stretch(data, whole.shape[1]), stretch(data, whole.shape[2])
        assert np.array_equal(reader(rows, columns), whole[:, rows, columns])


def test_each_tile_is_decoded_once_and_forgotten_below() -> None:
    engine = NumpyEngine()
    stream = container.read(made_stream(128, 256))
    reader = TileReader(stream, MODEL, engine)
    for top in range(15):
        reader(slice(top, top + 2), slice(0, 8))
        assert len(reader._kept) <= 4
    assert engine.layers_run["hyper.0"] == len(stream.tiles) == 8


def test_the_low_groups_alone_are_the_low_band_of_everything() -> None:
    stream, low = container.read(made_stream(130, 70)), low_groups(MODEL.plan)
    whole = unpack(stream, MODEL, BACKEND).y
    channels = MODEL.plan.groups[0].stop
    reader = TileReader(stream, MODEL, BACKEND, groups=low, channels=channels)
    everywhere = (slice(0, whole.shape[1]), slice(0, whole.shape[2]))
    assert np.array_equal(reader(*everywhere), whole[:channels])
    engine = NumpyEngine()
    y, _ = decode_tile(stream, 0, MODEL, engine, groups=low)
    assert not y[channels:].any() and engine.layers_run["predict.0.0"] == 1
    assert f"predict.{low}.0" not in engine.layers_run


def test_another_model_is_refused_before_anything_runs() -> None:
    with pytest.raises(ModelMissing):
        TileReader(container.read(made_stream(64, 64)), OTHER, BACKEND)


class Recorder(io.BytesIO):
    """A file that remembers which of its bytes were read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.seen = np.zeros(len(data), bool)

    def read(self, size: int | None = -1, /) -> bytes:
        start = self.tell()
        part = super().read(size)
        self.seen[start : start + len(part)] = True
        return part


def test_of_a_file_only_the_front_and_the_tiles_needed_are_read() -> None:
    data = made_stream(256, 256, metadata={"icc": b"profile" * 99})
    file = Recorder(data)
    stream = container.read(FileBytes(file))
    first = stream.tiles[0].offset
    assert (
        stream.metadata == container.read(data).metadata and stream.overhead == container.read(data).overhead
    )
    assert file.seen[:first].all() and not file.seen[first:].any()
    TileReader(stream, MODEL, BACKEND)(slice(4, 8), slice(9, 10))  # inside tile 6
    tile = stream.tiles[6]
    wanted = np.zeros(len(data), bool)
    wanted[:first] = wanted[tile.offset : tile.offset + tile.length] = True
    assert np.array_equal(file.seen, wanted)


def test_a_file_is_refused_as_its_bytes_are() -> None:
    data = made_stream(130, 64)
    for cut in range(len(data)):
        said = []
        for source in (data[:cut], FileBytes(io.BytesIO(data[:cut]))):
            with pytest.raises(StreamError) as caught:
                container.read(source)
            said.append((type(caught.value), str(caught.value)))
        assert said[0] == said[1]
    damaged = bytearray(data)
    damaged[-1] ^= 1
    with pytest.raises(DamagedStream, match="tile 2 of 3"):
        unpack(container.read(FileBytes(io.BytesIO(damaged))), MODEL, BACKEND)


def test_a_file_that_shrinks_is_cut_short() -> None:
    file = io.BytesIO(made_stream(64, 64))
    source = FileBytes(file)
    file.truncate(20)
    with pytest.raises(TruncatedStream, match="cut short"):
        container.read(source)
