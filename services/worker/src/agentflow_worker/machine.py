"""What a worker decides without I/O: whether a delivered task should still run, and how an exception is reported."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from agentflow_common import events as ev
from agentflow_common.errors import AgentFlowError
from agentflow_common.events import StepError

MESSAGE_CHARS_MAX: Final = 2_000
STALE_MS: Final = 2_000  # an older task is checked against the log before it runs


def is_settled(task: ev.StepScheduled, later: Iterable[ev.AnyEvent]) -> bool:
    """True if events after the task show that this attempt was reported, cancelled, or that its run is over."""
    for event in later:
        if isinstance(event, ev.TERMINAL_RUN):
            return True
        if (
            isinstance(
                event, ev.StepCompleted | ev.StepFailed | ev.StepOutcomeUnknown | ev.StepCancelled | ev.StepTimedOut
            )
            and event.step == task.step
            and event.attempt == task.attempt
        ):
            return True
    return False


def needs_check(task: ev.StepScheduled, delivered: int, age_ms: int) -> bool:
    """Whether the log must be asked first: a redelivery, or a task that outlived its own timeout in the queue."""
    return delivered > 1 or (task.timeout_ms is not None and age_ms > task.timeout_ms)


def is_stale(age_ms: int) -> bool:
    """Whether the run may be over by now, which one look at its newest fact tells."""
    return age_ms > STALE_MS


def to_step_error(error: BaseException) -> StepError:
    """How an attempt's exception stands in the log (the message is screened before it gets there)."""
    if isinstance(error, AgentFlowError):
        problems = "; ".join(map(str, error.problems))
        text = f"{error.message}: {problems}" if problems and problems not in error.message else error.message
        return StepError(error.kind, clip(text), error.retryable, error.retry_after_ms)
    return StepError(type(error).__name__, clip(str(error) or type(error).__name__), retryable=True)


def clip(text: str) -> str:
    return text if len(text) <= MESSAGE_CHARS_MAX else text[: MESSAGE_CHARS_MAX - 1] + "\u2026"
