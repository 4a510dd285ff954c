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
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bifocal import __version__
from bifocal.errors import BifocalError, OptionError, PictureWarning
from bifocal.storage import filesystem
from bifocal.storage.filesystem import holds_data, is_disk_full
from bifocal.storage.paths import Pair
from bifocal.types import Embedding, Labels

if TYPE_CHECKING:
    from bifocal.api.info import StreamInfo
    from bifocal.apps.batch.manifest import Record
    from bifocal.runtime.heads.run import Head
    from bifocal.runtime.model import Model
    from bifocal.stream.container import Header

Verb = Literal["encode", "decode", "analyse", "embed", "info"]


@dataclass(frozen=True, slots=True)
class FileTask:
    """One file to work on. ``replace``: whether a file that exists at its target may be replaced.

    With a ``key`` (of :meth:`Worker.about`) the result carries a record for the manifest; a file whose
    ``last`` record, of an earlier run, still holds is kept as it is.
    """

    pair: Pair
    replace: bool = True
    key: str = ""
    last: Record | None = None


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of a file: ``state`` is done, kept (it was finished already) or failed.

    ``width`` and ``height`` in pixels and ``gray`` are those of the picture that was written; ``labels`` and
    ``embedding`` are those of a head, ``info`` is what a stream says of itself; ``notes`` are warnings about
    this file; ``error`` is what happened, why, and what to do next. ``disk_full``: the next file would fail,
    too.
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
    disk_full: bool = False
    record: Record | None = None
    labels: Labels | None = None
    embedding: Embedding | None = None
    info: StreamInfo | None = None


