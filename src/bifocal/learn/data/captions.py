"""Features of captions for codecs that take them: sentence vectors, and counts of hashed words."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from bifocal.runtime.text import TextEncoder, words


def sentence_vectors(texts: Sequence[str]) -> Tensor:
    """Vectors ``[texts, 384]`` of the installed text encoder (`runtime/text.py`), of length 1 each.

    :raises ModelError: if none is installed.
    """
    return torch.from_numpy(TextEncoder.load().encode(texts))


def word_counts(texts: Sequence[str], count: int) -> Tensor:
    """How often each of ``count`` hashes of a word is in each text, float ``[texts, count]``.

    >>> word_counts(["a cup, a cup"], 8).sum().item()
    5.0
    """
    counts = torch.zeros(len(texts), count)
    for row, text in zip(counts, texts, strict=True):
        for word in words(text):
            row[zlib.crc32(word.encode()) % count] += 1
    return counts
