"""In which order a circuit can be computed, and the loops that leave it without one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def schedule_nodes(
    gates: Mapping[int, Sequence[int]], controlled: Mapping[int, int], roots: Iterable[int]
) -> tuple[list[int], dict[int, list[int]]]:
    """Order nets so that each comes after those it needs: depth first, which keeps neighbours close.

    ``gates`` maps a gate's output to its inputs, ``controlled`` a flip-flop's output to its asynchronous
    control. What ``roots`` need comes first, then the rest. Returns the nets in order, and what could not be
    ordered: each such net with the nets it waits for (empty if there is no loop).

    >>> schedule_nodes({5: (4, 2), 4: (2,)}, {}, [5])
    ([4, 5], {})
    """
    needs: dict[int, Sequence[int]] = {**gates, **{net: (control,) for net, control in controlled.items()}}
    order: list[int] = []
    state: dict[int, int] = {}  # 1: begun, 2: placed
    looped = False
    for root in (*roots, *needs):
        if root not in needs or root in state:
            continue
        stack = [(root, iter(needs[root]))]
        state[root] = 1
        while stack:
            net, rest = stack[-1]
            for source in rest:
                if source in needs and source not in state:
                    state[source] = 1
                    stack.append((source, iter(needs[source])))
                    break
                looped = looped or state.get(source) == 1
            else:
                stack.pop()
                state[net] = 2
                order.append(net)
    if not looped:
        return order, {}
    return order, {net: [source for source in sources if source in needs] for net, sources in needs.items()}


def find_loops(waiting: Mapping[int, Sequence[int]]) -> list[list[int]]:
    """The loops of a graph: its strongly connected parts of several nodes, and nodes that read themselves.

    Tarjan's algorithm (1972), without recursion.

    >>> find_loops({1: [2], 2: [1], 3: [1], 4: [4]})
    [[1, 2], [4]]
    """
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    on_path: set[int] = set()
    path: list[int] = []
    loops: list[list[int]] = []
    for root in waiting:
        if root in index:
            continue
        work = [(root, iter(waiting[root]))]
        index[root] = low[root] = len(index)
        path.append(root)
        on_path.add(root)
        while work:
            node, rest = work[-1]
            for source in rest:
                if source not in index:
                    index[source] = low[source] = len(index)
                    path.append(source)
                    on_path.add(source)
                    work.append((source, iter(waiting[source])))
                    break
                if source in on_path:
                    low[node] = min(low[node], index[source])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    part = [path.pop()]
                    while part[-1] != node:
                        part.append(path.pop())
                    on_path.difference_update(part)
                    if len(part) > 1 or node in waiting[node]:
                        loops.append(sorted(part))
    return loops
