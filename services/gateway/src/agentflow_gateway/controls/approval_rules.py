"""Decides whether a signal, an answer or a resolution fits the run: a state comes in, a refusal goes out. Pure."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from agentflow_common.definition.nodes.base import NODE_ID
from agentflow_common.errors import (
    AlreadyExistsError,
    InvalidError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    TerminalError,
)
from agentflow_common.runs.fold_facts import SIGNALS_MAX, asks
from agentflow_common.runs.state import RunState, StepState, StepStatus, node_of
from agentflow_gateway import auth_rules
from agentflow_gateway.auth_rules import Identity

_SIGNAL: Final = re.compile(NODE_ID)
_PAST: Final = {"approve": "approved", "reject": "rejected"}


class Standing(msgspec.Struct, frozen=True):
    """How an approval stands after an answer."""

    by: str
    repeated: bool  # this answer had been given before
    approvals: int
    required: int
    pending: bool = False  # the answer is recorded, and the scheduler has not looked at it yet


def check_over(state: RunState) -> None:
    """Raises TerminalError if the run is over."""
    if state.status.terminal:
        further = f" and continues as {state.continued_as}" if state.continued_as else ""
        raise TerminalError(f"run {state.run} {state.status.ended}{further}", kind="run_over")


def _types(state: RunState) -> dict[str, str]:
    """Returns the type of each node of the run's definition."""
    nodes = state.definition.get("dag", {}).get("nodes", [])
    return {str(node["id"]): str(node.get("type")) for node in nodes}


def check_signal(state: RunState, name: str) -> int:
    """Returns how many signals the run keeps. Raises if it is over, takes no such signal, or has no room for one."""
    if not _SIGNAL.match(name):
        fix = "use 1 to 64 letters, digits, '_' or '-', beginning with a letter"
        raise InvalidError.at("name", f"{name[:80]!r} is not a valid signal name", fix)
    check_over(state)
    nodes = state.definition.get("dag", {}).get("nodes", [])
    known = sorted({str(node["config"]["signal"]) for node in nodes if node.get("type") == "signal"})
    if name not in known:
        fix = f"its steps wait for {', '.join(known)}" if known else "none of its steps waits for a signal"
        raise InvalidError.at("name", f"run {state.run} takes no signal {name!r}", fix, kind="unknown_signal")
    kept = sum(map(len, state.signals.values()))
    if kept >= SIGNALS_MAX:
        raise OverloadedError(
            f"run {state.run} keeps {kept:,} signals that no step has taken, which is the limit; "
            "nothing was accepted: try again after its steps have taken some",
            kind="signals_full",
        )
    return kept


def is_awaited(state: RunState, name: str) -> bool:
    """True if a step waits for the signal now."""
    waiting = (step for step in state.steps.values() if step.status is StepStatus.WAITING and step.waiting == "signal")
    return any(step.detail.get("signal") == name for step in waiting)


def approval(run: RunState, key: str) -> StepState:
    """Returns the waiting approval step. Raises for any other step."""
    step = run.steps.get(key)
    open_ones = [other for other, item in run.steps.items() if is_open(item)]
    if step is not None and is_open(step) and not run.status.terminal:
        return step
    types = _types(run)
    if step is None and key not in types:
        waiting = f"these steps wait for one: {', '.join(open_ones)}" if open_ones else "no step waits for one"
        raise NotFoundError(f"run {run.run} has no approval {key[:80]!r}; {waiting}", kind="unknown_step")
    check_over(run)
    if step is not None and step.waiting == "approval":
        text = f"step {key} is decided: its status is {step.status.value}{_answers(step)}"
        raise TerminalError(text + _next_visit(run, key), kind="approval_over")
    if types.get(key) == "approval":
        raise TerminalError(f"step {key} does not wait for an approval yet; try again later", kind="not_waiting")
    fix = f"choose one of {', '.join(open_ones)}" if open_ones else "no step of this run waits for an approval now"
    raise InvalidError.at("step", f"step {key} is not an approval", fix)


def _next_visit(run: RunState, key: str) -> str:
    """Returns, for a loop, which visit of the same node waits now."""
    waits = [other for other, item in run.steps.items() if is_open(item) and node_of(other) == node_of(key)]
    return f"; step {waits[-1]} waits now" if waits else ""


