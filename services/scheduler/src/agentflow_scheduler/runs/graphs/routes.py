"""The nodes that the edges of a graph lead to after a superstep, and what they are sent. Pure.

A plain edge leads to one visit of its target, however many edges lead there. An edge that sends leads to a visit of its
own: one with `args`, and one for each item with `over`. A barrier is visited once every edge to it was taken since it
last ran.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agentflow_common.errors import InvalidError
from agentflow_common.expressions.sandbox import ExpressionError
from agentflow_common.json_values import kind_of
from agentflow_common.runs.state import node_of
from agentflow_scheduler.runs.decisions import RunDecisions
from agentflow_scheduler.runs.plan import PlanEdge
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.runs.scope import Scope, fitting, gathered, holds, in_field, taken

SENDS_MAX: Final = 1_000  # of one superstep


class EdgeError(InvalidError):
    """The condition of an edge, or what it sends, can't be decided. `step` is the one that the edge leads out of."""

    def __init__(self, message: str, step: str) -> None:
        super().__init__(message)
        self.step = step


class Visit(msgspec.Struct, frozen=True):
    """A node of the next superstep."""

    node: str
    sent: dict[str, Any] | None = None  # what an edge gave it, by name


class Routes(msgspec.Struct):
    """Where the edges lead after a superstep."""

    visits: list[Visit] = []
    bounded: list[str] = []  # the edges with a bound that are taken, each once
    arrived: dict[str, tuple[str, ...]] = {}  # by barrier that changed: the nodes that have led to it


def routes_after(run: Run, out: RunDecisions, changed: dict[str, Any]) -> Routes:
    """Returns where the edges lead, in the definition's order. Raises EdgeError, NeedBlob.

    changed: the values of the shared state that the superstep changed.
    """
    plain: set[str] = set()
    sends: dict[str, list[dict[str, Any]]] = {}
    bounded: dict[str, None] = {}
    arrived: dict[str, set[str]] = {}
    count = 0
    for key in run.state.active:
        scope = out.scope.within(out.sent(key))
        scope.over, scope.own = changed, key
        for edge in run.plan.outgoing.get(node_of(key), ()):
            if edge.max_iterations is not None and run.state.taken.get(edge.name, 0) >= edge.max_iterations:
                continue
            try:
                sent = _sent(scope, edge)
            except InvalidError as error:
                raise EdgeError(f"the edge {edge.source} -> {edge.target}: {error.message}", key) from None
            if sent is None:
                continue
            if edge.max_iterations is not None:
                bounded[edge.name] = None
            if edge.target in run.plan.barriers:
                arrived.setdefault(edge.target, {*run.state.arrived.get(edge.target, ())}).add(edge.source)
            elif not edge.sends:
                plain.add(edge.target)
            sends.setdefault(edge.target, []).extend(sent)
            count += len(sent)
            if count > SENDS_MAX:
                text = f"a superstep has at most {SENDS_MAX:,} visits that were sent values: use a `map` node"
                raise EdgeError(f"the edge {edge.source} -> {edge.target}: {text}", key)
    found = Routes(bounded=list(bounded))
    for target, there in arrived.items():
        if there >= run.plan.barriers[target]:
            plain.add(target)
            there.clear()
        found.arrived[target] = tuple(sorted(there))
    for name in run.plan.nodes:
        found.visits += [Visit(name)] if name in plain else []
        found.visits += [Visit(name, values) for values in sends.get(name, ())]
    return found


def _sent(scope: Scope, edge: PlanEdge) -> list[dict[str, Any]] | None:
    """Returns the values for each visit that an edge leads to by itself, or None if the edge is not taken.

    Raises ExpressionError, NeedBlob.
    """
    if edge.over is None:
        if not taken(scope, edge.source, edge.condition):
            return None
        return [_args(scope, edge)] if edge.args else []
    if not taken(scope, edge.source, None):
        return None
    over = edge.over
    items = in_field("over", lambda: scope.inside(over(scope)))
    if not isinstance(items, list):
        raise ExpressionError(f"`over` must be a list, it is {kind_of(items)}")
    if len(items) > SENDS_MAX:
        raise ExpressionError(f"`over` has {len(items):,} items, and a superstep sends {SENDS_MAX:,}: use a `map` node")
    found: list[dict[str, Any]] = []
    for index, item in enumerate(items):
        around = scope.within({edge.item: item, "index": index})
        if edge.condition is None or holds(around, edge.condition):
            found.append(_args(around, edge) if edge.args else {edge.item: item})
    return found or None


def _args(scope: Scope, edge: PlanEdge) -> dict[str, Any]:
    fields = {name: f"args.{name}" for name in edge.args}
    return fitting({name: scope.inside(value) for name, value in gathered(edge.args, scope, fields).items()}, "`args`")
