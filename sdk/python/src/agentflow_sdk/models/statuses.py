"""The states of runs and steps, as the API names them."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class RunStatus(StrEnum):
    """The state of a run. A member is equal to its text: `run.status == "completed"`."""

    UNSPECIFIED = "unspecified"
    """A state that this version of the SDK does not know."""
    PENDING = "pending"
    """Submitted; the scheduler has not started it yet."""
    RUNNING = "running"
    """At least one step is at work or can start."""
    WAITING = "waiting"
    """Every open step waits for a time, a signal, an approval or another run."""
    PAUSED = "paused"
    """No further step starts until the run is resumed."""
    COMPLETED = "completed"
    """Ended with an output."""
    FAILED = "failed"
    """Ended with an error."""
    CANCELLED = "cancelled"
    """Ended because a person or a program asked for it."""

    @property
    def is_final(self) -> bool:
        """True if a run in this state has ended: completed, failed or cancelled."""
        return self in _FINAL


_FINAL: Final = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})


class StepStatus(StrEnum):
    """The state of a step. A member is equal to its text: `step.status == "completed"`."""

    UNSPECIFIED = "unspecified"
    """A state that this version of the SDK does not know."""
    PENDING = "pending"
    """Steps before it have not ended yet."""
    SCHEDULED = "scheduled"
    """Offered to the workers."""
    RUNNING = "running"
    """A worker is executing it."""
    RETRYING = "retrying"
    """An attempt failed and another one follows."""
    COMPLETED = "completed"
    """Ended with an output."""
    FAILED = "failed"
    """Ended with an error."""
    SKIPPED = "skipped"
    """Its condition was false, or a step before it was skipped."""
    CANCELLED = "cancelled"
    """Ended because the run was cancelled or had failed."""
    OUTCOME_UNKNOWN = "outcome_unknown"
    """The worker was lost, and the step may or may not have taken effect."""
    QUEUED = "queued"
    """Waits for a slot of a keyed lane."""
    WAITING = "waiting"
    """Waits for a time, a signal, an approval or another run."""
