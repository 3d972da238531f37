"""Breakpoints of runs: where a run stops, and how somebody lets it go on. Each request is a fact with its author."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from agentflow_common import events as ev
from agentflow_common import ids
from agentflow_common.errors import InvalidError, TerminalError
from agentflow_common.runs.state import RunState
from agentflow_gateway import limits
from agentflow_gateway.api.call import Call
from agentflow_gateway.controls import approval_rules, changed_values, fact_results
from agentflow_gateway.controls.payloads import payload_of
from agentflow_gateway.runs import view as run_view
from agentflow_gateway.runs.breakpoint_rules import NAMES_MAX, check_nodes


class Breaks(msgspec.Struct, frozen=True):
    """The breakpoints of a run after a request."""

    status: str
    break_at: tuple[str, ...]
    step_by_step: bool
    pending: bool = False  # the request is recorded, and the scheduler has not looked at it yet


class Continued(msgspec.Struct, frozen=True):
    """A run that was stopped before some steps and begins them now."""

    status: str
    steps: tuple[str, ...]
    stopped_before: tuple[str, ...] = ()  # it has come to the next breakpoint by now
    pending: bool = False


async def change(
    call: Call, run_id: str, at: Iterable[str], *, step_by_step: bool, remove: bool, reason: str
) -> Breaks:
    """Sets breakpoints or removes them; without any to remove, all of them. TerminalError if the run is over."""
    limits.check_text(reason, "reason", limits.REASON_CHARS_MAX)
    state = await run_view.state_of(call, run_id)
    approval_rules.check_over(state)
    names = check_nodes(state.definition, at, "at")
    if not (names or step_by_step or remove):
        raise InvalidError.at("at", "no breakpoint is given", "name a step, or stop before every step (`step_by_step`)")
    _check_set(state, names, step_by_step, remove)
    event = ev.RunBreakRequested(
        **call.header(run_id),
        at=names,
        every=step_by_step,
        remove=remove,
        by=call.identity.actor,
        reason=await call.safe_reason(reason, run_id, "input"),
    )
    asked = ids.digest(msgspec.json.encode([run_id, state.facts_seq, names, step_by_step, remove]))
    ack = await call.append(event, f"break:{call.org}:{asked}")
    result = await fact_results.look(call, run_id, ack.seq)
    after = await fact_results.state(call, run_id, result)
    stops = after.stops
    return Breaks(
        status=after.status.value,
        break_at=() if stops is None else stops.at,
        step_by_step=stops is not None and stops.every,
        pending=not result.known,
    )


def _check_set(state: RunState, names: tuple[str, ...], step_by_step: bool, remove: bool) -> None:
    """Raises InvalidError if a breakpoint is to be removed that is not set."""
    known = () if state.stops is None else state.stops.at
    missing = [name for name in names if remove and name not in known]
    if missing:
        fix = f"it has breakpoints at {', '.join(known)}" if known else "it has none"
        raise InvalidError.at("at", f"run {state.run} has no breakpoint at {', '.join(missing)}", fix)
    if remove and step_by_step and not (state.stops is not None and state.stops.every):
        raise InvalidError.at("step_by_step", f"run {state.run} does not go step by step", "leave it out")


async def go_on(
    call: Call, run_id: str, *, step_by_step: bool, to: str, values: Mapping[str, Any], reason: str
) -> Continued:
    """Lets a run go on that is stopped before a breakpoint. TerminalError for a run that is not stopped.

    step_by_step: it stops again before the next step. to: the step before which it stops again.
    values: what follows reads these, by `STEP.output` or `state.KEY`.
    """
    limits.check_text(reason, "reason", limits.REASON_CHARS_MAX)
    state = await run_view.state_of(call, run_id)
    approval_rules.check_over(state)
    if to:
        check_nodes(state.definition, (to,), "to")
    if to and step_by_step:
        raise InvalidError.at("to", "`to` and `step_by_step` exclude each other", "give one of them")
    stops = state.stops
    if stops is None or not stops.before:
        raise TerminalError(f"run {run_id} is not stopped before a breakpoint{_instead(state)}", kind="not_stopped")
    new = changed_values.changed(state, values)
    event = ev.RunContinueRequested(
        **call.header(run_id),
        stop=stops.number,
        every=step_by_step,
        to=to,
        outputs={
            key: await payload_of(call, run_id, new.outputs[key], f"{key}.output", "output") for key in new.outputs
        },
        state={key: await payload_of(call, run_id, new.shared[key], f"state.{key}", "output") for key in new.shared},
        by=call.identity.actor,
        reason=await call.safe_reason(reason, run_id, "input"),
    )
    ack = await call.append(event, f"continue:{call.org}:{run_id}:{stops.number}")
    if ack.duplicate:
        raise TerminalError(f"run {run_id} was just continued by another person", kind="not_stopped")
    result = await fact_results.look(call, run_id, ack.seq)
    after = await fact_results.state(call, run_id, result)
    before = () if after.stops is None else after.stops.before
    return Continued(after.status.value, stops.before, before, pending=not result.known)


def _instead(state: RunState) -> str:
    if state.pause_requested:
        return f": it is paused (agentctl workflow resume {state.run})"
    set_at = state.stops is not None and (state.stops.at or state.stops.every)
    if set_at:
        return ": it has not come to one yet"
    return f": it has none (agentctl workflow break {state.run} --at STEP)"


def check_resume(state: RunState) -> None:
    """Raises TerminalError if nothing but a breakpoint stops the run: a resume would change nothing."""
    stops = state.stops
    if stops is not None and stops.before and not (state.pause_requested or state.status.terminal):
        named = ", ".join(stops.before[:NAMES_MAX])
        text = f"run {state.run} is not paused, it is stopped before {named} by a breakpoint"
        raise TerminalError(f"{text} (agentctl workflow continue {state.run})", kind="not_paused")
