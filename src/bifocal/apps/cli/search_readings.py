"""What a search reads of streams beside their captions, once: embeddings, labels, and captions as vectors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from bifocal.apps.cli.display import Display
from bifocal.apps.cli.launch import printable
from bifocal.errors import BifocalError

if TYPE_CHECKING:
    from bifocal.api.search import Index
    from bifocal.apps.batch import FileResult

#: Captions that are encoded at once, between two looks at the progress.
_BATCH = 256
#: Labels of a file that are kept.
_KEPT = 5


_UNITS = {"words": "bm25", "meaning": "cosine", "like": "cosine", "label": "probability"}


@dataclass
class Search:
    """What is looked for, and with what; ``failed`` counts files that could not be read."""

    words: str | None
    inputs: Sequence[str]
    like: Path | None
    label: str | None
    detector: Path | None
    by: str
    head: str
    model: str | None
    jobs: int
    threads: int | None
    failed: set[str] = field(default_factory=set)

    @property
    def unit(self) -> str:
        """What scores are."""
        return _UNITS["like" if self.like else self.by if self.words else "label"]


def fail(asked: Search, file: str, error: Exception) -> None:
    """Say, once, why a file cannot be read."""
    if file not in asked.failed:
        asked.failed.add(file)
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        print(f"bifocal: {printable(f'{file}: {reason}')}", file=sys.stderr)


def embed(asked: Search, known: Index, kind: str) -> None:
    """Embed the streams that have no vector of a kind yet."""

    def take(result: FileResult) -> None:
        if result.embedding is not None:
            known.put_vector(result.pair.source, kind, result.embedding)

    _read("embed", asked, known.without_vector(kind), take)


def give_labels(asked: Search, known: Index) -> str:
    """Label the streams that have no labels by the head, or the detector, yet; the kind of these labels."""
    from bifocal.api.search import key_of
    from bifocal.apps.batch import Worker
    from bifocal.runtime.heads.file import head_path

    if asked.detector is not None:
        return _detect(asked, known)
    head = Worker("analyse", {"head": asked.head}, threads=asked.threads).head()
    kind = f"label {key_of(head.spec, head_path(asked.head).read_bytes())}"

    def take(result: FileResult) -> None:
        if result.labels is not None:
            known.put_labels(result.pair.source, kind, result.labels.top(_KEPT))

    _read("analyse", asked, known.without_labels(kind), take)
    return kind


def _read(
    verb: Literal["embed", "analyse"], asked: Search, files: Sequence[str], take: Callable[[FileResult], None]
) -> None:
    from bifocal.apps import batch

    files = [file for file in files if file not in asked.failed]
    if not files:
        return
    display = Display("reading", "read", "streams", lambda result: "", out=sys.stderr, lines=False)

    def show(result: FileResult) -> None:
        if result.state == "failed":
            asked.failed.add(result.pair.source)
        display.show(result)
        take(result)

    worker = batch.Worker(verb, {"head": asked.head}, model=asked.model, threads=asked.threads)
    try:
        with display:
            batch.read(worker, files, jobs=asked.jobs, on_start=display.start, on_result=show)
    except typer.Exit as ended:  # what was read is searched all the same
        if ended.exit_code != 1 or not asked.failed:
            raise


def _detect(asked: Search, known: Index) -> str:
    """Have the detector look at the streams that it has not seen."""
    import bifocal
    from bifocal.api.search import key_of
    from bifocal.runtime.heads.run import loaded_head

    assert asked.detector is not None
    head = loaded_head(asked.detector)
    kind = f"boxes {key_of(head.spec, asked.detector.read_bytes())}"
    for file in known.without_labels(kind):
        try:
            rows: list[dict[str, Any]] = bifocal.detect(file, detector=head, model=asked.model).rows()
        except (BifocalError, OSError) as error:
            fail(asked, file, error)
            continue
        best: dict[str, float] = {}
        for row in rows:
            best[row["name"]] = max(row["score"], best.get(row["name"], 0.0))
        known.put_labels(file, kind, sorted(best.items(), key=lambda pair: -pair[1]))
    return kind


def give_meanings(words: str, known: Index) -> tuple[Any, str]:
    """Encode the captions that have no vector yet; the vector of the words, and the kind of such vectors."""
    from bifocal.runtime.text import TextEncoder

    encoder = TextEncoder.load()
    kind = f"caption {encoder.key}"
    captions = known.captions(kind)
    for start in range(0, len(captions), _BATCH):
        if len(captions) > _BATCH and sys.stderr.isatty():
            print(f"\rreading captions: {start} of {len(captions)}", end="", file=sys.stderr, flush=True)
        part = captions[start : start + _BATCH]
        for (file, _), vector in zip(part, encoder.encode([text for _, text in part]), strict=True):
            known.put_vector(file, kind, vector)
    if len(captions) > _BATCH and sys.stderr.isatty():
        print("\r" + " " * 60, end="\r", file=sys.stderr)
    return encoder.encode([words])[0], kind
