"""A task in a worker's hands: the step that the queue delivered, and the steps that follow in it
(ADR 0009).
"""

from __future__ import annotations

import time
from typing import Any, Final

from agentflow_common import events as ev
from agentflow_common.log.consumers import Delivery
from agentflow_common.subjects import EntityKey
from agentflow_worker import machine

CHAIN_S_MAX: Final = 0.1  # a worker begins no further step of a task after this time
OLD_S: Final = 60.0  # half of the time for which the log remembers message ids


class TakenOver(Exception):
    """Another worker has the task."""


class TaskChain:
    """A task and the steps that follow in it."""

    __slots__ = ("_began", "_read", "delivery", "key", "outputs", "task")

    def __init__(self, key: EntityKey, task: ev.StepScheduled, delivery: Delivery) -> None:
        self.key = key
        self.task = task  # as the queue delivered it; its `then` names the steps that follow
        self.delivery = delivery
        self.outputs: dict[str, Any] = {}  # of the steps that later ones read, as they stand in the log
        self._read = {ref.step for step in task.then for ref in step.refs.values()}
        self._began = time.monotonic()

    def keep(self, step: str, output: Any) -> None:
        """Remembers the output, if a later step reads it."""
        if step in self._read:
            self.outputs[step] = machine.plain(output)

    def steps_before(self, current: ev.StepScheduled) -> list[tuple[str, int]]:
        """Returns (step, attempt) of the steps before the current one."""
        steps = [(self.task.step, self.task.attempt), *((step.step, 1) for step in self.task.then)]
        return steps[: len(self.task.then) - len(current.then)]

    @property
    def is_long(self) -> bool:
        """True if other tasks should take their turn now."""
        return time.monotonic() - self._began > CHAIN_S_MAX

    @property
    def is_old(self) -> bool:
        """True if the log may have forgotten the message id of another worker that had the task."""
        return time.monotonic() - self._began > OLD_S
