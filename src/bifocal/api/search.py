"""The index of a search: what streams say of their pictures, kept from one search to the next.

One SQLite file holds, for each stream, its size and time of change, its caption, the words of captions and
labels, and vectors: embeddings of latents by a head, and captions by a text encoder. A ``kind`` says what
made a vector or labels; those of different kinds stay apart. Only what changed is read again, and a file that
was moved with its name, size and time takes along what is known of it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from heapq import nsmallest
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bifocal.api.search_words import Postings, bm25, terms
from bifocal.errors import OptionError, OutputError, PictureWarning
from bifocal.storage import filesystem
from bifocal.stream import container
from bifocal.stream.chunks.caption import read_caption
from bifocal.stream.source import FileBytes
from bifocal.types import Caption

if TYPE_CHECKING:
    from bifocal.runtime.heads.file import HeadSpec

FORMAT = 2
#: SQLite's application id of our indexes, at byte 68 of the file: ``BFCi``.
_OURS = 0x42464369
_MAGIC = b"SQLite format 3\0"
_TABLES = """
CREATE TABLE files (id INTEGER PRIMARY KEY, path BLOB UNIQUE, size INTEGER, time INTEGER,
    caption TEXT, language TEXT, length INTEGER);
CREATE TABLE words (word TEXT, file INTEGER, source TEXT, count INTEGER, PRIMARY KEY (word, file, source))
    WITHOUT ROWID;
CREATE INDEX words_of ON words (file);
CREATE TABLE vectors (kind TEXT, file INTEGER, vector BLOB, UNIQUE (kind, file));
CREATE TABLE labels (kind TEXT, file INTEGER, found TEXT, UNIQUE (kind, file));
"""
#: Labels that are less likely do not count.
LEAST_LABEL = 0.3
_BLOCK = 4096


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
            self._database = _open(path)
        except (sqlite3.Error, OSError) as error:
            raise OutputError(f"the index {path} cannot be used: {error}. Name another file.") from error
        self._place = path
        self._unfinished: bytes | None = None  # the file that is being added
        self._names: dict[int, str] = {}  # the files to search, as the user names them
        self._ids: dict[str, int] = {}
        self._paths: dict[str, bytes] = {}

    def __enter__(self) -> Index:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Keep what was added, however it ends.

        :raises OutputError: in place of what SQLite says of an index that is damaged, or in use elsewhere.
        """
        with suppress(sqlite3.Error):  # a full disk costs the index, not the result
            if self._unfinished is not None:
                path = (self._unfinished,)
                found = self._database.execute("SELECT id FROM files WHERE path = ?", path).fetchall()
                self._forget(number for (number,) in found)
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
        if path.exists() and (path.is_dir() or not _is_ours(path)):
            raise OptionError(f"{path} is no index of a search (--index). Name a new file.")

    def update(self, files: Sequence[str]) -> list[str]:
        """Take these files as those to search, and return which of them must be read (:meth:`put`).

        Files that are gone are forgotten; others that are not among these stay known.
        """
        rows = self._database.execute("SELECT id, path, size, time FROM files")
        known = {row[1]: row for row in rows}
        self._names, self._ids, self._paths = {}, {}, _absolute(files)
        stale: list[str] = []
        for file in files:
            row = known.pop(self._paths[file], None)
            if row is not None and row[2:] == state_of(file):
                self._names[row[0]], self._ids[file] = file, row[0]
            else:
                stale.append(file)
                self._forget([] if row is None else [row[0]])
        gone = [row for path, row in known.items() if not _exists(path)]
        moved = {(os.path.basename(row[1]), row[2:]): row[0] for row in gone}
        left = [file for file in stale if not self._take_moved(file, moved)]
        self._forget({row[0] for row in gone} - set(self._names))
        return left

    def _take_moved(self, file: str, moved: dict[tuple[bytes, tuple[int, int]], int]) -> bool:
        path = self._paths[file]
        number = moved.pop((os.path.basename(path), state_of(file)), 0) if moved else 0
        if number:
            self._database.execute("UPDATE files SET path = ? WHERE id = ?", (path, number))
            self._is(file, number)
        return bool(number)

    def _is(self, file: str, number: int) -> None:
        self._names[number], self._ids[file] = file, number

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
        self._unfinished = self._paths[file]
        row = (self._paths[file], *state, text, language)
        made = self._database.execute(
            "INSERT INTO files (path, size, time, caption, language, length) VALUES (?, ?, ?, ?, ?, 0)", row
        )
        assert made.lastrowid is not None
        self._is(file, made.lastrowid)
        self._add_words(made.lastrowid, "caption", text or "")
        self._unfinished = None

    def put_vector(self, file: str, kind: str, vector: NDArray[np.float32]) -> None:
        """Take a vector of length 1 of a file; it is kept in 16 bits a number."""
        row = (kind, self._ids[file], vector.astype("<f2").tobytes())
        self._database.execute("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", row)

    def put_labels(self, file: str, kind: str, found: Sequence[tuple[str, float]]) -> None:
        """Take the labels of a file, with their probabilities."""
        number, rounded = self._ids[file], [(name, round(float(score), 4)) for name, score in found]
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
        have = {n for (n,) in self._database.execute(f"SELECT file FROM {table} WHERE kind = ?", (kind,))}
        return [file for number, file in self._names.items() if number not in have]

    def captions(self) -> Iterator[tuple[str, str]]:
        """The files to search that have a caption, and its text."""
        for number, text in self._database.execute("SELECT id, caption FROM files WHERE caption NOT NULL"):
            if number in self._names:
                yield self._names[number], text

    # -- searching -------------------------------------------------------------------------------------------

    def by_words(self, query: str, top: int | None = None) -> list[Found]:
        """The files whose caption or labels have words of a query, the best first (BM25); ``top`` of them."""
        lengths = self._lengths()
        count = int(np.count_nonzero(lengths))
        postings = [self._having(word, lengths) for word in terms(query, query=True)]
        return self._found(bm25(postings, count, int(lengths.sum()) / max(count, 1)), top)

    def _having(self, word: str, lengths: NDArray[np.int64]) -> Postings:
        rows = self._database.execute("SELECT file, count FROM words WHERE word = ?", (word,)).fetchall()
        pairs = np.array(rows, np.int64).reshape(-1, 2)
        files, which = np.unique(pairs[:, 0], return_inverse=True)  # a word may be in caption and labels
        times = np.bincount(which, pairs[:, 1], len(files)).astype(np.int64)
        return files, times, lengths[files]

    def _lengths(self) -> NDArray[np.int64]:
        """How many words each file has, at its number."""
        rows = np.array(self._database.execute("SELECT id, length FROM files").fetchall(), np.int64)
        rows = rows.reshape(-1, 2)
        lengths = np.zeros(int(rows[:, 0].max(initial=0)) + 1, np.int64)
        lengths[rows[:, 0]] = rows[:, 1]
        return lengths

    def by_vector(self, wanted: NDArray[np.float32], kind: str, top: int | None = None) -> list[Found]:
        """The files with a vector of a kind, by its cosine with another, nearest first; ``top`` of them."""
        rows = self._database.execute("SELECT file, vector FROM vectors WHERE kind = ?", (kind,))
        cosines: dict[int, float] = {}
        while block := rows.fetchmany(_BLOCK):
            kept = [(number, data) for number, data in block if len(data) == 2 * wanted.size]
            vectors = np.frombuffer(b"".join(data for _, data in kept), "<f2").reshape(len(kept), wanted.size)
            scores = vectors.astype(np.float32) @ wanted.astype(np.float32)
            cosines |= dict(zip([number for number, _ in kept], scores.tolist(), strict=True))
        return self._found(cosines, top)

    def by_label(self, name: str, kind: str) -> list[Found]:
        """The files with a label whose words are all of ``name``'s, by its probability."""
        wanted, scores = set(terms(name)), dict[int, float]()
        for number, found in self._database.execute("SELECT file, found FROM labels WHERE kind = ?", (kind,)):
            likely = [(label, score) for label, score in json.loads(found) if score >= LEAST_LABEL]
            fitting = [score for label, score in likely if wanted <= set(terms(label))]
            if fitting and wanted:
                scores[number] = max(fitting)
        return self._found(scores)

    def _found(self, scores: Mapping[int, float], top: int | None = None) -> list[Found]:
        names = self._names
        fitting = ((-score, names[n]) for n, score in scores.items() if n in names)
        best = sorted(fitting) if top is None else nsmallest(top, fitting)
        return [Found(file, round(-score, 6)) for score, file in best]

    def with_captions(self, found: Iterable[Found]) -> list[Found]:
        """What was found, with captions."""
        asked = "SELECT caption, language FROM files WHERE id = ?"
        rows = [(one, *self._database.execute(asked, (self._ids[one.file],)).fetchone()) for one in found]
        return [one._replace(caption=Caption(text, tag) if text else None) for one, text, tag in rows]


