"""The state of a run as its log gives it, and how to read it. runs/fold.py folds it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common.errors import InvalidError
from agentflow_common.events import LaneAsk, OriginRef, ParentRef, Payload, StepError
from agentflow_common.log.timers import TimerState
from agentflow_common.runs.stops import Stops

UNDO: Final = ":undo"


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
        return self in _ENDED

    @property
    def ended(self) -> str:
        """How the run ended, for messages: `has completed`, `has failed`, `was cancelled`; empty while it has not."""
        return _ENDED.get(self, "")


_ENDED: Final = {
    RunStatus.COMPLETED: "has completed",
    RunStatus.FAILED: "has failed",
    RunStatus.CANCELLED: "was cancelled",
}


class StepStatus(StrEnum):
    PENDING = "pending"
    QUEUED = "queued"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    WAITING = "waiting"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    OUTCOME_UNKNOWN = "outcome_unknown"


ACTIVE: Final = frozenset({StepStatus.SCHEDULED, StepStatus.RUNNING})
OPEN: Final = frozenset({*ACTIVE, StepStatus.QUEUED, StepStatus.WAITING, StepStatus.RETRYING})
DONE: Final = frozenset({StepStatus.COMPLETED, StepStatus.SKIPPED})
SETTLED: Final = frozenset({StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED})


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One person's answer to an approval."""

    by: str
    decision: str  # `approve` or `reject`
    at: int  # ms since the epoch
    comment: str = ""
    data: Payload = Payload()


class StepState(msgspec.Struct, omit_defaults=True):
    """A step, or a part of one (see the keys below). Times are in ms since the epoch.

    After `step.failed` the status is FAILED. If the scheduler retries later, its `timer.set` makes it RETRYING.
    """

    status: StepStatus = StepStatus.PENDING
    attempt: int = 0  # the newest one; 0: none
    kind: str = ""  # the type of its node; a part of a map or a loop has the type of the body
    output: Payload | None = None
    error: StepError | None = None  # of the newest attempt that failed
    scheduled_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    width: int = -1  # how many children it has; -1: it is not an expanded step
    keys: tuple[str, ...] | None = None  # of the children's outputs, if the step's output is an object of them
    due: bool = False  # its timer has fired: the next attempt, the timeout or the end of the wait may follow
    reason: str = ""  # why it was skipped or cancelled; the kind of timer that made it due
    llm: ev.LlmUsage | None = None
    expired: bool = False  # its total time is over
    lane: str = ""  # the keyed lane whose slot the attempt has or asks for; QUEUED without one: it gave the slot back
    granted: bool = False  # the attempt has the slot
    waiting: str = ""  # the kind of thing that it waits for, see StepWaiting
    until: int = 0  # when the wait ends by itself; 0: never
    child: str = ""  # the run of its subworkflow
    detail: dict[str, Any] = {}  # of a signal or an approval
    answers: tuple[Answer, ...] = ()
    iteration: int = 0  # of a loop step
    progress: float = 0.0
    progress_detail: str = ""
    beat: bool = False  # a heartbeat came since its timer was set
    late: Payload | None = None  # the output of its subworkflow, which completed after the step had been closed
    unsure: bool = False  # an attempt that failed, or one before it, may have taken effect
    lost_to: str = ""  # the join that started without it: it was cancelled or skipped for that

    @property
    def has_parts(self) -> bool:
        """True for a step that runs as children or as iterations."""
        return self.width >= 0 or self.kind == "loop"


