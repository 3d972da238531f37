"""What a watcher is told beside each event: status, cost and steps done so far. Pure; it keeps no payload."""

from __future__ import annotations

from typing import Final

from agentflow_common import events as ev

_CLOSING: Final = (
    ev.StepCompleted, ev.StepFailed, ev.StepOutcomeUnknown, ev.StepTimedOut, ev.StepCancelled,
)  # fmt: skip
_ENDS: Final = {ev.RunCompleted: "completed", ev.RunFailed: "failed", ev.RunCancelled: "cancelled"}
_MOVED: Final[dict[type[ev.Event], str]] = {
    ev.RunWaiting: "waiting", ev.RunPaused: "paused", ev.RunResumed: "running", ev.RunCompensating: "running",
}  # fmt: skip


class Progress:
    """Feed it every event of a run in sequence order. cost_nano: nano-USD. steps_total counts children too."""

    def __init__(self) -> None:
        self.status = "pending"
        self.cost_nano = 0
        self.steps_total = 0
        self._attempts: dict[str, int] = {}
        self._done: set[str] = set()

    @property
    def steps_done(self) -> int:
        return len(self._done)

    @property
    def ended(self) -> bool:
        return self.status in {"completed", "failed", "cancelled"}

    def add(self, event: ev.Event) -> None:
        if isinstance(event, ev.RunSubmitted):
            self.steps_total = len(event.definition.get("dag", {}).get("nodes", []))
        elif isinstance(event, ev.RunStarted):
            self.status = "running"
            self.steps_total = event.steps
        elif isinstance(event, ev.RunCompleted | ev.RunFailed | ev.RunCancelled):
            self.status = _ENDS[type(event)]
            self.cost_nano = max(self.cost_nano, event.cost_nano)
        elif type(event) in _MOVED:
            self.status = _MOVED[type(event)]
            if isinstance(event, ev.RunCompensating):
                self.steps_total += len(event.steps)
        elif isinstance(event, ev.StepIterated):
            self.steps_total += 1
        elif isinstance(event, ev.StepsReset):
            self.steps_total += len(event.steps)
        elif isinstance(event, ev.GraphAdvanced):
            self.steps_total = max(self.steps_total, len(self._done) + len(event.steps))
        else:
            self._step(event)

    def _step(self, event: ev.Event) -> None:
        if isinstance(event, ev.StepCompleted | ev.StepFailed) and event.llm is not None:
            self.cost_nano += event.llm.cost_nano
        if isinstance(event, ev.StepScheduled):
            self._attempts[event.step] = event.attempt
            self._done.discard(event.step)
        elif isinstance(event, ev.StepExpanded):
            self.steps_total += event.width
        elif isinstance(event, ev.TimerSet) and event.kind == "retry":
            self._done.discard(event.step)
        elif isinstance(event, _CLOSING):
            # a report of an attempt that was given up counts for money, not for progress
            if event.attempt == self._attempts.get(event.step, event.attempt):
                self._done.add(event.step)
        elif isinstance(event, ev.StepSkipped | ev.StepUndecidable | ev.StepJoined | ev.StepResolved):
            self._done.add(event.step)
        elif isinstance(event, ev.ChildEnded) and event.status != "continued":
            self.cost_nano += event.cost_nano
            self._done.add(event.step)
