"""The event types: what can happen to a run, as frozen msgspec structs on the wire as tagged JSON.

`{"type": "step.completed", "v": 1, ...}`. Changes are additive only; tests/contract holds a golden file per type and
version. `ts` is when the writer wrote it (ms since the epoch); order is the stream's sequence, never `ts`.
An event with `seen` is a decision. `seen` is the stream sequence of the newest fact that the scheduler had folded for
this run when it decided. So a refold interleaves facts and decisions exactly as they happened live.
"""

from __future__ import annotations

from typing import Final

import msgspec

from agentflow_common import json_values
from agentflow_common.events.base import (
    BlobRef,
    Decision,
    Event,
    LlmAttempt,
    LlmUsage,
    Payload,
    StepError,
)
from agentflow_common.events.ledgers import (
    AuditRecorded,
    ClaimTaken,
    CostSettled,
    LaneCheckpointed,
    LaneConfigured,
    LaneGranted,
    LaneRefused,
    LaneReleased,
    LaneRequested,
)
from agentflow_common.events.run_decisions import (
    ApprovalEscalated,
    GraphAdvanced,
    NextStep,
    OutputRef,
    RunCancelled,
    RunCancelling,
    RunCompensating,
    RunCompleted,
    RunFailed,
    RunPaused,
    RunResumed,
    RunStarted,
    RunWaiting,
    StepCancelled,
    StepExpanded,
    StepIterated,
    StepJoined,
    StepQueued,
    StepResolved,
    StepScheduled,
    StepSkipped,
    StepsReset,
    StepTimedOut,
    StepUndecidable,
    StepWaiting,
    TimerSet,
)
from agentflow_common.events.run_facts import (
    ApprovalGiven,
    BegunStep,
    ChildEnded,
    OriginRef,
    OutcomeResolved,
    ParentRef,
    RunCancelRequested,
    RunPauseRequested,
    RunResumeRequested,
    RunSubmitted,
    SeedPosition,
    SignalReceived,
    SlotGranted,
    SlotRefused,
    StepCompleted,
    StepFailed,
    StepOutcomeUnknown,
    StepProgressed,
    StepStarted,
    TimerFired,
)
from agentflow_common.events.schedules import (
    ScheduleBackfilled,
    ScheduleBackfillRequested,
    ScheduleBuffered,
    ScheduleCancelling,
    ScheduleCheckpointed,
    ScheduleCreated,
    ScheduleDeleted,
    ScheduleFired,
    ScheduleListed,
    SchedulePaused,
    ScheduleRefused,
    ScheduleResumed,
    ScheduleSkipped,
    ScheduleStarted,
    ScheduleTriggered,
    ScheduleUpdated,
)

Fact = (
    RunSubmitted
    | RunCancelRequested
    | RunPauseRequested
    | RunResumeRequested
    | SignalReceived
    | ApprovalGiven
    | OutcomeResolved
    | ChildEnded
    | SlotGranted
    | SlotRefused
    | StepStarted
    | StepProgressed
    | StepCompleted
    | StepFailed
    | StepOutcomeUnknown
    | TimerFired
)
Out = (
    RunStarted
    | StepScheduled
    | StepExpanded
    | StepJoined
    | StepSkipped
    | StepCancelled
    | StepTimedOut
    | StepUndecidable
    | TimerSet
    | StepQueued
    | StepWaiting
    | StepResolved
    | StepIterated
    | StepsReset
    | GraphAdvanced
    | ApprovalEscalated
    | RunWaiting
    | RunPaused
    | RunResumed
    | RunCancelling
    | RunCompensating
    | RunCompleted
    | RunFailed
    | RunCancelled
)
LaneEvent = LaneRequested | LaneReleased | LaneConfigured | LaneGranted | LaneRefused | LaneCheckpointed
ScheduleEvent = (
    ScheduleCreated
    | ScheduleUpdated
    | SchedulePaused
    | ScheduleResumed
    | ScheduleDeleted
    | ScheduleTriggered
    | ScheduleBackfillRequested
    | ScheduleStarted
    | ScheduleRefused
    | ScheduleFired
    | ScheduleSkipped
    | ScheduleBuffered
    | ScheduleCancelling
    | ScheduleBackfilled
    | ScheduleListed
    | ScheduleCheckpointed
)
AnyEvent = Fact | Out | LaneEvent | ScheduleEvent | ClaimTaken | CostSettled | AuditRecorded

