"""What is at a URL, through fsspec (the ``remote`` extra): ``storage/filesystem.py`` asks here for what is no
local path.

What is elsewhere is copied here, worked on here, and put back whole: reading and writing stay those of local
files, with their memory bounds. fsspec is imported when a URL is first met.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from bifocal.errors import BifocalError, OptionError, RemoteError, install_command, reason

#: Stores in which a file appears only when it is complete; elsewhere we write
#: under another name and move it.
WHOLE_PUTS = frozenset("s3 s3a gs gcs abfs abfss az adl oss oci memory".split())


def exists(url: str) -> bool:
    store, inside = _open(url)
    with _errors_of(url, "looked for"):
        return bool(store.exists(inside))


def is_folder(url: str) -> bool:
    """Whether it is a folder; so is what does not exist and has no suffix."""
    if url.startswith(("http://", "https://")):  # fsspec would read a whole file to find out
        return not os.path.splitext(url.split("?")[0].rpartition("/")[2])[1]
    store, inside = _open(url)
    with _errors_of(url, "looked for"):
        if store.exists(inside):
            return bool(store.isdir(inside))
    return not os.path.splitext(url)[1]


def find(folder: str) -> list[str]:
    """Names of all files under a remote folder, with slashes, sorted."""
    store, inside = _open(folder)
    with _errors_of(folder, "listed"):
        paths = store.find(inside)
    prefix = inside.rstrip("/") + "/" if inside else ""
    return sorted(path.removeprefix(prefix).lstrip("/") for path in paths)


def below(folder: str) -> set[str]:
    """The URLs of all files under a folder; none if there is no such folder."""
    store, inside = _open(folder)
    with _errors_of(folder, "listed"):
        return {f"{folder}/{name}" for name in find(folder)} if store.isdir(inside) else set()


def make_folder(url: str) -> None:
    """Make the folder of a file, where the store has folders."""
    folder = url.rpartition("/")[0]
    store, inside = _open(folder)
    with _errors_of(folder, "made"):
        store.makedirs(inside, exist_ok=True)


def state(path: str) -> str:
    """What changes when a remote file does: the store's own mark (ETag, time, size).

    :raises RemoteError: if the store has none, so that a change could go unseen.
    """
    store, inside = _open(path)
    with _errors_of(path, "looked for"):
        info = store.info(inside)
    marks = ("ETag", "etag", "md5Hash", "content_md5", "checksum", "Last-Modified", "LastModified", "mtime",
             "modified", "updated", "created", "last_modified")  # fmt: skip
    found = [f"{key}={info[key]}" for key in marks if info.get(key)]
    return " ".join([f"size={info.get('size')}", *found]) if found else ""


def size(url: str) -> int:
    """Bytes of a file."""
    store, inside = _open(url)
    with _errors_of(url, "looked for"):
        return int(store.size(inside) or 0)


def read(path: str) -> bytes:
    """A small remote file; nothing if there is none."""
    store, inside = _open(path)
    with _errors_of(path, "read"):
        return bytes(store.cat_file(inside)) if store.exists(inside) else b""


def beside(path: str) -> list[str]:
    """Names of the files in the remote folder where ``path`` is."""
    folder = path.rpartition("/")[0]
    store, inside = _open(folder)
    with _errors_of(folder, "listed"):
        there = store.ls(inside, detail=False) if store.isdir(inside) else []
    return [name.rstrip("/").rpartition("/")[2] for name in there]


def put(copy: Path, path: str) -> None:
    """Send a file to a URL so that nobody sees half of it.

    :raises RemoteError: if it cannot be written.
    """
    store, inside = _open(path)
    names = (store.protocol,) if isinstance(store.protocol, str) else store.protocol
    with _errors_of(path, "written"):
        if WHOLE_PUTS.intersection(names):
            store.put_file(os.fspath(copy), inside)
            return
        unfinished = f"{inside}.{uuid4().hex[:8]}.part"
        try:
            store.put_file(os.fspath(copy), unfinished)
            store.mv(unfinished, inside)
        except Exception:
            if store.exists(unfinished):
                store.rm_file(unfinished)
            raise


@contextmanager
def fetched(url: str) -> Iterator[Path]:
    """A local copy of a file, while the block lasts. Errors inside name the URL.

    :raises RemoteError: if it cannot be read.
    """
    store, inside = _open(url)
    with tempfile.TemporaryDirectory(prefix="bifocal-") as folder:
        copy = Path(folder, _local_name(url))
        with _errors_of(url, "read"):
            store.get_file(inside, os.fspath(copy))
        with _renamed(copy, url):
            yield copy


@contextmanager
def opened(url: str) -> Iterator[BinaryIO]:
    """A file to read ranges of.

    :raises RemoteError: if it cannot be read.
    """
    store, inside = _open(url)
    with _errors_of(url, "read"), store.open(inside, "rb") as file:
        yield file


@contextmanager
def sent(url: str) -> Iterator[Path]:
    """A local file to write to; it goes to the URL, whole, when the block ends without an error.

    :raises RemoteError: if it cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="bifocal-") as folder:
        copy = Path(folder, _local_name(url))
        with _renamed(copy, url):
            yield copy
        put(copy, url)


def _local_name(path: str) -> str:
    """The last part of a URL's path: its suffix says the format."""
    return re.sub(r"[^\w.-]", "_", path.split("?")[0].rpartition("/")[2])[-100:] or "file"


def _open(url: str) -> tuple[Any, str]:
    """The store of a URL and the path in it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise OptionError(
            f"{url} is a URL, and reading those needs fsspec: {install_command('remote')}."
        ) from error
    try:
        store, inside = url_to_fs(url)
    except ImportError as error:  # fsspec says which package the store needs
        raise OptionError(f"{url} cannot be opened: {error}.") from error
    except ValueError as error:
        raise OptionError(f"{url} cannot be opened: {error}. Check the part before '://'.") from error
    return store, inside


@contextmanager
def _errors_of(url: str, done: str) -> Iterator[None]:
    """Every store raises errors of its own kinds; callers get one kind of ours."""
    try:
        yield
    except (BifocalError, MemoryError):
        raise
    except Exception as error:
        raise RemoteError(
            f"{url} cannot be {done} ({reason(error)}). Check the address, your rights there and the "
            "connection."
        ) from error


@contextmanager
def _renamed(copy: Path, url: str) -> Iterator[None]:
    """Errors inside name the URL, not our copy."""
    try:
        yield
    except (BifocalError, OSError) as error:
        error.args = tuple(
            part.replace(os.fspath(copy), url) if isinstance(part, str) else part for part in error.args
        )
        raise
