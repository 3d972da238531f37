"""Bugs to plant in what follows when a step fails. See mutations.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentflow_common.runs.state import StepStatus
from agentflow_scheduler.runs import back_edges, ending, plan
from agentflow_scheduler.runs.graphs import routes
from agentflow_scheduler.runs.run import is_undo
from agentflow_scheduler.runs.scope import holds
from agentflow_scheduler.runs.steps import attempts
from agentflow_scheduler.runs.steps.verdict import mistake

Change = tuple[Any, Any, Any]


def mistake_uncompensated() -> list[Change]:
    """A template that can't be computed ends the run at once: nothing is undone."""
    real = attempts.fail_undecidable

    def undecidable(at: Any, error: Any) -> None:
        if is_undo(at.key):
            real(at, error)
        else:
            ending.abort_run(at.run, at.out, mistake(at.key, error), at.key)

    return [(attempts, "fail_undecidable", undecidable)]


def mistake_fatal() -> list[Change]:
    """A template that can't be computed fails the run, whatever the policy of its step says."""
    real = attempts.fail_undecidable

    def undecidable(at: Any, error: Any) -> None:
        real(at, error)
        if not is_undo(at.key):
            at.out.failure = (mistake(at.key, error), at.key)

    return [(attempts, "fail_undecidable", undecidable)]


def mistake_tried_again() -> list[Change]:
    """A compensation that can't be computed is waited for: the others are never run."""
    real = attempts.close_failed

    def close_failed(at: Any, error: Any) -> None:
        if not (is_undo(at.key) and error.type == "undecidable"):
            real(at, error)

    return [(attempts, "close_failed", close_failed)]


def failure_skips_what_follows() -> list[Change]:
    """Behind a step that failed, and without which the run goes on, everything is skipped."""

    def taken(scope: Any, source: str, condition: str | None) -> bool:
        status = scope.status(source)
        if status == StepStatus.COMPLETED:
            return condition is None or holds(scope, condition)
        return status == StepStatus.FAILED and condition is not None and holds(scope, condition)

    return [(module, "taken", taken) for module in (plan, back_edges, routes)]


def failure_never_asked() -> list[Change]:
    """No condition is asked about a step that failed."""

    def taken(scope: Any, source: str, condition: str | None) -> bool:
        done = scope.status(source) == StepStatus.COMPLETED
        return condition is None or (done and holds(scope, condition))

    return [(module, "taken", taken) for module in (plan, back_edges, routes)]


ALL: tuple[Callable[[], list[Change]], ...] = (
    mistake_uncompensated, mistake_fatal, mistake_tried_again, failure_skips_what_follows, failure_never_asked,
)  # fmt: skip
