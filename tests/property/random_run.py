"""One run whose outside is random: reports and timers come late, twice, or after a crash."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

from agentflow_common import events as ev
from tests.support.events import base
from tests.support.run_driver import RunDriver

ROUNDS_MAX = 3_000


class RandomRun(RunDriver, ABC):
    """A run that takes facts from its log when the seed says. A subclass says what workers report."""

    def __init__(self, definition: Mapping[str, Any], seed: int) -> None:
        super().__init__(definition)
        self.now_ms = 1_000_000
        self.random = random.Random(seed)
        self.unseen: list[tuple[int, ev.Event]] = []  # facts in the log that the scheduler has not taken yet
        self.tasks: list[ev.StepScheduled] = []
        self.timers: list[ev.TimerSet] = []

    def begin(self, event: ev.RunSubmitted) -> Self:
        """Leaves the first decision to the first turn."""
        return self.start(event)

    @abstractmethod
    def report(self, task: ev.StepScheduled) -> ev.Event:
        """Returns the report of the worker that has a task."""

    def offer(self, task: ev.StepScheduled, _seq: int) -> None:
        """Takes a task from the log."""
        self.tasks.append(task)

    def fact(self, event: ev.Event) -> None:
        self.unseen.append((self.append(event), event))

    def turn(self, crash: bool = False) -> None:
        """The scheduler takes some facts and decides; at a crash only a prefix of its decisions reaches the log."""
        self.take(self.random.randint(0, len(self.unseen)))
        seq = len(self.log)
        made = self.decide().made
        assert not self.out.needs
        if crash:
            made = made[: self.random.randint(0, len(made))]
            self.unseen.clear()
            self.crash(keep=len(made))
        for number, decision in enumerate(made, seq + 1):
            if isinstance(decision, ev.StepScheduled):
                self.offer(decision, number)
            elif isinstance(decision, ev.TimerSet):
                self.timers.append(decision)

    def take(self, count: int | None = None) -> None:
        """Applies the first facts that were not taken yet, or all of them."""
        count = len(self.unseen) if count is None else count
        for seq, event in self.unseen[:count]:
            self.run.apply(event, seq)
        del self.unseen[:count]

    def outside(self) -> None:
        """Time passes; a worker reports, or a timer fires, maybe twice."""
        self.now_ms += self.random.randint(1, 50)
        choices: list[Any] = [*self.tasks, *self.timers]
        if not choices:
            return
        chosen = self.random.choice(choices)
        if isinstance(chosen, ev.TimerSet):
            self.timers.remove(chosen)
            own = base(ts=chosen.fire_at, step=chosen.step, attempt=chosen.attempt)
            fact: ev.Event = ev.TimerFired(**own, timer=chosen.timer, kind=chosen.kind)
        else:
            self.tasks.remove(chosen)
            fact = self.report(chosen)
        for _ in range(1 + (self.random.random() < 0.2)):
            self.fact(fact)

    def settle(self, crashes: bool, cancel_at: int | None = None) -> None:
        """Plays the run to its end."""
        for moment in range(ROUNDS_MAX):
            if moment == cancel_at:
                self.fact(ev.RunCancelRequested(**base(ts=self.now_ms)))
            self.turn(crashes and self.random.random() < 0.3)
            if self.status.terminal:
                return
            self.outside()
        raise AssertionError(f"the run does not end: {self.state}")
