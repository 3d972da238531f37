"""The fold of an entity's log: its facts and decisions in the order in which its scheduler handled them.

Different processes write facts (`...in`) and decisions (`...out.*`). So a fact may come before a decision in the log
although that decision was taken without it. Each decision carries `seen`, the newest fact that it knew. The fold
delays a fact until a decision that had seen it, or until the end of the log (ADR 0003).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container
from typing import Any, Generic, TypeVar

from agentflow_common import events as ev

S = TypeVar("S")


class LogFold(Generic[S]):
    """Folds an entity's log, which is added in sequence order.

    Messages among the decisions that are not decisions are skipped, but they count for the next decision's fence.
    """

    def __init__(
        self,
        state: S,
        facts: Container[type[ev.Event]],  # the types of facts that change the state
        evolve: Callable[[Any, ev.Event, int], None],
        begin: Callable[[ev.Event, int], S] | None = None,  # returns the first state from an event; None: not yet
    ) -> None:
        self.state = state
        self.poison: list[int] = []  # sequences of messages that could not be folded; the fold goes on without them
        self._facts = facts
        self._evolve = evolve
        self._begin = begin
        self._held: deque[tuple[int, ev.Event]] = deque()
        self._passed = 0

    def add(self, event: ev.Event, seq: int) -> None:
        if isinstance(event, ev.Decision):
            while self._held and self._held[0][0] <= event.seen:
                self._apply(*self._held.popleft())
            self._apply(seq, event)
        elif type(event) in self._facts:
            self._held.append((seq, event))

    def pass_over(self, seq: int) -> None:
        """Skips a message that stands among the decisions but is not one."""
        self._passed = seq

    def finish(self) -> S:
        """Folds the facts that no decision has seen yet."""
        while self._held:
            self._apply(*self._held.popleft())
        state: Any = self.state
        if state is not None and state.out_seq < self._passed:
            state.out_seq = self._passed
        return self.state

    def _apply(self, seq: int, event: ev.Event) -> None:
        try:
            if self.state is not None:
                self._evolve(self.state, event, seq)
            elif self._begin is not None:
                self.state = self._begin(event, seq)
        except Exception:
            self.poison.append(seq)
