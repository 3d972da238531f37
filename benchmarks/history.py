"""Copies of a finished run's history, equal to those that the engine would have written. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import Entry, Fence, Stored


class Line(NamedTuple):
    """An event of a history."""

    suffix: str  # the subject after the run
    event: ev.Event
    seen: int  # for a decision: the place (from 1) in the history of the fact that it had seen


def template(history: Sequence[Stored]) -> list[Line]:
    """Returns a run's events in the order of the log."""
    places = {stored.seq: place for place, stored in enumerate(history, 1)}
    lines = []
    for stored in history:
        event = ev.decode(stored.data)
        seen = places[event.seen] if isinstance(event, ev.Decision) else 0
        lines.append(Line(".".join(stored.subject.split(".")[5:]), event, seen))
    return lines


def tasks(lines: Sequence[Line]) -> int:
    """Returns the number of tasks of a run. In chains a task runs several steps."""
    return sum(line.suffix.startswith("out.task.") for line in lines)


def copy(lines: Sequence[Line], run: str, after_seq: int) -> list[Entry]:
    """Returns the history for another run id, to be appended right after the sequence `after_seq`."""
    entries = []
    prefix = subjects.prefix(subjects.key_of(lines[0].event.org, run))
    for place, line in enumerate(lines):
        changes: dict[str, Any] = {"run": run}
        if line.seen:
            changes["seen"] = after_seq + line.seen
        data = ev.encode(msgspec.structs.replace(line.event, **changes))
        entries.append(Entry(f"{prefix}.{line.suffix}", data, fence=None if place else Fence(0)))
    return entries
