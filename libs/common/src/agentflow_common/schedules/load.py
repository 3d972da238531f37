"""The reader of a schedule's state. It begins at the newest checkpoint, so it is fast for old schedules, too."""

from __future__ import annotations

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import EventLog
from agentflow_common.schedules.fold import ScheduleFold
from agentflow_common.schedules.state import ScheduleState
from agentflow_common.subjects import EntityKey


async def load_schedule(log: EventLog, key: EntityKey) -> ScheduleState | None:
    """Returns the state of a schedule, folded from its log; None if it never existed. A deleted one has `deleted`."""
    fold = ScheduleFold()
    checkpoint = await log.last(subjects.out_checkpoint(key))
    event = ev.try_decode(checkpoint.data) if checkpoint is not None else None
    position = event.seen if isinstance(event, ev.ScheduleCheckpointed) else 0
    async for stored in log.messages(subjects.run_all(key), position):
        found = ev.try_decode(stored.data)
        if found is not None:
            fold.add(found, stored.seq)
    return fold.finish()
