"""Walks over a graph, which is given as the neighbours of each node. Pure, and linear in the graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter


def reachable(start: Iterable[str], follow: Mapping[str, Iterable[str]]) -> set[str]:
    """Returns the nodes that `start` leads to, including `start` itself."""
    seen = set(start)
    todo = list(seen)
    while todo:
        for name in follow.get(todo.pop(), ()):
            if name not in seen:
                seen.add(name)
                todo.append(name)
    return seen


def turned(follow: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Returns the graph with every edge reversed. Edges to unknown nodes are left out."""
    found: dict[str, list[str]] = {name: [] for name in follow}
    for name, others in follow.items():
        for other in others:
            if other in found:
                found[other].append(name)
    return found


def cycle(waits: Mapping[str, Collection[str]]) -> list[str]:
    """Returns a cycle of nodes that wait for each other, in the order in which they run, or an empty list."""
    sorter = TopologicalSorter({name: [other for other in others if other in waits] for name, others in waits.items()})
    try:
        sorter.prepare()
    except CycleError:
        done: set[str] = set()
        while ready := sorter.get_ready():
            done.update(ready)
            sorter.done(*ready)
    else:
        return []
    walk: list[str] = []
    name = next(name for name in waits if name not in done)
    while name not in walk:
        walk.append(name)
        name = next(other for other in sorted(waits[name]) if other in waits and other not in done)
    return [*walk[walk.index(name) :], name][::-1]
