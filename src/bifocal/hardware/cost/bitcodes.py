"""Exponential-Golomb codes of blocks, compiled: bits are written from the high end of each byte on.

The code of order k of n ≥ 0: ``(n >> k) + 1`` in binary, after as many zeros as it has bits less one, then
the k low bits of n. The fold of signed values wastes no codeword: r > 0 becomes 2r − 1, r ≤ 0 becomes −2r.
(The public code of arXiv 2309.02855 folds to 2r and 2|r| + 1, so that codeword 1 is never used.)

Blocks are uint16 ``[channels, values]``, below 2^depth. Decoders take any bytes: they return −1 in place of
the position where these cannot be a block's, and read nothing beyond them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bifocal.hardware.jit import compiled

#: In place of k: the channel is constant, and has no codes.
CONSTANT = 7
#: No code is longer: values have at most 16 bits, their folds 17.
LONGEST = 42


@compiled
def put(out: Any, position: int, value: int, length: int) -> Any:
    """Write the low ``length`` bits of a value at a bit position of zeroed bytes; the next position."""
    while length > 0:
        free = 8 - (position & 7)
        take = min(free, length)
        part = (value >> (length - take)) & ((1 << take) - 1)
        out[position >> 3] |= np.uint8(part << (free - take))
        position += take
        length -= take
    return position


@compiled
def get(data: Any, position: int, length: int) -> Any:
    """The ``length`` bits at a bit position, which the caller knows to be there."""
    value: Any = 0
    while length > 0:
        free = 8 - (position & 7)
        take = min(free, length)
        part = (np.int64(data[position >> 3]) >> (free - take)) & ((1 << take) - 1)
        value = (value << take) | part
        position += take
        length -= take
    return value


@compiled
def put_code(out: Any, position: int, n: int, k: int) -> Any:
    """Write the code of order k of n; the next position."""
    word = (n >> k) + 1
    zeros = 0
    while word >> (zeros + 1):
        zeros += 1
    return put(out, position + zeros, (word << k) | (n & ((1 << k) - 1)), zeros + 1 + k)


@compiled
def code_zeros(data: Any, position: int, k: int) -> Any:
    """How many zeros the code at a position begins with; −1 if it does not end within the bytes."""
    end = 8 * len(data)
    zeros = 0
    while (
        position + zeros < end and not (data[(position + zeros) >> 3] >> (7 - ((position + zeros) & 7))) & 1
    ):
        zeros += 1
    if zeros > 17 or position + 2 * zeros + 1 + k > end:
        return -1
    return zeros


@compiled
def read_code(data: Any, position: int, zeros: int, k: int) -> Any:
    """The value of the code of order k at a position that begins with so many zeros."""
    word = get(data, position + zeros, zeros + 1 + k)
    return (((word >> k) - 1) << k) | (word & ((1 << k) - 1))


@compiled
def fold(r: int) -> Any:
    """Signed to unsigned, without a gap: 0, 1, −1, 2, −2 … become 0, 1, 2, 3, 4 …"""
    return 2 * r - 1 if r > 0 else -2 * r


@compiled
def unfold(n: int) -> Any:
    """The inverse of :func:`fold`."""
    return (n + 1) >> 1 if n & 1 else -(n >> 1)


@compiled
def best_order(counts: Any, first: int) -> Any:
    """The k of 0..6 with the fewest bits for ``counts[n]`` values n from ``first`` on."""
    lengths = np.zeros(7, np.int64)
    for n in range(first, len(counts)):
        if counts[n]:
            for k in range(7):
                word = (n >> k) + 1
                zeros = 0
                while word >> (zeros + 1):
                    zeros += 1
                lengths[k] += counts[n] * (2 * zeros + 1 + k)
    best = 0
    for k in range(1, 7):
        if lengths[k] < lengths[best]:
            best = k
    return best


@compiled
def write_symmetric(q: Any, depth: int, out: Any) -> Any:
    """For each channel its median, k or :data:`CONSTANT`, and codes of the distances from the median."""
    levels = 1 << depth
    counts = np.zeros(levels, np.int64)
    folded = np.zeros(2 * levels, np.int64)
    position = 0
    for channel in range(q.shape[0]):
        low: Any = levels
        high: Any = 0
        for i in range(q.shape[1]):
            value = q[channel, i]
            counts[value] += 1
            low, high = min(low, value), max(high, value)
        median, seen = low, counts[low]
        while 2 * seen < q.shape[1]:
            median += 1
            seen += counts[median]
        position = put(out, position, median, depth)
        if low == high:
            position = put(out, position, CONSTANT, 3)
        else:
            widest = max(fold(high - median), fold(low - median)) + 1
            folded[:widest] = 0
            for value in range(low, high + 1):
                folded[fold(value - median)] = counts[value]
            k = best_order(folded[:widest], 0)
            position = put(out, position, k, 3)
            for i in range(q.shape[1]):
                position = put_code(out, position, fold(np.int64(q[channel, i]) - median), k)
        counts[low : high + 1] = 0
    return position


@compiled
def read_symmetric(data: Any, depth: int, q: Any) -> Any:
    """The inverse of :func:`write_symmetric`: fills ``q``; the bits that were used, or −1."""
    position = 0
    for channel in range(q.shape[0]):
        if position + depth + 3 > 8 * len(data):
            return -1
        median = get(data, position, depth)
        k = get(data, position + depth, 3)
        position += depth + 3
        if k == CONSTANT:
            q[channel, :] = median
            continue
        for i in range(q.shape[1]):
            zeros = code_zeros(data, position, k)
            if zeros < 0:
                return -1
            value = median + unfold(read_code(data, position, zeros, k))
            if value < 0 or value >> depth:
                return -1
            q[channel, i] = value
            position += 2 * zeros + 1 + k
    return position


@compiled
def write_sparse(q: Any, depth: int, zero: int, out: Any) -> Any:
    """``zero`` and whether anything is below it; channel by channel k or :data:`CONSTANT` (all zero), then a
    flag for each value, 1 for zero, and the code of how far any other is from it, less one."""
    signed: Any = False
    for channel in range(q.shape[0]):
        for i in range(q.shape[1]):
            signed = signed or q[channel, i] < zero
    position = put(out, put(out, 0, zero, depth), 1 if signed else 0, 1)
    counts = np.zeros(2 << depth, np.int64)
    for channel in range(q.shape[0]):
        largest: Any = 0
        for i in range(q.shape[1]):
            r = np.int64(q[channel, i]) - zero
            n = fold(r) if signed else r
            counts[n] += 1
            largest = max(largest, n)
        if largest == 0:
            counts[0] = 0
            position = put(out, position, CONSTANT, 3)
            continue
        k = best_order(counts[1 : largest + 1], 0)
        position = put(out, position, k, 3)
        for i in range(q.shape[1]):
            r = np.int64(q[channel, i]) - zero
            if r == 0:
                position = put(out, position, 1, 1)
            else:
                position = put_code(out, position + 1, (fold(r) if signed else r) - 1, k)
        counts[: largest + 1] = 0
    return position


@compiled
def read_sparse(data: Any, depth: int, q: Any) -> Any:
    """The inverse of :func:`write_sparse`: fills ``q``; the bits that were used, or −1."""
    end = 8 * len(data)
    if depth + 1 > end:
        return -1
    zero, signed = get(data, 0, depth), get(data, depth, 1)
    position = depth + 1
    for channel in range(q.shape[0]):
        if position + 3 > end:
            return -1
        k = get(data, position, 3)
        position += 3
        if k == CONSTANT:
            q[channel, :] = zero
            continue
        for i in range(q.shape[1]):
            if position >= end:
                return -1
            position += 1
            if get(data, position - 1, 1):
                q[channel, i] = zero
                continue
            zeros = code_zeros(data, position, k)
            if zeros < 0:
                return -1
            n = read_code(data, position, zeros, k) + 1
            value = zero + (unfold(n) if signed else n)
            if value < 0 or value >> depth:
                return -1
            q[channel, i] = value
            position += 2 * zeros + 1 + k
    return position


@compiled
def write_plain(q: Any, k: int, out: Any) -> Any:
    """The codes of order k of all values."""
    position = 0
    for channel in range(q.shape[0]):
        for i in range(q.shape[1]):
            position = put_code(out, position, np.int64(q[channel, i]), k)
    return position


@compiled
def read_plain(data: Any, depth: int, k: int, q: Any) -> Any:
    """The inverse of :func:`write_plain`: fills ``q``; the bits that were used, or −1."""
    position = 0
    for channel in range(q.shape[0]):
        for i in range(q.shape[1]):
            zeros = code_zeros(data, position, k)
            if zeros < 0:
                return -1
            value = read_code(data, position, zeros, k)
            if value >> depth:
                return -1
            q[channel, i] = value
            position += 2 * zeros + 1 + k
    return position


@compiled
def write_fields(values: Any, width: int, out: Any) -> Any:
    """Values of ``width`` bits each."""
    position = 0
    for i in range(len(values)):
        position = put(out, position, np.int64(values[i]), width)
    return position


@compiled
def read_fields(data: Any, width: int, values: Any) -> Any:
    """The inverse of :func:`write_fields`: fills ``values``; the bits that were used, or −1."""
    if len(values) * width > 8 * len(data):
        return -1
    for i in range(len(values)):
        values[i] = get(data, i * width, width)
    return len(values) * width
