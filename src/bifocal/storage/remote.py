"""Paths that may be URLs: on this machine as ever, elsewhere through fsspec (the ``remote`` extra).

What is elsewhere is copied here, worked on here, and put back whole: reading and writing stay those of local
files, with their memory bounds. ``file://`` is this machine. fsspec is imported when a URL is first met.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote
from uuid import uuid4

from bifocal.errors import BifocalError, OptionError, RemoteError, install_command

#: Stores in which a file appears only when it is complete; elsewhere we write
#: under another name and move it.
WHOLE_PUTS = frozenset("s3 s3a gs gcs abfs abfss az adl oss oci memory".split())

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?:://|::)")


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether this names something on another machine.

    >>> is_url("s3://bucket/a.png"), is_url("photos/a.png")
    (True, False)
    """
    return isinstance(path, str) and _SCHEME.match(path) is not None and not path.startswith("file://")


def plain(path: str | os.PathLike[str]) -> str:
    """A path as a string; ``file:///a/b`` is ``/a/b``. A URL's closing slashes are dropped."""
    text = os.fspath(path)
    if text.startswith("file://"):
        text = unquote(text.removeprefix("file://"))
        return text[1:] if re.match(r"/[A-Za-z]:", text) else text
    return text.rstrip("/") if is_url(text) else text


def join(root: str, name: str) -> str:
    """A name with slashes under a folder."""
    return joiner(root)(name)


def joiner(root: str) -> Callable[[str], str]:
    """What puts names with slashes under one folder; quicker than :func:`join` for many."""
    if is_url(root):
        return lambda name: f"{root}/{name}"
    if not root:
        return lambda name: name.replace("/", os.sep)
    prefix = os.path.join(root, "")
    return lambda name: prefix + name.replace("/", os.sep)


def split(path: str) -> tuple[str, str]:
    """Folder and name of a file."""
    if is_url(path):
        folder, _, name = path.rpartition("/")
        return folder, name
    return os.path.split(path)


def exists(path: str) -> bool:
    if not is_url(path):
        return os.path.lexists(path)
    store, inside = _open(path)
    with _errors_of(path, "looked for"):
        return bool(store.exists(inside))


def is_folder(path: str) -> bool:
    """Whether a path is a folder; so is a local name that ends in a separator, or a URL without a suffix."""
    if not is_url(path):
        return os.path.isdir(path) or path.endswith((os.sep, "/"))
    if path.startswith(("http://", "https://")):  # fsspec would read a whole file to find out
        return not os.path.splitext(path.split("?")[0].rpartition("/")[2])[1]
    store, inside = _open(path)
    with _errors_of(path, "looked for"):
        if store.exists(inside):
            return bool(store.isdir(inside))
    return not os.path.splitext(path)[1]


def find(folder: str) -> list[str]:
    """Names of all files under a remote folder, with slashes, sorted."""
    store, inside = _open(folder)
    with _errors_of(folder, "listed"):
        paths = store.find(inside)
    prefix = inside.rstrip("/") + "/" if inside else ""
    return sorted(path.removeprefix(prefix).lstrip("/") for path in paths)


def known(folder: str) -> Callable[[str], bool] | None:
    """A quick answer to what may exist under a folder, from one listing; None where asking is as quick."""
    if not is_url(folder):
        return None if os.path.isdir(folder) else lambda path: False
    store, inside = _open(folder)
    with _errors_of(folder, "listed"):
        there = {join(folder, name) for name in find(folder)} if store.isdir(inside) else set()
    return there.__contains__


def make_folder(path: str) -> None:
    """Make the folder of a file, where there are folders."""
    folder, _ = split(path)
    if is_url(path):
        store, inside = _open(folder)
        with _errors_of(folder, "made"):
            store.makedirs(inside, exist_ok=True)
    elif folder:
        os.makedirs(folder, exist_ok=True)


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


def size(path: str) -> int:
    """Bytes of a file."""
    if not is_url(path):
        return os.path.getsize(path)
    store, inside = _open(path)
    with _errors_of(path, "looked for"):
        return int(store.size(inside) or 0)


def read(path: str) -> bytes:
    """A small remote file; nothing if there is none."""
    store, inside = _open(path)
    with _errors_of(path, "read"):
        return bytes(store.cat_file(inside)) if store.exists(inside) else b""


def beside(path: str) -> list[str]:
    """Names of the files in the remote folder where ``path`` is."""
    folder, _ = split(path)
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
def fetched(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A local file with what is at ``path``; the file itself where it is local. Errors name the path.

    :raises RemoteError: if it cannot be read.
    """
    path = plain(path)
    if not is_url(path):
        yield Path(path)
        return
    store, inside = _open(path)
    with tempfile.TemporaryDirectory(prefix="bifocal-") as folder:
        copy = Path(folder, _local_name(path))
        with _errors_of(path, "read"):
            store.get_file(inside, os.fspath(copy))
        with _renamed(copy, path):
            yield copy


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to read and seek in; of a remote one only the ranges are read that are asked for.

    :raises RemoteError: if it cannot be read.
    """
    path = plain(path)
    if not is_url(path):
        with open(path, "rb") as file:
            yield file
        return
    store, inside = _open(path)
    with _errors_of(path, "read"), store.open(inside, "rb") as file:
        yield file


@contextmanager
def sent(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A local file to write to; it goes to ``path``, whole, when the block ends without an error.

    :raises RemoteError: if it cannot be written.
    """
    path = plain(path)
    if not is_url(path):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="bifocal-") as folder:
        copy = Path(folder, _local_name(path))
        with _renamed(copy, path):
            yield copy
        put(copy, path)


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
        why = str(error) or type(error).__name__
        raise RemoteError(
            f"{url} cannot be {done} ({why}). Check the address, your rights there and the connection."
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
