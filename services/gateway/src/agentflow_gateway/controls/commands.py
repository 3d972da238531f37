"""People's requests to a run that goes on: cancel, pause, resume, signals, answers, resolutions.

Each is a fact that is durable before the caller is answered. The scheduler decides what follows.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final, NamedTuple

import msgspec

from agentflow_common import events as ev
from agentflow_common import ids, subjects, tasks
from agentflow_common.errors import ConflictError, DeadlineError, InvalidError, TerminalError
from agentflow_common.events import Payload
from agentflow_common.log.event_log import Ack, Fence
from agentflow_common.runs.fold_facts import SIGNALS_MAX
from agentflow_common.runs.state import RunState, StepStatus
from agentflow_gateway import digests, limits
from agentflow_gateway.api.call import Call
from agentflow_gateway.controls import approval_rules, breakpoints, fact_results
from agentflow_gateway.controls.payloads import payload_of
from agentflow_gateway.runs import view as run_view
from agentflow_gateway.runs.lookup import ENDED, no_such_run, run_key, status_of

GRACE_MS_MAX: Final = 24 * 3_600_000
_FENCED_FROM: Final = SIGNALS_MAX - 100  # nearly full: from here on no two signals may be counted at once
_TRIES_MAX: Final = 20
SETTLE_S_MAX: Final = 1.0


class Answer(msgspec.Struct, frozen=True):
    """One person's answer to an approval step."""

    decision: str
    comment: str = ""
    data: Any = None
    as_person: str = ""  # another name than the API key's own


class Resolution(msgspec.Struct, frozen=True):
    """A person's finding about an attempt of unknown outcome."""

    outcome: str
    output: Any = None
    has_output: bool = False  # an output was given, which may be null
    reason: str = ""


class Signalled(NamedTuple):
    status: str  # of the run, at that moment
    repeated: bool = False  # the run has a signal with this id
    pending: bool = False  # a step waits for it, and the scheduler has not looked at it yet
    run: str = ""  # that has the signal


def check_grace(grace_ms: int, force: bool) -> None:
    if not 0 <= grace_ms <= GRACE_MS_MAX:
        fix = f"give 0 to {GRACE_MS_MAX:,} ms (24 hours)"
        raise InvalidError.at("grace_ms", f"grace_ms {grace_ms} is out of range", fix)
    if force and grace_ms:
        raise InvalidError.at("grace_ms", "a forced cancellation has no grace period", "give `grace_ms` or `force`")


async def cancel(call: Call, run_id: str, reason: str, *, grace_ms: int = 0, force: bool = False) -> str:
    """Asks the scheduler to cancel, and returns the status at that moment.

    A finished run stays as it is, and so does one that ends before the scheduler knows of the cancel.
    """
    limits.check_text(reason, "reason", limits.REASON_CHARS_MAX)
    check_grace(grace_ms, force)
    status = await status_of(call, run_id)
    if status is None:
        raise no_such_run(run_id)
    if status in ENDED:
        return status
    reason = await call.safe_reason(reason, run_id, "input")
    event = ev.RunCancelRequested(
        **call.header(run_id), reason=reason, by=call.identity.actor, grace_ms=grace_ms, force=force
    )
    # the message id makes a double click one event
    ack = await call.append(event, f"cancel:{call.org}:{run_id}:{grace_ms}:{int(force)}")
    result = await fact_results.look(call, run_id, ack.seq)
    return (await status_of(call, run_id) or status) if result.late else status


async def pause(call: Call, run_id: str, reason: str, until: int = 0) -> str:
    """Asks the scheduler to pause, and returns the status at that moment.

    A run that is over, or is already as asked, stays as it is. until: ms since the epoch; 0 until it is resumed.
    """
    limits.check_text(reason, "reason", limits.REASON_CHARS_MAX)
    limits.check_until(until, call.now_ms())
    state = await run_view.state_of(call, run_id)
    if not state.status.terminal and (not state.pause_requested or state.paused_until != until):
        reason = await call.safe_reason(reason, run_id, "input")
        event = ev.RunPauseRequested(**call.header(run_id), reason=reason, by=call.identity.actor, until=until)
        await call.append(event, f"pause:{call.org}:{run_id}:{state.facts_seq}:{until}")
    return state.status.value


