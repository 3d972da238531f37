"""The intake of facts: each is folded into its entity, which may then have something to decide."""

from __future__ import annotations

import logging
from typing import Any

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.errors import InvalidError, RetryableError
from agentflow_common.log.consumers import Delivery
from agentflow_common.log.event_log import EventLog
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.engine.memory import Memory
from agentflow_scheduler.entities import Entity, begin
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.shards.shards import Shards

log = logging.getLogger(__name__)


class Intake:
    """Folds facts into the entities in memory."""

    def __init__(self, event_log: EventLog, memory: Memory, shards: Shards) -> None:
        self._log = event_log
        self._memory = memory
        self._shards = shards
        self._early: dict[tuple[EntityKey, str], None] = {}  # timers that fired early, see replaced_timers

    async def take(self, batch: list[Delivery]) -> dict[EntityKey, Entity]:
        """Folds the facts, and returns the entities that have something to decide.

        A fact that can't be used is put with the dead letters.
        """
        touched: dict[EntityKey, Entity] = {}
        for delivery in batch:
            key = subjects.parse(delivery.subject)
            if key is None or not self._shards.is_new(key.shard, delivery.seq):
                continue
            self._shards.saver.count(key.shard, 1)
            try:
                entity = await self._fold(key, delivery)
            except RetryableError:
                raise
            except Exception as error:
                log.exception("an event was put with the dead letters", extra={"seq": delivery.seq})
                await self._log.bury("scheduler", delivery, type(error).__name__)
                continue
            if entity is not None:
                touched[key] = entity
        return touched

    def replaced_timers(self) -> list[tuple[EntityKey, str, Any]]:
        """Returns timers that fired early, to be set again.

        An older timer of the same name had been set in their place, by a message that arrived late.
        """
        early, self._early = self._early, {}
        entities = [(key, name, self._memory.entities.get(key)) for key, name in early]
        return [(key, name, e.state.timers[name]) for key, name, e in entities if e and name in e.state.timers]

    async def _fold(self, key: EntityKey, delivery: Delivery) -> Entity | None:
        """Returns the entity if the fact gives it something to decide."""
        event = ev.decode(delivery.data)
        if isinstance(event, ev.Decision):
            raise InvalidError("a decision among the facts", kind="forged_decision")
        entity = self._memory.entities.get(key)
        if entity is not None:
            entity.apply(event, delivery.seq)
            if isinstance(event, ev.TimerFired) and event.timer in entity.state.timers:
                self._early[key, event.timer] = None
            if isinstance(entity, Run):
                self._memory.pools.on_folded(key, entity, event)
                return None if entity.worker_continues(event) else entity
            return entity
        state = begin(key, event, delivery.seq)
        if state is not None:
            return await self._memory.adopt(key, state)
        if isinstance(event, ev.RunCancelRequested | ev.SignalReceived):  # for a run that is over, or its successor
            return await self._memory.reload(key, delivery.seq)
        return None
