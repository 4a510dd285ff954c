"""What a folder holds of one kind of file, searched to the bottom, and what is left out.

A name with a suffix of that kind is taken unopened, so that a hundred thousand of them take a second. Names
that do not say what they are (another suffix, none, a hidden file) are opened: content decides. Links to
folders are not followed, so no search runs in circles.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bifocal.storage import filesystem, remote
from bifocal.storage.filesystem import PART_NAME

#: How many of the names that are left out are kept, to be shown.
SHOWN = 10

_MANIFEST = re.compile(r"bifocal-(?:encode|decode)(?:-\d+-of-\d+)?\.jsonl")


@dataclass(frozen=True)
class FileKind:
    """A kind of file: ``plural`` is what it is called.

    ``suffixes``, in lower case, are taken unopened, and files with ``other_suffixes`` are passed over without
    counting them. Of any other file ``recognise`` says whether its content is of this kind; it is given a
    path, and may raise OSError.
    """

    plural: str
    suffixes: frozenset[str]
    other_suffixes: frozenset[str]
    recognise: Callable[[str], bool]


@dataclass
class Names:
    """How many names, and the first few of them."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(name)

    def __str__(self) -> str:
        """
        >>> str(Names(3, ["a.txt", "b.txt"]))
        'a.txt, b.txt and 1 more'
        """
        more = self.count - len(self.first)
        return ", ".join(self.first) + (f" and {more} more" if more else "")


@dataclass
class LeftOut:
    """What a search passed over: ``skipped`` files of another kind, links to folders, devices; and what was
    ``unreadable``, folders or files whose kind is unknown."""

    skipped: Names = field(default_factory=Names)
    unreadable: Names = field(default_factory=Names)


def search(folder: str, kind: FileKind, left_out: LeftOut) -> list[str]:
    """Names of the files of a kind under a folder, with slashes, sorted. Others are added to ``left_out``.

    Of a URL nothing is opened: there suffixes decide.
    """
    if filesystem.is_url(folder):
        names = remote.find(folder)
        ours = {name: _by_name(name.rpartition("/")[2], kind) for name in names}
        taken = [name for name, answer in ours.items() if answer]
        skipped = [name for name, answer in ours.items() if answer is None]
    else:
        skipped = []
        inside = walk(folder, kind, left_out.unreadable, skipped)
        taken = [prefix + name for prefix, names in inside for name in names]
    for name in sorted(skipped):
        left_out.skipped.add(filesystem.join(folder, name))
    return sorted(taken)


def walk(
    folder: str, kind: FileKind, unreadable: Names, skipped: list[str]
) -> Iterator[tuple[str, list[str]]]:
    """Every local folder from this one on: its name below it ("" or "a/b/"), and its files of a kind, sorted.

    Files of no kind are added to ``skipped``.
    """
    common = tuple(kind.suffixes)  # in lower case, as most names have them
    waiting = [(folder, "")]
    while waiting:
        path, prefix = waiting.pop()
        taken: list[str] = []
        others: list[os.DirEntry[str]] = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    name = entry.name
                    if name.endswith(common) and name[0] != "." and entry.is_file(follow_symlinks=False):
                        taken.append(name)
                    else:
                        others.append(entry)
        except OSError as error:
            unreadable.add(f"{path} ({error.strerror})")
            continue
        for entry in sorted(others, key=lambda other: other.name):
            try:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, f"{prefix}{entry.name}/"))
                    continue
                of_kind = _is_of_kind(entry, kind)
            except OSError as error:
                unreadable.add(f"{entry.path} ({error.strerror})")
                continue
            if of_kind:
                taken.append(entry.name)
            elif of_kind is False:
                skipped.append(prefix + entry.name)
        taken.sort()
        yield prefix, taken


def _is_of_kind(entry: os.DirEntry[str], kind: FileKind) -> bool | None:
    """Whether to take a file; None for one that is passed over without counting it.

    :raises OSError: if it must be opened to know, and cannot be.
    """
    by_name = _by_name(entry.name, kind)
    if by_name is False:
        return None
    try:
        if not entry.is_file():
            return False  # a link to a folder or to nothing, a pipe, a device: never opened
    except OSError:
        return False  # links in a circle
    return by_name or kind.recognise(entry.path)


def _by_name(name: str, kind: FileKind) -> bool | None:
    """True for a file of this kind, False for one of another kind of ours, None where its content decides."""
    suffix = os.path.splitext(name)[1].lower()
    if name.startswith("."):  # such as the ._photo.jpg that macOS leaves on other systems' disks
        return False if PART_NAME.fullmatch(name) else None
    if suffix == ".jsonl" and _MANIFEST.fullmatch(name):
        return False
    return True if suffix in kind.suffixes else False if suffix in kind.other_suffixes else None
