"""The progress of a run that a watcher gets beside each event: status, cost, steps done so far. Pure."""

from __future__ import annotations

from typing import Final

from agentflow_common import events as ev
from agentflow_common.runs.state import RunStatus
from agentflow_common.runs.transitions import STATUS_AFTER

_CLOSING: Final = (ev.StepCompleted, ev.StepFailed, ev.StepOutcomeUnknown, ev.StepTimedOut, ev.StepCancelled)


class Progress:
    """Feed it every event of a run in sequence order. It keeps no payload."""

    def __init__(self) -> None:
        self._status = RunStatus.PENDING
        self.cost_nano = 0  # nano-USD
        self.steps_total = 0  # with children
        self._attempts: dict[str, int] = {}
        self._done: set[str] = set()

    @property
    def status(self) -> str:
        return self._status.value

    @property
    def steps_done(self) -> int:
        return len(self._done)

    @property
    def ended(self) -> bool:
        return self._status.terminal

    def add(self, event: ev.Event) -> None:
        self._status = STATUS_AFTER.get(type(event), self._status)
        if isinstance(event, ev.RunSubmitted):
            self.steps_total = len(event.definition.get("dag", {}).get("nodes", []))
        elif isinstance(event, ev.RunStarted):
            self.steps_total = event.steps
        elif isinstance(event, ev.TERMINAL_RUN):
            self.cost_nano = max(self.cost_nano, event.cost_nano)
        elif isinstance(event, ev.RunCompensating | ev.StepsReset):
            self.steps_total += len(event.steps)
        elif isinstance(event, ev.StepIterated):
            self.steps_total += 1
        elif isinstance(event, ev.GraphAdvanced):
            self.steps_total = max(self.steps_total, len(self._done) + len(event.steps))
        else:
            for report in ev.single(event):
                self._step(report)

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
            # the report of an attempt that was given up counts for money, not for progress
            if event.attempt == self._attempts.get(event.step, event.attempt):
                self._done.add(event.step)
        elif isinstance(event, ev.StepSkipped | ev.StepUndecidable | ev.StepJoined | ev.StepResolved):
            self._done.add(event.step)
        elif isinstance(event, ev.ChildEnded) and event.status != "continued":
            self.cost_nano += event.cost_nano
            self._done.add(event.step)
