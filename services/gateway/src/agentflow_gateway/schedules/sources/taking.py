"""Asks a schedule for one run for each item of its source, no faster than the schedule decides.

An item's trigger has an id that its place and its version determine. The schedule ignores an id that it knows, and the
run's id follows from it too. So an item that is taken twice, because a gateway was lost in between, is one run.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from agentflow_common import telemetry
from agentflow_common.errors import RetryableError
from agentflow_common.metrics.calls import TRIGGERS
from agentflow_common.schedules import sources
from agentflow_common.schedules.load import load_schedule
from agentflow_gateway.api import errors
from agentflow_gateway.api.call import Call
from agentflow_gateway.auth_rules import Identity
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.schedules import commands, triggers
from agentflow_gateway.schedules.triggers import Trigger
from agentflow_gateway.store.schedules import ScheduleRow

log = logging.getLogger(__name__)
ROOM_S_MAX: Final = 2.0  # that a look waits for the schedule to decide; then it ends, and the next one goes on
_PAUSE_S: Final = 0.1


class Item(msgspec.Struct, frozen=True):
    """One version of something that a source has."""

    key: str  # the same for every version; empty: the source keeps a position, and no list of items
    version: str
    id: str  # of the trigger
    payload: Any


class NoRoomError(RetryableError):
    """The schedule has enough to decide."""


class Taking:
    """Takes the items of one schedule's source."""

    def __init__(self, deps: Deps, row: ScheduleRow, source: str) -> None:
        self._deps = deps
        self._row = row
        self._source = source

    def call(self, trace: str = "") -> Call:
        row = self._row
        return Call(self._deps, Identity(f"{row.source}:{row.name}", row.org, ("write",)), trace)

    async def take(self, items: Sequence[Item]) -> int:
        """Asks for the runs of the first items, and remembers them. Returns how many: at least one.

        NoRoomError if the schedule does not decide. RetryableError, or any other error that is not the item's
        fault, leaves the items that are not remembered for another look.
        """
        part = items[: await self._room()]
        done: list[Item] = []
        refused = 0
        try:
            for item in part:
                refused += not await self._trigger(item)
                done.append(item)
        finally:
            if done:
                pairs = [(item.key, item.version) for item in done if item.key]
                now_ms = self._deps.clock.now_ms()
                await self._deps.store.sources.add(
                    self._source, pairs, now_ms, taken=len(done) - refused, refused=refused
                )
        return len(done)

    async def _room(self) -> int:
        """Returns the number of items that the schedule may get now, once it is not 0."""
        deadline = time.monotonic() + ROOM_S_MAX
        while True:
            state = await load_schedule(self._deps.log, commands.key_of(self._row.org, self._row.name))
            if state is None or state.deleted or sources.source_id(state.uid, state.spec) != self._source:
                raise NoRoomError("the schedule has changed", kind="schedule_changed")
            if (room := sources.WAITING_MAX - len(state.inbox)) > 0:
                return room
            if time.monotonic() > deadline:
                raise NoRoomError("the schedule has enough to decide", kind="too_many_triggers")
            await asyncio.sleep(_PAUSE_S)

    async def _trigger(self, item: Item) -> bool:
        """Returns False if the item can never start a run: that is logged, and the source goes on."""
        row = self._row
        try:
            with telemetry.span("schedule.item", "", "consumer", agentflow__org=row.org) as span:
                call = self.call(span.traceparent)
                await triggers.trigger(call, row.name, Trigger(row.source, item.payload, id=item.id))
        except Exception as raised:
            error = errors.for_client(raised)
            TRIGGERS.labels(row.source, error.code).inc()
            if error.retryable or error.kind in {"internal", "schedule_paused", "unknown_schedule"}:
                raise
            log.warning("an item starts nothing", extra={"schedule": row.name, "kind": error.kind})
            return False
        TRIGGERS.labels(row.source, "ok").inc()
        return True