async def resume(call: Call, run_id: str, reason: str) -> str:
    """Asks the scheduler to resume, and returns the status at that moment. A run that is not paused stays as it is.

    TerminalError for a run that is stopped by a breakpoint alone.
    """
    limits.check_text(reason, "reason", limits.REASON_CHARS_MAX)
    state = await run_view.state_of(call, run_id)
    breakpoints.check_resume(state)
    if not state.status.terminal and state.pause_requested:
        reason = await call.safe_reason(reason, run_id, "input")
        event = ev.RunResumeRequested(**call.header(run_id), reason=reason, by=call.identity.actor)
        await call.append(event, f"resume:{call.org}:{run_id}:{state.facts_seq}")
    return state.status.value


async def wait_for_pause(call: Call, run_id: str, paused: bool, before: str) -> str:
    """Returns the status once the scheduler has paused or resumed the run, or the present one if that takes long.

    before: the status when the change was asked for.
    """
    status = before
    with contextlib.suppress(TimeoutError, DeadlineError):
        async with asyncio.timeout(call.timeout_s(SETTLE_S_MAX)):
            for pause_s in tasks.pauses(0.01, 0.16):
                if status in ENDED or (status == "paused") is paused:
                    break
                status = await status_of(call, run_id) or status
                tasks.heed_cancellation()
                await asyncio.sleep(pause_s)
    return status


async def signal(call: Call, run_id: str, name: str, value: Any, signal_id: str) -> Signalled:
    """Gives a signal to a run, or to the newest one that continues it.

    Refused if that run is over or full, or ends before the scheduler knows of the signal.
    """
    limits.check_text(signal_id, "signal_id", limits.IDEMPOTENCY_KEY_CHARS_MAX)
    stored_id = digests.stored_key(call.deps.secret, signal_id)
    msg_id = f"signal:{ids.digest(f'{call.org}/{run_id}/{stored_id}'.encode())}" if stored_id else ""
    body: Payload | None = None
    for _ in range(_TRIES_MAX):
        state = await _newest_of_chain(call, run_id)
        if stored_id and stored_id in state.signal_ids:
            return Signalled(state.status.value, repeated=True, run=state.run)
        kept = approval_rules.check_signal(state, name)
        if body is None:
            body = await payload_of(call, run_id, value, "payload")
        header, by = call.header(state.run), call.identity.actor
        event = ev.SignalReceived(**header, name=name, payload=body, by=by, id=stored_id)
        fence = None
        if kept >= _FENCED_FROM:
            last = await call.deps.log.last(subjects.run_in(run_key(call, state.run)))
            if last is not None and last.seq > state.facts_seq:
                continue  # a fact came in between: count again
            fence = Fence(state.facts_seq)
        try:
            ack = await call.append(event, msg_id, fence)
        except ConflictError:
            continue
        return await _signalled(call, state, name, ack)
    raise ConflictError(f"run {run_id} gets many signals at once and is nearly full; try again")


async def _newest_of_chain(call: Call, run_id: str) -> RunState:
    """Returns the newest run that continues this one, or this one. NotFoundError, TerminalError."""
    first = state = await run_view.state_of(call, run_id)
    while state.status.terminal and state.continued_as:
        state = await run_view.state_of(call, state.continued_as)
    if state is not first and state.status.terminal:
        text = f"the chain of runs that run {run_id} began is over: its last run {state.run} {state.status.ended}"
        raise TerminalError(text, kind="run_over")
    return state


