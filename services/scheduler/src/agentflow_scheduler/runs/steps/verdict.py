"""The verdict on a step that did not succeed: retry it, ask a person, fail the run, or go on without it. Pure."""

from __future__ import annotations

from typing import Final, Literal

from agentflow_common import ids
from agentflow_common.definition.dependencies import TIMED_OUT
from agentflow_common.definition.nodes.policy import Retry
from agentflow_common.errors import InvalidError
from agentflow_common.events import StepError
from agentflow_common.runs.state import StepState, StepStatus, parent_of
from agentflow_scheduler.runs.plan import PlanNode
from agentflow_scheduler.runs.run import is_undo

UNDECIDABLE: Final = "undecidable"
_BASES: Final = {"timeout": ("TimeoutError",), "heartbeat_timeout": ("TimeoutError",)}  # of the engine's own types
_UNSURE: Final = frozenset(
    {"timeout", "heartbeat_timeout", "outcome_unknown", "cancelled", "undecidable", "engine_error"}
)  # before an error of the last two types, an earlier attempt may have had an effect
Verdict = Literal["retry", "ask", "fail", "go_on"]


def judge(node: PlanNode, key: str, step: StepState) -> Verdict:
    """Decides by the node's policy about a step that failed or whose outcome is unknown.

    The verdict is to `retry` it, `ask` a person, `fail` the run, or `go_on` without it.
    """
    retry = retry_of(node, key)
    error = error_of(step)
    if is_unknown(key, step):
        policy = node.policy.on_unknown or ("retry" if node.work is not None and node.work.kind == "llm" else "fail")
        if policy == "ask":
            return "ask"
        again = policy == "retry" and step.attempt < retry.max_attempts
    elif node.work is None or error.type == UNDECIDABLE:  # it would come to the same
        again = False
    else:
        again = _may_retry(retry, error, step.attempt)
    return "retry" if again and not step.expired else final_verdict(node, key, error)


def final_verdict(node: PlanNode, key: str, error: StepError) -> Verdict:
    """Returns the verdict once no attempts are left. An iteration or an item of a map never fails the run."""
    item = node.kind in {"map", "loop"} and parent_of(key) is not None
    late = node.policy.on_timeout is not None and error.type in TIMED_OUT
    return "go_on" if node.policy.on_failure == "continue" or late or item or is_undo(key) else "fail"


def fails_run(node: PlanNode, key: str, step: StepState) -> bool:
    """True if the step, as it is now, makes the run fail."""
    over = step.status in {StepStatus.FAILED, StepStatus.OUTCOME_UNKNOWN}
    return over and judge(node, key, step) == "fail"


def is_unknown(key: str, step: StepState) -> bool:
    """True if the step may have taken effect. A compensation never counts: it can be repeated."""
    return step.status is StepStatus.OUTCOME_UNKNOWN and not is_undo(key)


def is_unsure(step: StepState | None) -> bool:
    """True if an attempt of the step that failed, the last one or one before it, may have taken effect."""
    return step is not None and (step.unsure or (step.error is not None and step.error.type in _UNSURE))


def acted_before(step: StepState | None, attempt: int) -> bool:
    """True if an attempt before this one may have taken effect."""
    return attempt > 1 and is_unsure(step)


def error_of(step: StepState) -> StepError:
    return step.error or StepError("unknown", "the step failed")


def mistake(key: str, error: InvalidError) -> StepError:
    """Returns the error of a step with a mistake in its definition. It names the step, which may be one of many."""
    return StepError(UNDECIDABLE, f"{key}: {error.message}", retryable=False)


def retry_of(node: PlanNode, key: str) -> Retry:
    return node.undo.retry if is_undo(key) and node.undo is not None else node.retry


def _may_retry(retry: Retry, error: StepError, attempt: int) -> bool:
    if attempt >= retry.max_attempts or not attempt:
        return False
    names = {error.type, *error.bases, *_BASES.get(error.type, ())}
    if names.intersection(retry.non_retryable):
        return False
    if retry.retryable:  # an error that says it is final is tried again only if its own type is listed
        return error.type in retry.retryable or (error.retryable and not names.isdisjoint(retry.retryable))
    return error.retryable


def retry_delay_ms(retry: Retry, run: str, key: str, attempt: int, error: StepError) -> int:
    """Returns the wait before the next attempt: the backoff, with a jitter that depends on run, step and attempt."""
    factor = {"fixed": 1, "linear": attempt, "exponential": 2 ** min(attempt - 1, 30)}[retry.backoff]
    base = min(retry.initial_ms * factor, retry.max_ms)
    spread = 1 + retry.jitter * (2 * ids.fraction(run, key, attempt) - 1)
    return max(int(base * spread), error.retry_after_ms or 0)
