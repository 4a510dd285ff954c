"""Bytes that a stream is read from: in memory, or a file of which only the parts needed are read."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from bifocal.errors import OptionError, TruncatedStream

if TYPE_CHECKING:
    from bifocal.stream.limits import Limits


class Source(Protocol):
    """A run of bytes that is sliced: ``bytes``, ``memoryview`` or :class:`FileBytes`."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> bytes | memoryview: ...


@runtime_checkable
class ReadableFile(Protocol):
    """What is asked of a file: open for reading in binary. Pipes are such, and remote files of fsspec."""

    def read(self, size: int = -1, /) -> bytes: ...


@runtime_checkable
class SeekableFile(Protocol):
    """A file of which ranges can be read."""

    def read(self, size: int = -1, /) -> bytes: ...

    def seek(self, offset: int, whence: int = 0, /) -> Any: ...

    def tell(self) -> int: ...


#: A stream: its bytes, or a file open for reading in binary.
StreamLike = bytes | bytearray | memoryview | ReadableFile


def as_source(data: StreamLike, limits: Limits) -> Source:
    """Where to read a stream from. What cannot seek is read to its end, but not beyond ``limits``.

    :raises OptionError: if it is neither bytes nor a file that can be read in binary.

    >>> from bifocal.stream.limits import DEFAULT_LIMITS
    >>> len(as_source(b"89BFC rest", DEFAULT_LIMITS))
    10
    """
    if (most := getattr(limits, "stream_bytes", None)) is None:
        raise OptionError(f"limits are {limits!r}; give bifocal.Limits(...).")
    if isinstance(data, ReadableFile):
        with _readable(data):
            _check_mode(data)
            if isinstance(data, SeekableFile) and getattr(data, "seekable", lambda: True)():
                return FileBytes(data)
            return memoryview(_read(data, most + 1))
    try:
        view = memoryview(data)
    except (TypeError, ValueError):
        raise OptionError(
            f"a stream is given as bytes or as a binary file, not as a {type(data).__name__}. For a "
            "path: Path(path).read_bytes(), or decode_file(path)."
        ) from None
    return view.cast("B") if view.c_contiguous and view.nbytes else memoryview(view.tobytes())


def _check_mode(file: object) -> None:
    if isinstance(file, io.TextIOBase):
        raise OptionError("this file is open as text. Open it with open(path, 'rb').")
    if not getattr(file, "readable", lambda: True)():
        raise OptionError("this file is open for writing only. Open it with open(path, 'rb').")


class FileBytes:
    """A binary file as a run of bytes, from its very beginning; slicing reads just that range.

    >>> import io
    >>> data = FileBytes(io.BytesIO(b"89BFC rest"))
    >>> len(data), data[2:5]
    (10, b'BFC')
    """

    def __init__(self, file: SeekableFile) -> None:
        file.seek(0, 2)  # mmap's gives nothing before Python 3.13
        self._file, self._size = file, file.tell()

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice, /) -> bytes:
        """The bytes of a slice of step 1. Raises :class:`TruncatedStream` if the file got shorter."""
        start, stop, _ = part.indices(self._size)
        with _readable(self._file):
            self._file.seek(start)
            data = _read(self._file, max(stop - start, 0))
        if len(data) < stop - start:
            raise TruncatedStream("the file was cut short while it was read. Try again, or fetch it again.")
        return data


def _read(file: ReadableFile, most: int) -> bytes:
    """The next bytes of a file: as many as are asked for, or all that are left."""
    parts: list[bytes] = []
    while most > 0:
        part = file.read(most)
        if not isinstance(part, bytes | bytearray | memoryview):
            raise OptionError(
                f"a stream is read from a binary file, and this one gives {type(part).__name__}. Open it "
                "with open(path, 'rb')."
            )
        if not part:
            break
        parts.append(bytes(part))
        most -= len(part)
    return b"".join(parts)


@contextmanager
def _readable(file: object) -> Iterator[None]:
    """A file that is closed, or open for writing only, is a wrong argument; what a disk fails at is not."""
    try:
        yield
    except (io.UnsupportedOperation, UnicodeDecodeError) as error:
        raise OptionError(f"this file cannot be read ({error}). Open it with open(path, 'rb').") from error
    except ValueError as error:
        if getattr(file, "closed", False) is not True:
            raise
        raise OptionError(f"this file is closed ({error}). Keep it open while it is decoded.") from error
