"""Attempts that the scheduler has closed while their tasks waited in the queue: they must not begin.

A run may go on without a step: a join has started, a map has failed, or the step took too long. A notice of it goes to
every worker, but a worker may have been down, and a notice may get lost. The log decides.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import EventLog
from agentflow_common.subjects import EntityKey

NOTICES_MAX: Final = 10_000  # a task that is older than a few seconds is looked up in the log in any case
RUNS_MAX: Final = 1_000
BELIEVED_S: Final = 1.0  # how long what was read of a run is taken as the newest
_CLOSING: Final = (ev.StepCancelled, ev.StepTimedOut)


@dataclass(slots=True)
class _Closed:
    """What was read of one run: the attempts that were closed after one sequence and up to another."""

    after: int
    up_to: int
    believed_until: float = 0.0
    attempts: set[tuple[str, int]] = field(default_factory=set)


class ClosedSteps:
    """Knows which attempts were closed, from notices and from the log."""

    def __init__(self, event_log: EventLog) -> None:
        self._log = event_log
        self._notices: dict[tuple[str, str, int], None] = {}
        self._runs: dict[str, _Closed] = {}

    def note(self, run: str, step: str, attempt: int) -> None:
        """Keeps a notice that an attempt was closed."""
        while len(self._notices) >= NOTICES_MAX:
            del self._notices[next(iter(self._notices))]
        self._notices[run, step, attempt] = None

    def was_noticed(self, task: ev.StepScheduled) -> bool:
        """True if a notice said that the attempt was closed."""
        return (task.run, task.step, task.attempt) in self._notices

    async def has(self, key: EntityKey, task: ev.StepScheduled, seq: int) -> bool:
        """True if the attempt was closed, by the log. False is believed for a second.

        seq: of the task. Each run is read once, however many of its tasks are asked for.
        """
        known = self._runs.get(key.name)
        if known is None or seq < known.after:
            while len(self._runs) >= RUNS_MAX:
                del self._runs[next(iter(self._runs))]
            known = self._runs[key.name] = _Closed(seq, seq)
        attempt = (task.step, task.attempt)
        if attempt not in known.attempts and known.believed_until <= time.monotonic():
            for stored in await self._log.read(subjects.out_step(key), after_seq=known.up_to):
                event = ev.try_decode(stored.data)
                if isinstance(event, _CLOSING):
                    known.attempts.add((event.step, event.attempt))
                known.up_to = max(known.up_to, stored.seq)
            known.believed_until = time.monotonic() + BELIEVED_S
        return attempt in known.attempts
