"""Nodes and the critical path: the parts of a trace beside its attempts."""

from __future__ import annotations

from dataclasses import dataclass

from agentflow_sdk.models.records import Record


@dataclass(frozen=True, slots=True)
class TraceNode(Record):
    """A node of the definition of a traced run."""

    id: str
    """The name of the node."""
    kind: str
    """The node type."""
    name: str = ""
    """A title for people."""
    waits_for: tuple[str, ...] = ()
    """The nodes that it waits for."""
    loops_to: tuple[str, ...] = ()
    """The nodes that its back edges lead to."""


@dataclass(frozen=True, slots=True)
class TraceSegment(Record):
    """A part of the critical path. It begins where the one before it ends, so all lengths sum to the duration."""

    kind: str
    """`work`, `worker` (waiting for a worker), `lane`, `lock`, `backoff` (before a retry), `timer`, `approval`,
    `signal`, `pause`, `child` (a subworkflow's run), or `scheduler` (the engine's own time)."""
    started_at: int
    """When it began, ms since the epoch."""
    ended_at: int
    """When it ended, ms since the epoch."""
    step: str = ""
    """The step that the time belongs to; empty for the run as a whole."""
    attempt: int = 0
    """The attempt of the step."""
    on: str = ""
    """What was waited for: a pool, lane, lock, signal, or a subworkflow's run; the worker of `work`."""

    @property
    def duration_ms(self) -> int:
        """The length of the segment, ms."""
        return self.ended_at - self.started_at
