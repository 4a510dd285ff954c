"""Options that other libraries hand through to :func:`bifocal.encode` and :func:`bifocal.decode`.

Those libraries take any keyword, so an unknown one is refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from inspect import signature
from typing import Any

from bifocal.errors import OptionError


def known_options(call: Callable[..., Any]) -> tuple[str, ...]:
    """The names of what ``call`` takes after its first argument."""
    return tuple(signature(call).parameters)[1:]


def check_options(given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse an option that is not among the ``known`` ones.

    :raises OptionError: if there is one; it names the known ones.
    """
    names = sorted(known)
    for name in given:
        if name not in names:
            near = get_close_matches(name, names, 1)
            advice = f" Did you mean {near[0]}?" if near else ""
            raise OptionError(f"there is no option '{name}'.{advice} Options are {', '.join(names)}.")
