"""What a run of analysis leaves: one JSON document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bifocal.apps.batch.worker import Outcome


def labels_json(outcomes: Sequence[Outcome], head: str, top: int = 5) -> bytes:
    """The ``top`` labels of each file, or why it has none, as JSON in UTF-8.

    >>> from bifocal.apps.batch import Pair
    >>> failed = Outcome(Pair("a", "in/a.bfc", ""), "failed", error="cut short.")
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
    failed = sum(outcome.labels is None for outcome in outcomes)
    lines = ",\n".join("  " + json.dumps(_row(outcome, top), ensure_ascii=False) for outcome in outcomes)
    text = (
        f'{{\n "head": {json.dumps(head, ensure_ascii=False)},\n "labelled": {len(outcomes) - failed},\n'
        f' "failed": {failed},\n "files": [\n{lines}\n ]\n}}\n'
    )
    return text.encode("utf-8", "backslashreplace")  # a file's name need not be text


def _row(outcome: Outcome, top: int) -> dict[str, Any]:
    if outcome.labels is None:
        return {"file": outcome.pair.source, "error": outcome.error}
    labels = [{"name": n, "probability": round(p, 6)} for n, p in outcome.labels.top(top)]
    return {"file": outcome.pair.source, "labels": labels}