TERMINAL_RUN: Final = (RunCompleted, RunFailed, RunCancelled)
ALL_TYPES: Final[tuple[type[Event], ...]] = AnyEvent.__args__

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(AnyEvent)


def encode(event: Event) -> bytes:
    r"""The event as JSON. A lone surrogate in one of its texts is written out, as `\ud800`."""
    try:
        return _encoder.encode(event)
    except UnicodeEncodeError:
        return _encoder.encode(json_values.escaped_all(msgspec.to_builtins(event)))


def decode(data: bytes) -> AnyEvent:
    """Raises msgspec.DecodeError or msgspec.ValidationError (a subclass) for what is not an event."""
    try:
        event: AnyEvent = _decoder.decode(data)
    except (UnicodeDecodeError, RecursionError) as error:  # a text that is no UTF-8, lists in lists without end
        raise msgspec.DecodeError(f"not an event: {type(error).__name__}") from error
    return event


def try_decode(data: bytes) -> AnyEvent | None:
    """The event, or None: one message that can't be read must not keep a whole run from being read."""
    try:
        return decode(data)
    except msgspec.MsgspecError:
        return None


def event_type(event: Event | type[Event]) -> str:
    """`step.completed`"""
    tag = event.__struct_config__.tag
    return str(tag)


__all__ = [
    "ALL_TYPES",
    "TERMINAL_RUN",
    "AnyEvent",
    "ApprovalEscalated",
    "ApprovalGiven",
    "AuditRecorded",
    "BegunStep",
    "BlobRef",
    "ChildEnded",
    "ClaimTaken",
    "CostSettled",
    "Decision",
    "Event",
    "Fact",
    "GraphAdvanced",
    "LaneCheckpointed",
    "LaneConfigured",
    "LaneEvent",
    "LaneGranted",
    "LaneRefused",
    "LaneReleased",
    "LaneRequested",
    "LlmAttempt",
    "LlmUsage",
    "NextStep",
    "OriginRef",
    "Out",
    "OutcomeResolved",
    "OutputRef",
    "ParentRef",
    "Payload",
    "RunCancelRequested",
    "RunCancelled",
    "RunCancelling",
    "RunCompensating",
    "RunCompleted",
    "RunFailed",
    "RunPauseRequested",
    "RunPaused",
    "RunResumeRequested",
    "RunResumed",
    "RunStarted",
    "RunSubmitted",
    "RunWaiting",
    "ScheduleBackfillRequested",
    "ScheduleBackfilled",
    "ScheduleBuffered",
    "ScheduleCancelling",
    "ScheduleCheckpointed",
    "ScheduleCreated",
    "ScheduleDeleted",
    "ScheduleEvent",
    "ScheduleFired",
    "ScheduleListed",
    "SchedulePaused",
    "ScheduleRefused",
    "ScheduleResumed",
    "ScheduleSkipped",
    "ScheduleStarted",
    "ScheduleTriggered",
    "ScheduleUpdated",
    "SeedPosition",
    "SignalReceived",
    "SlotGranted",
    "SlotRefused",
    "StepCancelled",
    "StepCompleted",
    "StepError",
    "StepExpanded",
    "StepFailed",
    "StepIterated",
    "StepJoined",
    "StepOutcomeUnknown",
    "StepProgressed",
    "StepQueued",
    "StepResolved",
    "StepScheduled",
    "StepSkipped",
    "StepStarted",
    "StepTimedOut",
    "StepUndecidable",
    "StepWaiting",
    "StepsReset",
    "TimerFired",
    "TimerSet",
    "decode",
    "encode",
    "event_type",
    "try_decode",
]
