"""Probabilities that mean what they say: a temperature, the error that is left, and a threshold to trust.

One temperature after training (Guo et al., arXiv 1706.04599) leaves the order of classes as it is.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

#: Temperatures that are tried, and the bins of the calibration error.
COLDEST, HOTTEST, BINS = 0.05, 20.0, 15
#: Labels are called confident from the probability on above which this share was right.
WANTED = 0.95
#: Fewer labels than this above a threshold say nothing about it.
FEWEST = 20
_GOLDEN = (math.sqrt(5) - 1) / 2

Floats = NDArray[np.floating]


def log_softmax(logits: Floats) -> NDArray[np.float64]:
    """Log-probabilities ``[n, classes]`` of logits, in double precision."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))


def fit_temperature(logits: Floats, labels: NDArray[np.int64]) -> float:
    """The temperature that logits ``[n, classes]`` are to be divided by: it makes ``labels`` most likely.

    Log-probabilities do as well. The likelihood has one maximum, so a golden-section search finds it.

    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(size=(4000, 5))
    >>> drawn = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    >>> 2.8 < fit_temperature(3 * logits, drawn) < 3.2
    True
    """
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(logits / math.exp(log_temperature))[rows, labels].mean())

    low, high = math.log(COLDEST), math.log(HOTTEST)
    a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_a, at_b = loss(a), loss(b)
    while high - low > 1e-3:
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - _GOLDEN * (high - low)
            at_a = loss(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + _GOLDEN * (high - low)
            at_b = loss(b)
    return math.exp((low + high) / 2)


def calibration_error(likely: Floats, right: NDArray[np.bool_]) -> float:
    """Expected calibration error: how far the share of right labels is from what their probability says.

    ``likely [n]`` are the probabilities of the most likely classes; mean over bins of equal width, weighted
    by how many labels are in each.

    >>> calibration_error(np.array([0.9, 0.9]), np.array([True, False]))
    0.4
    """
    bins = np.minimum((likely * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    gaps = np.bincount(bins, likely, BINS) - np.bincount(bins, right, BINS)
    return round(float(np.abs(gaps).sum() / counts.sum()), 6)


def trusted_from(likely: Floats, right: NDArray[np.bool_]) -> float:
    """The smallest probability from which on the share ``WANTED`` of labels was right; 1 if there is none.

    >>> likely = np.linspace(0, 1, 100)
    >>> round(trusted_from(likely, likely > 0.5), 2)
    0.48
    """
    order = np.argsort(-likely, kind="stable")
    shares = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero((shares >= WANTED) & (np.arange(len(order)) + 1 >= min(FEWEST, len(order))))
    return float(likely[order[enough[-1]]]) if len(enough) else 1.0
