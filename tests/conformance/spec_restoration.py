"""A reader of restoration filters from section 4 of SPEC.md, in plain Python, beside ``spec_decoder.py``."""

from __future__ import annotations

from tests.conformance.spec_decoder import Reader, parse, require

Plane = list[list[float]]
NEIGHBOURS = (
    ((1, 0), (-1, 0), (0, 1), (0, -1)),
    ((1, 1), (1, -1), (-1, 1), (-1, -1)),
    ((2, 0), (-2, 0), (0, 2), (0, -2)),
)


def read_filters(data: bytes) -> list[tuple[tuple[int, int, int, int], int, list[int]]]:
    """Top, left, rows and columns of every region with a filter, its T and its 54 coefficients a[c][b][f]."""
    stream, found = parse(data), []
    reader = Reader(stream.metadata["filt"])
    side = 64 * reader.take(1)[0]
    require(side > 0, "S is 1 to 255")
    for tile in stream.tiles:
        top, left, rows, columns = (64 * n for n in tile.place)
        for i in range(0, rows, side):
            for j in range(0, columns, side):
                kind = reader.take(1)[0]
                require(kind <= 2, "kind 0, 1 or 2")
                if kind == 0:
                    continue
                clip = reader.take(1)[0]
                require(clip > 0, "T is 1 to 255")
                a = [n - 256 if n > 127 else n for n in reader.take(18 if kind == 1 else 54)]
                if kind == 1:
                    a = [a[6 * c + f] if b == c else 0 for c in range(3) for b in range(3) for f in range(6)]
                place = (top + i, left + j, min(side, rows - i), min(side, columns - j))
                found.append((place, clip, a))
    require(reader.at == len(reader.data), "bytes after the last entry")
    return found


def restored(u: list[Plane], clip: int, a: list[int]) -> list[Plane]:
    """A whole picture, colours [3][rows][columns] in 0 to 255, restored by one filter."""
    rows, columns, limit = len(u[0]), len(u[0][0]), clip / 4

    def at(plane: Plane, i: int, j: int) -> float:
        return plane[min(max(i, 0), rows - 1)][min(max(j, 0), columns - 1)]

    out = [[list(row) for row in plane] for plane in u]
    for i in range(rows):
        for j in range(columns):
            features = []
            for plane in u:
                steps = [[at(plane, i + m, j + n) - plane[i][j] for m, n in near] for near in NEIGHBOURS]
                features += [sum(d) for d in steps]
                features += [sum(min(max(x, -limit), limit) for x in d) for d in steps]
            for c in range(3):
                weights = a[18 * c : 18 * c + 18]
                out[c][i][j] += sum(w / 256 * f for w, f in zip(weights, features, strict=True))
    return out
