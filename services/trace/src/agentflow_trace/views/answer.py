"""The answer to TRACE_GET with what views show beside the attempts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from agentflow_common.rpc import TraceReply
from agentflow_common.runs.state import UNDO, node_of, parent_of
from agentflow_trace.rows import Row
from agentflow_trace.views import critical_path, nodes, phases

NODES_MAX: Final = 5_000  # of 20,000 that a definition may have: more can't be drawn, and an answer has its bounds
EDGES_MAX: Final = 20_000
SEGMENTS_MAX: Final = 5_000


def with_views(reply: TraceReply, rows: Sequence[Row]) -> TraceReply:
    """Returns the answer with nodes, the critical path, and of each attempt its kind, child and time in a lane.

    The answer's own steps are filled in.
    """
    run = phases.fold(rows)
    definition = nodes.pinned(rows)
    found = nodes.nodes_of(definition)
    kinds = {node.id: node.kind for node in found}
    offered = {row.step: row.kind for row in rows if row.type in ("step.scheduled", "step.waiting")}
    attempts = {(key, attempt.number): attempt for key, step in run.steps.items() for attempt in step.attempts}
    for step in reply.steps:
        is_node = parent_of(step.step) is None and not step.step.endswith(UNDO)
        own = kinds.get(node_of(step.step), "") if is_node else ""
        step.kind = own or offered.get(step.step, "")
        attempt = attempts.get((step.step, step.attempt))
        for phase in attempt.phases if attempt is not None else ():
            if phase.kind == "child":
                step.child_run_id = phase.on
            elif phase.kind == "lane" and not step.queued_at:
                step.queued_at = phase.start
    path = critical_path.path_of(run, definition, nodes=found)
    edges = sum(len(node.waits_for) + len(node.loops_to) for node in found)
    return msgspec.structs.replace(
        reply,
        nodes=found if len(found) <= NODES_MAX and edges <= EDGES_MAX else (),
        critical_path=path if len(path) <= SEGMENTS_MAX else (),
    )