@dataclass(frozen=True)
class Worker:
    """Encodes, decodes, analyses, embeds or describes files, one at a time.

    ``options`` are keyword arguments of :func:`bifocal.encode_file`, :func:`bifocal.decode_file`,
    :func:`bifocal.analyse` or :func:`bifocal.embed`, plain values all; a ``Path`` among them is a file that
    is read. ``model`` is an installed name or a folder, by default the one that is shipped or that a stream
    names. ``threads`` is how many processors one network may use.

    >>> Worker("encode", {"quality": 40}).verb
    'encode'
    """

    verb: Verb
    options: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.verb not in ("encode", "decode", "analyse", "embed", "info"):
            raise OptionError(
                f"a worker cannot '{self.verb}'. Choose encode, decode, analyse, embed or info."
            )

    @property
    def writes(self) -> bool:
        """Whether each file becomes another."""
        return self.verb in ("encode", "decode")

    def do(self, task: FileTask) -> FileResult:
        """Work on one file. Whatever is wrong with it is in the result, never an exception."""
        begun = time.perf_counter()
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                result = self._write(task) if self.writes else self._read(task.pair)
        except Exception as error:  # the next file is not to suffer for this one
            result = FileResult(
                task.pair, "failed", error=reason(error, task.pair), disk_full=is_disk_full(error)
            )
        notes = tuple(str(one.message) for one in caught if issubclass(one.category, PictureWarning))
        return replace(result, seconds=time.perf_counter() - begun, notes=notes)

    def check(self) -> None:
        """Find wrong options before any file is tried.

        :raises OptionError: if there is one.
        """
        if self.verb == "encode":
            from bifocal.pictures.metadata import strip_metadata
            from bifocal.runtime.budget import check_budget
            from bifocal.runtime.encoding import check_effort, check_lossless
            from bifocal.stream.container import check_options

            option = self.options.get
            budget = check_budget(option("quality"), option("size"), option("psnr"))
            check_options(1, 1, budget.quality or 1, option("tile", 64))
            check_effort(option("effort", 0) or 0)
            strip_metadata({}, option("strip", ()))
            if "captions" in self.options:
                from bifocal.pictures.captions import CaptionFile

                CaptionFile.read(self.options["captions"])
            check_lossless(option("lossless"), free_size=(option("size"), option("psnr")) == (None, None))
        elif self.verb == "decode":
            from bifocal.runtime.decoding import check_scale
            from bifocal.runtime.engines.float_engines import check_backend

            check_scale(self.options.get("scale", 1))
            if "backend" in self.options:
                check_backend(self.options["backend"])

    def model_folders(self) -> list[Path]:
        """The models that results may depend on.

        :raises ModelError: if there is no such model.
        """
        from bifocal.runtime.cards import installed
        from bifocal.runtime.model import DEFAULT_MODEL, model_folder

        if self.verb == "info":
            return []
        if self.model is None and self.verb != "encode":  # whichever a stream names
            return [card.folder for card in installed()]
        return [model_folder(self.model or DEFAULT_MODEL)]

    def about(self) -> dict[str, Any]:
        """What results depend on beside their sources: release, options and the model's bytes; and a ``key``
        of these, under which results are the same bytes.

        :raises OptionError: if an option is of a kind whose content is not known.

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
        sources = [str(source) for source in batch["source"]]
        targets = [str(target) for target in batch["target"]] if self.writes else [""] * len(sources)
        rows = zip(sources, targets, strict=True)
        results = [self.do(FileTask(Pair(source, source, target))) for source, target in rows]
        answer: dict[str, list[Any]] = {"source": sources}
        if self.writes:
            answer |= {"target": targets, "bytes_out": [result.bytes_out for result in results]}
        if self.verb == "analyse":
            best = [result.labels.top(1)[0] if result.labels else ("", 0.0) for result in results]
            answer |= {"label": [name for name, _ in best], "probability": [value for _, value in best]}
        columns = ("state", "bytes_in", "error")
        return answer | {name: [getattr(result, name) for result in results] for name in columns}

    def _read(self, pair: Pair) -> FileResult:
        """What a head or the header says of a stream."""
        import bifocal

        size = filesystem.size(pair.source)
        with filesystem.opened(pair.source) as file:
            if self.verb == "info":
                return FileResult(pair, "done", bytes_in=size, info=bifocal.info(file, **self.options))
            options = {**self.options, "head": self.head()}
            if self.verb == "embed":
                embedding = bifocal.embed(file, model=self.model_for(pair.source), **options)
                return FileResult(pair, "done", bytes_in=size, embedding=embedding)
            labels = bifocal.analyse(file, model=self.model_for(pair.source), **options)
            return FileResult(pair, "done", bytes_in=size, labels=labels)

    def _write(self, task: FileTask) -> FileResult:
        """Make the target of a file, or see that it is made."""
        pair, record = task.pair, None
        if task.key:
            from bifocal.apps.batch.manifest import Record, still_holds

            record = Record.before(pair, task.key)  # ahead of reading: a change meanwhile shows next time
            if task.last and still_holds(task.last, record, pair.target):
                return FileResult(pair, "kept")
            if not task.replace and holds_data(pair.target):
                raise OptionError(
                    f"{pair.target} exists already and is not of this run. Use --force to replace it, or "
                    "name another folder."
                )
        filesystem.make_folder(pair.target)
        written = self._convert(pair.source, pair.target, task.replace)
        return FileResult(
            pair,
            "done",
            width=written.width,
            height=written.height,
            gray=written.gray,
            bytes_in=filesystem.size(pair.source),
            bytes_out=filesystem.size(pair.target),
            record=record and record.after(pair.target),
        )

    def _convert(self, source: str, target: str, overwrite: bool) -> Any:
        """What :func:`bifocal.encode_file` or :func:`bifocal.decode_file` returns."""
        import bifocal

        convert: Callable[..., Any] = bifocal.encode_file if self.verb == "encode" else bifocal.decode_file
        return convert(source, target, model=self.model_for(source), overwrite=overwrite, **self.options)

    def head(self) -> Head:
        """What analysis reads with, with our number of threads; the same object for every file.

        :raises HeadError: if there is no such head, or it is damaged.
        """
        from bifocal.runtime.heads.file import DEFAULT_HEAD, head_path

        return _loaded_head(head_path(self.options.get("head", DEFAULT_HEAD)).resolve(), self.threads)

    def model_for(self, source: str) -> Model:
        """The model for a file, with our number of threads; the same object for the next file."""
        from bifocal.runtime.model import DEFAULT_MODEL, model_folder
        from bifocal.stream import container
        from bifocal.stream.source import FileBytes

        if self.model is None and self.verb != "encode":
            with filesystem.opened(source) as file:
                return self.model_of(container.read(FileBytes(file)).header)
        return _loaded(model_folder(self.model or DEFAULT_MODEL).resolve(), self.threads)

    def model_of(self, header: Header) -> Model:
        """The model for a stream with this header.

        :raises ModelMissing: if it is not installed.
        """
        from bifocal.runtime.cards import find_card
        from bifocal.runtime.model import model_folder

        if self.model is not None:
            return _loaded(model_folder(self.model).resolve(), self.threads)
        folder = find_card(header.wire_id, header.fingerprint, header.release).folder
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
    """An option as JSON has it; a file by what is in it.

    :raises OptionError: if the value is of a kind whose content is not known.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(list(asdict(value).values()))
    if isinstance(value, Path):
        from bifocal.apps.batch.manifest import stamp

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
    text = " ".join(str(error).splitlines())
    if not isinstance(error, BifocalError | OSError):
        text = f"{type(error).__name__}: {text} (unexpected: please report it, with the file)"
    return text if os.path.basename(pair.source) in text else f"{pair.source}: {text}"
