"""The collector of what is decided about a run. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.events import BlobRef, StepError
from agentflow_common.runs.fold import evolve
from agentflow_scheduler.decisions import Decisions
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.runs.scope import Scope


class RunDecisions(Decisions):
    """The decisions of one turn about a run. Each send is appended together with the decision before it."""

    __slots__ = (
        "_run",
        "_take",
        "askers",
        "at",
        "failure",
        "held",
        "items",
        "marks",
        "needs",
        "scope",
        "successor",
    )

    marks: list[int]
    needs: list[BlobRef]
    askers: dict[str, str]

    def __init__(self, run: Run, now_ms: int, blobs: Mapping[str, Any], take: Callable[[str], bool]) -> None:
        super().__init__(run.state, now_ms, evolve, run.state.trace)
        self._run = run
        self._take = take  # asks for room for one more step in a worker pool; "": for a step that needs none
        self.marks = []
        self.needs = []
        self.askers = {}
        self.held = False
        self.scope = Scope(run.state, blobs)
        self.at = ""  # the step that is looked at, if any: an error of the engine is blamed on it
        self.failure: tuple[StepError, str] | None = None  # the error that the run fails with, and its step
        self.successor = ""  # the `continue_as_new` step by which the run ends
        self.items: dict[str, tuple[str, list[Any]]] = {}  # of expanded steps, as attempts.items_of found them

    def ask(self, refs: Iterable[BlobRef]) -> None:
        """Notes the values that the step needs that is looked at."""
        for ref in refs:
            self.needs.append(ref)
            self.askers.setdefault(ref.sha256, self.at)

    def emit(self, event_type: type[ev.Decision], /, **fields: Any) -> None:
        """Adds a decision and **folds it into the state at once**: code after it sees the new state."""
        super().emit(event_type, **fields)
        key = fields.get("step")
        if key:
            self._run.changed(key)

    def send(self, event_type: type[ev.Event], /, to_org: str, to: str, **fields: Any) -> None:
        """Adds a fact for another run of the org, a lane or a schedule, to be appended with the newest decision."""
        self.send_to(subjects.key_of(to_org, to), event_type, trace=self._trace, **fields)
        self.marks.append(len(self.decisions))

    def may_offer(self, pool: str) -> bool:
        """True if one more step may be offered. A step that may not be offered now stays dirty."""
        if self._take(pool):
            return True
        self.held = True
        return False


def unbounded(_pool: str) -> bool:
    return True
