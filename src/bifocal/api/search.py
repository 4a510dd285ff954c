"""The index of a search: what streams say of their pictures, kept from one search to the next.

One SQLite file holds, for each stream, its size and time of change, its caption, the words of captions and
labels, and vectors: embeddings of latents by a head, and captions by a text encoder. A ``kind`` says what
made a vector or labels; those of different kinds stay apart. Only what changed is read again, and a file that
was moved with its name, size and time takes along what is known of it. A folder whose names, sizes and times
are those of last time is not compared file by file (``search_folders.py``).
"""

from __future__ import annotations

import json
import os
import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bifocal.api.search_database import is_ours, open_database
from bifocal.api.search_folders import digest_of, exists, merged, name_bytes, name_text, states_of
from bifocal.api.search_words import Postings, bm25, terms
from bifocal.errors import OptionError, OutputError, PictureWarning
from bifocal.storage import filesystem
from bifocal.storage.paths import split_file
from bifocal.stream import container
from bifocal.stream.chunks.caption import read_caption
from bifocal.stream.source import FileBytes
from bifocal.types import Caption

if TYPE_CHECKING:
    from bifocal.runtime.heads.file import HeadSpec

#: Labels that are less likely do not count.
LEAST_LABEL = 0.3
_BLOCK = 4096
#: A file as it is kept: its number, that of its folder, its name, bytes, and time of change.
_Row = tuple[int, int, bytes, int, int]


class Found(NamedTuple):
    """A file that was found: how well it fits, higher is better, and its caption or None."""

    file: str
    score: float
    caption: Caption | None = None


