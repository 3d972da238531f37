"""The event types: what can happen to a run, as frozen msgspec structs on the wire as tagged JSON.

`{"type": "step.completed", "v": 1, ...}`. Changes are additive only; tests/contract holds a golden file per type and
version. `ts` is when the writer wrote it (ms since the epoch); order is the stream's sequence, never `ts`.
An event with `seen` is a decision. `seen` is the stream sequence of the newest fact that the scheduler had folded for
this run when it decided. So a refold interleaves facts and decisions exactly as they happened live.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from agentflow_common import json_values
from agentflow_common.events import ledgers, run_decisions, run_facts, schedules
from agentflow_common.events.base import *  # noqa: F403  (the face of the room: each event is `events.<its name>`)
from agentflow_common.events.base import Event
from agentflow_common.events.ledgers import *  # noqa: F403
from agentflow_common.events.run_decisions import *  # noqa: F403
from agentflow_common.events.run_decisions import RunCancelled, RunCompleted, RunFailed
from agentflow_common.events.run_facts import *  # noqa: F403
from agentflow_common.events.run_facts import StepCompleted
from agentflow_common.events.schedules import *  # noqa: F403


def event_type(event: Event | type[Event]) -> str:
    """Returns the type on the wire, such as `step.completed`."""
    tag = event.__struct_config__.tag
    return str(tag)


def step_of(event: Event) -> str:
    """Returns the key of the step that the event is about; empty for an event about the whole entity."""
    return str(getattr(event, "step", ""))


def single(event: Event) -> Sequence[Event]:
    """Returns the events that this one stands for: the report of each step that it reports, or the event itself."""
    return event.reports() if isinstance(event, StepCompleted) else (event,)


ALL_TYPES: Final[tuple[type[Event], ...]] = tuple(
    kind
    for module in (run_facts, run_decisions, ledgers, schedules)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Event) and kind.__module__ == module.__name__
)
LANE_EVENTS: Final = tuple(kind for kind in ALL_TYPES if event_type(kind).startswith("lane."))
SCHEDULE_EVENTS: Final = tuple(kind for kind in ALL_TYPES if event_type(kind).startswith("schedule."))
TERMINAL_RUN: Final = (RunCompleted, RunFailed, RunCancelled)

_encoder: Final = msgspec.json.Encoder()
_decoder: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(functools.reduce(operator.or_, ALL_TYPES))


def encode(event: Event) -> bytes:
    r"""Returns the event as JSON. A lone surrogate in one of its texts is written out, as `\ud800`."""
    try:
        return _encoder.encode(event)
    except UnicodeEncodeError:
        return _encoder.encode(json_values.escaped_all(msgspec.to_builtins(event)))


def decode(data: bytes) -> Event:
    """Returns the event. Raises msgspec.DecodeError or its subclass ValidationError for data that is not an event."""
    try:
        event: Event = _decoder.decode(data)
    except (UnicodeDecodeError, RecursionError) as error:  # a text that is no UTF-8, lists in lists without end
        raise msgspec.DecodeError(f"not an event: {type(error).__name__}") from error
    return event


def try_decode(data: bytes) -> Event | None:
    """Returns the event, or None: one unreadable message must not make a whole run unreadable."""
    try:
        return decode(data)
    except msgspec.MsgspecError:
        return None
