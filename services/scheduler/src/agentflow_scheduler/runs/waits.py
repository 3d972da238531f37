"""Steps that no worker runs: waiting for a time, a signal, people, or a run of its own. Pure."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common import ids
from agentflow_common.definition import durations as times
from agentflow_common.errors import InvalidError
from agentflow_common.events import Payload, StepError
from agentflow_common.expressions.sandbox import ExpressionError
from agentflow_common.runs import timer_ids
from agentflow_common.runs.state import Answer, StepState, StepStatus, current_key
from agentflow_scheduler.runs import attempts
from agentflow_scheduler.runs.decisions import RunDecisions
from agentflow_scheduler.runs.plan import PlanNode
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.runs.scope import Scope, fitting, gathered

APPROVERS_MAX: Final = 200
IDLE_RUNS_MAX: Final = 1_000
IDLE_TEXT: Final = (
    f"{IDLE_RUNS_MAX:,} runs in a row went on as a new one without running a step or waiting: give `continue_as_new` a "
    "condition that ends it, or let the workflow wait"
)
MESSAGE_CHARS_MAX: Final = 64 * 1024


def begin_wait(run: Run, out: RunDecisions, node: PlanNode, key: str) -> None:
    values = gathered(node.values, out.scope, {})
    if "until" in values:
        until = _ms("until", times.time_ms, values["until"])
    else:
        until = out.now_ms + _ms("duration", times.wait_ms, values["duration"])
    out.emit(ev.StepWaiting, step=key, attempt=1, kind="wait", until=until)
    look_at_wait(run, out, node, key, run.state.steps[key])


def _ms(field: str, read: Callable[[Any], int], value: Any) -> int:
    try:
        return read(value)
    except ValueError as error:
        raise ExpressionError(f"`{field}`: {error}") from None


_TIMER_IDS: Final = {"wait": timer_ids.wait, "expire": timer_ids.expire, "escalate": timer_ids.escalate}


def _timer(out: RunDecisions, kind: str, key: str, at: int) -> None:
    """Sets a timer that is not set: at the step's begin, or after a crash that came before it."""
    timer = _TIMER_IDS[kind](key)
    if timer not in out.scope.state.timers:
        out.emit(ev.TimerSet, timer=timer, kind=kind, fire_at=at, step=key, attempt=1)


def _resolve(run: Run, out: RunDecisions, key: str, output: Any, signal: str = "") -> None:
    payload = output if isinstance(output, Payload) else Payload(value=output)
    out.emit(ev.StepResolved, step=key, attempt=1, status="completed", output=payload, signal=signal)
    attempts.decided(run, key)


def _fail(run: Run, out: RunDecisions, node: PlanNode, key: str, error: StepError) -> None:
    out.emit(ev.StepResolved, step=key, attempt=1, status="failed", error=error)
    attempts.give_up(run, out, node, key, error)


def look_at_wait(run: Run, out: RunDecisions, _node: PlanNode, key: str, step: StepState) -> None:
    if step.due or step.until <= out.now_ms:
        _resolve(run, out, key, {"until": step.until})
    else:
        _timer(out, "wait", key, step.until)


# --- signals ---


def begin_signal(run: Run, out: RunDecisions, node: PlanNode, key: str) -> None:
    timeout = node.config.timeout_ms
    until = out.now_ms + timeout if timeout else 0
    out.emit(ev.StepWaiting, step=key, attempt=1, kind="signal", until=until, detail={"signal": node.config.signal})
    look_at_signal(run, out, node, key, run.state.steps[key])


def look_at_signal(run: Run, out: RunDecisions, node: PlanNode, key: str, step: StepState) -> None:
    """Takes the oldest kept signal of its name."""
    name = node.config.signal
    kept = run.state.signals.get(name)
    if kept:
        _resolve(run, out, key, kept[0], signal=name)
    elif step.due and node.config.on_timeout == "continue":
        _resolve(run, out, key, None)
    elif step.due:
        text = f"the signal {name!r} did not come within {node.config.timeout_ms} ms"
        _fail(run, out, node, key, StepError("signal_timeout", text, retryable=False))
    elif step.until:
        _timer(out, "expire", key, step.until)


# --- approvals ---


def begin_approval(run: Run, out: RunDecisions, node: PlanNode, key: str) -> None:
    values = gathered(node.values, out.scope, {})
    config = node.config
    people = _names(values["approvers"])
    if config.approvers and not people:  # or else anyone could answer
        raise ExpressionError("`approvers` names nobody")
    if people and config.required > len({*people, *_names(values["escalate_to"])}):
        raise ExpressionError(f"{config.required} approvals are required, and there are {len(people)} approvers")
    message = _message(out.scope.inside(values["message"]))
    detail = {"message": message, "approvers": people, "required": config.required}
    until = out.now_ms + config.expires_ms if config.expires_ms else 0
    out.emit(ev.StepWaiting, step=key, attempt=1, kind="approval", until=until, detail=detail)
    look_at_approval(run, out, node, key, run.state.steps[key])


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


