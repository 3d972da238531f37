"""Finds which step of one run is which step of another. Pure.

Visits of a node and iterations of a loop have the same number in both runs. The children of a map belong together if
they have the same item, wherever it stands in its list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from agentflow_common.runs.parts import index_of
from agentflow_common.runs.state import node_of, parent_of
from agentflow_trace.diff.matching import match_nodes, pair_items
from agentflow_trace.diff.records import RunRecord, Step
from agentflow_trace.diff.values import leaves

_LAST: Final = re.compile(r"(#\d+|\[\d+\]|@\d+|:undo(?:#\d+)?)\Z")


class Pair(NamedTuple):
    """A step in both runs, or in one of them. At least one side is there."""

    a: str
    b: str


class Alignment(NamedTuple):
    nodes: dict[str, str]  # the node of b for each node of a that has one
    steps: list[Pair]  # in the order of b, and each step of a alone after the one that it followed
    reordered: frozenset[Pair]  # children that stand elsewhere among those that both runs have


def align(a: RunRecord, b: RunRecord) -> Alignment:
    """Returns the same pairs from both sides."""
    if a.run <= b.run:
        nodes = _nodes(a, b)
        return _alignment(a, b, nodes, _pairs(a, b, nodes))
    nodes = _nodes(b, a)
    turned = [Pair(left, right) for right, left in _pairs(b, a, nodes)]
    return _alignment(a, b, {other: name for name, other in nodes.items()}, turned)


def _nodes(a: RunRecord, b: RunRecord) -> dict[str, str]:
    if a.pinned is b.pinned:
        nodes = {name: name for name in a.pinned.nodes}
    else:
        nodes = match_nodes(a.pinned.nodes, b.pinned.nodes)
    if not a.pinned.nodes or not b.pinned.nodes:  # a definition can't be read: names are all that is known
        nodes = {name: name for name in map(node_of, a.steps)}
    return nodes


def _pairs(a: RunRecord, b: RunRecord, nodes: Mapping[str, str]) -> list[Pair]:
    if a.steps.keys() == b.steps.keys() and all(name == other for name, other in nodes.items()):
        plain = [Pair(key, key) for key in a.steps if "[" not in key]
        if len(plain) == len(a.steps):
            return [pair for pair in plain if node_of(pair.a) in nodes] + _apart(a, b, nodes)
    left, right = _Tree(a), _Tree(b)
    found: list[Pair] = []
    for root in left.parts.get("", ()):
        other = nodes.get(root)
        if other is not None and (other in right.parts or other in right.steps):
            found.extend(_below(left, right, Pair(root, other)))
    paired = {pair.a for pair in found}, {pair.b for pair in found}
    found.extend(Pair(key, "") for key in a.steps if key not in paired[0])
    found.extend(Pair("", key) for key in b.steps if key not in paired[1])
    return found


def _apart(a: RunRecord, b: RunRecord, nodes: Mapping[str, str]) -> list[Pair]:
    """Returns the steps of nodes that are different ones in spite of their equal names."""
    others = set(nodes.values())
    alone = [Pair(key, "") for key in a.steps if node_of(key) not in nodes]
    return alone + [Pair("", key) for key in b.steps if node_of(key) not in others]


class _Tree:
    """The steps of a run, and the parts of each: its children, iterations, visits and compensations."""

    def __init__(self, record: RunRecord) -> None:
        self.steps: dict[str, Step] = record.steps
        self.parts: dict[str, dict[str, None]] = {}
        for step in record.steps:
            key = step
            while key:
                whole = _LAST.sub("", key) if _LAST.search(key) else ""
                known = self.parts.setdefault(whole, {})
                if key in known:
                    break
                known[key] = None
                key = whole

    def children(self, key: str) -> list[str]:
        """Returns the children of a map in the order of its list."""
        found = [part for part in self.parts.get(key, ()) if part.endswith("]")]
        return sorted(found, key=index_of)

    def others(self, key: str) -> dict[str, str]:
        """Returns the other parts of a step by their suffix."""
        return {part[len(key) :]: part for part in self.parts.get(key, ()) if not part.endswith("]")}

    def digest(self, key: str) -> str:
        """Returns a digest of what the step, or all of its children, were given."""
        step = self.steps.get(key)
        if step is not None and step.inputs is not None:
            return step.inputs.sha256
        below = [self.digest(child) for child in self.children(key)]
        return ",".join(below) if below and all(below) else ""


def _below(left: _Tree, right: _Tree, pair: Pair) -> Iterator[Pair]:
    """Yields the pair and the pairs of its parts."""
    if pair.a in left.steps and pair.b in right.steps:
        yield pair
    theirs = right.others(pair.b)
    for suffix, part in left.others(pair.a).items():
        if suffix in theirs:
            yield from _below(left, right, Pair(part, theirs[suffix]))
    mine, yours = left.children(pair.a), right.children(pair.b)
    if not mine or not yours:
        return
    digests = [left.digest(key) for key in mine], [right.digest(key) for key in yours]
    if digests[0] == digests[1] and all(digests[0]):
        numbers = [(number, number) for number in range(len(mine))]
    else:
        known = set(digests[0]), set(digests[1])
        parts = (
            [_parts(left, key, digest in known[1]) for key, digest in zip(mine, digests[0], strict=True)],
            [_parts(right, key, digest in known[0]) for key, digest in zip(yours, digests[1], strict=True)],
        )
        numbers = pair_items(parts, digests)
    for row, column in numbers:
        yield from _below(left, right, Pair(mine[row], yours[column]))


def _parts(tree: _Tree, key: str, is_known: bool) -> frozenset[tuple[str, bytes]]:
    """Returns the parts of a child's inputs. They are not needed for an item that the other list has."""
    step = tree.steps.get(key)
    if is_known or step is None or step.inputs is None or step.inputs.stored:
        return frozenset()
    return leaves(step.inputs.data)


def _alignment(a: RunRecord, b: RunRecord, nodes: dict[str, str], pairs: list[Pair]) -> Alignment:
    return Alignment(nodes, _ordered(a, b, pairs), _reordered(pairs))


def _reordered(pairs: list[Pair]) -> frozenset[Pair]:
    siblings: dict[str, list[tuple[int, Pair]]] = {}
    for pair in pairs:
        if pair.a.endswith("]") and pair.b:
            siblings.setdefault(parent_of(pair.a) or "", []).append((index_of(pair.b), pair))
    found: set[Pair] = set()
    for children in siblings.values():
        there = sorted(children)
        here = sorted(children, key=lambda child: index_of(child[1].a))
        found.update(pair for (_, pair), (_, other) in zip(here, there, strict=True) if pair != other)
    return frozenset(found)


def _ordered(a: RunRecord, b: RunRecord, pairs: list[Pair]) -> list[Pair]:
    place = {key: number for number, key in enumerate(b.steps)}
    partner = {pair.a: pair.b for pair in pairs if pair.a and pair.b}
    after: dict[str, tuple[int, int]] = {}
    at = -1
    for number, key in enumerate(a.steps):
        if key in partner:
            at = place[partner[key]]
        else:
            after[key] = (at, number + 1)
    return sorted(pairs, key=lambda pair: (place[pair.b], 0) if pair.b else after[pair.a])
