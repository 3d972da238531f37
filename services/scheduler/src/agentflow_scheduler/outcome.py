"""What a machine decided: decisions that are folded already, and facts for other entities. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentflow_common import events as ev
from agentflow_common.subjects import EntityKey


class Outcome:
    """decisions: in order, already folded into the state. sends: facts for other entities' `in`, appended with them.

    state: of the entity that decides, which `evolve` folds.
    """

    __slots__ = ("_evolve", "_state", "_trace", "decisions", "now_ms", "sends")

    def __init__(self, state: Any, now_ms: int, evolve: Callable[[Any, ev.Event, int], None], trace: str = "") -> None:
        self._state = state
        self._evolve = evolve
        self._trace = trace
        self.now_ms = now_ms
        self.decisions: list[ev.Decision] = []
        self.sends: list[tuple[EntityKey, ev.Event]] = []

    def emit(self, event_type: type[ev.Decision], /, **fields: Any) -> None:
        state = self._state
        event = event_type(
            org=state.org, run=state.run, ts=self.now_ms, seen=state.facts_seq, trace=self._trace, **fields
        )
        self._evolve(state, event, 0)
        self.decisions.append(event)
