"""The engine's view of worker pools: the steps under way in them, and the runs that may offer more."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from agentflow_common import events as ev
from agentflow_common.runs.state import ACTIVE
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.fairness import Budget, Waiter, Window
from agentflow_scheduler.runs.run import Run


def _nothing(_pool: str) -> bool:
    return False


class Pools:
    """Counts the steps of runs in the window of each pool (fairness.py)."""

    def __init__(self, steps_max: int) -> None:
        self._window = Window(steps_max)  # steps_max: how many offered steps of one pool may be open
        self._budgets: dict[EntityKey, Budget] = {}

    def adopt(self, key: EntityKey, run: Run) -> None:
        """Counts the steps that a run has under way when it comes into memory."""
        self._window.forget(key)
        for name in run.in_flight:
            self._begun(key, run, name)

    def forget(self, key: EntityKey) -> None:
        self._window.forget(key)
        self._budgets.pop(key, None)

    def on_folded(self, key: EntityKey, run: Run, event: ev.Event) -> None:
        """Counts after a fact. Its attempts may be over, and the worker may have begun the next step."""
        for report in ev.single(event):
            name = ev.step_of(report)
            step = run.state.steps.get(name) if name else None
            if step is not None and step.status not in ACTIVE:
                self._window.closed(key, name)
                if isinstance(report, ev.StepCompleted) and report.begun is not None:
                    self._begun(key, run, report.begun.step)

    def _begun(self, key: EntityKey, run: Run, name: str) -> None:
        node, step = run.node(name), run.state.steps.get(name)
        if node is not None and step is not None and step.status in ACTIVE:
            self._window.opened(key, name, node.pool)

    def room(self, key: EntityKey, paused: bool) -> Callable[[str], bool]:
        """Returns a function that is True if one more step of the run may be offered to a pool.

        A paused workflow may offer no steps.
        """
        if paused:
            self._budgets.pop(key, None)
            return _nothing
        budget = self._budgets[key] = self._window.budget(key)
        return lambda pool: not pool or budget.take(pool)

    def on_decided(self, key: EntityKey, run: Run, decisions: Iterable[ev.Decision]) -> None:
        """Counts steps that were offered and closed.

        A run that could not offer all of them waits for its turn.
        """
        for decision in decisions:
            if isinstance(decision, ev.StepScheduled):
                self._window.opened(key, decision.step, decision.lane)
            elif isinstance(decision, ev.StepCancelled | ev.StepTimedOut):
                self._window.closed(key, decision.step)
        budget = self._budgets.pop(key, None)
        state = run.state
        self._window.settle(Waiter(key, state.priority, state.submitted_at), budget.denied if budget else ())

    def offered(self) -> dict[str, int]:
        """Returns how many steps are offered to each pool and not done."""
        return self._window.offered()

    def waiting(self) -> list[EntityKey]:
        """Returns runs that wait for their turn."""
        return self._window.waiting()

    def grants(self) -> list[EntityKey]:
        """Returns runs whose turn has come."""
        return self._window.grants()