async def _signalled(call: Call, before: RunState, name: str, ack: Ack) -> Signalled:
    """Returns the result of a signal. One that no step waits for is kept, and nothing is decided about it."""
    if ack.duplicate:
        return Signalled(before.status.value, repeated=True, run=before.run)
    awaited = approval_rules.is_awaited(before, name)
    result = await fact_results.look(call, before.run, ack.seq, fact_results.WAIT_S_MAX if awaited else 0.0)
    if result.late:
        over = await fact_results.state(call, before.run, result)
        if not over.continued_as:
            text = f"run {before.run} {over.status.ended} before it took the signal"
            raise TerminalError(text, kind="run_over")
        return Signalled(before.status.value, run=over.continued_as)  # the scheduler forwards it
    return Signalled(before.status.value, pending=awaited and not result.known, run=before.run)


async def answer(call: Call, run_id: str, step: str, given: Answer) -> approval_rules.Standing:
    """Records one person's answer to one approval step, and returns how the approval stands now."""
    limits.check_text(given.comment, "comment", limits.REASON_CHARS_MAX)
    limits.check_text(given.as_person, "as_person", 100)
    state = await run_view.state_of(call, run_id)
    by = approval_rules.person(state, step, call.identity, given.as_person)
    if (earlier := approval_rules.check_answer(state, step, by, given.decision)) is not None:
        return earlier
    event = ev.ApprovalGiven(
        **call.header(run_id),
        step=step,
        decision=given.decision,
        by=by,
        comment=str(await call.protect(run_id, given.comment)),
        data=Payload() if given.data is None else await payload_of(call, run_id, given.data, "data"),
        via=call.identity.actor if given.as_person and given.as_person not in call.identity.names else "",
    )
    digest = ids.digest(msgspec.json.encode([call.org, run_id, step, state.steps[step].attempt, by, given.decision]))
    ack = await call.append(event, f"approval:{digest}")
    state = await run_view.state_of(call, run_id)
    pending = False
    if approval_rules.may_be_left_out(state, step):
        result = await fact_results.look(call, run_id, ack.seq)
        state = await fact_results.state(call, run_id, result)
        pending = not result.known
    standing = approval_rules.check_answer(state, step, by, given.decision, given=True)
    if standing is None:
        raise TerminalError(f"step {step} was decided before this answer came", kind="approval_over")
    return msgspec.structs.replace(standing, repeated=False, pending=pending)


async def resolve(call: Call, run_id: str, step: str, given: Resolution) -> tuple[int, bool]:
    """Records the outcome of an attempt. Returns (the attempt, whether the scheduler has yet to look at it)."""
    limits.check_text(given.reason, "reason", limits.REASON_CHARS_MAX)
    attempt = approval_rules.check_unknown(await run_view.state_of(call, run_id), step).attempt
    _check_output(step, given)
    output = Payload()
    if given.output is not None:
        output = await payload_of(call, run_id, given.output, "output", "output")
    event = ev.OutcomeResolved(
        **call.header(run_id),
        step=step,
        attempt=attempt,
        outcome=given.outcome,
        output=output,
        by=call.identity.actor,
        reason=str(await call.protect(run_id, given.reason)),
    )
    ack = await call.append(event, f"outcome:{ids.digest(f'{call.org}/{run_id}/{step}/{attempt}'.encode())}")
    result = await fact_results.look(call, run_id, ack.seq)
    after = (await fact_results.state(call, run_id, result)).steps.get(step)
    stays = after is not None and after.status is StepStatus.OUTCOME_UNKNOWN and after.attempt == attempt
    if ack.duplicate and not stays:
        raise TerminalError(f"step {step} was just resolved by another person", kind="outcome_known")
    if (stays and not ack.duplicate) or result.late:
        raise TerminalError(f"the answer for step {step} came too late: the run was already ending", kind="run_ending")
    return attempt, not result.known


def _check_output(step: str, given: Resolution) -> None:
    if given.outcome == "completed" and not given.has_output:
        fix = "give its output as JSON (agentctl: --result JSON), or null if it has none (--result null)"
        raise InvalidError.at("output", f"the output of step {step} is not given", fix)
    if given.output is not None and given.outcome != "completed":
        text = f"the outcome {given.outcome!r} takes no output"
        raise InvalidError.at("output", text, "leave the output out, or give the outcome `completed`")