def is_open(step: StepState) -> bool:
    return step.status is StepStatus.WAITING and step.waiting == "approval"


def person(run: RunState, key: str, identity: Identity, as_person: str) -> str:
    """Returns the name in which the answer counts. PermissionDeniedError if the key may not answer in that name."""
    if as_person and as_person not in identity.names:
        auth_rules.require(identity, "admin", f"an answer in the name of {as_person!r}, which is not this key's own,")
    step = run.steps.get(key)
    approvers = tuple(step.detail.get("approvers", ())) if step is not None and step.waiting == "approval" else ()
    by = as_person or next((name for name in identity.names if name in approvers), identity.names[0])
    if approvers and by not in approvers:
        raise PermissionDeniedError(
            f"{by} may not answer step {key}: its approvers are {', '.join(approvers)}; an API key answers for the "
            "approver whose name it has; with the permission `admin` name one of them (`--as NAME` of agentctl, "
            "`as_person` of the API)",
            kind="not_an_approver",
        )
    return by


def check_answer(run: RunState, key: str, by: str, decision: str, *, given: bool = False) -> Standing | None:
    """Returns how the approval stands if this person gave the answer before, or None if it may be given.

    given: it was just given, so it may have decided the step.
    """
    step = run.steps.get(key)
    before = None
    if step is not None and step.waiting == "approval":
        before = next((item for item in step.answers if item.by == by), None)
    if step is not None and before is not None:
        if before.decision != decision:
            text = f"{by} has already {_PAST.get(before.decision, before.decision)} step {key}; an answer is final"
            raise AlreadyExistsError(text + _next_visit(run, key), kind="answered_already")
        approvals = sum(item.decision == "approve" for item in step.answers)
        return Standing(by, True, approvals, int(step.detail.get("required", 1)))
    if given:
        return None
    waiting = approval(run, key)
    if is_settled(waiting):
        raise TerminalError(f"step {key} is already decided{_answers(waiting)}", kind="approval_over")
    return None


def is_settled(step: StepState) -> bool:
    """True if the answers of an approval decide it, whether or not the scheduler has done so yet."""
    decisions = [item.decision for item in step.answers]
    return "reject" in decisions or decisions.count("approve") >= int(step.detail.get("required", 1))


def may_be_left_out(run: RunState, key: str) -> bool:
    """True if the scheduler may be about to decide a step, or to end the run, without the newest answer."""
    step = run.steps.get(key)
    ends = run.cancel_requested or run.deadline_passed or run.ending is not None
    return ends or step is None or not is_open(step) or step.due or is_settled(step)


def _answers(step: StepState) -> str:
    answers = ", ".join(f"{item.by} {_PAST.get(item.decision, item.decision)}" for item in step.answers)
    return f" ({answers})" if answers else ""


def check_unknown(run: RunState, key: str) -> StepState:
    """Returns the step whose outcome is unknown and which waits for a person's answer. Raises for any other step."""
    step = run.steps.get(key)
    unknown = [other for other, item in run.steps.items() if item.status is StepStatus.OUTCOME_UNKNOWN]
    if step is None:
        hint = f"the outcome of {', '.join(unknown)} is unknown" if unknown else "no outcome of this run is unknown"
        raise NotFoundError(f"run {run.run} has no step {key[:80]!r} that has run; {hint}", kind="unknown_step")
    check_over(run)
    if step.status is not StepStatus.OUTCOME_UNKNOWN:
        raise TerminalError(
            f"the outcome of step {key} is known: its status is {step.status.value}", kind="outcome_known"
        )
    if run.ending is not None:
        raise TerminalError(
            f"run {run.run} is ending as {run.ending.status}: an answer for step {key} can't change that",
            kind="run_ending",
        )
    if not asks(run, key):
        text = f"step {key} is not waiting for an answer: its `on_unknown` policy decides automatically"
        fix = (
            f"run it again in a new run: agentctl workflow fork {run.run} --at {key}; "
            "to be asked in later runs, give the step `policy: {on_unknown: ask}`"
        )
        raise TerminalError.at("step", text, fix, kind="outcome_not_asked")
    return step
