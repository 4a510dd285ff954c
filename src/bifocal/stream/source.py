"""Bytes that a stream is read from: in memory, or a file of which only the parts needed are read."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from bifocal.errors import TruncatedStream


class Source(Protocol):
    """A run of bytes that is sliced: ``bytes``, ``memoryview`` or :class:`FileBytes`."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> bytes | memoryview: ...


@runtime_checkable
class SeekableFile(Protocol):
    """What is asked of a file: open for reading in binary, seekable. Remote files of fsspec are such."""

    def read(self, size: int = -1, /) -> bytes: ...

    def seek(self, offset: int, whence: int = 0, /) -> int: ...


class FileBytes:
    """A binary file as a run of bytes, from its very beginning; slicing reads just that range.

    >>> import io
    >>> data = FileBytes(io.BytesIO(b"89BFC rest"))
    >>> len(data), data[2:5]
    (10, b'BFC')
    """

    def __init__(self, file: SeekableFile) -> None:
        self._file, self._size = file, file.seek(0, 2)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice, /) -> bytes:
        """The bytes of a slice of step 1. Raises :class:`TruncatedStream` if the file got shorter."""
        start, stop, _ = part.indices(self._size)
        self._file.seek(start)
        parts, left = [], max(stop - start, 0)
        while left:
            parts.append(self._file.read(left))
            left -= len(parts[-1])
            if not parts[-1]:
                raise TruncatedStream(
                    "the file was cut short while it was read. Try again, or fetch it again."
                )
        return b"".join(parts)
