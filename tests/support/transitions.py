"""Holds a run's log against the tables of agentflow_common/runs/transitions.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agentflow_common import events as ev
from agentflow_common.runs.fold import RunFold
from agentflow_common.runs.state import RunState, StepState, StepStatus
from agentflow_common.runs.transitions import BEGUN, RUN, STEP, Transition


def impossible_events(log: Iterable[tuple[int, ev.Event]]) -> list[str]:
    """Returns the events that the tables call impossible in the status in which the fold meets them."""
    found: list[str] = []

    class Watched(RunFold):
        def _apply(self, seq: int, event: ev.Event) -> None:
            *before, newest = ev.single(event)
            for report in before:
                self._apply_single(seq, 0, report)
            self._apply_single(seq, seq, newest)

        def _apply_single(self, seq: int, counted: int, event: ev.Event) -> None:
            """`counted`: the sequence with which it is folded; 0 for a report that comes with later ones."""
            if self.state is not None:
                found.extend(f"{seq}: {what}" for what in _misfits(self.state, event))
            super()._apply(counted, event)

    fold = Watched()
    for seq, event in log:
        fold.add(event, seq)
    fold.finish()
    assert not fold.poison, "an event can't be folded"
    return found


def _misfits(state: RunState, event: ev.Event) -> Iterator[str]:
    name = ev.event_type(event)
    run = RUN.get(type(event))
    if run is not None and run.fit(state.status) == "impossible":
        yield f"{name} in a run that is {state.status}"
    step = STEP.get(type(event))
    other_timer = isinstance(event, ev.TimerSet) and event.kind != "retry"
    if step is not None and not other_timer and not isinstance(event, ev.TimerFired):
        yield from _misfit(name, step, state, getattr(event, "step", ""))
    if isinstance(event, ev.StepCompleted) and event.begun is not None and not state.status.terminal:
        yield from _misfit(f"{name} with `begun`", BEGUN, state, event.begun.step)


def _misfit(name: str, transition: Transition[StepStatus], state: RunState, key: str) -> Iterator[str]:
    status = state.steps.get(key, StepState()).status
    if transition.fit(status) == "impossible":
        yield f"{name} of {key}, which is {status}"
