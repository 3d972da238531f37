"""Steps that no worker runs: they wait for a time, a signal, people, or the end of a subworkflow. Pure.

Each begins with `step.waiting` and ends with `step.resolved`. A subworkflow ends with the fact `child.ended`. `begin_*`
is called once. `advance_*` is called after every fact that may end the wait, and after a crash.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common.definition import durations
from agentflow_common.errors import InvalidError
from agentflow_common.events import Payload, StepError
from agentflow_common.expressions.sandbox import ExpressionError
from agentflow_common.runs import timer_ids
from agentflow_common.runs.state import Answer
from agentflow_scheduler.runs.decisions import StepContext
from agentflow_scheduler.runs.scope import Scope, fitting, gathered
from agentflow_scheduler.runs.steps import attempts, subworkflows
from agentflow_scheduler.runs.steps.time_limits import set_missing_timers

APPROVERS_MAX: Final = 200
MESSAGE_CHARS_MAX: Final = 64 * 1024
_TIMER_IDS: Final = {"wait": timer_ids.wait, "expire": timer_ids.expire, "escalate": timer_ids.escalate}


def _set_timer(at: StepContext, kind: str, fire_at: int) -> None:
    """Sets a timer that is not set: when the step begins, or after a crash that came before it."""
    timer = _TIMER_IDS[kind](at.key)
    if timer not in at.state.timers:
        at.emit(ev.TimerSet, timer=timer, kind=kind, fire_at=fire_at, attempt=1)


# --- times ---


def begin_wait(at: StepContext) -> None:
    values = gathered(at.node.values, at.scope, {})
    if "until" in values:
        until = _ms("until", durations.time_ms, values["until"])
    else:
        until = at.out.now_ms + _ms("duration", durations.wait_ms, values["duration"])
    at.emit(ev.StepWaiting, attempt=1, kind="wait", until=until)
    advance_wait(at)


def _ms(field: str, read: Callable[[Any], int], value: Any) -> int:
    try:
        return read(value)
    except ValueError as error:
        raise ExpressionError(f"`{field}`: {error}") from None


def advance_wait(at: StepContext) -> None:
    step = at.step
    if step.due or step.until <= at.out.now_ms:
        attempts.complete(at, attempt=1, output=Payload(value={"until": step.until}))
    else:
        _set_timer(at, "wait", step.until)


# --- signals ---


def begin_signal(at: StepContext) -> None:
    config = at.node.config
    until = at.out.now_ms + config.timeout_ms if config.timeout_ms else 0
    at.emit(ev.StepWaiting, attempt=1, kind="signal", until=until, detail={"signal": config.signal})
    advance_signal(at)


def advance_signal(at: StepContext) -> None:
    """Takes the oldest kept signal of its name."""
    step, config = at.step, at.node.config
    kept = at.state.signals.get(config.signal)
    if kept:
        attempts.complete(at, attempt=1, output=kept[0], signal=config.signal)
    elif step.due and config.on_timeout == "continue":
        attempts.complete(at, attempt=1, output=Payload())
    elif step.due:
        text = f"the signal {config.signal!r} did not come within {config.timeout_ms} ms"
        attempts.fail(at, StepError("signal_timeout", text, retryable=False), attempt=1)
    elif step.until:
        _set_timer(at, "expire", step.until)


# --- approvals ---


def begin_approval(at: StepContext) -> None:
    values = gathered(at.node.values, at.scope, {})
    config = at.node.config
    people = _names(values["approvers"])
    if config.approvers and not people:  # or else anyone could answer
        raise ExpressionError("`approvers` names nobody")
    if people and config.required > len({*people, *_names(values["escalate_to"])}):
        raise ExpressionError(f"{config.required} approvals are required, and there are {len(people)} approvers")
    message = _message(at.scope.inside(values["message"]))
    detail = {"message": message, "approvers": people, "required": config.required}
    until = at.out.now_ms + config.expires_ms if config.expires_ms else 0
    at.emit(ev.StepWaiting, attempt=1, kind="approval", until=until, detail=detail)
    advance_approval(at)


def _message(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if len(text) > MESSAGE_CHARS_MAX:
        raise ExpressionError(
            f"the message has {len(text):,} characters, the limit is {MESSAGE_CHARS_MAX:,}: say where it can be read"
        )
    return text


def _names(value: Any) -> list[str]:
    flat: list[Any] = []
    for item in value:
        flat.extend(item if isinstance(item, list) else [item])
    if wrong := [name for name in flat if not isinstance(name, str)]:
        raise ExpressionError(f"approvers are names, got {msgspec.json.encode(wrong[0]).decode()[:80]}")
    names = list(dict.fromkeys(name for name in flat if name))
    if len(names) > APPROVERS_MAX:
        raise ExpressionError(f"an approval has at most {APPROVERS_MAX} approvers, got {len(names)}")
    return names


def advance_approval(at: StepContext) -> None:
    step, config = at.step, at.node.config
    refused = next((answer for answer in step.answers if answer.decision == "reject"), None)
    approvals = sum(answer.decision == "approve" for answer in step.answers)
    if refused is not None:
        if config.on_reject == "continue":
            _conclude(at, approved=False)
        else:
            text = f"{refused.by} rejected it" + (f": {refused.comment}" if refused.comment else "")
            attempts.fail(at, StepError("rejected", text, retryable=False), attempt=1)
    elif approvals >= config.required:
        _conclude(at, approved=True)
    elif step.due and step.reason == "expire":
        refusal = config.on_expire == "reject"
        if config.on_expire == "fail" or (refusal and config.on_reject == "fail"):
            text = f"{approvals} of {config.required} approvals came within {config.expires_ms} ms"
            error = StepError("rejected" if refusal else "approval_expired", text, retryable=False)
            attempts.fail(at, error, attempt=1)
        else:
            _conclude(at, approved=not refusal, expired=True)
    elif step.due and step.reason == "escalate" and not step.detail.get("escalated"):
        people = gathered({"escalate_to": at.node.values["escalate_to"]}, at.scope, {})
        at.emit(ev.ApprovalEscalated, approvers=tuple(_names(people["escalate_to"])))
    else:
        if step.until and step.reason != "expire":
            _set_timer(at, "expire", step.until)
        if config.escalate_ms and not step.detail.get("escalated"):
            _set_timer(at, "escalate", step.scheduled_at + config.escalate_ms)


def _conclude(at: StepContext, **verdict: bool) -> None:
    """Ends an approval with `approved`, and with `expired` if it did. Raises NeedBlob for data stored out of line."""
    answered = {str(n): functools.partial(_shown, answer) for n, answer in enumerate(at.step.answers)}
    decisions = list(gathered(answered, at.scope).values())
    try:
        output = fitting({"decisions": decisions, **verdict}, "what the answers hold")
    except InvalidError as error:
        attempts.fail_undecidable(at, error)
    else:
        attempts.complete(at, attempt=1, output=Payload(value=output))


def _shown(answer: Answer, scope: Scope) -> dict[str, Any]:
    data = scope.look(answer.data)
    return {"by": answer.by, "decision": answer.decision, "comment": answer.comment, "data": data, "at": answer.at}


# --- subworkflows ---


def advance_subworkflow(at: StepContext) -> None:
    """Cancels a subworkflow that takes too long. Its own end comes as a fact."""
    step = at.step
    if not step.due:
        set_missing_timers(at)
        return
    expired = step.expired
    at.emit(
        ev.StepTimedOut,
        attempt=step.attempt,
        timeout_ms=(at.node.policy.total_timeout_ms if expired else at.node.timeout_ms) or 0,
        bound="total" if expired else "",
        child=step.child,
        cause=step.error if expired else None,  # of an attempt before this one
    )
    subworkflows.cancel(at, "the step took too long")
    attempts.handle_failure(at)
