"""What a node's policy says of a step that did not succeed: retry, ask, fail, or go on without it. Pure."""

from __future__ import annotations

from typing import Final, Literal

from agentflow_common import ids
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
)  # of the last two, an attempt before it may have had an effect
Verdict = Literal["retry", "ask", "fail", "go_on"]


def judge(node: PlanNode, key: str, step: StepState) -> Verdict:
    """What the node's policy says of a step that has failed, or of which nobody knows what became of it: `retry`, `ask`
    a person, `fail` the run, `go_on` without it."""
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
    return "retry" if again and not step.expired else last_word(node, key)


def last_word(node: PlanNode, key: str) -> Verdict:
    """What follows once there are no more attempts. An item is judged by the step that it is a part of."""
    item = node.kind in {"map", "loop"} and parent_of(key) is not None
    return "fail" if node.policy.on_failure == "fail" and not item and not is_undo(key) else "go_on"


def is_final(node: PlanNode, key: str, step: StepState) -> bool:
    """Whether the run fails of this step, as it stands."""
    over = step.status in {StepStatus.FAILED, StepStatus.OUTCOME_UNKNOWN}
    return over and judge(node, key, step) == "fail"


def is_unknown(key: str, step: StepState) -> bool:
    """Whether it may have taken effect; a compensation bears to be repeated."""
    return step.status is StepStatus.OUTCOME_UNKNOWN and not is_undo(key)


def is_unsure(step: StepState | None) -> bool:
    """Whether an attempt of the step that failed, the last one or one before it, may have taken effect."""
    return step is not None and (step.unsure or (step.error is not None and step.error.type in _UNSURE))


def error_of(step: StepState) -> StepError:
    return step.error or StepError("unknown", "the step failed")


def mistake(key: str, error: InvalidError) -> StepError:
    """What a step fails of whose definition can't be followed."""
    return StepError(UNDECIDABLE, f"{key}: {error.message}", retryable=False)  # of many alike, which one


def retry_of(node: PlanNode, key: str) -> Retry:
    return node.undo.retry if is_undo(key) and node.undo is not None else node.retry


def _may_retry(retry: Retry, error: StepError, attempt: int) -> bool:
    if attempt >= retry.max_attempts or not attempt:
        return False
    names = {error.type, *error.bases, *_BASES.get(error.type, ())}
    if names.intersection(retry.non_retryable):
        return False
    if retry.retryable:  # what is final by itself is tried again only if it is meant itself
        return error.type in retry.retryable or (error.retryable and not names.isdisjoint(retry.retryable))
    return error.retryable


def retry_delay_ms(retry: Retry, run: str, key: str, attempt: int, error: StepError) -> int:
    """The wait before the next attempt: backoff, spread by a jitter that depends on (run, step, attempt) alone."""
    factor = {"fixed": 1, "linear": attempt, "exponential": 2 ** min(attempt - 1, 30)}[retry.backoff]
    base = min(retry.initial_ms * factor, retry.max_ms)
    spread = 1 + retry.jitter * (2 * ids.fraction(run, key, attempt) - 1)
    return max(int(base * spread), error.retry_after_ms or 0)
