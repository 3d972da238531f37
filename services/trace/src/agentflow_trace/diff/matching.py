"""Finds which node of one definition is which node of another. Pure.

1. Nodes with the same name and the same content are the same. If this covers all nodes, the work is linear.
2. Renamed nodes with equal contents are the same if everything that leads to them, or everything that they lead to, is
   equal but for names.
3. The others are an assignment problem. The score of a pair has four parts: name, what the node calls, the rest of its
   configuration, and its place in the graph. Two nodes with a score below LEAST are different ones. So a renamed node
   is found wherever it stands if its content is equal, and a changed one if its name or its place is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Final

from agentflow_trace.diff.assignment import assign
from agentflow_trace.diff.graph import Node, leaves_of, signatures

LEAST: Final = 450
_NAME: Final = 350
_CALLED: Final = 200
_CONTENT: Final = 150
_EXACT: Final = 120  # more if the whole content is equal
_PLACE: Final = 200
_NEAR: Final = 100  # of items of lists, if their numbers are equal
_ALIKE: Final = 1_000  # the likeness of equal sets
_ROUNDS: Final = 3
PAIRS_MAX: Final = 10_000
_EACH_MAX: Final = 20  # of the pairs of a node that have one thing in common, if there are more than PAIRS_MAX


def match_nodes(left: Mapping[str, Node], right: Mapping[str, Node]) -> dict[str, str]:
    """Returns the node of the second definition for each node of the first one that has one."""
    found = {
        name: name
        for name, node in left.items()
        if name in right and node.kind == right[name].kind and node.content == right[name].content
    }
    for down in (False, True):
        if len(found) < min(len(left), len(right)):
            _match_places(left, right, found, down=down)
    rows = sorted(name for name in left if name not in found)
    columns = sorted(set(right).difference(found.values()))
    pairs: dict[str, str] = {}
    for _ in range(_ROUNDS if rows and columns else 0):  # the partners of neighbours are a part of the score
        known = {**found, **pairs}
        scores = {
            (row, column): _score(left[rows[row]], right[columns[column]], known)
            for row, column in _candidates([left[name] for name in rows], [right[name] for name in columns])
        }
        better = {rows[row]: columns[column] for row, column in assign(scores, LEAST)}
        if better == pairs:
            break
        pairs = better
    return {**found, **pairs}


def _match_places(left: Mapping[str, Node], right: Mapping[str, Node], found: dict[str, str], *, down: bool) -> None:
    """Adds renamed nodes with equal contents at equal places, if only one on each side has them."""
    taken = set(found.values())
    sides: list[dict[str, list[str]]] = []
    for nodes, done, others in ((left, found, right), (right, taken, left)):
        by_digest: dict[str, list[str]] = {}
        for name, digest in signatures(nodes, down=down).items():
            if name not in done and name not in others:
                by_digest.setdefault(digest, []).append(name)
        sides.append(by_digest)
    for digest, names in sides[0].items():
        partners = sides[1].get(digest, [])
        if len(names) == len(partners) == 1:
            found[names[0]] = partners[0]


def _candidates(left: Sequence[Node], right: Sequence[Node]) -> Iterable[tuple[int, int]]:
    """Returns the pairs that are scored: all, or of very many those that have something in common."""
    if len(left) * len(right) <= PAIRS_MAX:
        return [(row, column) for row in range(len(left)) for column in range(len(right))]
    by_mark: dict[str, list[int]] = {}
    for column, node in enumerate(right):
        for mark in (f"n {node.id}", f"c {node.content}", f"f {node.called}"):
            by_mark.setdefault(mark, []).append(column)
    found: dict[tuple[int, int], None] = {}
    for row, node in enumerate(left):
        for mark in (f"n {node.id}", f"c {node.content}", f"f {node.called}"):
            found.update(dict.fromkeys((row, column) for column in by_mark.get(mark, ())[:_EACH_MAX]))
    return found


def _score(left: Node, right: Node, known: Mapping[str, str]) -> int:
    same_name = left.id == right.id
    if left.kind != right.kind and not same_name:
        return 0
    score = _NAME * same_name + _PLACE * _place(left, right, known) // _ALIKE
    if left.kind != right.kind:
        return score
    score += _CALLED * (left.called == right.called)
    if left.content == right.content:
        return score + _CONTENT + _EXACT
    return score + _CONTENT * likeness(leaves_of(left), leaves_of(right)) // _ALIKE


def _place(left: Node, right: Node, known: Mapping[str, str]) -> int:
    before = {known.get(name, "-" + name) for name in left.sources}
    after = {known.get(name, "-" + name) for name in left.targets}
    return (likeness(before, right.sources) + likeness(after, right.targets)) // 2


def likeness(left: Set[Any], right: Set[Any]) -> int:
    """Returns the likeness of two sets (Dice), from 0 to 1,000, which it is for two empty ones."""
    if not left and not right:
        return _ALIKE
    return 2 * _ALIKE * len(left & right) // (len(left) + len(right))


def pair_items(
    parts: tuple[Sequence[Set[Any]], Sequence[Set[Any]]], digests: tuple[Sequence[str], Sequence[str]]
) -> list[tuple[int, int]]:
    """Pairs the items of two lists: equal ones at the same place, other equal ones, then by likeness.

    parts: of each item. digests: of each item; an empty one is equal to nothing.
    """
    places: dict[str, dict[int, None]] = {}
    for column, digest in enumerate(digests[1]):
        if digest:
            places.setdefault(digest, {})[column] = None
    pairs: dict[int, int] = {}
    for row, digest in enumerate(digests[0]):
        if row in places.get(digest, ()):
            del places[digest][row]
            pairs[row] = row
    for row, digest in enumerate(digests[0]):
        if row not in pairs and places.get(digest):
            pairs[row] = next(iter(places[digest]))
            del places[digest][pairs[row]]
    rows = [row for row in range(len(digests[0])) if row not in pairs]
    used = set(pairs.values())
    columns = [column for column in range(len(digests[1])) if column not in used]
    scores = {
        (number, other): likeness(parts[0][row], parts[1][column]) + _NEAR * (row == column)
        for number, row in enumerate(rows)
        for other, column in enumerate(columns)
        if len(rows) * len(columns) <= PAIRS_MAX or abs(row - column) <= _EACH_MAX
    }
    for number, other in assign(scores, _ALIKE // 2):
        pairs[rows[number]] = columns[other]
    if len(digests[0]) == len(digests[1]):
        used = set(pairs.values())
        pairs |= {row: row for row in rows if row not in pairs and row not in used}
    return sorted(pairs.items())
