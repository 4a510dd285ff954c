"""The one worker: plain options in, one file done, what became of it out.

Every engine (this process, spawned processes, Ray) runs this class. It pickles to a few hundred bytes, and
loads its model when the first file needs it, in the process where that happens.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bifocal import __version__
from bifocal.apps.batch.manifest import Record, stamp
from bifocal.errors import BifocalError, OptionError, PictureWarning
from bifocal.storage import remote
from bifocal.storage.paths import Pair
from bifocal.types import Labels

if TYPE_CHECKING:
    from bifocal.runtime.heads.run import Head
    from bifocal.runtime.model import Model


@dataclass(frozen=True, slots=True)
class Task:
    """One file to work on. ``replace`` says whether what stands at its target may go.

    With a ``key`` (of :meth:`Worker.about`) the outcome carries a record for the manifest; a file whose last
    record is ``before`` is kept if nothing about it has changed.
    """

    pair: Pair
    replace: bool = True
    key: str = ""
    before: Record | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file: ``state`` is done, kept (it was finished already) or failed.

    ``width`` and ``height`` in pixels and ``gray`` are those of the result; ``labels`` what analysis says;
    ``notes`` are words to the user that are no errors; ``error`` says what happened, why, and what to do
    next.
    """

    pair: Pair
    state: Literal["done", "kept", "failed"]
    width: int = 0
    height: int = 0
    gray: bool = False
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    error: str = ""
    record: Record | None = None
    labels: Labels | None = None


