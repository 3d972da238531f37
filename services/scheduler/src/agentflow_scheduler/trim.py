"""Takes what stands before a checkpoint of a lane or a schedule out of the log.

It goes when every durable consumer but the worker pools' has passed the checkpoint: the archive holds it then. What was
to go is kept in memory only: after a restart the next checkpoint says it again.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Final, NamedTuple

import nats.errors
from nats.js.errors import APIError

from agentflow_common import subjects
from agentflow_common.eventlog import EventLog
from agentflow_common.subjects import RunKey
from agentflow_scheduler.lanes import Lane

log = logging.getLogger(__name__)
EVERY_S: Final = 5.0


class Cut(NamedTuple):
    """Facts with a sequence up to `facts` and decisions up to `decisions` may go, once `checkpoint` was passed."""

    facts: int
    decisions: int
    checkpoint: int


class Trimmer:
    """Give it cuts with `offer`; `run` makes them for ever."""

    def __init__(self, event_log: EventLog, every_s: float = EVERY_S) -> None:
        self._log = event_log
        self._every_s = every_s
        self._cuts: dict[RunKey, Cut] = {}  # the oldest that waits of each entity: it comes to be made
        self._later: dict[RunKey, Cut] = {}

    def after(self, key: RunKey, lane: Lane) -> None:
        """What the lane decided is in the log; if it was a checkpoint, the log before it may be cut."""
        if lane.cut is not None:
            self.offer(key, Cut(*lane.cut, lane.state.out_seq))
            lane.cut = None

    def offer(self, key: RunKey, cut: Cut) -> None:
        if key in self._cuts:
            self._later[key] = cut
        else:
            self._cuts[key] = cut

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            if self._cuts:
                try:
                    await self.sweep()
                except (nats.errors.Error, APIError, TimeoutError) as error:
                    log.warning("the log was not trimmed: %s", type(error).__name__)

    async def sweep(self) -> None:
        """Makes the cuts that are due."""
        seen = await self._seen_to()
        jsm = self._log.nc.jsm()
        for key, cut in list(self._cuts.items()):
            if cut.checkpoint > seen:
                continue
            stream = subjects.EVENTS_STREAM
            await jsm.purge_stream(stream, subject=subjects.run_in(key), seq=cut.facts + 1)
            await jsm.purge_stream(stream, subject=subjects.run_out_all(key), seq=cut.decisions + 1)
            del self._cuts[key]
            if key in self._later:
                self._cuts[key] = self._later.pop(key)

    async def _seen_to(self) -> float:
        """The sequence up to which every durable consumer but the worker pools' is done."""
        seen = math.inf
        offset = 0
        while True:
            infos = await self._log.nc.jsm().consumers_info(subjects.EVENTS_STREAM, offset)
            for info in infos:
                name = info.config.durable_name or ""
                waits = info.num_pending or info.num_ack_pending
                if name and waits and not name.startswith(subjects.lane_durable("")):
                    seen = min(seen, info.ack_floor.stream_seq if info.ack_floor is not None else 0)
            offset += len(infos)
            if len(infos) < 256:
                return seen