class Ending(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a run will end once its steps are compensated; see RunCompensating."""

    status: str
    steps: tuple[str, ...]
    error: StepError | None = None
    step: str = ""
    reason: str = ""
    children: tuple[str, ...] = ()


class Locks(msgspec.Struct, frozen=True, omit_defaults=True):
    """The locks of a run while it takes and has them."""

    lanes: tuple[str, ...]  # the name of each lock of the definition, in its order
    attempt: int = 1  # how often the run has begun to take its locks
    taken: int = 0  # how many it was given
    held: tuple[str, ...] = ()  # those that it was given and has not given back
    awaited: str = ""  # the one that it waits for
    refused: StepError | None = None  # why it may not wait


class Finishing(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a run will end once its nodes with `finally: true` are over; see RunFinishing."""

    status: str
    output: Payload = Payload()
    error: StepError | None = None
    step: str = ""
    reason: str = ""
    compensated: tuple[str, ...] = ()
    uncompensated: tuple[str, ...] = ()


class RunState(msgspec.Struct, omit_defaults=True):
    """Everything that the log states about a run."""

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
    facts_seq: int = 0  # sequence of the newest fact that is folded
    out_seq: int = 0  # sequence of the newest decision that is folded
    priority: int = 0
    parent: ParentRef | None = None
    origin: OriginRef | None = None
    definitions: dict[str, dict[str, Any]] = {}
    depth: int = 0
    signals: dict[str, list[Payload]] = {}  # by name; a step that takes one removes it
    signal_ids: list[str] = []
    pause_requested: bool = False
    pause_reason: str = ""
    paused_by: str = ""
    paused_until: int = 0  # when it goes on by itself; 0: when it is asked to
    cancel_grace_ms: int = 0
    cancel_forced: bool = False
    cancelling: bool = False
    visits: dict[str, int] = {}  # how often each node of a loop has begun, from its second time on
    taken: dict[str, int] = {}  # how often each back edge was taken
    superstep: int = 0  # the number of the present superstep of a graph-style workflow
    active: tuple[str, ...] = ()  # the steps of that superstep
    shared: dict[str, Payload] = {}  # the shared state of a graph-style workflow
    sent: dict[str, Payload] = {}  # by step of a graph: the values that an edge gave it, by name
    arrived: dict[str, tuple[str, ...]] = {}  # by barrier of a graph: the nodes that have led to it since it last ran
    undo: list[str] = []  # steps with a compensation, in the order in which they began
    ending: Ending | None = None
    continued_as: str = ""
    # subworkflows that were asked to end and have not, by the step and attempt (`undoing_key`) that was closed
    undoing: dict[str, str] = {}
    patience_over: bool = False  # the wait for them has lasted as long as it may
    run_lane: str = ""  # the run lane that it has asked for a slot, or has one of
    slot_granted: bool = False  # it has the slot
    slot_refused: StepError | None = None  # why it gets none
    given_lane: LaneAsk | None = None  # the lane that the step or the schedule which started it gave it
    slots: tuple[str, ...] = ()  # run lanes whose slots it has, besides that of `run_lane`
    lane_following: LaneAsk | None = None  # the lane that it asks once it has the slot of `run_lane`
    lanes_above: tuple[str, ...] = ()  # run lanes whose slots, and locks which, the runs above have
    locks: Locks | None = None  # None: it has not taken any
    finishing: Finishing | None = None  # how it ends: its nodes with `finally: true` run now
    finally_over: bool = False  # these nodes have run as long as they may
    stops: Stops | None = None  # its breakpoints; None: it was never given one

    @property
    def awaits_slot(self) -> bool:
        """True if the run has asked a run lane for a slot, and has not all of its slots."""
        return bool(self.run_lane) and not (self.slot_granted and self.lane_following is None)

    def step(self, key: str) -> StepState:
        found = self.steps.get(key)
        if found is None:
            found = self.steps[key] = StepState()
        return found


# Keys: `node`, its second visit in a loop of edges `node#2`, a child `node[3]`, a child of a child `node[3][0]`, an
# iteration of a loop step `node@2`, and the compensation of any of these, `node[3]:undo`.


def child_key(step: str, index: int) -> str:
    return f"{step}[{index}]"


def iteration_key(step: str, iteration: int) -> str:
    return f"{step}@{iteration}"


def visit_key(node: str, visit: int) -> str:
    return node if visit < 2 else f"{node}#{visit}"


def undo_key(key: str) -> str:
    return key + UNDO


def undoing_key(step: str, attempt: int) -> str:
    return f"{step}/{attempt}"


def undoing_steps(state: RunState) -> tuple[str, ...]:
    """Returns the steps whose subworkflows were asked to end and have not."""
    return tuple(dict.fromkeys(key.rpartition("/")[0] for key in state.undoing))


@lru_cache(4096)  # called many times for a key while its step is decided
def parent_of(key: str) -> str | None:
    """Returns the step that the key is a child or an iteration of, or None.

    `analyze[3]` -> `analyze`, `analyze[3][0]` -> `analyze[3]`, `refine@2` -> `refine`.
    """
    if key.endswith("]"):
        return key[: key.rindex("[")]
    at = key.find("@")
    return key[:at] if at > 0 and not key.endswith(UNDO) else None


@lru_cache(4096)
def node_of(key: str) -> str:
    """Returns the node of the definition that a step key belongs to: `analyze#2[3]:undo` -> `analyze`."""
    for end, char in enumerate(key):
        if char in "#[@:":
            return key[:end]
    return key


def current_key(state: RunState, node: str) -> str:
    """Returns the key of the node's present visit."""
    return visit_key(node, state.visits[node]) if node in state.visits else node


def present_keys(state: RunState, node: str) -> list[str]:
    """Returns the keys of the node's present visits: a superstep that was sent several values has several."""
    several = [key for key in state.active if node_of(key) == node] if state.sent else []
    return several or [current_key(state, node)]


def newest_key(state: RunState, node: str) -> str:
    """Returns the key of the node's newest visit that has ended. Earlier nodes of its loop read that visit."""
    visit = state.visits.get(node, 1)
    while visit > 1:
        step = state.steps.get(visit_key(node, visit))
        if step is not None and (step.status in SETTLED or step.status is StepStatus.OUTCOME_UNKNOWN):
            break
        visit -= 1
    return visit_key(node, visit)


def ended_by(state: RunState, ends: Iterable[str]) -> str:
    """Returns the step of an `end` node at which the run ends, if there is one. ends: the nodes of this type."""
    for key in (key for node in ends for key in present_keys(state, node)):
        step = state.steps.get(key)
        if step is not None and step.status is StepStatus.COMPLETED:
            return key
    return ""


def output_of(state: RunState, key: str) -> Payload:
    """Returns a step's output. For an expanded step it is the list of its children's outputs, null for a child without,
    or an object of them. A child that was expanded itself has such an output, too, or null if it did not complete.

    A child's value that is stored out of line stands in the list as `{"$blob": ..., "path": []}`.
    """
    step = state.steps.get(key)
    if step is None:
        return Payload()
    if step.width < 0:
        return step.output or Payload()
    outputs = [by_reference(_output_of_part(state, child_key(key, index))) for index in range(step.width)]
    return Payload(value=outputs if step.keys is None else dict(zip(step.keys, outputs, strict=True)))


def _output_of_part(state: RunState, key: str) -> Payload:
    step = state.steps.get(key)
    if step is not None and step.width >= 0 and step.status is not StepStatus.COMPLETED:
        return Payload()
    return output_of(state, key)


MARKER: Final = "$blob"  # the key of a marker; the engine's own, no value of a user may hold it


def blob_marker(ref: ev.BlobRef, path: tuple[str | int, ...] = ()) -> dict[str, Any]:
    """Returns the marker of a value, or a part of one, that is stored out of line. The worker puts the value there."""
    return {MARKER: {"sha256": ref.sha256, "size": ref.size}, "path": list(path)}


def by_reference(payload: Payload) -> Any:
    """Returns the value, or its marker if it is stored out of line."""
    return payload.value if payload.ref is None else blob_marker(payload.ref)


def is_marker(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 2 and MARKER in value and "path" in value


def marked_ref(marker: dict[str, Any]) -> ev.BlobRef:
    """Returns the reference in a marker. Raises InvalidError for a marker that the engine did not make."""
    try:
        return msgspec.convert(marker[MARKER], ev.BlobRef)
    except msgspec.ValidationError as error:
        raise InvalidError(f"`{MARKER}` is the engine's own key: {error}", kind="reserved_key") from None


def holds_marker(value: Any) -> bool:
    """True if the reserved key stands anywhere in a value: a caller that can name a blob can read it."""
    stack = [value]
    while stack:  # a value may be nested deeper than functions can call themselves
        item = stack.pop()
        if isinstance(item, dict):
            if MARKER in item:
                return True
            stack.extend(item.values())
        elif isinstance(item, list | tuple):
            stack.extend(item)
    return False


def marker_place(value: Any, place: str) -> str:
    """Returns where the reserved key stands in a value (`place.field[3]`), for a message; "" if nowhere."""
    stack = [(value, place)]
    while stack:
        item, here = stack.pop()
        if isinstance(item, dict):
            if MARKER in item:
                return here
            stack.extend((inner, f"{here}.{key}") for key, inner in reversed(item.items()))
        elif isinstance(item, list | tuple):
            stack.extend((inner, f"{here}[{at}]") for at, inner in reversed(list(enumerate(item))))
    return ""
