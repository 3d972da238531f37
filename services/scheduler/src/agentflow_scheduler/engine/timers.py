"""Timers as JetStream message schedules: the server writes `timer.fired` into the entity's `in` when one is due."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.definition.durations import TIME_MS_MAX
from agentflow_common.log.event_log import Entry, EventLog
from agentflow_common.log.transient import AWAY
from agentflow_common.subjects import EntityKey


async def set_timers(event_log: EventLog, timers: Iterable[tuple[EntityKey, str, Any]]) -> None:
    """Publishes message schedules. A time beyond the server's maximum is set to the maximum.

    A timer that is set twice replaces itself. A timer that fires twice is folded once.
    """
    futures = []
    for key, name, timer in timers:
        at = datetime.fromtimestamp(min(max(timer.fire_at, 0), TIME_MS_MAX) / 1000, UTC).isoformat(
            timespec="milliseconds"
        )
        fired = ev.TimerFired(
            org=key.org,
            run=key.name,
            ts=timer.fire_at,
            timer=name,
            kind=timer.kind,
            step=timer.step,
            attempt=timer.attempt,
        )
        headers = {
            "Nats-Schedule": f"@at {at.replace('+00:00', 'Z')}",
            "Nats-Schedule-Target": subjects.run_in(key),
        }
        futures.append(await event_log.publish(Entry(subjects.timer(key, name), ev.encode(fired), headers=headers)))
    for future in futures:
        await future


async def purge_timers(event_log: EventLog, key: EntityKey) -> None:
    """Removes the timers of an entity that is over: they would only wake it for nothing."""
    with contextlib.suppress(*AWAY):
        await event_log.nc.jsm().purge_stream(subjects.EVENTS_STREAM, subject=subjects.run_timers(key))
