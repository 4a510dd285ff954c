"""What a stream may be read from: anything in memory, any binary file, pipes too; nothing else."""

from __future__ import annotations

import gzip
import io
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import bifocal
from bifocal.errors import LimitExceeded, OptionError, StreamError
from tests.conftest import made_picture


@pytest.fixture(scope="module")
def stream(tiny_model: bifocal.Model) -> bytes:
    return bifocal.encode(made_picture(90, 120), 40, model=tiny_model, tile=64)


@pytest.fixture(scope="module")
def picture(tiny_model: bifocal.Model, stream: bytes) -> bifocal.Picture:
    return bifocal.decode(stream, model=tiny_model)


class Pipe(io.FileIO):
    """The reading end of a pipe, closed when it has been read; what is written fits into its buffer."""

    def __init__(self, data: bytes) -> None:
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as file:
            file.write(data)
        super().__init__(reading, "rb")

    def read(self, size: int | None = -1, /) -> bytes:
        part = super().read(size) or b""
        if not part:
            self.close()
        return part


@pytest.mark.parametrize(
    "given",
    [
        bytearray,
        memoryview,
        io.BytesIO,
        lambda data: np.frombuffer(data, np.uint8),
        lambda data: memoryview(np.repeat(np.frombuffer(data, np.uint8), 2))[::2],
        lambda data: memoryview(data + bytes(-len(data) % 4))[: len(data)],
        Pipe,
        lambda data: gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(data))),
    ],
    ids=["bytearray", "memoryview", "BytesIO", "array", "every second byte", "part", "pipe", "gzip"],
)
def test_bytes_and_binary_files_of_any_kind(
    tiny_model: bifocal.Model, stream: bytes, picture: bifocal.Picture, given: Callable[[bytes], object]
) -> None:
    assert bifocal.decode(given(stream), model=tiny_model) == picture  # type: ignore[arg-type]
    assert bifocal.info(given(stream)) == bifocal.info(stream)  # type: ignore[arg-type]


def test_a_file_that_is_mapped_into_memory(
    tiny_model: bifocal.Model, stream: bytes, picture: bifocal.Picture, tmp_path: Path
) -> None:
    path = tmp_path / "a.bfc"
    path.write_bytes(stream)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert bifocal.decode(mapped, model=tiny_model) == picture


def test_what_only_reads_is_read_within_the_limits(tiny_model: bifocal.Model, stream: bytes) -> None:
    class Endless:
        """Gives three bytes at a time, for ever, as a socket may."""

        given = 0

        def read(self, size: int = -1, /) -> bytes:
            part = (stream + bytes(10_000))[self.given : self.given + 3] or bytes(3)
            self.given += 3
            return part[:size]

    source = Endless()
    with pytest.raises(LimitExceeded, match="stream_bytes"):
        bifocal.decode(source, model=tiny_model, limits=bifocal.Limits(stream_bytes=5000))
    assert source.given < 5010


@pytest.mark.parametrize("mode", ["r", "w", "closed", "wb"])
def test_files_that_cannot_be_read_in_binary_are_wrong_arguments(
    stream: bytes, tmp_path: Path, mode: str
) -> None:
    path = tmp_path / "a.bfc"
    path.write_bytes(stream)
    real = "rb" if mode == "closed" else mode
    with open(path, real, encoding=None if "b" in real else "utf-8") as file:
        if mode == "closed":
            file.close()
        with pytest.raises(OptionError, match="rb|closed"):
            bifocal.decode(file)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["a.bfc", Path("a.bfc"), None, 7, ["a"], io.StringIO("89BFC"), object()])
def test_what_is_neither_bytes_nor_a_file_is_a_wrong_argument(given: object) -> None:
    with pytest.raises(OptionError):
        bifocal.info(given)  # type: ignore[arg-type]


def test_nothing_is_no_stream() -> None:
    for given in (b"", memoryview(b""), io.BytesIO(), np.zeros(0, np.uint8)):
        with pytest.raises(StreamError):
            bifocal.info(given)  # type: ignore[arg-type]
