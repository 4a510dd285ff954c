"""The SQLite file of a search's index: its tables, and how it is opened whatever is there."""

from __future__ import annotations

import sqlite3
from pathlib import Path

FORMAT = 3
#: SQLite's application id of our indexes, at byte 68 of the file: ``BFCi``.
_OURS = 0x42464369
_MAGIC = b"SQLite format 3\0"
_TABLES = """
CREATE TABLE folders (id INTEGER PRIMARY KEY, path BLOB UNIQUE, digest BLOB);
CREATE TABLE files (id INTEGER PRIMARY KEY, folder INTEGER, name BLOB, size INTEGER, time INTEGER,
    caption TEXT, language TEXT, length INTEGER, UNIQUE (folder, name));
CREATE TABLE words (word TEXT, file INTEGER, source TEXT, count INTEGER, PRIMARY KEY (word, file, source))
    WITHOUT ROWID;
CREATE INDEX words_of ON words (file);
CREATE TABLE vectors (kind TEXT, file INTEGER, vector BLOB, UNIQUE (kind, file));
CREATE TABLE labels (kind TEXT, file INTEGER, found TEXT, UNIQUE (kind, file));
"""


def open_database(path: Path | None) -> sqlite3.Connection:
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
        database.execute("SELECT count(id), sum(length), count(name) FROM files").fetchone()
        database.commit()
    except BaseException:
        database.close()
        raise
    return database


def is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(72)
    return head == b"" or (head[:16] == _MAGIC and int.from_bytes(head[68:72], "big") == _OURS)