@dataclass(frozen=True)
class Worker:
    """Encodes, decodes or analyses files, one at a time.

    ``options`` are keyword arguments of :func:`bifocal.encode_file`, :func:`bifocal.decode_file` or
    :func:`bifocal.analyse`, plain values all; a ``Path`` among them is a file that is read. ``model`` is an
    installed name or a folder, by default the one that is shipped or that a stream names. ``threads`` is how
    many processors one network may use.

    >>> Worker("encode", {"quality": 40}).verb
    'encode'
    """

    verb: Literal["encode", "decode", "analyse"]
    options: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.verb not in ("encode", "decode", "analyse"):
            raise OptionError(f"a worker cannot '{self.verb}'. Choose encode, decode or analyse.")

    def do(self, task: Task) -> Outcome:
        """Work on one file. Whatever is wrong with it becomes its outcome, never an exception."""
        begun = time.perf_counter()
        try:
            with warnings.catch_warnings(record=True) as words:
                warnings.simplefilter("always", UserWarning)
                outcome = self._result(task)
        except Exception as error:  # the next file is not to suffer for this one
            outcome = Outcome(task.pair, "failed", error=reason(error, task.pair))
        notes = tuple(str(word.message) for word in words if issubclass(word.category, PictureWarning))
        return replace(outcome, seconds=time.perf_counter() - begun, notes=notes)

    def model_folders(self) -> list[Path]:
        """The models that results may depend on.

        :raises ModelError: if there is no such model.
        """
        from bifocal.runtime.registry import DEFAULT_MODEL, installed, model_folder

        if self.model is None and self.verb != "encode":  # whichever a stream names
            return [card.folder for card in installed()]
        return [model_folder(self.model or DEFAULT_MODEL)]

    def about(self) -> dict[str, Any]:
        """What results depend on beside their sources: release, options and the model's bytes; and a ``key``
        of these, under which results are the same bytes.

        :raises OptionError: if an option is of a kind whose content we cannot tell.

        >>> Worker("encode", {"quality": 40}).about()["options"]
        {'quality': 40}
        """
        about = {
            "bifocal": __version__,
            "verb": self.verb,
            "options": {name: _plain(value) for name, value in sorted(self.options.items())},
            "models": [_folder_digest(folder) for folder in self.model_folders()],
        }
        return {**about, "key": blake2b(json.dumps(about).encode(), digest_size=8).hexdigest()}

    def __call__(self, batch: Mapping[str, Sequence[str]]) -> dict[str, list[Any]]:
        """Columns in, columns out: what ``map_batches`` of Ray and its like call.

        ``batch`` holds columns ``source`` and ``target``; the answer has ``source``, ``target``, ``state``,
        ``bytes_in``, ``bytes_out`` and ``error``. Analysis needs no target; its answer has ``label`` and
        ``probability``, the most likely class, empty and 0 where a file failed, in place of target and
        bytes_out.
        """
        if self.verb == "analyse":
            return self._label([str(source) for source in batch["source"]])
        rows = zip(batch["source"], batch["target"], strict=True)
        outcomes = [self.do(Task(Pair(str(s), str(s), str(t)))) for s, t in rows]
        columns = ("state", "bytes_in", "bytes_out", "error")
        return {
            "source": [outcome.pair.source for outcome in outcomes],
            "target": [outcome.pair.target for outcome in outcomes],
            **{name: [getattr(outcome, name) for outcome in outcomes] for name in columns},
        }

    def _label(self, sources: list[str]) -> dict[str, list[Any]]:
        outcomes = [self.do(Task(Pair(source, source, ""))) for source in sources]
        best = [outcome.labels.top(1)[0] if outcome.labels else ("", 0.0) for outcome in outcomes]
        return {
            "source": sources,
            "label": [name for name, _ in best],
            "probability": [probability for _, probability in best],
            **{name: [getattr(o, name) for o in outcomes] for name in ("state", "bytes_in", "error")},
        }

    def _result(self, task: Task) -> Outcome:
        pair = task.pair
        if self.verb == "analyse":
            return Outcome(pair, "done", bytes_in=remote.size(pair.source), labels=self._analyse(pair.source))
        before = (
            stamp(pair.source) if task.key else ""
        )  # ahead of reading: a change meanwhile shows next time
        called = remote.split(pair.target)[1]
        if task.before and task.before == Record(pair.name, called, before, task.before.result, task.key):
            if remote.exists(pair.target) and stamp(pair.target) == task.before.result:
                return Outcome(pair, "kept")
        if not task.replace and remote.exists(pair.target):
            raise OptionError(
                f"{pair.target} exists already and is not of this run. Say --force to replace it, or name "
                "another folder."
            )
        remote.make_folder(pair.target)
        made = self._act(pair.source, pair.target)
        if task.key:
            record = Record(pair.name, called, before, stamp(pair.target), task.key)
        return Outcome(
            pair,
            "done",
            width=made.width,
            height=made.height,
            gray=made.gray,
            bytes_in=remote.size(pair.source),
            bytes_out=remote.size(pair.target),
            record=record if task.key else None,
        )

    def _act(self, source: str, target: str) -> Any:
        """What :func:`bifocal.encode_file` or :func:`bifocal.decode_file` returns."""
        from bifocal import api

        act: Callable[..., Any] = api.encode_file if self.verb == "encode" else api.decode_file
        return act(source, target, model=self._model(source), **self.options)

    def head(self) -> Head:
        """What analysis reads with, with our number of threads; the same object for every file.

        :raises HeadError: if there is no such head, or it is damaged.
        """
        from bifocal.runtime.heads.file import DEFAULT_HEAD, head_path

        return _loaded_head(head_path(self.options.get("head", DEFAULT_HEAD)).resolve(), self.threads)

    def _analyse(self, source: str) -> Labels:
        from bifocal import api

        options = {**self.options, "head": self.head()}
        with remote.opened(source) as file:
            return api.analyse(file, model=self._model(source), **options)

    def _model(self, source: str) -> Model:
        """The model for a file, with our number of threads; the same object for the next file."""
        from bifocal.runtime.registry import DEFAULT_MODEL, find_card, model_folder
        from bifocal.stream import container
        from bifocal.stream.source import FileBytes

        if self.model is None and self.verb != "encode":
            with remote.opened(source) as file:
                header = container.read(FileBytes(file)).header
            folder = find_card(header.wire_id, header.fingerprint, header.release).folder
        else:
            folder = model_folder(self.model or DEFAULT_MODEL)
        return _loaded(folder.resolve(), self.threads)


@lru_cache(maxsize=4)
def _loaded(folder: Path, threads: int | None) -> Model:
    from bifocal.runtime.model import Model

    return Model.load(folder, threads=threads)


@lru_cache(maxsize=4)
def _loaded_head(path: Path, threads: int | None) -> Head:
    from bifocal.runtime.heads.run import Head

    return Head.load(path, threads=threads)


def _plain(value: Any) -> Any:
    """An option as JSON tells it; a file by what is in it.

    :raises OptionError: if the value is of a kind whose content we cannot tell.
    """
    if isinstance(value, Path):
        return f"{value.name}, {stamp(os.fspath(value))}"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise OptionError(
        f"a run over many files cannot take {value!r} as an option: give text, numbers or a pathlib.Path."
    )


def _folder_digest(folder: Path) -> str:
    digest = blake2b(digest_size=8)
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def reason(error: Exception, pair: Pair) -> str:
    """An error as one line that names its file."""
    if isinstance(error, MemoryError):
        return f"{pair.source}: not enough memory. Use fewer jobs, or a machine with more."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or pair.source}: {error.strerror}."
    text = " ".join(str(error).split())
    if not isinstance(error, BifocalError | OSError):
        text = f"{type(error).__name__}: {text} (unexpected: please report it, with the file)"
    return text if os.path.basename(pair.source) in text else f"{pair.source}: {text}"
