"""The scheduler's loop: take what has arrived, fold it, decide, append, publish.

One turn serves every entity (run, keyed lane, schedule) that something happened to. `intake` folds
the facts, `decider` decides and appends, `publish` carries out what was decided. `memory` holds the
entities.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from nats.js.object_store import ObjectStore

from agentflow_common.log.consumers import Delivery
from agentflow_common.log.transient import SURVIVED
from agentflow_common.metrics import workflow
from agentflow_common.metrics.log import QUEUE_LAG
from agentflow_common.runtime.service import Context
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.engine.controls import Controls
from agentflow_scheduler.engine.decider import Decider
from agentflow_scheduler.engine.intake import Intake
from agentflow_scheduler.engine.memory import Memory
from agentflow_scheduler.engine.publish import Publisher
from agentflow_scheduler.engine.timers import set_timers
from agentflow_scheduler.entities import State
from agentflow_scheduler.lanes.machine import Lane
from agentflow_scheduler.settings import SchedulerSettings
from agentflow_scheduler.shards.leases import Leases
from agentflow_scheduler.shards.shards import Shards

log = logging.getLogger(__name__)


class Engine:
    """Serves the shards whose leases it has."""

    def __init__(
        self, context: Context[SchedulerSettings], leases: Leases, snapshots: ObjectStore, controls: Controls
    ) -> None:
        self._context = context
        self._log = context.log
        self._leases = leases
        self._controls = controls
        self.memory = Memory(context.log, context.settings, context.clock)
        self._shards = Shards(context.log, snapshots, leases, context.settings)
        self._intake = Intake(context.log, self.memory, self._shards)
        publisher = Publisher(context.log, self.memory, self._shards)
        self.trimmer = publisher.trimmer
        self._decider = Decider(context, self.memory, self._shards, leases, controls, publisher)

    async def run(self) -> None:
        """Serves forever. When something breaks it begins again from the log."""
        while True:
            try:
                await self._serve()
            except SURVIVED:
                log.exception("the shards are recovered again")
                await asyncio.sleep(0.5)

    async def _serve(self) -> None:
        self.memory.clear()
        shards = self._shards
        try:
            while True:
                gone, came = await shards.follow()
                if gone:
                    for key in [key for key in self.memory.entities if key.shard in gone]:
                        self.memory.drop(key)
                    await self._decider.advance({})  # the dropped entities have left room in the worker pools
                if came:
                    await self._join(came)
                workflow.SHARDS.set(len(shards.served))
                self._context.health.set_part("shards", "ok" if shards.served else self._leases.why_none)
                batch = await shards.batch(0.5)
                if batch or self.memory.parked or self._controls.changed.is_set():
                    with workflow.TURN_SECONDS.time():
                        await self._turn(batch)
                if batch:
                    QUEUE_LAG.labels("scheduler").set(batch[-1].pending)
                due = shards.saver.due(len(self.memory.entities), idle=not batch)
                if due in shards.served:
                    shards.saver.begin(due, *self._contents(due))
                for shard in self._leases.leaving & shards.served:
                    await self._hand_over(shard)
        finally:
            await shards.stop()

    async def _join(self, states: dict[EntityKey, State]) -> None:
        """Takes over the entities of new shards: decides what is missing, and sets their timers again."""
        memory = self.memory
        for key, state in states.items():
            await memory.adopt(key, state)
        await self._decider.advance(memory.those(states))
        # as they are by now: an entity whose decision was refused has been read again from the log
        joined = memory.those(states)
        await set_timers(
            self._log, [(key, name, timer) for key, e in joined.items() for name, timer in e.state.timers.items()]
        )

    async def _turn(self, batch: list[Delivery]) -> None:
        memory = self.memory
        touched = memory.those(memory.parked)
        if self._controls.changed.is_set():
            self._controls.changed.clear()
            # a run whose turn never comes may have a slot to give back
            touched |= memory.those([*memory.held_back, *memory.pools.waiting()])
            touched |= {key: entity for key, entity in memory.entities.items() if isinstance(entity, Lane)}
        touched |= await self._intake.take(batch)
        await self._decider.advance(touched)
        await set_timers(self._log, self._intake.replaced_timers())

    def _contents(self, shard: int) -> tuple[int, list[State]]:
        """Returns the contents of a snapshot: up to where the shard is folded, and its entities."""
        states = self.memory.states(shard)
        return self._shards.position(shard), states

    async def _hand_over(self, shard: int) -> None:
        """Gives a shard to a scheduler that joined.

        That one finds a snapshot, so it has little to read.
        """
        if self._shards.serves(shard):  # a lost shard's entities may be forgotten already, and are not over
            with contextlib.suppress(*SURVIVED):
                await self._shards.saver.last(shard, *self._contents(shard))
        self._leases.give(shard)
