"""The nodes of a pinned definition as a trace shows them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from agentflow_common.definition.dependencies import waits_for
from agentflow_common.definition.model import Definition, load_trusted
from agentflow_common.errors import UNREADABLE, AgentFlowError
from agentflow_common.rpc.traces.views import TraceNode
from agentflow_trace.rows import Row

_UNUSABLE: Final = (*UNREADABLE, AgentFlowError, ValueError, RecursionError)


class _Submitted(msgspec.Struct):
    definition: dict[str, Any] = {}


def pinned(rows: Iterable[Row]) -> Definition | None:
    """Returns the definition that a run was submitted with; None if it is not in the rows or can't be read."""
    for row in rows:
        if row.type == "run.submitted":
            try:
                return loaded(msgspec.json.decode(row.body, type=_Submitted).definition)
            except UNREADABLE:
                return None
    return None


def loaded(definition: dict[str, Any]) -> Definition | None:
    """Returns a pinned definition; None if it can't be read."""
    try:
        return load_trusted(definition)
    except _UNUSABLE:
        return None


def nodes_of(definition: Definition | None) -> tuple[TraceNode, ...]:
    """Returns the nodes in the definition's order; none without a definition.

    A graph's edges lead from superstep to superstep, so they are given as they are written.
    """
    if definition is None:
        return ()
    if definition.graph is not None:
        waits: dict[str, list[str]] = {node.id: [] for node in definition.dag.nodes}
        for edge in definition.dag.edges:
            if edge.target in waits:
                waits[edge.target].append(edge.source)
        back: dict[str, list[str]] = {}
    else:
        waits = waits_for(definition)
        back = {}
        for edge in definition.dag.edges:
            if edge.max_iterations is not None:
                back.setdefault(edge.source, []).append(edge.target)
    return tuple(
        TraceNode(node.id, node.type, node.name, tuple(waits[node.id]), tuple(back.get(node.id, ())))
        for node in definition.dag.nodes
    )