def look_at_approval(run: Run, out: RunDecisions, node: PlanNode, key: str, step: StepState) -> None:
    config = node.config
    refused = next((answer for answer in step.answers if answer.decision == "reject"), None)
    approvals = sum(answer.decision == "approve" for answer in step.answers)
    if refused is not None:
        if config.on_reject == "continue":
            _conclude(run, out, node, key, step, approved=False)
        else:
            text = f"{refused.by} rejected it" + (f": {refused.comment}" if refused.comment else "")
            _fail(run, out, node, key, StepError("rejected", text, retryable=False))
    elif approvals >= config.required:
        _conclude(run, out, node, key, step, approved=True)
    elif step.due and step.reason == "expire":
        refusal = config.on_expire == "reject"
        if config.on_expire == "fail" or (refusal and config.on_reject == "fail"):
            text = f"{approvals} of {config.required} approvals came within {config.expires_ms} ms"
            _fail(run, out, node, key, StepError("rejected" if refusal else "approval_expired", text, retryable=False))
        else:
            _conclude(run, out, node, key, step, approved=not refusal, expired=True)
    elif step.due and step.reason == "escalate" and not step.detail.get("escalated"):
        people = gathered({"escalate_to": node.values["escalate_to"]}, out.scope, {})
        out.emit(ev.ApprovalEscalated, step=key, approvers=tuple(_names(people["escalate_to"])))
    else:
        if step.until and step.reason != "expire":
            _timer(out, "expire", key, step.until)
        if config.escalate_ms and not step.detail.get("escalated"):
            _timer(out, "escalate", key, step.scheduled_at + config.escalate_ms)


def _conclude(run: Run, out: RunDecisions, node: PlanNode, key: str, step: StepState, **verdict: bool) -> None:
    """verdict: `approved`, and `expired` if it is. Raises NeedBlob for data that is stored out of line."""
    answered = {str(n): functools.partial(_told, answer) for n, answer in enumerate(step.answers)}
    decisions = list(gathered(answered, out.scope).values())
    try:
        output = fitting({"decisions": decisions, **verdict}, "what the answers hold")
    except InvalidError as error:
        attempts.undecidable(run, out, node, key, error)
    else:
        _resolve(run, out, key, output)


def _told(answer: Answer, scope: Scope) -> dict[str, Any]:
    data = scope.look(answer.data)
    return {"by": answer.by, "decision": answer.decision, "comment": answer.comment, "data": data, "at": answer.at}


# --- subworkflows and new beginnings ---


def look_at_child(run: Run, out: RunDecisions, node: PlanNode, key: str, step: StepState) -> None:
    """A subworkflow that takes too long is cancelled; its end itself is a fact."""
    if not step.due:
        attempts.set_missing_timers(out, node, key, step)
        return
    bound, length = ("total", node.policy.total_timeout_ms) if step.expired else ("", node.timeout_ms)
    child = step.child
    cause = step.error if step.expired else None  # of an attempt before this one
    out.emit(
        ev.StepTimedOut, step=key, attempt=step.attempt, timeout_ms=length or 0, bound=bound, child=child, cause=cause
    )
    attempts.cancel_child(run, out, key, step.attempt, child, "the step took too long")
    attempts.failed(run, out, node, key, step)


def has_others(run: Run, out: RunDecisions) -> bool:
    """True if steps run, or are to run, beside a `continue_as_new`: their results count, so it comes after them. Steps
    that only wait, for a time, a signal or people, are closed by it."""
    if run.in_flight or out.held:
        return True
    for name, node in run.plan.nodes.items():
        key = current_key(run.state, name)
        step = run.state.steps.get(key)
        if step is None or key in run.decided or not attempts.is_begun(step) or not run.is_present(key, node):
            continue
        if step.status is not StepStatus.WAITING or step.child:
            return True
    return False


def begin_continue(run: Run, out: RunDecisions, node: PlanNode, key: str) -> None:
    """The step itself; the run that goes on is started by the append that ends this one. Raises ExpressionError,
    InvalidError, NeedBlob."""
    successor_inputs(run, out, node)
    following = successor_id(run, key)
    out.emit(ev.StepResolved, step=key, attempt=1, status="completed", output=Payload(value={"run": following}))
    out.successor = key


def successor_id(run: Run, key: str) -> str:
    return ids.derived_run_id(run.state.org, run.state.run, key, 1)


def successor_inputs(run: Run, out: RunDecisions, node: PlanNode) -> dict[str, Any]:
    """Raises ExpressionError, InvalidError, NeedBlob."""
    fields = {name: f"inputs.{name}" for name in node.values}
    given = out.scope.inside(gathered(node.values, out.scope, fields))
    return fitting(run.plan.definition.check_inputs(given), "what the next run is given")


def idle_runs(run: Run, key: str) -> int:
    """How many runs in a row, this one with them, go on as a new one without having done anything: no step of theirs
    had an attempt, or waited. A cancel that is passed on from run to run might never catch up with these."""
    state = run.state
    for name, step in state.steps.items():
        waited = step.kind == "wait" and step.finished_at > step.scheduled_at
        if name != key and (waited or (step.attempt > 0 and step.kind != "wait")):
            return 0
    return 1 + (state.origin.idle if state.origin is not None else 0)


def start_successor(run: Run, out: RunDecisions, following: str, inputs: dict[str, Any], idle: int) -> None:
    """Starts the next run of this definition, together with the newest decision."""
    state = run.state
    out.send(
        ev.RunSubmitted,
        to_org=state.org,
        to=following,
        workflow=state.workflow,
        version=state.version,
        definition=run.plan.raw,
        inputs=Payload(value=inputs),
        digest=state.digest,
        prompts=state.prompts,
        budget_nano=attempts.budget_left(state),
        deadline_ms=state.deadline_ms,
        tags=state.tags,
        priority=state.priority,
        parent=state.parent,
        origin=ev.OriginRef(state.run, "continue", idle=idle),
        definitions=state.definitions,
        depth=state.depth,
        signals=state.signals,
    )
