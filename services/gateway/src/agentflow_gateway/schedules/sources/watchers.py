"""Runs that start from what is new in a place: each schedule with `trigger: {files: ...}` or
`trigger: {rows: ...}` watches it.

Gateways share the work: one of them at a time holds a source, by a lease in the database. The lease only saves work.
That an item is taken once follows from the id of its trigger, see taking.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from typing import Final

from agentflow_common import tasks as background
from agentflow_common.connections import transient
from agentflow_common.errors import AgentFlowError
from agentflow_common.schedules import sources
from agentflow_common.schedules import spec as schedule_spec
from agentflow_common.schedules.load import load_schedule
from agentflow_common.schedules.spec import Trigger
from agentflow_gateway.api import errors
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.schedules import commands
from agentflow_gateway.schedules.sources import files, rows
from agentflow_gateway.schedules.sources.taking import NoRoomError, Taking
from agentflow_gateway.store.schedules import ScheduleRow
from agentflow_gateway.store.sources import SourceRow

log = logging.getLogger(__name__)

WATCHERS_MAX: Final = 2_000  # of one gateway
_LIST_EVERY_S: Final = 2.0
_SWEEP_EVERY_S: Final = 600.0
_ERROR_CHARS_MAX: Final = 500


class Watchers:
    """Keeps one task for each schedule that watches something."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._holder = os.urandom(8).hex()
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._swept_at = 0.0

    async def run(self) -> None:
        """Follows the list of schedules until it is cancelled."""
        try:
            while True:
                with contextlib.suppress(*transient.SURVIVED):
                    await self._list()
                self._deps.schedules_changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._deps.schedules_changed.wait(), _LIST_EVERY_S)
        finally:
            await background.stop(self._tasks.values())
            with contextlib.suppress(*transient.SURVIVED):
                await self._deps.store.sources.release(self._holder)

    async def _list(self) -> None:
        rows = await self._deps.store.schedules.with_sources(WATCHERS_MAX + 1)
        if len(rows) > WATCHERS_MAX:
            log.error("more schedules watch something than one gateway serves", extra={"limit": WATCHERS_MAX})
        active = {
            (row.id, sources.source_id(row.uid, row.spec)): row for row in rows[:WATCHERS_MAX] if row.status != "paused"
        }
        for key, task in list(self._tasks.items()):
            if key not in active or task.done():
                await background.stop([task])
                del self._tasks[key]
        for (schedule, source), row in active.items():
            if (schedule, source) not in self._tasks:
                self._tasks[schedule, source] = asyncio.create_task(self._watch(row, source))
        if time.monotonic() - self._swept_at > _SWEEP_EVERY_S:
            await self._deps.store.sources.sweep()
            self._swept_at = time.monotonic()

    async def _watch(self, row: ScheduleRow, source: str) -> None:
        """Looks again and again until it is cancelled. The spec is read anew each time: only the place is fixed."""
        while True:
            pause_s = 1.0
            try:
                state = await load_schedule(self._deps.log, commands.key_of(row.org, row.name))
                if state is None or sources.source_id(state.uid, state.spec) != source:
                    return
                spec = schedule_spec.trusted(state.spec)
                held = await self._deps.store.sources.hold(source, row.id, row.uid, state.updated_at, self._holder)
                well = held is not None and await self._look(row, spec.trigger, held)
                if spec.trigger.files is not None:
                    pause_s = spec.trigger.files.every_ms / 1000
                elif well:
                    pause_s = 0.0  # the worker waits for rows
            except transient.SURVIVED as error:
                log.warning("a source can't be read", extra={"schedule": row.name, "error": type(error).__name__})
            await asyncio.sleep(pause_s)

    async def _look(self, row: ScheduleRow, watched: Trigger, held: SourceRow) -> bool:
        """Takes what is new. Returns whether the source could be read and the schedule had room for it."""
        taking = Taking(self._deps, row, held.id)
        store = self._deps.store.sources
        try:
            if watched.rows is not None:
                position = await rows.look(self._deps, watched.rows, held, taking)
            elif watched.files is not None:
                position = await files.look(self._deps, watched.files, held, taking)
            else:
                return False
        except NoRoomError:
            return False
        except Exception as raised:
            error: AgentFlowError = errors.for_client(raised)
            text = error.message[:_ERROR_CHARS_MAX]
            if (held.error_kind, held.error) != (error.kind, text):
                log.warning("a source can't be read", extra={"schedule": row.name, "kind": error.kind})
            now_ms = self._deps.clock.now_ms()
            await store.looked(held.id, now_ms, position="", error_kind=error.kind, error=text)
            return False
        await store.looked(held.id, self._deps.clock.now_ms(), position=position)
        return True
