"""Finding streams that are like a picture: their embeddings, kept from one search to the next."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import OptionError
from bifocal.runtime.heads.file import HeadSpec
from bifocal.storage.filesystem import write_atomically

FORMAT = 1


class Found(NamedTuple):
    """A file, and its cosine with what was searched for."""

    file: str
    cosine: float


@dataclass
class Index:
    """Embeddings by file, each with the state of the file, (bytes, time of change), that it was made of.

    ``key`` says which head made them; an index of another one counts as empty.
    """

    key: str
    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    states: dict[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, key: str) -> Index:
        """The index in a file; an empty one where there is none, or it is of another head or damaged."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                about = json.loads(arrays["about"].tobytes())
                vectors, states = arrays["vectors"], arrays["states"]
                files = about["files"]
                fits = vectors.dtype == np.float32 and vectors.ndim == 2 and states.shape == (len(files), 2)
                if (about["format"], about["key"]) != (FORMAT, key) or not fits or len(vectors) != len(files):
                    return cls(key)
                pairs = [(int(size), int(time)) for size, time in states]
                return cls(key, dict(zip(files, vectors, strict=True)), dict(zip(files, pairs, strict=True)))
        except Exception:  # whatever is wrong with it, it can be made again
            return cls(key)

    @staticmethod
    def refuse_other(path: Path) -> None:
        """Refuse to replace a file that is no index, whatever is damaged behind its beginning.

        :raises OptionError: if it is one.
        """
        if path.exists() and (path.is_dir() or b"about.npy" not in _head(path)):
            raise OptionError(f"{path} is no index of a search (--index). Name a new file.")

    def write(self, path: Path) -> None:
        """Write the index whole, or leave what was there.

        :raises OutputError: if it cannot be written.
        """
        files = list(self.vectors)
        about = {"format": FORMAT, "key": self.key, "files": files}
        made = io.BytesIO()
        np.savez(
            made,
            about=np.frombuffer(json.dumps(about).encode(), np.uint8),
            vectors=np.stack([self.vectors[file] for file in files]),
            states=np.array([self.states[file] for file in files], np.int64),
        )
        write_atomically(path, made.getvalue(), overwrite=True)

    def stale(self, files: Iterable[str]) -> list[str]:
        """Those of ``files`` that it does not hold as they are now."""
        return [file for file in files if file not in self.vectors or self.states[file] != state_of(file)]

    def add(self, file: str, state: tuple[int, int], vector: NDArray[np.float32]) -> None:
        """Take the embedding of a file that was in this state before it was read."""
        self.vectors[file], self.states[file] = vector, state

    def keep(self, files: Iterable[str]) -> None:
        """Forget all files but these."""
        files = set(files)
        self.vectors = {file: vector for file, vector in self.vectors.items() if file in files}
        self.states = {file: state for file, state in self.states.items() if file in files}

    def nearest(self, wanted: NDArray[np.float32], top: int) -> list[Found]:
        """The ``top`` files by cosine with an embedding, the nearest first.

        >>> index = Index("", {"a": np.array([1, 0], np.float32), "b": np.array([0, 1], np.float32)})
        >>> index.nearest(np.array([0.6, 0.8], np.float32), 1)
        [Found(file='b', cosine=0.8)]
        """
        files = sorted(self.vectors)
        if not files:
            return []
        cosines = np.stack([self.vectors[file] for file in files]) @ wanted
        order = np.argsort(-cosines, kind="stable")[:top]
        return [Found(files[k], round(float(cosines[k]), 6)) for k in order]


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def state_of(file: str) -> tuple[int, int]:
    """The bytes and the time of change of a file; (-1, 0) if it is not there or at a URL."""
    try:
        state = os.stat(file)
    except (OSError, ValueError):
        return -1, 0
    return state.st_size, state.st_mtime_ns


def index_file(key: str, inputs: Sequence[str], environment: Mapping[str, str] = os.environ) -> Path:
    """Where the index of these inputs is kept, unless the user names a file: in the folder for caches."""
    cache = environment.get("XDG_CACHE_HOME") or environment.get("LOCALAPPDATA")
    folder = Path(cache) if cache else Path.home() / ".cache"
    named = blake2b(
        json.dumps([key, [os.path.abspath(i) for i in inputs]]).encode(), digest_size=12
    ).hexdigest()
    return folder / "bifocal" / f"search-{named}.npz"


def key_of(spec: HeadSpec, content: bytes) -> str:
    """What embeddings depend on beside the stream: the head's name, and its file's content."""
    return f"{spec.name} {blake2b(content, digest_size=12).hexdigest()}"
