"""Facts that came too late for a run which went on as a new one: they are for the new run. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.subjects import EntityKey


def overtaken(key: EntityKey, log: Sequence[tuple[int, ev.Event]]) -> list[tuple[int, EntityKey, ev.Event]]:
    """Returns (sequence, the new run, the fact for it) of each cancel and signal that the run's end had not seen.

    log: the run's events as (sequence, event).
    """
    end = next((event for _, event in log if isinstance(event, ev.TERMINAL_RUN)), None)
    if not isinstance(end, ev.RunCompleted) or not end.continued_as:
        return []
    to = subjects.key_of(key.org, end.continued_as)
    facts: list[tuple[int, EntityKey, ev.Event]] = []
    for seq, event in log:
        if seq > end.seen and isinstance(event, ev.RunCancelRequested | ev.SignalReceived):
            fact = msgspec.structs.replace(event, run=to.name)
            if isinstance(fact, ev.SignalReceived) and not fact.id:  # so that it counts once, however often it is sent
                fact = msgspec.structs.replace(fact, id=f"{key.name}:{seq}")
            facts.append((seq, to, fact))
    return facts
