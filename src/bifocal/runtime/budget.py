"""Budgets: the quality that meets a size in bytes or a PSNR, found on real streams.

Nothing is estimated: every quality that is tried is coded, and for a PSNR decoded. Bytes and PSNR rise with
quality but for small dips, so the search is a bisection that looks a little further at its end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sized
from dataclasses import dataclass
from functools import cache
from typing import SupportsIndex, TypeVar

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import OptionError
from bifocal.runtime.decoding import decode_pixels
from bifocal.runtime.encoding import QUALITY, check_quality
from bifocal.runtime.model import Model
from bifocal.stream import container

LOWEST, HIGHEST = 1, 100
#: The highest effort that costs about as much as none.
QUICK = 1
#: How far beyond the end of a bisection to look for a quality that meets the budget all the same.
BEYOND = 2
_UNITS = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
}

#: A stream, of which the size is asked.
Stream = TypeVar("Stream", bound=Sized)


def parse_size(size: int | str) -> int:
    """A size in bytes, from a number or from text such as ``50kB``, ``50 kB`` or ``1.5 MiB``.

    k, M and G are powers of 1000, Ki, Mi and Gi of 1024; case does not matter.

    :raises OptionError: if it is not a positive size.

    >>> parse_size("50kB"), parse_size("1 MiB"), parse_size(1200)
    (50000, 1048576, 1200)
    """
    bytes_ = None
    if isinstance(size, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", size, re.IGNORECASE | re.ASCII)
        if match and match[2].lower() in _UNITS:
            bytes_ = math.floor(float(match[1]) * _UNITS[match[2].lower()])
    elif isinstance(size, int | np.integer) and not isinstance(size, bool):
        bytes_ = int(size)
    if bytes_ is None or bytes_ < 1:
        raise OptionError(f"size is {size!r}; give bytes as a whole number, or text such as 50kB or 1MiB.")
    return bytes_


@dataclass(frozen=True)
class Budget:
    """One of three: a ``quality`` 1 to 100, a ``size`` in bytes at most, a ``psnr`` in dB at least."""

    quality: int | None = None
    size: int | None = None
    psnr: float | None = None


def check_budget(quality: SupportsIndex | None, size: int | str | None, psnr: float | None) -> Budget:
    """What an encoder was asked for; quality 60 if nothing.

    :raises OptionError: if more than one is given, or one is no such number.

    >>> check_budget(None, "2kB", None)
    Budget(quality=None, size=2000, psnr=None)
    """
    if sum(given is not None for given in (quality, size, psnr)) > 1:
        raise OptionError("quality, size and psnr exclude each other. Give the one that matters.")
    if size is not None:
        return Budget(size=parse_size(size))
    if psnr is not None:
        try:
            wanted = math.nan if isinstance(psnr, bool) else float(psnr)
        except (TypeError, ValueError):
            wanted = math.nan
        if not 0 < wanted < math.inf:
            raise OptionError(f"psnr is {psnr!r}; give decibels above 0, such as 38.")
        return Budget(psnr=wanted)
    return Budget(quality=check_quality(QUALITY if quality is None else quality))


def encode_within(
    encode: Callable[[int, int], Stream], effort: int, budget: Budget, psnr_of: Callable[[Stream], float]
) -> Stream:
    """The stream of ``encode(quality, effort)`` that meets a ``budget`` of bytes or PSNR.

    A costly effort tries few qualities: a cheap one is searched first, to find out where to begin.

    :raises OptionError: if no quality meets it; the message says what can be met.
    """

    def search(effort: int, start: int | None) -> tuple[int, Stream]:
        streams = cache(lambda quality: encode(quality, effort))
        if budget.size is not None:
            return fit_size(streams, budget.size, start=start)
        reached = cache(lambda quality: psnr_of(streams(quality)))
        return fit_psnr(streams, reached, budget.psnr or 0.0, start=start)

    if effort <= QUICK:
        return search(effort, None)[1]
    try:
        start = search(QUICK, None)[0]
    except OptionError:  # what a cheap effort cannot meet, this one may, just
        start = LOWEST if budget.size is not None else HIGHEST
    return search(effort, start)[1]


def fit_size(streams: Callable[[int], Stream], size: int, *, start: int | None = None) -> tuple[int, Stream]:
    """The largest quality whose stream has at most ``size`` bytes, and the stream.

    ``start`` is a quality near the answer, if one is known: then few others are tried.

    :raises OptionError: if even the smallest stream is larger; the message says how large it is.

    >>> fit_size(lambda quality: bytes(100 + quality), 150)[0]
    50
    """
    quality = _last(lambda quality: len(streams(quality)) <= size, start)
    if quality is None:
        least = len(streams(LOWEST))
        raise OptionError(
            f"this picture does not fit into {size:,} bytes: at quality {LOWEST} its stream has {least:,}, "
            "metadata and transparency included. Allow that, drop metadata, or make the picture smaller."
        )
    return quality, streams(quality)


def fit_psnr(
    streams: Callable[[int], Stream],
    psnr_of: Callable[[int], float],
    psnr: float,
    *,
    start: int | None = None,
) -> tuple[int, Stream]:
    """The smallest stream whose ``psnr_of`` a quality reaches ``psnr`` dB, and its quality.

    :raises OptionError: if no quality reaches it; the message says what can be reached.

    >>> fit_psnr(lambda quality: bytes(quality), lambda quality: 20 + quality / 5, 30.0)[0]
    50
    """
    # counted from above, what fails is a budget like that of bytes
    below = _last(lambda rank: psnr_of(HIGHEST + 1 - rank) >= psnr, start and HIGHEST + 1 - start)
    if below is None:
        raise OptionError(
            f"this picture does not reach {psnr:g} dB: quality {HIGHEST} decodes to "
            f"{psnr_of(HIGHEST):.2f} dB. Ask for at most that, or for exact pixels (lossless)."
        )
    quality = HIGHEST + 1 - below
    return quality, streams(quality)


def _last(fits: Callable[[int], bool], start: int | None) -> int | None:
    """The last of the qualities that ``fits``, which all do up to some quality, but for dips; None if none.

    From ``start`` it gallops, so that a good guess costs two or three calls.
    """
    low, high = LOWEST - 1, HIGHEST + 1  # low fits or is none, high does not
    quality = (LOWEST + HIGHEST) // 2 if start is None else start
    stride = 1
    while high - low > 1:
        if fits(quality):
            low = quality
        else:
            high = quality
        if start is not None and (low < LOWEST or high > HIGHEST):  # not yet between two known ones
            quality = low + stride if high > HIGHEST else high - stride
            quality, stride = min(max(quality, LOWEST), HIGHEST), 2 * stride
        else:
            quality = (low + high) // 2
    for further in range(high + 1, min(high + BEYOND, HIGHEST) + 1):
        if fits(further):
            low = further
    return low if low >= LOWEST else None


def decoded_psnr(
    data: bytes, pixels: NDArray[np.uint8], model: Model, seen: NDArray[np.bool_] | None = None
) -> float:
    """PSNR in dB of the picture that ``data`` decodes to, 8 bits a channel, over all channels of ``pixels``.

    ``pixels`` uint8 ``[h, w, 3]`` or ``[h, w]``; only pixels that are ``seen`` ``[h, w]`` count, if given.
    """
    decoded = decode_pixels(container.read(data), model)
    total, count = 0, 0
    for top in range(0, len(pixels), 256):  # a strip at a time: differences need twice the bytes
        error = decoded[top : top + 256].astype(np.int32) - pixels[top : top + 256]
        if seen is not None:
            error = error[seen[top : top + 256]]
        total += int(np.vdot(error, error)) if error.size else 0
        count += error.size
    return 10 * math.log10(255**2 * count / total) if total else math.inf
