"""Files here or at a URL: found, read, and written whole or not at all, never in place of another unasked.

A path is a string that may be a URL; what is at one is the business of ``storage/remote.py``, and ``file://``
is this machine.

A device, a pipe or a socket given as an output stays what it is and gets the bytes; a symbolic link stays a
link, and the file that it points to is written; a replaced file keeps its mode and, where we may, its owner.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from bifocal.errors import OutputError
from bifocal.storage import remote

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?:://|::)")

#: Names of unfinished files; the first group depends on what they are to become.
PART_NAME = re.compile(r"(\..{0,40}\.[0-9a-f]{8}\.)[^.]*\.part", re.DOTALL)

#: What a full disk or an exhausted quota answers.
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}

#: What a file system without hard links answers.
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP}

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)

_DESCRIPTOR = re.compile(r"/(?:dev|proc/self|proc/thread-self)/fd/(\d+)")
_STANDARD = {"/dev/stdout": 1, "/dev/stderr": 2}


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
    prefix = os.path.join(root, "") if root else ""
    if os.sep == "/":
        return prefix.__add__
    return lambda name: prefix + name.replace("/", os.sep)


def split(path: str) -> tuple[str, str]:
    """Folder and name of a file."""
    if is_url(path):
        folder, _, name = path.rpartition("/")
        return folder, name
    return os.path.split(path)


def exists(path: str) -> bool:
    return remote.exists(path) if is_url(path) else os.path.lexists(path)


def is_folder(path: str) -> bool:
    """Whether a path is a folder; so is a local name that ends in a separator, or a URL without a suffix."""
    if is_url(path):
        return remote.is_folder(path)
    return os.path.isdir(path) or path.endswith((os.sep, "/"))


def known(folder: str) -> Callable[[str], bool] | None:
    """A quick answer to what may exist under a folder, from one listing; None where asking is as quick."""
    if is_url(folder):
        return remote.below(folder).__contains__
    return None if os.path.isdir(folder) else lambda path: False


def make_folder(path: str) -> None:
    """Make the folder of a file, where there are folders."""
    if is_url(path):
        remote.make_folder(path)
    elif folder := os.path.dirname(path):
        os.makedirs(folder, exist_ok=True)


def size(path: str) -> int:
    """Bytes of a file."""
    return remote.size(path) if is_url(path) else os.path.getsize(path)


def fetched(path: str | os.PathLike[str]) -> AbstractContextManager[Path]:
    """A local file with what is at ``path``; the file itself where it is local. Errors name the path.

    :raises RemoteError: if it cannot be read.
    """
    path = plain(path)
    return remote.fetched(path) if is_url(path) else nullcontext(Path(path))


def opened(path: str | os.PathLike[str]) -> AbstractContextManager[BinaryIO]:
    """A file open to read ranges of.

    :raises RemoteError: if it cannot be read.
    """
    path = plain(path)
    return remote.opened(path) if is_url(path) else open(path, "rb")


def sent(path: str | os.PathLike[str]) -> AbstractContextManager[Path]:
    """A local file to write to; it goes to ``path``, whole, when the block ends without an error.

    :raises RemoteError: if it cannot be written.
    """
    path = plain(path)
    return remote.sent(path) if is_url(path) else nullcontext(Path(path))


def part_prefix(name: str) -> str:
    """How the names of unfinished files begin that are to become ``name``; they end in ``.part``."""
    return f".{name[:40]}.{zlib.crc32(os.fsencode(name)):08x}."


def write_atomically(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = True) -> None:
    """Write a file whole or not at all: under another name beside it first, then renamed.

    With ``overwrite`` False an existing file is left alone, also one that appears while we write.

    :raises OutputError: if it cannot be written, or exists and may not be replaced; what was there before is
        then untouched, and nothing unfinished is left.
    """
    path = os.fspath(path)
    try:
        if (descriptor := _descriptor(path)) is not None:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(data)
            return
        existing = _state(path)
        if existing is None or stat.S_ISREG(existing.st_mode):
            _write_file(path, data, existing, overwrite)
        else:
            _write_into(path, data, existing, overwrite)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise OutputError(f"{path} cannot be written: {_reason(error)}.") from error


def refuse_existing(path: str | os.PathLike[str]) -> None:
    """Refuse a path or URL at which a file exists already, before the work that would end there.

    :raises OutputError: if there is one. Devices and pipes hold nothing that could be lost, and are no files.
    """
    path = plain(path)
    if holds_data(path):
        raise _exists(path)


def holds_data(path: str) -> bool:
    """Whether something would be lost if a file or URL were replaced: not where nothing is, or a device."""
    if is_url(path):
        return remote.exists(path)
    try:
        state = None if _descriptor(path) is not None else _state(path)
    except OSError:  # links in a circle: writing fails with a better message
        return False
    return state is not None and (_holds_data(state) or stat.S_ISDIR(state.st_mode))


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or the one that caused it, is that no room is left to write to."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return True
        cause = cause.__cause__
    return False


def _write_file(path: str, data: bytes, existing: os.stat_result | None, overwrite: bool) -> None:
    """Write a regular file: the one that a link points to, where ``path`` is a link."""
    if existing and not overwrite:
        raise _exists(path)
    if path.endswith((os.sep, "/")):
        raise IsADirectoryError(errno.EISDIR, "its name is that of a folder")
    target = os.path.realpath(path) if os.path.islink(path) else path
    if existing and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "it is read-only")
    folder, name = os.path.split(target)
    part = os.path.join(folder, f"{part_prefix(name)}{secrets.token_hex(4)}.part")
    # a mode that is kept is set before the first byte is written; a new file gets what the umask leaves
    handle = os.open(part, _NEW_FILE, 0o600 if existing else 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            if existing:
                _keep_owner_and_mode(part, existing)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            os.replace(part, target)
        else:
            _move_unless_there(part, target, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(part)


def _move_unless_there(part: str, target: str, path: str) -> None:
    """Give a finished file its name, unless somebody else has it by now."""
    try:
        if os.name == "nt":
            os.rename(part, target)  # fails there if the name is taken
            return
        try:
            os.link(part, target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            os.close(os.open(target, _NEW_FILE))  # takes the name, or fails
            os.replace(part, target)
    except FileExistsError as error:
        raise _exists(path) from error


def _keep_owner_and_mode(part: str, existing: os.stat_result) -> None:
    """Owner and group where we may set them; the mode after them, since a change of owner may clear bits."""
    ours = os.stat(part)
    if hasattr(os, "chown") and (ours.st_uid, ours.st_gid) != (existing.st_uid, existing.st_gid):
        with suppress(OSError):  # we are not a member of that group
            os.chown(part, -1, existing.st_gid)
        with suppress(OSError):  # only root may give files away
            os.chown(part, existing.st_uid, -1)
    os.chmod(part, stat.S_IMODE(existing.st_mode) & 0o777)


def _write_into(path: str, data: bytes, existing: os.stat_result, overwrite: bool) -> None:
    """Write to what is no regular file; it stays what it is."""
    if stat.S_ISDIR(existing.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not overwrite and _holds_data(existing):
        raise _exists(path)
    with open(path, "wb", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) or 0 :]


def _holds_data(state: os.stat_result) -> bool:
    """Whether something could be lost by writing; not in a terminal, a pipe or a null device."""
    return stat.S_ISREG(state.st_mode) or stat.S_ISBLK(state.st_mode)


def _state(path: str) -> os.stat_result | None:
    """What is at a path, links followed; None where nothing is, also at the end of a link."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _descriptor(path: str) -> int | None:
    """The open file of this process that a path such as /dev/stdout means."""
    if match := _DESCRIPTOR.fullmatch(path):
        return int(match[1])
    return _STANDARD.get(path)


def _exists(path: str) -> OutputError:
    return OutputError(
        f"{path} exists already. Use --force (in Python overwrite=True) to replace it, or name another "
        "output."
    )


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}. Make room, then try again" if error.errno in _FULL else error.strerror
    return str(error)
