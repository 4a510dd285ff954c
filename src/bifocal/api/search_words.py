"""Searching by words: what a word is, and how much each is worth (BM25)."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"[^\W_]+")
_IDEOGRAPH = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f])")
#: Words of a query that say nothing where it has others.
_EMPTY = frozenset("a an and are at by for from in is it its of on or the to with".split())
#: The constants of BM25 (Robertson and Zaragoza, 2009): how soon more of a word counts no more, and how much
#: long texts are held against them.
_SATURATION, _LENGTH = 1.2, 0.75


def terms(text: str, *, query: bool = False) -> Counter[str]:
    """The words of a text and how often each is in it: without case, accents and the plural's s; characters
    of Chinese and Japanese are words of their own. A ``query`` loses words like "the", if others are left.

    >>> sorted(terms("Two Dogs, a Café & 茶杯"))
    ['a', 'cafe', 'dog', 'two', '杯', '茶']
    >>> sorted(terms("the dogs", query=True)), sorted(terms("the", query=True))
    (['dog'], ['the'])
    """
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    found = Counter(_singular(word) for word in _WORD.findall(_IDEOGRAPH.sub(r" \1 ", plain)))
    full = Counter({word: count for word, count in found.items() if word not in _EMPTY})
    return full if query and full else found


def _singular(word: str) -> str:
    """An English plural without its ending (Harman's s-stemmer, 1991)."""
    if len(word) > 4 and word.endswith("ies") and word[-4] not in "ae":
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and word[-2] not in "us":
        return word[:-1]
    return word


#: For a word of a query the texts that have it, how often, and how many words each has: integers ``[n]``.
Postings = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def bm25(
    postings: Sequence[Postings], count: int, mean: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The texts that have words of a query, and how well each fits: arrays ``[n]``.

    ``count`` texts have a mean length of ``mean`` words.

    >>> cup = np.array([1, 2]), np.array([1, 1]), np.array([4, 8])
    >>> texts, scores = bm25([cup], 10, 6.0)
    >>> texts.tolist(), scores.round(2).tolist()
    ([1, 2], [1.72, 1.3])
    """
    if not postings:
        return np.zeros(0, np.int64), np.zeros(0)
    parts = []
    for texts, times, lengths in postings:
        worth = math.log(1 + (count - len(texts) + 0.5) / (len(texts) + 0.5))
        room = _SATURATION * (1 - _LENGTH + _LENGTH * lengths / max(mean, 1e-9))
        parts.append(worth * times * (_SATURATION + 1) / (times + room))
    found, which = np.unique(np.concatenate([texts for texts, _, _ in postings]), return_inverse=True)
    return found, np.bincount(which, np.concatenate(parts), len(found)).astype(np.float64)
