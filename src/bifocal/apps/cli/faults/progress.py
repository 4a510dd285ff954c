"""A progress bar for campaigns and searches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


def progress_bar(what: str = "faults") -> Callable[[int, int], None] | None:
    """A bar on standard error that is given how many are done and all; None where that is no terminal."""
    if not sys.stderr.isatty():
        return None
    started = time.monotonic()

    def show(done: int, total: int) -> None:
        share = done / total if total else 1.0
        left = (time.monotonic() - started) * (1 - share) / share if share else 0.0
        bar = "█" * round(30 * share)
        end = "\r\033[K" if done >= total else ""
        print(
            f"\r\033[K{bar:<30} {done:,} of {total:,} {what}, {left:.0f} s left {end}",
            end="",
            file=sys.stderr,
            flush=True,
        )

    return show
