"""The collector of a machine's decisions, and of the facts that it sends to other entities. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agentflow_common import events as ev
from agentflow_common.events import BlobRef
from agentflow_common.subjects import EntityKey


class Decisions:
    """The decisions of one turn. Every kind of entity has a subclass."""

    def __init__(self, state: Any, now_ms: int, evolve: Callable[[Any, ev.Event, int], None], trace: str = "") -> None:
        self._state = state
        self._evolve = evolve
        self._trace = trace
        self.now_ms = now_ms
        self.decisions: list[ev.Decision] = []  # in order; the state has them already
        self.sends: list[tuple[EntityKey, ev.Event]] = []  # facts for the logs of other entities, appended with them
        self.marks: Sequence[int] | None = None  # for each send, how many decisions stand before it; None: all of them
        self.more = False  # the turn was cut short: the entity decides again once this is written
        self.held = False  # a step could not be offered, for want of room or because its workflow is paused
        self.needs: Sequence[BlobRef] = ()  # values out of line, to be fetched before the entity decides again
        self.askers: Mapping[str, str] = {}  # the step that asked for each of these values, by SHA-256

    def emit(self, event_type: type[ev.Decision], /, **fields: Any) -> None:
        """Adds a decision and **folds it into the state at once**: code after it sees the new state."""
        self.record(event_type, fields)

    def record(self, event_type: type[ev.Decision], fields: dict[str, Any]) -> None:
        """Adds a decision like `emit`, with its fields in a dict."""
        state = self._state
        event = event_type(
            org=state.org, run=state.run, ts=self.now_ms, seen=state.facts_seq, trace=self._trace, **fields
        )
        self._evolve(state, event, 0)
        self.decisions.append(event)

    def send_to(self, to: EntityKey, event_type: type[ev.Event], /, **fields: Any) -> None:
        """Adds a fact for another entity."""
        self.sends.append((to, event_type(org=to.org, run=to.name, ts=self.now_ms, **fields)))

    def groups(self) -> list[tuple[int, int]]:
        """Returns the numbers of decisions and sends that are written together, in order."""
        if self.marks is None:
            return [(len(self.decisions), len(self.sends))]
        counts = [0] * (len(self.decisions) + 1)
        for mark in self.marks:
            counts[mark] += 1
        return [(0, 1)] * counts[0] + [(1, count) for count in counts[1:]]
