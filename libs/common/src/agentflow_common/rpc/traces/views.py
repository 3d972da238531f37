"""Nodes and the critical path: the parts of a trace beside its attempts, for views."""

from __future__ import annotations

from agentflow_common.rpc.verbs import Message


class TraceNode(Message, frozen=True):
    """A node of the run's pinned definition."""

    id: str
    kind: str  # node type
    name: str = ""  # a title for people
    waits_for: tuple[str, ...] = ()  # the nodes that it waits for
    loops_to: tuple[str, ...] = ()  # the nodes that its back edges lead to


class TraceSegment(Message, frozen=True):
    """A part of the critical path. Each begins where the one before it ends. Times in ms since the epoch."""

    kind: str  # see agentflow_trace.views.phases.KINDS
    started_at: int
    ended_at: int
    step: str = ""  # the step that the time belongs to; empty for the run as a whole
    attempt: int = 0
    on: str = ""  # what was waited for: a pool, lane, lock, signal, or a subworkflow's run
