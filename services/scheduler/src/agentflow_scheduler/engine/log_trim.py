"""Removes events from the log that a checkpoint of a lane or a schedule, or a schedule's end, replaces.

The newest `schedule.listed` stays. The list of schedules is made of these events, and a scheduler
with a snapshot from before a schedule's end learns of the end by it. The rest is removed when every
durable consumer has passed the checkpoint, except those of worker pools: the archive contains it
then. Pending removals are kept in memory only, and the next checkpoint after a restart brings them
again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, NamedTuple

from agentflow_common import subjects
from agentflow_common.log.durables import seen_by_all
from agentflow_common.log.event_log import EventLog
from agentflow_common.log.transient import AWAY
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.lanes.machine import Lane
from agentflow_scheduler.schedules.machine import Schedule

log = logging.getLogger(__name__)
EVERY_S: Final = 5.0


class Cut(NamedTuple):
    """A part of an entity's log that can be removed."""

    facts: int  # the sequence up to which facts are removed
    decisions: int  # the sequence up to which decisions are removed
    checkpoint: int  # consumers must have passed this sequence first


class Trimmer:
    """Keeps the pending cuts and makes them in the background."""

    def __init__(self, event_log: EventLog) -> None:
        self._log = event_log
        self._cuts: dict[EntityKey, Cut] = {}  # the oldest pending one of each entity, so that it is made in the end
        self._later: dict[EntityKey, Cut] = {}

    def after(self, key: EntityKey, entity: Lane | Schedule) -> None:
        """Offers the entity's cut, if it has decided a checkpoint or its end.

        Call it when that is in the log.
        """
        if entity.cut is not None:
            self.offer(key, Cut(*entity.cut, entity.state.out_seq))
            entity.cut = None

    def offer(self, key: EntityKey, cut: Cut) -> None:
        if key in self._cuts:
            self._later[key] = cut
        else:
            self._cuts[key] = cut

    async def run(self) -> None:
        """Makes cuts forever."""
        while True:
            await asyncio.sleep(EVERY_S)
            if self._cuts:
                try:
                    await self.sweep()
                except AWAY as error:
                    log.warning("the log was not trimmed: %s", type(error).__name__)

    async def sweep(self) -> None:
        """Makes the cuts that are due."""
        seen = await seen_by_all(self._log.nc)
        jsm = self._log.nc.jsm()
        for key, cut in list(self._cuts.items()):
            if cut.checkpoint > seen:
                continue
            for subject, to in [(subjects.run_in(key), cut.facts), *await self._decided(key, cut)]:
                if to > 0:  # no sequence would mean all of them
                    await jsm.purge_stream(subjects.EVENTS_STREAM, subject=subject, seq=to + 1)
            del self._cuts[key]
            if key in self._later:
                self._cuts[key] = self._later.pop(key)

    async def _decided(self, key: EntityKey, cut: Cut) -> list[tuple[str, int]]:
        """Returns the subjects of the entity's decisions, and the sequence up to which each is removed."""
        if key.kind != "schedule":
            return [(subjects.run_out_all(key), cut.decisions)]
        listed = await self._log.newest(subjects.out_schedule(key))
        over = [(subjects.run_timers(key), cut.checkpoint)] if listed == cut.checkpoint else []
        return [
            (subjects.out_step(key), cut.decisions),
            (subjects.out_task(key, subjects.SCHEDULES_POOL), cut.decisions),
            (subjects.out_checkpoint(key), cut.decisions),
            (subjects.out_schedule(key), min(cut.decisions, listed - 1)),
            *over,
        ]