class Index:
    """An open index; ``update`` it with the files to search before anything else."""

    def __init__(self, path: Path | None = None) -> None:
        """Open or make an index in a file, or in memory.

        A damaged one, or one of another release, is made again.

        :raises OptionError: if the file is no index of a search.
        :raises OutputError: if it cannot be made.
        """
        if path is not None:
            self.refuse_other(path)
        try:
            self._database = open_database(path)
        except (sqlite3.Error, OSError) as error:
            raise OutputError(f"the index {path} cannot be used: {error}. Name another file.") from error
        self._place = path
        self._unfinished: tuple[int, bytes] | None = None  # folder and name of the file that is being added
        self._folders: dict[str, int] = {}  # the folders to search, as the user names them
        self._whole: dict[int, str] = {}  # those of which all known files are searched
        self._some: dict[int, str] = {}  # other files to search, as the user names them
        self._reading: dict[int, tuple[bytes, set[str]]] = {}  # digests of folders, and files still to read

    def __enter__(self) -> Index:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Keep what was added, however it ends.

        :raises OutputError: in place of what SQLite says of an index that is damaged, or in use elsewhere.
        """
        with suppress(sqlite3.Error):  # a full disk costs the index, not the result
            if self._unfinished is not None:
                self._forget(self._numbers(*self._unfinished))
            done = [(digest, folder) for folder, (digest, left) in self._reading.items() if not left]
            self._database.executemany("UPDATE folders SET digest = ? WHERE id = ?", done)
            self._database.commit()
        self._database.close()
        if isinstance(error, sqlite3.OperationalError):
            raise OutputError(f"the index {self._place} cannot be used: {error}. Try again.") from error
        if isinstance(error, sqlite3.DatabaseError) and self._place is not None:
            self._place.unlink(missing_ok=True)
            raise OutputError(
                f"the index {self._place} is damaged ({error}) and was removed. Search again."
            ) from error

    @staticmethod
    def refuse_other(path: Path) -> None:
        """Refuse to replace a file that is no index, whatever is damaged behind its beginning.

        :raises OptionError: if it is one.
        """
        if path.exists() and (path.is_dir() or not is_ours(path)):
            raise OptionError(f"{path} is no index of a search (--index). Name a new file.")

    def update(self, folders: Mapping[str, Sequence[str]]) -> list[str]:
        """Take these files as those to search, and return which of them must be read (:meth:`put`).

        ``folders`` has names of files by the folder, as :func:`bifocal.storage.paths.find_by_folder` finds
        them. Files that are gone are forgotten; others that are not among these stay known.
        """
        self._whole, self._some, self._reading = {}, {}, {}
        rows = self._database.execute("SELECT path, id, digest FROM folders")
        known = {path: (number, digest) for path, number, digest in rows}
        named = merged(folders)
        self._folders = {folder: known[path][0] for path, (folder, _) in named.items() if path in known}
        stale: dict[str, tuple[int, int]] = {}
        gone: list[_Row] = []
        for path, (folder, names) in named.items():
            states = states_of(folder, names)
            digest = digest_of(names, states)
            number, last = known.get(path, (None, None))
            if number is not None and last == digest:
                self._whole[number] = folder
            else:
                number = self._number_of(path, folder) if number is None else number
                gone += self._compare(number, folder, dict(zip(names, states, strict=True)), digest, stale)
        gone += self._gone_elsewhere(
            {path: row[0] for path, row in known.items() if path not in named}, stale
        )
        moved = {row[2:]: row[0] for row in gone}
        left = [file for file, state in stale.items() if not self._take_moved(file, state, moved)]
        self._forget({row[0] for row in gone} - set(self._some))
        return left

    def _number_of(self, path: bytes, folder: str) -> int:
        made = self._database.execute("INSERT INTO folders (path) VALUES (?)", (path,)).lastrowid
        assert made is not None
        self._folders[folder] = made
        return made

    def _compare(
        self,
        number: int,
        folder: str,
        states: dict[str, tuple[int, int]],
        digest: bytes,
        stale: dict[str, tuple[int, int]],
    ) -> list[_Row]:
        """Compare a folder file by file: adds to ``stale`` what must be read, and returns what is gone."""
        rows = {row[2]: row for row in self._rows(number)}
        left: set[str] = set()
        for name, state in states.items():
            row = rows.pop(name_bytes(name), None)
            if row is not None and row[3:] == state:
                self._some[row[0]] = folder + name
            else:
                stale[folder + name] = state
                left.add(name)
                self._forget([] if row is None else [row[0]])
        gone = [row for row in rows.values() if not exists(folder, row[2])]
        self._database.execute("UPDATE folders SET digest = NULL WHERE id = ?", (number,))
        if len(gone) == len(rows):  # else some files of this folder are not searched
            self._reading[number] = digest, left
        return gone

    def _gone_elsewhere(self, folders: Mapping[bytes, int], stale: Mapping[str, object]) -> list[_Row]:
        """Files that are gone, of folders that are not searched: looked for where it may matter."""
        gone: list[_Row] = []
        for path, number in folders.items():
            if not exists("", path.rstrip(b"/\\")):
                gone += self._rows(number)
                self._database.execute("DELETE FROM folders WHERE id = ?", (number,))
            elif stale:
                lost = [row for row in self._rows(number) if not exists(os.fsdecode(path), row[2])]
                if lost:
                    self._database.execute("UPDATE folders SET digest = NULL WHERE id = ?", (number,))
                gone += lost
        return gone

    def _rows(self, folder: int) -> list[_Row]:
        asked = "SELECT id, folder, name, size, time FROM files WHERE folder = ?"
        return self._database.execute(asked, (folder,)).fetchall()

    def _take_moved(
        self, file: str, state: tuple[int, int], moved: dict[tuple[bytes, int, int], int]
    ) -> bool:
        folder, name = split_file(file)
        number = moved.pop((name_bytes(name), state[0], state[1]), 0) if moved else 0
        if number:
            place = (self._folders[folder], number)
            self._database.execute("UPDATE files SET folder = ? WHERE id = ?", place)
            self._is_known(place[0], name, number, file)
        return bool(number)

    def _is_known(self, folder: int, name: str, number: int, file: str) -> None:
        self._some[number] = file
        if folder in self._reading:
            self._reading[folder][1].discard(name)

    def _numbers(self, folder: int | None, name: bytes) -> list[int]:
        found = self._database.execute("SELECT id FROM files WHERE folder = ? AND name = ?", (folder, name))
        return [number for (number,) in found.fetchall()]

    def _id(self, file: str) -> int:
        folder, name = split_file(file)
        return self._numbers(self._folders[folder], name_bytes(name))[0]

    def _forget(self, numbers: Iterable[int]) -> None:
        rows = [(number,) for number in numbers]
        if not rows:
            return
        for statement in (
            "DELETE FROM files WHERE id = ?",
            *(f"DELETE FROM {table} WHERE file = ?" for table in ("words", "vectors", "labels")),
        ):
            self._database.executemany(statement, rows)

    # -- what is known of a file -----------------------------------------------------------------------------

    def put(self, file: str, state: tuple[int, int], caption: Caption | None) -> None:
        """Take what a stream says, which was in this state before it was read."""
        text, language = (caption.text, caption.language) if caption else (None, "")
        folder, name = split_file(file)
        number = self._folders[folder]
        self._unfinished = number, name_bytes(name)
        made = self._database.execute(
            "INSERT INTO files (folder, name, size, time, caption, language, length) "
            "VALUES (?, ?, ?, ?, ?, ?, 0)",
            (*self._unfinished, *state, text, language),
        )
        assert made.lastrowid is not None
        self._add_words(made.lastrowid, "caption", text or "")
        self._is_known(number, name, made.lastrowid, file)
        self._unfinished = None

    def put_vector(self, file: str, kind: str, vector: NDArray[np.float32]) -> None:
        """Take a vector of length 1 of a file; it is kept in 16 bits a number."""
        row = (kind, self._id(file), vector.astype("<f2").tobytes())
        self._database.execute("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", row)

    def put_labels(self, file: str, kind: str, found: Sequence[tuple[str, float]]) -> None:
        """Take the labels of a file, with their probabilities."""
        number, rounded = self._id(file), [(name, round(float(score), 4)) for name, score in found]
        self._add_words(number, kind, " ".join(name for name, score in rounded if score >= LEAST_LABEL))
        row = (kind, number, json.dumps(rounded))
        self._database.execute("INSERT OR REPLACE INTO labels VALUES (?, ?, ?)", row)

    def _add_words(self, number: int, source: str, text: str) -> None:
        counted = terms(text)
        rows = [(word, number, source, count) for word, count in counted.items()]
        self._database.executemany("INSERT OR REPLACE INTO words VALUES (?, ?, ?, ?)", rows)
        added = (sum(counted.values()), number)
        self._database.execute("UPDATE files SET length = length + ? WHERE id = ?", added)

    def without_vector(self, kind: str) -> list[str]:
        """The files to search that have no vector of a kind."""
        return self._without("vectors", kind)

    def without_labels(self, kind: str) -> list[str]:
        """The files to search that have no labels of a kind."""
        return self._without("labels", kind)

    def _without(self, table: str, kind: str) -> list[str]:
        return [file for file, _ in self._lacking(table, kind)]

    def captions(self, kind: str = "") -> list[tuple[str, str]]:
        """The files to search that have a caption, and no vector of a kind; and the captions."""
        return self._lacking("vectors", kind, "AND caption NOT NULL")

    def _lacking(self, table: str, kind: str, more: str = "") -> list[tuple[str, str]]:
        asked = (
            f"SELECT id, caption FROM files WHERE id NOT IN (SELECT file FROM {table} WHERE kind = ?) {more}"
        )
        rows = self._database.execute(f"{asked} ORDER BY id", (kind,)).fetchall()
        named = ((self._name(number), text) for number, text in rows)
        return [(file, text) for file, text in named if file is not None]

    def _name(self, number: int) -> str | None:
        """What the user calls a file; None if it is not searched."""
        if number in self._some or not self._whole:
            return self._some.get(number)
        row = self._database.execute("SELECT folder, name FROM files WHERE id = ?", (number,)).fetchone()
        folder = None if row is None else self._whole.get(row[0])
        return None if folder is None else folder + name_text(row[1])

    # -- searching -------------------------------------------------------------------------------------------

    def by_words(self, query: str, top: int | None = None) -> list[Found]:
        """The files whose caption or labels have words of a query, the best first (BM25); ``top`` of them."""
        asked = "SELECT count(*), sum(length) FROM files WHERE length > 0"
        count, total = self._database.execute(asked).fetchone()
        postings = [self._having(word) for word in terms(query, query=True)]
        files, scores = bm25(postings, count, (total or 0) / max(count, 1))
        return self._found(files, scores, top)

    def _having(self, word: str) -> Postings:
        asked = "SELECT file, count, length FROM words JOIN files ON id = file WHERE word = ?"
        rows = np.array(self._database.execute(asked, (word,)).fetchall(), np.int64).reshape(-1, 3)
        files, first, which = np.unique(rows[:, 0], return_index=True, return_inverse=True)
        times = np.bincount(which, rows[:, 1], len(files)).astype(np.int64)  # in caption and labels
        return files, times, rows[first, 2]

    def by_vector(self, wanted: NDArray[np.float32], kind: str, top: int | None = None) -> list[Found]:
        """The files with a vector of a kind, by its cosine with another, nearest first; ``top`` of them."""
        rows = self._database.execute("SELECT file, vector FROM vectors WHERE kind = ?", (kind,))
        files, cosines = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        while block := rows.fetchmany(_BLOCK):
            kept = [(number, data) for number, data in block if len(data) == 2 * wanted.size]
            vectors = np.frombuffer(b"".join(data for _, data in kept), "<f2").reshape(len(kept), wanted.size)
            cosines.append(vectors.astype(np.float32) @ wanted.astype(np.float32))
            files.append(np.array([number for number, _ in kept], np.int64))
        return self._found(np.concatenate(files), np.concatenate(cosines), top)

    def by_label(self, name: str, kind: str) -> list[Found]:
        """The files with a label whose words are all of ``name``'s, by its probability."""
        wanted, scores = set(terms(name)), dict[int, float]()
        for number, found in self._database.execute("SELECT file, found FROM labels WHERE kind = ?", (kind,)):
            likely = [(label, score) for label, score in json.loads(found) if score >= LEAST_LABEL]
            fitting = [score for label, score in likely if wanted <= set(terms(label))]
            if fitting and wanted:
                scores[number] = max(fitting)
        return self._found(np.array(list(scores), np.int64), np.array(list(scores.values())))

    def _found(
        self, files: NDArray[np.int64], scores: NDArray[np.floating[Any]], top: int | None = None
    ) -> list[Found]:
        """The best of these files that are searched; equal ones by their names."""
        kept = self._searched(files)
        files, scores = files[kept], scores[kept]
        if top is not None and top < len(scores):
            best = scores >= np.partition(scores, -top)[-top]
            files, scores = files[best], scores[best]
        named = (
            (-score, self._name(number))
            for number, score in zip(files.tolist(), scores.tolist(), strict=True)
        )
        ranked = sorted((score, file) for score, file in named if file is not None)[:top]
        return [Found(file, round(-score, 6)) for score, file in ranked]

    def _searched(self, files: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these files are among those to search."""
        known = {number for (number,) in self._database.execute("SELECT id FROM folders")}
        if known <= self._whole.keys():
            return np.ones(len(files), bool)
        rows = np.array(self._database.execute("SELECT id, folder FROM files").fetchall(), np.int64)
        rows = rows.reshape(-1, 2)
        of_whole = rows[np.isin(rows[:, 1], np.array(list(self._whole), np.int64)), 0]
        return np.isin(files, np.concatenate([of_whole, np.array(list(self._some), np.int64)]))

    def with_captions(self, found: Iterable[Found]) -> list[Found]:
        """What was found, with captions."""
        asked = "SELECT caption, language FROM files WHERE id = ?"
        rows = [(one, *self._database.execute(asked, (self._id(one.file),)).fetchone()) for one in found]
        return [one._replace(caption=Caption(text, tag) if text else None) for one, text, tag in rows]


def caption_of_stream(file: str) -> Caption | None:
    """What a stream says of its picture, from its header and chunks: its caption, else that in XMP or EXIF.

    :raises StreamError: if it is damaged or no stream. A damaged caption is a :class:`PictureWarning`.
    """
    with filesystem.opened(file) as opened:
        chunks = container.read(FileBytes(opened)).metadata
    caption = read_caption(chunks)
    if caption is None and not {"exif", "xmp"}.isdisjoint(chunks):
        from bifocal.pictures.captions import caption_in

        caption = caption_in(chunks)
    return caption


@contextmanager
def noted() -> Iterator[list[str]]:
    """Warnings about pictures as sentences, in a list that grows."""
    notes: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", PictureWarning)
        warnings.showwarning = lambda message, *_, **__: notes.append(str(message))
        yield notes


def index_file(inputs: Sequence[str], environment: Mapping[str, str] = os.environ) -> Path:
    """Where the index of these inputs is kept, unless the user names a file: in the folder for caches."""
    cache = environment.get("XDG_CACHE_HOME") or environment.get("LOCALAPPDATA")
    folder = Path(cache) if cache else Path.home() / ".cache"
    named = blake2b(json.dumps([os.path.abspath(i) for i in inputs]).encode(), digest_size=12)
    return folder / "bifocal" / f"search-{named.hexdigest()}.sqlite"


def key_of(spec: HeadSpec, content: bytes) -> str:
    """What embeddings and labels depend on beside the stream: the head's name, and its file's content."""
    return f"{spec.name} {blake2b(content, digest_size=12).hexdigest()}"
