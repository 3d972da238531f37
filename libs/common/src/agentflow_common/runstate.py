"""What may be known of a run: the folded state, and how to read it. runfold.py folds it from the log."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common.errors import InvalidError
from agentflow_common.events import Payload, StepError


class RunStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        return self in _TERMINAL_RUN


_TERMINAL_RUN: Final = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})


class StepStatus(StrEnum):
    PENDING = "pending"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    OUTCOME_UNKNOWN = "outcome_unknown"


ACTIVE: Final = frozenset({StepStatus.SCHEDULED, StepStatus.RUNNING})


class StepState(msgspec.Struct, omit_defaults=True):
    """A step, or one child `name[i]` of a parallel step. Times in ms since the epoch. width: children, -1 if none.

    After `step.failed` the status is FAILED; if the scheduler retries, its `timer.set` makes it RETRYING. `due` is set
    by the fold when the retry timer has fired and the next attempt may be offered.
    """

    status: StepStatus = StepStatus.PENDING
    attempt: int = 0
    kind: str = ""
    output: Payload | None = None
    error: StepError | None = None
    scheduled_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    width: int = -1
    due: bool = False
    reason: str = ""
    llm: ev.LlmUsage | None = None


class TimerState(msgspec.Struct, omit_defaults=True):
    """A timer that is set and has not fired. fire_at: ms since the epoch."""

    kind: str
    fire_at: int
    step: str = ""
    attempt: int = 0


class RunState(msgspec.Struct, omit_defaults=True):
    """Everything that the log says of a run. facts_seq, out_seq: newest folded sequence of facts, of decisions."""

    org: str
    run: str
    status: RunStatus = RunStatus.PENDING
    workflow: str = ""
    version: int = 0
    definition: dict[str, Any] = {}
    inputs: Payload = Payload()
    prompts: dict[str, str] = {}
    budget_nano: int | None = None
    deadline_ms: int | None = None
    tags: dict[str, str] = {}
    trace: str = ""
    digest: str = ""
    submitted_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    steps: dict[str, StepState] = {}
    timers: dict[str, TimerState] = {}
    cancel_requested: bool = False
    cancel_reason: str = ""
    deadline_passed: bool = False
    output: Payload | None = None
    error: StepError | None = None
    cost_nano: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    redactions: dict[str, int] = {}
    facts_seq: int = 0
    out_seq: int = 0

    def step(self, key: str) -> StepState:
        found = self.steps.get(key)
        if found is None:
            found = self.steps[key] = StepState()
        return found

    def hash(self) -> str:
        """Hex SHA-256 of the state: equal for equal logs."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


def child_key(step: str, index: int) -> str:
    return f"{step}[{index}]"


def parent_of(key: str) -> str | None:
    """`analyze[3]` -> `analyze`; None for a step that is not a child."""
    return key[: key.index("[")] if key.endswith("]") else None


def output_of(state: RunState, key: str) -> Payload:
    """A step's output; an expanded step's is the list of its children's, null where a child has none.

    A child's value that is stored out of line stands in the list as `{"$blob": ..., "path": []}`.
    """
    step = state.steps.get(key)
    if step is None:
        return Payload()
    if step.width < 0:
        return step.output or Payload()
    items: list[Any] = []
    for index in range(step.width):
        payload = output_of(state, child_key(key, index))
        items.append(payload.value if payload.ref is None else blob_marker(payload.ref))
    return Payload(value=items)


def blob_marker(ref: ev.BlobRef, path: tuple[str | int, ...] = ()) -> dict[str, Any]:
    """Stands for a value (or a part of one) that is stored out of line; the worker puts the value in its place."""
    return {"$blob": {"sha256": ref.sha256, "size": ref.size}, "path": list(path)}


def is_marker(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 2 and "$blob" in value and "path" in value


def marked_ref(marker: dict[str, Any]) -> ev.BlobRef:
    """The reference in a marker; InvalidError for one that the engine did not make."""
    try:
        return msgspec.convert(marker["$blob"], ev.BlobRef)
    except msgspec.ValidationError as error:
        raise InvalidError(f"`$blob` is the engine's own key: {error}", kind="reserved_key") from None


def holds_marker(value: Any) -> bool:
    """Whether the reserved key stands anywhere in a value: who can name a blob can read it."""
    if isinstance(value, dict):
        return "$blob" in value or any(holds_marker(item) for item in value.values())
    return isinstance(value, list | tuple) and any(holds_marker(item) for item in value)
