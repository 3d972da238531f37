"""Pages of a run's events: every event with its whole body, in parts that fit into one answer. Pure.

A page ends between two messages of the log, so a message that reports several steps is never divided. A page has at
least one message, however large it is: a message of the log is smaller than an answer may be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from agentflow_common.rpc import TraceEvent, TraceReply, TraceRequest
from agentflow_trace.rows import Row, own_body, parts

SUBMITTED: Final = "run.submitted"
BODY_BYTES_MAX: Final = 3 * 1024 * 1024  # of bodies and steps: gRPC clients take answers of 4 MiB by default
EVENTS_MAX: Final = 15_000
ENDLESS: Final = 2**63


class EventPage(NamedTuple):
    events: tuple[TraceEvent, ...]
    more: bool  # events follow after the last one


def with_events(reply: TraceReply, rows: Sequence[Row], request: TraceRequest, *, is_cut: bool) -> TraceReply:
    """Returns the answer with the events that were asked for. is_cut: the run has rows after these ones.

    Without pages, bodies that do not fit are left out.
    """
    room = max(BODY_BYTES_MAX - len(msgspec.json.encode(reply.steps)), BODY_BYTES_MAX // 8)
    events_max = min(request.events_max or EVENTS_MAX, EVENTS_MAX)
    if request.events_max or request.after_stream:
        page = page_of(rows, events_max, room, bodies=request.bodies, more=is_cut)
        return msgspec.structs.replace(reply, events=page.events, more=page.more, truncated=page.more)
    page = page_of(rows, events_max, ENDLESS, bodies=request.bodies, more=is_cut)
    shown, whole = _without_late_bodies(page.events, room)
    return msgspec.structs.replace(reply, events=shown, more=page.more, truncated=page.more or not whole)


def _without_late_bodies(events: Iterable[TraceEvent], bytes_max: int) -> tuple[tuple[TraceEvent, ...], bool]:
    """Returns the events without the bodies from the first one that does not fit, and True if all did."""
    shown: list[TraceEvent] = []
    for event in events:
        bytes_max -= wire_size(event.body)
        shown.append(event if bytes_max >= 0 else msgspec.structs.replace(event, body=""))
    return tuple(shown), bytes_max >= 0


def page_of(rows: Sequence[Row], events_max: int, bytes_max: int, *, bodies: bool, more: bool) -> EventPage:
    """Returns the first page of these rows.

    events_max: a page ends at the message that reaches it.
    bytes_max: of all bodies, as they stand in an answer.
    more: rows follow after these ones. The last message may then be incomplete, and is left for the next page.
    """
    events: list[TraceEvent] = []
    size = 0
    messages = list(_messages(rows))
    if more and len(messages) > 1:
        messages.pop()
    for message in messages:
        found = [_event(part, row, bodies) for part, row in message]
        size += sum(wire_size(event.body) for event in found)
        if events and (len(events) >= events_max or size > bytes_max):
            return EventPage(tuple(events), more=True)
        events += found
    return EventPage(tuple(events), more)


def wire_size(body: str) -> int:
    """Returns the bytes that a body takes as a text in JSON."""
    return len(msgspec.json.encode(body))


def _event(part: int, row: Row, bodies: bool) -> TraceEvent:
    body = own_body(row, part) if bodies or row.type == SUBMITTED else ""
    return TraceEvent(row.stream, row.stream_seq, row.ts, row.type, row.step, row.attempt, body, part)


def _messages(rows: Iterable[Row]) -> Iterator[list[tuple[int, Row]]]:
    message: list[tuple[int, Row]] = []
    for part, row in parts(rows):
        message.append((part, row))
        if not row.later:
            yield message
            message = []
    if message:
        yield message
