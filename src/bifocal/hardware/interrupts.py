"""Machine code that can be left at once: Python hears Ctrl-C and SIGTERM only between its own steps."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Made = TypeVar("Made")

#: Seconds between looks at whether a thread has ended.
_LOOK = 0.5


def interruptible(work: Callable[[], Made]) -> Made:
    """What ``work`` returns, of code that may run for long without the interpreter (and without its lock).

    It runs in a thread while the main thread, which alone hears signals, waits. After an interrupt the thread
    is left alone: it ends with the process, or when its work is done.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    made: list[Made] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            made.append(work())
        except BaseException as error:  # raised where it is waited for
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_LOOK)
    if failed:
        raise failed[0]
    return made[0]
