"""The rows that the trace service keeps of a log, for tests without a server."""

from __future__ import annotations

from collections.abc import Iterable

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_trace import rows


def rows_of(log: Iterable[tuple[int, ev.Event]]) -> list[rows.Row]:
    """Returns the rows of a run's events. log: (sequence, event), in order."""
    found: list[rows.Row] = []
    for seq, event in log:
        data = ev.encode(event)
        key = subjects.key_of(event.org, event.run)
        subject = subjects.out_run(key) if isinstance(event, ev.Decision) else subjects.run_in(key)
        found.extend(rows.singly(rows.of(subjects.EVENTS_STREAM, subject, data, seq, event.ts), data))
    return found