def _open(path: Path | None) -> sqlite3.Connection:
    """A database with our tables, empty if it is new, damaged, or of another format."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _connected(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # locked, or not to be written
                raise
            path.unlink()
    return _connected(path)


def _connected(path: Path | None) -> sqlite3.Connection:
    database = sqlite3.connect(":memory:" if path is None else path, timeout=30)
    try:
        database.execute("PRAGMA trusted_schema = OFF")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version != FORMAT:
            tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (name,) in tables:
                database.execute(f'DROP TABLE "{name}"')
            database.executescript(_TABLES)
            database.execute(f"PRAGMA application_id = {_OURS}")
            database.execute(f"PRAGMA user_version = {FORMAT}")
        database.execute("SELECT count(id), sum(length), count(path) FROM files").fetchone()
        database.commit()
    except BaseException:
        database.close()
        raise
    return database


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(72)
    return head == b"" or (head[:16] == _MAGIC and int.from_bytes(head[68:72], "big") == _OURS)


def _absolute(files: Sequence[str]) -> dict[str, bytes]:
    """By which bytes each file is known, whatever the current folder."""
    found = {}
    last, prefix = None, b""
    for file in files:
        start = file.rfind("/") + 1  # of paths and URLs; with \\ alone, the folder is empty
        folder = file[:start]
        if folder != last:
            whole = folder.removesuffix("/") if filesystem.is_url(file) else os.path.abspath(folder)
            last, prefix = folder, os.fsencode(os.path.join(whole, ""))
        found[file] = prefix + file[start:].encode("utf-8", "surrogateescape")
    return found


def _exists(path: bytes) -> bool:
    return filesystem.is_url(os.fsdecode(path)) or os.path.lexists(path)


def state_of(file: str) -> tuple[int, int]:
    """The bytes and the time of change of a file; (-1, 0) if it is not there or at a URL."""
    try:
        state = os.stat(file)
    except (OSError, ValueError):
        return -1, 0
    return state.st_size, state.st_mtime_ns


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
