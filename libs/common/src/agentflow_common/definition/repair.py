"""The repair of a definition with mistakes, so that the rest of it can be checked at the same time.

What the schema refuses is removed or replaced by a stand-in. A problem that is found then is reported only if the
repair can't have caused it. So an author may get fewer problems at once, but never a wrong one. Pure.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from agentflow_common.places import Place

_OPTIONAL = ("inputs", "outputs", "description", "version", "deadline_ms", "run_lane", "lock")


@dataclass
class Repair:
    """A definition without its mistakes."""

    data: dict[str, Any] | None  # may be readable now; None if it can't be repaired
    nodes: set[int] = field(default_factory=set)  # numbers of nodes that a stand-in replaces, or that lost a field
    policies: set[int] = field(default_factory=set)  # numbers of nodes whose policy was removed
    edges: bool = False  # True if an edge was removed, or lost a field

    def trusts(self, place: Place) -> bool:
        """True if the repair can't have caused a problem at this place."""
        if place[:2] == ("dag", "nodes") and len(place) > 2:
            number = place[2]
            return number not in self.nodes and not (number in self.policies and place[3:4] == ("policy",))
        return place[:1] == ("outputs",) or not self.edges


def repaired(data: dict[str, Any], places: Iterable[tuple[Place, str]]) -> Repair:
    """Returns the data without its mistakes. places: each problem's place, and its type as pydantic names it."""
    made = Repair(copy.deepcopy(data))
    gone: set[int] = set()
    for place, kind in places:
        if made.data is None:
            break
        if place[:2] == ("dag", "nodes") and len(place) > 2 and isinstance(place[2], int):
            _node(made, place[2], place[3:], kind)
        elif place[:2] == ("dag", "edges") and len(place) > 2 and isinstance(place[2], int):
            _edge(made, place[2], place[3:], kind, gone)
        elif place[:1] == ("inputs",) and len(place) > 1:
            made.data["inputs"][place[1]] = {}
        elif kind == "extra_forbidden":
            _drop(made.data, place)
            made.edges = made.edges or place[:1] == ("dag",)
        elif place[:1] and place[0] in _OPTIONAL:
            made.data.pop(str(place[0]), None)
        elif place == ("name",):
            made.data["name"] = "unnamed"
        else:
            made.data = None
    if made.data is not None and gone:
        edges = made.data["dag"]["edges"]
        made.data["dag"]["edges"] = [edge for number, edge in enumerate(edges) if number not in gone]
    return made


def _node(made: Repair, number: int, rest: Place, kind: str) -> None:
    if made.data is None:
        return
    nodes = made.data["dag"]["nodes"]
    node = nodes[number]
    if rest[:1] == ("policy",):
        made.policies.add(number)
        node.pop("policy", None)
        return
    made.nodes.add(number)
    if not isinstance(node, dict) or not isinstance(node.get("id"), str) or rest[:1] == ("id",):
        made.data = None  # a reference to it would be reported, too
    elif kind == "extra_forbidden" and len(rest) == 1:
        node.pop(str(rest[0]), None)
    else:
        nodes[number] = {"id": node["id"], "type": "wait", "config": {"duration": "1s"}}


def _edge(made: Repair, number: int, rest: Place, kind: str, gone: set[int]) -> None:
    if made.data is None:
        return
    made.edges = True
    edge = made.data["dag"]["edges"][number]
    if kind == "extra_forbidden" and len(rest) == 1 and isinstance(edge, dict):
        edge.pop(str(rest[0]), None)
    else:
        gone.add(number)


def _drop(data: dict[str, Any], place: Place) -> None:
    holder: Any = data
    for part in place[:-1]:
        holder = holder[part]
    if isinstance(holder, dict):
        holder.pop(place[-1], None)
