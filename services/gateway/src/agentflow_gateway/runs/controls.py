"""What people tell a run that goes on: cancel, pause, resume, signals, answers. Each is a fact that is durable before
the caller hears of it; the scheduler decides what follows."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final, NamedTuple

import msgspec

from agentflow_common import events as ev
from agentflow_common import ids, screening, subjects
from agentflow_common.errors import ConflictError, DeadlineError, InvalidError, Problem, TerminalError
from agentflow_common.events import Payload
from agentflow_common.log.event_log import Ack, Entry, Fence
from agentflow_common.runs.fold_facts import SIGNALS_MAX
from agentflow_common.runs.state import RunState, StepStatus
from agentflow_gateway import digests, limits
from agentflow_gateway.api.call_context import Call
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.runs import approval_rules, fact_results
from agentflow_gateway.runs import view as run_view
from agentflow_gateway.runs.submit import ENDED, no_such_run, run_key, status_of

GRACE_MS_MAX: Final = 24 * 3_600_000
_FENCED_FROM: Final = SIGNALS_MAX - 100  # nearly full: from here on no two signals may be counted at once
_TRIES_MAX: Final = 20
_APPEND_S: Final = 10.0
SETTLE_S_MAX: Final = 1.0
_LOOK_S: Final = 0.01
_LOOK_S_MAX: Final = 0.16


async def loaded(deps: Deps, call: Call, run_id: str) -> RunState:
    found = await run_view.load(deps, run_key(call, run_id))
    if found is None:
        raise no_such_run(run_id)
    return found.state


async def payload(deps: Deps, call: Call, run_id: str, value: Any, place: str, purpose: str = "input") -> Payload:
    """A client's value as events hold it. InvalidError if it is too large or uses the engine's own key."""
    encoded = msgspec.json.encode(value)
    limits.check_size(len(encoded), deps.settings.inputs_bytes_max, place)
    limits.check_reserved(encoded, value, place)
    return await deps.blobs.pack(await call.protect(deps.nc, run_id, value, purpose), place)


async def _say(deps: Deps, call: Call, event: ev.Event, msg_id: str, fence: Fence | None = None) -> Ack:
    key = subjects.key_of(event.org, event.run)
    entry = Entry(subjects.run_in(key), ev.encode(event), msg_id=msg_id, fence=fence)
    return await deps.log.append(entry, call.timeout_s(_APPEND_S))


def _base(deps: Deps, call: Call, run_id: str) -> dict[str, Any]:
    return {"org": call.org, "run": run_id, "ts": deps.clock.now_ms(), "trace": call.trace}


def check_grace(grace_ms: int, force: bool) -> None:
    if not 0 <= grace_ms <= GRACE_MS_MAX:
        raise InvalidError(
            f"grace_ms {grace_ms} is out of range",
            problems=(Problem("grace_ms", "out of range", f"give 0 to {GRACE_MS_MAX:,} ms (24 hours)"),),
        )
    if force and grace_ms:
        raise InvalidError(
            "a forced cancellation has no grace", problems=(Problem("grace_ms", "given with `force`", "give one"),)
        )


async def cancel(deps: Deps, call: Call, run_id: str, reason: str, grace_ms: int = 0, force: bool = False) -> str:
    """Asks the scheduler to cancel; returns the status at that moment. A finished run stays as it is, and so does one
    that ends before the scheduler knows of the cancel."""
    limits.check_text(reason, "reason", limits.REASON_CHARS_MAX)
    check_grace(grace_ms, force)
    status = await status_of(deps, run_key(call, run_id))
    if status is None:
        raise no_such_run(run_id)
    if status in ENDED:
        return status
    reason = str(await call.protect(deps.nc, run_id, reason))
    event = ev.RunCancelRequested(
        **_base(deps, call, run_id), reason=reason, by=call.identity.actor, grace_ms=grace_ms, force=force
    )
    # the message id makes a double click one event
    ack = await _say(deps, call, event, f"cancel:{call.org}:{run_id}:{grace_ms}:{int(force)}")
    found = await fact_results.look(deps, call, run_id, ack.seq)
    return (await status_of(deps, run_key(call, run_id)) or status) if found.late else status


async def settled(deps: Deps, call: Call, run_id: str, before: str, paused: bool) -> str:
    """The status once the scheduler has paused the run, or let it go on; as it stands if that takes long.
    before: the status when that was asked."""
    status, look_s = before, _LOOK_S
    with contextlib.suppress(TimeoutError, DeadlineError):
        async with asyncio.timeout(call.timeout_s(SETTLE_S_MAX)):
            while status not in ENDED and (status == "paused") is not paused:
                status = await status_of(deps, run_key(call, run_id)) or status
                await asyncio.sleep(look_s)
                look_s = min(_LOOK_S_MAX, look_s * 2)
    return status


async def pause(deps: Deps, call: Call, run_id: str, reason: str) -> str:
    """Returns the status at that moment; a run that is over, or paused already, stays as it is."""
    limits.check_text(reason, "reason", limits.REASON_CHARS_MAX)
    state = await loaded(deps, call, run_id)
    if not state.status.terminal and not state.pause_requested:
        reason = str(await call.protect(deps.nc, run_id, reason))
        event = ev.RunPauseRequested(**_base(deps, call, run_id), reason=reason, by=call.identity.actor)
        await _say(deps, call, event, f"pause:{call.org}:{run_id}:{state.facts_seq}")
    return state.status.value


async def resume(deps: Deps, call: Call, run_id: str, reason: str) -> str:
    """Returns the status at that moment; a run that nobody paused stays as it is."""
    limits.check_text(reason, "reason", limits.REASON_CHARS_MAX)
    state = await loaded(deps, call, run_id)
    if not state.status.terminal and state.pause_requested:
        reason = str(await call.protect(deps.nc, run_id, reason))
        event = ev.RunResumeRequested(**_base(deps, call, run_id), reason=reason, by=call.identity.actor)
        await _say(deps, call, event, f"resume:{call.org}:{run_id}:{state.facts_seq}")
    return state.status.value


class Signalled(NamedTuple):
    """status: at that moment. repeated: a signal with this id was there. pending: a step waits for it, and the
    scheduler has not looked at it yet."""

    status: str
    repeated: bool = False
    pending: bool = False


async def signal(deps: Deps, call: Call, run_id: str, name: str, value: Any, signal_id: str) -> Signalled:
    """Gives a signal to a run. Refused when the run is over or full, or ends before the scheduler knows of it."""
    limits.check_text(signal_id, "signal_id", limits.IDEMPOTENCY_KEY_CHARS_MAX)
    stored_id = digests.stored_key(deps.secret, signal_id, screening.needs_screening(signal_id))
    body: Payload | None = None
    for _ in range(_TRIES_MAX):
        state = await loaded(deps, call, run_id)
        if stored_id and stored_id in state.signal_ids:
            return Signalled(state.status.value, repeated=True)
        kept = approval_rules.check_signal(state, name)
        if body is None:
            body = await payload(deps, call, run_id, value, "payload")
        event = ev.SignalReceived(
            **_base(deps, call, run_id), name=name, payload=body, by=call.identity.actor, id=stored_id
        )
        msg_id = f"signal:{ids.digest(f'{call.org}/{run_id}/{stored_id}'.encode())}" if stored_id else ""
        fence = None
        if kept >= _FENCED_FROM:
            last = await deps.log.last(subjects.run_in(run_key(call, run_id)))
            if last is not None and last.seq > state.facts_seq:
                continue  # a fact came in between: count again
            fence = Fence(state.facts_seq)
        try:
            ack = await _say(deps, call, event, msg_id, fence)
        except ConflictError:
            continue
        return await _signalled(deps, call, state, name, ack)
    raise ConflictError(f"run {run_id} takes many signals at once and is nearly full; try again")


async def _signalled(deps: Deps, call: Call, before: RunState, name: str, ack: Ack) -> Signalled:
    """What became of a signal. One that no step waits for is kept, and nothing is decided about it."""
    if ack.duplicate:
        return Signalled(before.status.value, repeated=True)
    awaited = approval_rules.is_awaited(before, name)
    found = await fact_results.look(deps, call, before.run, ack.seq, fact_results.WAIT_S_MAX if awaited else 0.0)
    if found.late:
        over = await fact_results.state(deps, call, before.run, found)
        if not over.continued_as:  # the run that goes on is given it
            text = f"run {before.run} ended before it took the signal: it is {over.status.value}"
            raise TerminalError(text, kind="run_over")
    return Signalled(before.status.value, pending=awaited and not found.known)


async def answer(
    deps: Deps, call: Call, run_id: str, step: str, decision: str, comment: str, data: Any, as_person: str
) -> approval_rules.Counted:
    """Records one person's answer to one approval step, and says how it now stands."""
    limits.check_text(comment, "comment", limits.REASON_CHARS_MAX)
    limits.check_text(as_person, "as_person", 100)
    state = await loaded(deps, call, run_id)
    by = approval_rules.person(state, step, call.identity, as_person)
    if (there := approval_rules.check_answer(state, step, by, decision)) is not None:
        return there
    event = ev.ApprovalGiven(
        **_base(deps, call, run_id),
        step=step,
        decision=decision,
        by=by,
        comment=str(await call.protect(deps.nc, run_id, comment)),
        data=Payload() if data is None else await payload(deps, call, run_id, data, "data"),
        via=call.identity.actor if as_person and as_person not in approval_rules.own_names(call.identity) else "",
    )
    digest = ids.digest(msgspec.json.encode([call.org, run_id, step, state.steps[step].attempt, by, decision]))
    ack = await _say(deps, call, event, f"approval:{digest}")
    state = await loaded(deps, call, run_id)
    pending = False
    if approval_rules.may_be_left_out(state, step):
        found = await fact_results.look(deps, call, run_id, ack.seq)
        state = await fact_results.state(deps, call, run_id, found)
        pending = not found.known
    counted = approval_rules.check_answer(state, step, by, decision, given=True)
    if counted is None:
        raise TerminalError(f"step {step} was decided before this answer came", kind="approval_over")
    return msgspec.structs.replace(counted, repeated=False, pending=pending)


