"""What a run leaves as one JSON document: the labels of streams, or the files that failed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bifocal.apps.batch.worker import FileResult
from bifocal.types import Labels


def likely(labels: Labels, top: int, at_least: float = 0.0) -> list[tuple[str, float]]:
    """The ``top`` labels and their probabilities, of those that have at least a probability.

    >>> import numpy
    >>> labels = Labels(("dog", "cat"), numpy.array([0.75, 0.25], numpy.float32), "pets")
    >>> likely(labels, 5, 0.5), likely(labels, 5, 0.9)
    ([('dog', 0.75)], [])
    """
    return [(name, probability) for name, probability in labels.top(top) if probability >= at_least]


def labels_json(results: Sequence[FileResult], head: str, top: int = 5, at_least: float = 0.0) -> bytes:
    """The ``top`` labels of each file, or why it has none, as JSON in UTF-8.

    Labels below the probability ``at_least`` are left out; a file that has no other is ``unknown``.

    >>> from bifocal.apps.batch import Pair
    >>> failed = FileResult(Pair("a", "in/a.bfc", ""), "failed", error="cut short.")
    >>> print(labels_json([failed], "pets").decode())
    {
     "head": "pets",
     "labelled": 0,
     "failed": 1,
     "files": [
      {"file": "in/a.bfc", "error": "cut short."}
     ]
    }
    <BLANKLINE>
    """
    failed = sum(result.labels is None for result in results)
    rows = (_row(result, top, at_least) for result in results)
    lines = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows)
    text = (
        f'{{\n "head": {json.dumps(head, ensure_ascii=False)},\n "labelled": {len(results) - failed},\n'
        f' "failed": {failed},\n "files": [\n{lines}\n ]\n}}\n'
    )
    return text.encode("utf-8", "backslashreplace")  # a file's name need not be text


def _row(result: FileResult, top: int, at_least: float) -> dict[str, Any]:
    if result.labels is None:
        return {"file": result.pair.source, "error": result.error}
    named = likely(result.labels, top, at_least)
    row = {
        "file": result.pair.source,
        "labels": [{"name": name, "probability": round(value, 6)} for name, value in named],
    }
    return {**row, "confident": result.labels.confident} if named else {**row, "unknown": True}


_ERROR_KEYS = ("file", "target", "error")


def errors_json(failed: Sequence[FileResult]) -> bytes:
    """The files that failed, and why, as JSON in UTF-8.

    >>> from bifocal.apps.batch import Pair
    >>> print(errors_json([FileResult(Pair("a", "a.png", "a.bfc"), "failed", error="cut short.")]).decode())
    [
     {
      "file": "a.png",
      "target": "a.bfc",
      "error": "cut short."
     }
    ]
    <BLANKLINE>
    """
    rows = [
        dict(zip(_ERROR_KEYS, (result.pair.source, result.pair.target, result.error), strict=True))
        for result in failed
    ]
    return (json.dumps(rows, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def is_errors_json(data: bytes) -> bool:
    """Whether a document is one of :func:`errors_json`, so that a resumed run may write it anew.

    >>> is_errors_json(b"[]"), is_errors_json(b'{"file": "a.png"}')
    (True, False)
    """
    try:
        rows = json.loads(data)
    except ValueError:
        return False
    return isinstance(rows, list) and all(isinstance(row, dict) and tuple(row) == _ERROR_KEYS for row in rows)
