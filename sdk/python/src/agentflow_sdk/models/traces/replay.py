"""The result of a replay."""

from __future__ import annotations

from dataclasses import dataclass

from agentflow_sdk.models.records import Record
from agentflow_sdk.models.statuses import RunStatus


@dataclass(frozen=True, slots=True)
class ReplayDifference(Record):
    """A field of a decision that differs. The values are JSON texts; an empty one is not there."""

    path: str
    """The place of the field, for example `inputs.text`."""
    expected: str = ""
    """The value in the log."""
    decided: str = ""
    """The value that is decided now."""


@dataclass(frozen=True, slots=True)
class ReplayDivergence(Record):
    """The first decision that is not taken again as it is in the log."""

    sequence: int
    """The sequence of the expected event; of a decision that is too many, the sequence after which it would come."""
    cause: str = ""
    """`missing`, `extra`, `type`, `fields`, `state`, or `engine_error`."""
    expected_type: str = ""
    """The type of the event in the log; empty if the log has no such decision."""
    decided_type: str = ""
    """The type of the event that is decided now; empty if nothing is decided."""
    step: str = ""
    """The key of the step."""
    expected: str = ""
    """The event in the log, as JSON text."""
    decided: str = ""
    """The event that is decided now, as JSON text."""
    differences: tuple[ReplayDifference, ...] = ()
    """The fields that differ."""
    error: str = ""
    """The error of the engine, if it failed."""
    seen: int = 0
    """The sequence of the newest fact that the decision had seen."""
    decided_at: int = 0
    """When the decision was taken, ms since the epoch."""
    state_before: str = ""
    """The state before the turn, as JSON text; of a large one only the status and the step."""
    hash_before: str = ""
    """The SHA-256 of this state."""


@dataclass(frozen=True, slots=True)
class TraceReplay(Record):
    """A replay of a run: what today's engine decides on the facts that the log holds."""

    run_id: str
    """The id of the run."""
    workflow: str = ""
    """The name of its workflow."""
    status: RunStatus = RunStatus.PENDING
    """The state of the run."""
    verdict: str = ""
    """`same` or `diverged`."""
    events: int = 0
    """The events of the run."""
    decisions: int = 0
    """The decisions that were taken again."""
    turns: int = 0
    """The number of times that the scheduler decided something."""
    hashed: int = 0
    """The number of sequences at which the hashes of both states were compared."""
    held_turns: int = 0
    """Turns in which the log shows that steps waited for room in a worker pool, or for the end of a pause."""
    rehosted: int = 0
    """Turns that only a scheduler explains that had read the run from the log, for example after a restart."""
    partial_turns: int = 0
    """Turns that the log has only in part: the append was interrupted."""
    state_hash: str = ""
    """The SHA-256 of the state after the last event."""
    archived: bool = False
    """True if the events were read from the archive."""
    duration_ms: float = 0.0
    """The time that the replay took, ms."""
    divergence: ReplayDivergence | None = None
    """The first divergence; None if there is none."""
    history: tuple[str, ...] = ()
    """The log as lines of JSON. Empty unless it was asked for."""