async def resolve(
    deps: Deps, call: Call, run_id: str, step: str, outcome: str, output: Any, has_output: bool, reason: str
) -> tuple[int, bool]:
    """Tells what became of an attempt; (its number, whether the scheduler has yet to look at it).

    has_output: an output was given, which may be null.
    """
    limits.check_text(reason, "reason", limits.REASON_CHARS_MAX)
    state = await loaded(deps, call, run_id)
    found = approval_rules.check_unknown(state, step)
    if outcome == "completed" and not has_output:
        fix = "give its output as JSON (agentctl: --result JSON), or null if it has none (--result null)"
        raise InvalidError(
            f"the output of step {step} is not given: {fix}", problems=(Problem("output", "not given", fix),)
        )
    if output is not None and outcome != "completed":
        raise InvalidError(
            "an output is for the outcome `completed`",
            problems=(Problem("output", f"given with {outcome!r}", "leave it out"),),
        )
    event = ev.OutcomeResolved(
        **_base(deps, call, run_id),
        step=step,
        attempt=found.attempt,
        outcome=outcome,
        output=Payload() if output is None else await payload(deps, call, run_id, output, "output", "output"),
        by=call.identity.actor,
        reason=str(await call.protect(deps.nc, run_id, reason)),
    )
    ack = await _say(deps, call, event, f"outcome:{ids.digest(f'{call.org}/{run_id}/{step}/{found.attempt}'.encode())}")
    known = await fact_results.look(deps, call, run_id, ack.seq)
    again = (await fact_results.state(deps, call, run_id, known)).steps.get(step)
    stays = again is not None and again.status is StepStatus.OUTCOME_UNKNOWN and again.attempt == found.attempt
    if ack.duplicate and not stays:
        raise TerminalError(f"step {step} was resolved by somebody else just now", kind="outcome_known")
    if (stays and not ack.duplicate) or known.late:
        raise TerminalError(f"the run began to end before this answer on step {step} came", kind="run_ending")
    return found.attempt, not known.known
