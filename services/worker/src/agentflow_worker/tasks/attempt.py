"""One attempt of a step while a worker runs it: how it is stopped, and what concerns it."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field

from agentflow_common import events as ev
from agentflow_common.log.consumers import Delivery
from agentflow_common.subjects import EntityKey
from agentflow_worker.context import StepContext
from agentflow_worker.tasks.heartbeat import Heartbeat
from agentflow_worker.tasks.kept_reports import KeptReports
from agentflow_worker.tasks.task_chain import TaskChain


@dataclass(slots=True, eq=False, repr=False)
class Attempt:
    """The step of a task that a worker has in hand.

    Times are by the loop's clock, but for `started`.
    """

    chain: TaskChain
    task: ev.StepScheduled
    context: StepContext
    kept: KeptReports  # of the steps before it in the task
    key: EntityKey = field(init=False)
    delivery: Delivery = field(init=False)
    started: float = field(init=False)
    heartbeat: Heartbeat | None = None  # from the first beat on
    work: asyncio.Task[None] | None = None  # the task in which the callable runs, while it runs
    blocking: bool = False  # the callable runs in a thread, which can't be interrupted
    interrupts: int = 0  # cancellations of `work` that were made here
    forced: bool = False  # the scheduler has closed the attempt and does not wait for its report
    announce_at: float = math.inf  # when watchers hear of the step
    late_at: float = math.inf  # when the step is interrupted because it takes too long
    late: bool = False  # it was

    def __post_init__(self) -> None:
        self.key = self.chain.key
        self.delivery = self.chain.delivery
        self.started = time.time()

    def concerns(self, step: str, attempt: int) -> bool:
        """True if a message about (step, attempt) concerns this attempt; an empty step or attempt 0
        matches any.

        A message about an earlier step of the same task does too: the scheduler closed that step
        before it saw its report.
        """
        task = self.task
        if step in {"", task.step} and attempt in {0, task.attempt}:
            return True
        return (step, attempt) in self.chain.steps_before(task)

    def expire(self) -> None:
        """Interrupts the callable: it has taken too long."""
        self.late_at = math.inf
        if self.work is not None:
            self.late = True
            self.interrupts += 1
            self.work.cancel()

    def stop(self, forced: bool) -> None:
        """Asks the callable to end.

        An asynchronous callable is interrupted once, and again when it is forced. A callable in a
        thread sees `context.cancelled`, and is left behind when it is forced.
        """
        self.context.cancelled.set()
        self.forced = self.forced or forced
        if self.work is not None and (forced or not (self.blocking or self.interrupts)):
            self.interrupts += 1
            self.work.cancel()
