"""The result of a trigger: what its schedule decided about it, as far as a short wait shows."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import msgspec
import nats.errors

from agentflow_common import events as ev
from agentflow_common import subjects, tasks
from agentflow_common.errors import AgentFlowError
from agentflow_common.events import StepError
from agentflow_common.schedules.load import load_schedule
from agentflow_gateway.api.call import Call
from agentflow_gateway.runs.lookup import status_of
from agentflow_gateway.schedules.triggers import Triggered

WAIT_S_MAX: Final = 1.5  # that the sender of a webhook waits
WAITING_MAX: Final = 256  # senders that wait at one door; the others are answered that they were accepted
REMEMBER_S_MAX: Final = 0.5  # and then for what its schedule remembers
_SETTLED: Final = frozenset({"started", "waiting", "skipped", "refused"})


class TriggerResult(msgspec.Struct, frozen=True):
    # `accepted` (not decided yet), `fired` (its run is being submitted), `started`, `waiting` (for the end of earlier
    # runs), `skipped` (see reason) or `refused` (see error)
    status: str = "accepted"
    run: str = ""  # if it has one, or will have one
    reason: str = ""
    error: StepError | None = None


def judge(result: TriggerResult, triggered: Triggered, event: ev.Event) -> TriggerResult:
    """Returns the result after another event of the schedule. Pure."""
    asked = (triggered.kind, triggered.trigger_id)
    if isinstance(event, ev.ScheduleStarted | ev.ScheduleRefused) and event.child == triggered.run:
        if isinstance(event, ev.ScheduleRefused):
            return TriggerResult("refused", error=event.error)
        return TriggerResult("started", triggered.run)
    if isinstance(event, ev.ScheduleSkipped) and (event.cause, event.id) == asked:
        return TriggerResult("skipped", reason=event.reason)
    if isinstance(event, ev.ScheduleFired | ev.ScheduleBuffered) and (event.cause, event.id) == asked:
        return TriggerResult("fired" if isinstance(event, ev.ScheduleFired) else "waiting", triggered.run)
    return result


class Watch:
    """Answers the senders of triggers, and bounds how many wait."""

    def __init__(self) -> None:
        self._waiting = 0

    async def result(self, call: Call, triggered: Triggered, wait_s: float = WAIT_S_MAX) -> TriggerResult:
        if self._waiting >= WAITING_MAX:
            return TriggerResult()
        self._waiting += 1
        try:
            return await learn(call, triggered, min(wait_s, WAIT_S_MAX))
        finally:
            self._waiting -= 1


async def learn(call: Call, triggered: Triggered, wait_s: float = WAIT_S_MAX) -> TriggerResult:
    """Returns what is known after `wait_s`, and REMEMBER_S_MAX for the schedule's memory, at most.

    The trigger itself is durable, so no trouble is raised.
    """
    result = TriggerResult()
    with contextlib.suppress(TimeoutError, AgentFlowError, nats.errors.Error):
        async with asyncio.timeout(wait_s):
            if triggered.earlier:
                return await _earlier(call, triggered)
            position = triggered.seq
            for pause_s in tasks.pauses(0.01, 0.16):
                async for stored in call.deps.log.messages(subjects.run_all(triggered.key), position):
                    position = stored.seq
                    if (event := ev.try_decode(stored.data)) is not None:
                        result = judge(result, triggered, event)
                if result.status in _SETTLED:
                    break
                tasks.heed_cancellation()
                await asyncio.sleep(pause_s)
    if result.status != "accepted":
        return result
    with contextlib.suppress(TimeoutError, AgentFlowError, nats.errors.Error):
        async with asyncio.timeout(REMEMBER_S_MAX):  # the decision may have left the log since the first question
            return await _earlier(call, triggered)
    return result


async def _earlier(call: Call, triggered: Triggered) -> TriggerResult:
    """Returns what the schedule remembers of a trigger, and whether it has a run."""
    state = await load_schedule(call.deps.log, triggered.key)
    cause = (triggered.kind, triggered.trigger_id)
    if state is None or any((waiting.cause, waiting.id) == cause for waiting in state.inbox):
        return TriggerResult()
    if any((waiting.cause, waiting.id) == cause for waiting in state.buffer):
        return TriggerResult("waiting", triggered.run)
    fire = next((fire for fire in state.recent if fire.child == triggered.run), None)
    if fire is not None and fire.status == "refused":
        return TriggerResult("refused", error=fire.error)
    if fire is not None and fire.status == "starting":
        return TriggerResult("fired", triggered.run)
    if await status_of(call, triggered.run) is None:
        return TriggerResult("skipped")
    return TriggerResult("started", triggered.run)
