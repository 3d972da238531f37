"""Whether a signal, an answer or a resolution fits the run as it stands. Pure: the state comes in, refusals go out."""

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
    Problem,
    TerminalError,
)
from agentflow_common.runs.fold_facts import SIGNALS_MAX, asks
from agentflow_common.runs.state import RunState, StepState, StepStatus, node_of
from agentflow_gateway import auth_rules
from agentflow_gateway.auth_rules import Identity

_SIGNAL: Final = re.compile(NODE_ID)
_SAID: Final = {"approve": "approved", "reject": "rejected"}


class Counted(msgspec.Struct, frozen=True):
    """How an approval stands. repeated: this answer had been given before. pending: the answer is recorded, and the
    scheduler has not looked at it yet."""

    by: str
    repeated: bool
    approvals: int
    required: int
    pending: bool = False


def check_over(state: RunState) -> None:
    if state.status.terminal:
        further = f" and goes on as {state.continued_as}" if state.continued_as else ""
        raise TerminalError(f"run {state.run} is over: it is {state.status.value}{further}", kind="run_over")


def check_signal(state: RunState, name: str) -> int:
    """How many signals the run keeps. Raises if it is over, takes no such signal, or keeps as many as it may."""
    if not _SIGNAL.match(name):
        fix = "use 1 to 64 letters, digits, '_' or '-', beginning with a letter"
        raise InvalidError(f"{name[:80]!r} is no signal's name", problems=(Problem("name", "not a name", fix),))
    check_over(state)
    nodes = state.definition.get("dag", {}).get("nodes", [])
    known = sorted({str(node["config"]["signal"]) for node in nodes if node.get("type") == "signal"})
    if name not in known:
        what = f"its steps wait for {', '.join(known)}" if known else "none of its steps waits for a signal"
        raise InvalidError(
            f"run {state.run} takes no signal {name!r}; {what}",
            kind="unknown_signal",
            problems=(Problem("name", f"{name!r} is not awaited", what),),
        )
    kept = sum(map(len, state.signals.values()))
    if kept >= SIGNALS_MAX:
        raise OverloadedError(
            f"run {state.run} keeps {kept:,} signals that no step has taken yet, which is as many as it may; "
            "nothing was accepted: let it take some first",
            kind="signals_full",
        )
    return kept


def is_awaited(state: RunState, name: str) -> bool:
    """True if a step waits for the signal now."""
    waiting = (step for step in state.steps.values() if step.status is StepStatus.WAITING and step.waiting == "signal")
    return any(step.detail.get("signal") == name for step in waiting)


def own_names(identity: Identity) -> tuple[str, ...]:
    """The names by which a key may be an approver."""
    return tuple(dict.fromkeys(name for name in (identity.name, identity.key_id, identity.actor) if name))


def approval(state: RunState, step: str) -> StepState:
    """The waiting approval step. Raises for any other."""
    found = state.steps.get(step)
    open_ones = [key for key, item in state.steps.items() if is_open(item)]
    if found is not None and is_open(found) and not state.status.terminal:
        return found
    known = {str(node["id"]): str(node.get("type")) for node in state.definition.get("dag", {}).get("nodes", [])}
    if found is None and step not in known:
        waiting = f"waiting for an approval: {', '.join(open_ones)}" if open_ones else "nothing waits for an approval"
        raise NotFoundError(f"run {state.run} has no step {step[:80]!r}; {waiting}", kind="unknown_step")
    check_over(state)
    if found is not None and found.waiting == "approval":
        text = f"step {step} is decided: it is {found.status.value}{_told(found)}"
        raise TerminalError(text + _next_visit(state, step), kind="approval_over")
    if known.get(step) == "approval":
        raise TerminalError(f"step {step} does not wait for an approval yet; try again later", kind="not_waiting")
    raise InvalidError(
        f"step {step} is no approval",
        problems=(Problem("step", "not an approval", f"one of {', '.join(open_ones) or 'none, now'}"),),
    )


def _next_visit(state: RunState, step: str) -> str:
    """In a loop, the visit of the same node that waits now."""
    waits = [key for key, item in state.steps.items() if is_open(item) and node_of(key) == node_of(step)]
    return f"; step {waits[-1]} waits now" if waits else ""


