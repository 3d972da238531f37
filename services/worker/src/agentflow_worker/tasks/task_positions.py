"""Where a task stands by the log: which step is to run now, and whether the run has ended."""

from __future__ import annotations

import time
from typing import Final

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.clock import Clock
from agentflow_common.log.blobs import Blobs
from agentflow_common.log.event_log import EventLog
from agentflow_common.subjects import EntityKey
from agentflow_worker import machine
from agentflow_worker.tasks.closed_steps import ClosedSteps
from agentflow_worker.tasks.task_chain import TakenOver, TaskChain

RUN_CHECK_S: Final = 1.0  # how long the answer "this run is not over" is believed
RUNS_REMEMBERED_MAX: Final = 10_000


class TaskPositions:
    """Reads the log of runs for one worker."""

    def __init__(self, event_log: EventLog, blobs: Blobs, clock: Clock, worker_id: str) -> None:
        self._log = event_log
        self._blobs = blobs
        self._clock = clock
        self._worker_id = worker_id
        self.closed = ClosedSteps(event_log)
        self._open_until: dict[str, float] = {}  # runs that were not over, and how long that is believed

    async def first(self, chain: TaskChain) -> ev.StepScheduled | None:
        """Returns the step with which a delivered task begins; None if the task is over."""
        task, delivery = chain.task, chain.delivery
        age_ms = self._clock.now_ms() - delivery.ts
        if machine.needs_check(task, delivery.delivered, age_ms):
            return await self.current(chain)
        if self.closed.was_noticed(task):
            return None
        if age_ms <= machine.STALE_MS:
            return task
        over = await self.is_over(chain.key) or await self.closed.has(chain.key, task, delivery.seq)
        return None if over else task

    async def current(self, chain: TaskChain, *, own: bool = False) -> ev.StepScheduled | None:
        """Returns the step that the task is at by the log; None if the task is over.

        Another worker may have had the task, or this worker's report may have been written twice.
        own: raises TakenOver if another worker has begun that step.
        """
        later = await self._log.read(subjects.run_all(chain.key), after_seq=chain.delivery.seq)
        position = machine.position(chain.task, filter(None, (ev.try_decode(stored.data) for stored in later)))
        if position is None:
            return None
        if own and position.by != self._worker_id:
            raise TakenOver
        for name, payload in position.given.items():
            chain.keep(name, await self._blobs.unpack(payload))
        task: ev.StepScheduled | None = chain.task
        while task is not None and task.step != position.step:
            task = machine.following(task, chain.outputs)
        return task

    async def is_over(self, key: EntityKey) -> bool:
        """True if the run has ended, by its newest decision in the log.

        False is believed for a second.
        """
        now = time.monotonic()
        if self._open_until.get(key.name, 0.0) > now:
            return False
        last = await self._log.last(subjects.out_run(key))
        if last is not None and isinstance(ev.try_decode(last.data), ev.TERMINAL_RUN):
            return True
        if len(self._open_until) > RUNS_REMEMBERED_MAX:
            self._open_until.clear()
        self._open_until[key.name] = now + RUN_CHECK_S
        return False
