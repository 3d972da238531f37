"""What became of a trigger: what its schedule decided about it, as far as a short wait tells."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import msgspec
import nats.errors

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.errors import AgentFlowError
from agentflow_common.events import StepError
from agentflow_common.schedules.load import load_schedule
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.runs import submit
from agentflow_gateway.schedules.commands import Triggered

WAIT_S_MAX: Final = 1.5  # who calls a webhook waits for it
WAITING_MAX: Final = 256  # that wait at one door; others hear that they were accepted
REMEMBER_S_MAX: Final = 0.5  # and then for what its schedule remembers
_LOOK_S: Final = 0.01
_LOOK_S_MAX: Final = 0.16
_CHUNK: Final = 500
_SETTLED: Final = frozenset({"started", "waiting", "skipped", "refused"})


class Fate(msgspec.Struct, frozen=True):
    """status: `accepted` (not decided yet), `fired` (its run is being submitted), `started`, `waiting` (for the end of
    earlier runs), `skipped` (see reason) or `refused` (see error). run: if there is one, or will be."""

    status: str = "accepted"
    run: str = ""
    reason: str = ""
    error: StepError | None = None


def judge(fate: Fate, triggered: Triggered, event: ev.Event) -> Fate:
    """The fate after another event of the schedule. Pure."""
    asked = (triggered.kind, triggered.trigger_id)
    if isinstance(event, ev.ScheduleStarted | ev.ScheduleRefused) and event.child == triggered.run:
        if isinstance(event, ev.ScheduleRefused):
            return Fate("refused", error=event.error)
        return Fate("started", triggered.run)
    if isinstance(event, ev.ScheduleSkipped) and (event.cause, event.id) == asked:
        return Fate("skipped", reason=event.reason)
    if isinstance(event, ev.ScheduleFired | ev.ScheduleBuffered) and (event.cause, event.id) == asked:
        return Fate("fired" if isinstance(event, ev.ScheduleFired) else "waiting", triggered.run)
    return fate


class Watch:
    """What a door tells of its triggers."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._waiting = 0

    async def fate(self, triggered: Triggered, wait_s: float = WAIT_S_MAX) -> Fate:
        if self._waiting >= WAITING_MAX:
            return Fate()
        self._waiting += 1
        try:
            return await learn(self._deps, triggered, min(wait_s, WAIT_S_MAX))
        finally:
            self._waiting -= 1


async def learn(deps: Deps, triggered: Triggered, wait_s: float = WAIT_S_MAX) -> Fate:
    """Returns what is known after `wait_s`, and REMEMBER_S_MAX for the schedule's memory, at most.

    The trigger itself is durable, so no trouble is raised.
    """
    fate = Fate()
    with contextlib.suppress(TimeoutError, AgentFlowError, nats.errors.Error):
        async with asyncio.timeout(wait_s):
            if triggered.earlier:
                return await _earlier(deps, triggered)
            position, look_s = triggered.seq, _LOOK_S
            while True:
                chunk = await deps.log.read(subjects.run_all(triggered.key), position, _CHUNK)
                for stored in chunk:
                    position = stored.seq
                    if (event := ev.try_decode(stored.data)) is not None:
                        fate = judge(fate, triggered, event)
                if len(chunk) == _CHUNK:
                    continue
                if fate.status in _SETTLED:
                    break
                await asyncio.sleep(look_s)
                look_s = min(_LOOK_S_MAX, look_s * 2)
    if fate.status != "accepted":
        return fate
    with contextlib.suppress(TimeoutError, AgentFlowError, nats.errors.Error):
        async with asyncio.timeout(REMEMBER_S_MAX):  # what was decided may have left the log since it was asked first
            return await _earlier(deps, triggered)
    return fate


async def _earlier(deps: Deps, triggered: Triggered) -> Fate:
    """Returns what the schedule remembers of a trigger, and whether there is a run of it."""
    state = await load_schedule(deps.log, triggered.key)
    cause = (triggered.kind, triggered.trigger_id)
    if state is None or any((waiting.cause, waiting.id) == cause for waiting in state.inbox):
        return Fate()
    if any((waiting.cause, waiting.id) == cause for waiting in state.buffer):
        return Fate("waiting", triggered.run)
    fire = next((fire for fire in state.recent if fire.child == triggered.run), None)
    if fire is not None and fire.status in {"starting", "refused"}:
        return Fate("refused", error=fire.error) if fire.status == "refused" else Fate("fired", triggered.run)
    there = await submit.status_of(deps, subjects.key_of(triggered.key.org, triggered.run)) is not None
    return Fate("started", triggered.run) if there else Fate("skipped")
