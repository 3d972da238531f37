"""Bugs to plant in what follows when a step fails. See mutations.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentflow_common.runs.state import StepStatus
from agentflow_scheduler.runs import attempts, ending, expansion, graph, plan
from agentflow_scheduler.runs.run import is_undo
from agentflow_scheduler.runs.scope import holds
from agentflow_scheduler.runs.verdict import mistake

Change = tuple[Any, Any, Any]


def mistake_uncompensated() -> list[Change]:
    """A template that can't be computed ends the run at once: nothing is undone."""
    real = attempts.undecidable

    def undecidable(its_run: Any, out: Any, node: Any, key: str, error: Any) -> None:
        if is_undo(key):
            real(its_run, out, node, key, error)
        else:
            ending.fail(its_run, out, mistake(key, error), key, undo=False)

    return [(attempts, "undecidable", undecidable)]


def mistake_fatal() -> list[Change]:
    """A template that can't be computed fails the run, whatever the policy of its step says."""
    real = attempts.undecidable

    def undecidable(its_run: Any, out: Any, node: Any, key: str, error: Any) -> None:
        real(its_run, out, node, key, error)
        if not is_undo(key):
            out.failure = (mistake(key, error), key)

    return [(attempts, "undecidable", undecidable)]


def mistake_tried_again() -> list[Change]:
    """A compensation that can't be computed is waited for: the others are never run."""
    real = attempts.give_up

    def give_up(its_run: Any, out: Any, node: Any, key: str, error: Any) -> None:
        if not (is_undo(key) and error.type == "undecidable"):
            real(its_run, out, node, key, error)

    return [(attempts, "give_up", give_up)]


def failure_skips_what_follows() -> list[Change]:
    """Behind a step that failed, and without which the run goes on, everything is skipped."""

    def taken(scope: Any, source: str, condition: str | None) -> bool:
        status = scope.status(source)
        if status == StepStatus.COMPLETED:
            return condition is None or holds(scope, condition)
        return status == StepStatus.FAILED and condition is not None and holds(scope, condition)

    return [(module, "taken", taken) for module in (plan, expansion, graph)]


def failure_never_asked() -> list[Change]:
    """No condition is asked about a step that failed."""

    def taken(scope: Any, source: str, condition: str | None) -> bool:
        done = scope.status(source) == StepStatus.COMPLETED
        return condition is None or (done and holds(scope, condition))

    return [(module, "taken", taken) for module in (plan, expansion, graph)]


ALL: tuple[Callable[[], list[Change]], ...] = (
    mistake_uncompensated, mistake_fatal, mistake_tried_again, failure_skips_what_follows, failure_never_asked,
)  # fmt: skip