def is_open(step: StepState) -> bool:
    return step.status is StepStatus.WAITING and step.waiting == "approval"


def person(state: RunState, step: str, identity: Identity, as_person: str) -> str:
    """In whose name the answer counts. PermissionDeniedError for who may not answer, or not in that name."""
    own = own_names(identity)
    if as_person and as_person not in own:
        auth_rules.require(identity, "admin", f"an answer in the name of {as_person!r}, which is not this key's own,")
    found = state.steps.get(step)
    approvers = tuple(found.detail.get("approvers", ())) if found is not None and found.waiting == "approval" else ()
    by = as_person or next((name for name in own if name in approvers), own[0])
    if approvers and by not in approvers:
        raise PermissionDeniedError(
            f"{by} may not answer step {step}: its approvers are {', '.join(approvers)}; an API key answers for the "
            "approver whose name it has; with the permission `admin` name one of them (`--as NAME` of agentctl, "
            "`as_person` of the API)",
            kind="not_an_approver",
        )
    return by


def check_answer(state: RunState, step: str, by: str, decision: str, *, given: bool = False) -> Counted | None:
    """How it stands if the answer was given before; None if it may be given. given: it was just given, so the step
    may have been decided by it."""
    found = state.steps.get(step)
    before = None
    if found is not None and found.waiting == "approval":
        before = next((item for item in found.answers if item.by == by), None)
    if found is not None and before is not None:
        if before.decision != decision:
            text = f"{by} has {_SAID.get(before.decision, before.decision)} step {step} already; an answer stands"
            raise AlreadyExistsError(text + _next_visit(state, step), kind="answered_already")
        approvals = sum(item.decision == "approve" for item in found.answers)
        return Counted(by, True, approvals, int(found.detail.get("required", 1)))
    if given:
        return None
    waiting = approval(state, step)
    if is_settled(waiting):
        raise TerminalError(f"step {step} is decided already{_told(waiting)}", kind="approval_over")
    return None


def is_settled(step: StepState) -> bool:
    """True if the answers of an approval decide it, whether or not the scheduler has done so yet."""
    said = [item.decision for item in step.answers]
    return "reject" in said or said.count("approve") >= int(step.detail.get("required", 1))


def may_be_left_out(state: RunState, step: str) -> bool:
    """True if the scheduler may be about to decide a step, or to end the run, without the newest answer."""
    found = state.steps.get(step)
    ends = state.cancel_requested or state.deadline_passed or state.ending is not None
    return ends or found is None or not is_open(found) or found.due or is_settled(found)


def _told(step: StepState) -> str:
    told = ", ".join(f"{item.by} {_SAID.get(item.decision, item.decision)}" for item in step.answers)
    return f" ({told})" if told else ""


def check_unknown(state: RunState, step: str) -> StepState:
    """The step whose outcome is unknown and which waits for a person's word. Raises for any other."""
    found = state.steps.get(step)
    unknown = [key for key, item in state.steps.items() if item.status is StepStatus.OUTCOME_UNKNOWN]
    if found is None:
        hint = f"unknown is the outcome of {', '.join(unknown)}" if unknown else "no outcome of this run is unknown"
        raise NotFoundError(f"run {state.run} has no step {step[:80]!r} that has run; {hint}", kind="unknown_step")
    check_over(state)
    if found.status is not StepStatus.OUTCOME_UNKNOWN:
        raise TerminalError(f"the outcome of step {step} is known: it is {found.status.value}", kind="outcome_known")
    if state.ending is not None:
        raise TerminalError(
            f"run {state.run} is ending as {state.ending.status}: no word on step {step} changes that",
            kind="run_ending",
        )
    if not asks(state, step):
        fix = "to be asked in later runs, give the step `policy: {on_unknown: ask}`"
        raise TerminalError(
            f"step {step} waits for nobody's word: its policy for an unknown outcome decides by itself ({fix}); "
            f"to do it again in a new run: agentctl workflow fork {state.run} --at {step}",
            kind="outcome_not_asked",
            problems=(Problem("step", "its policy `on_unknown` is not `ask`", fix),),
        )
    return found
