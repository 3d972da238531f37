"""Reads a schedule from the log: from its newest checkpoint on, so however old it is, the read is short."""

from __future__ import annotations

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import EventLog
from agentflow_common.schedules.fold import ScheduleFold, ScheduleState
from agentflow_common.subjects import EntityKey


async def load_schedule(log: EventLog, key: EntityKey) -> ScheduleState | None:
    """The folded state, None if there is no such schedule; one that was deleted is there still (`deleted`)."""
    fold = ScheduleFold()
    checkpoint = await log.last(subjects.out_checkpoint(key))
    event = ev.try_decode(checkpoint.data) if checkpoint is not None else None
    position = event.seen if isinstance(event, ev.ScheduleCheckpointed) else 0
    async for stored in log.messages(subjects.run_all(key), position):
        found = ev.try_decode(stored.data)
        if found is not None:
            fold.add(found, stored.seq)
    return fold.finish()
