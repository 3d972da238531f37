"""The entities that a scheduler has in memory, and which of them wait for something before they are decided again."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Iterable
from typing import Final

from agentflow_common.clock import Clock
from agentflow_common.errors import RetryableError
from agentflow_common.log.event_log import EventLog
from agentflow_common.metrics import workflow
from agentflow_common.runs.state import RunState
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.engine.load_report import POOLS_MAX, Load
from agentflow_scheduler.engine.pools import Pools
from agentflow_scheduler.engine.silence import Silence
from agentflow_scheduler.entities import Entity, State, host, is_over
from agentflow_scheduler.lanes.machine import Lane
from agentflow_scheduler.runs.plan import Plans
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.settings import SchedulerSettings
from agentflow_scheduler.shards.recovery import end_unplannable, reload

log = logging.getLogger(__name__)
PARK_TRIES_MAX: Final = 12  # about three minutes: then what a run needs counts as lost
PARK_S_MAX: Final = 30.0


class Memory:
    """Entities by key, folded from the log."""

    def __init__(self, event_log: EventLog, settings: SchedulerSettings, clock: Clock) -> None:
        self._log = event_log
        self._clock = clock
        self._window_steps = settings.window_steps
        self._silence = Silence()
        self._plans = Plans(settings.chain_steps, settings.subworkflow_depth_max)
        self.clear()

    def clear(self) -> None:
        """Forgets everything: the entities are read from the log again."""
        self.entities: dict[EntityKey, Entity] = {}
        self.parked: dict[EntityKey, tuple[float, int]] = {}  # (when to try again, tries so far)
        self.held_back: dict[EntityKey, None] = {}  # runs of paused workflows that have something to offer
        self.pools = Pools(self._window_steps)

    def those(self, keys: Iterable[EntityKey]) -> dict[EntityKey, Entity]:
        """Returns the entities with these keys that are in memory."""
        return {key: self.entities[key] for key in keys if key in self.entities}

    def load(self) -> Load:
        runs = [entity for entity in self.entities.values() if isinstance(entity, Run)]
        self._measure()
        pools = dict(itertools.islice(self.pools.offered().items(), POOLS_MAX))
        return Load(len(runs), sum(len(run.in_flight) for run in runs), pools=pools)

    def _measure(self) -> None:
        workflow.PARKED_RUNS.set(len(self.parked))
        workflow.WAITING_RUNS.set(len(self.pools.waiting()))
        workflow.WINDOW_STEPS.set(self._window_steps)
        runs = ((key, entity) for key, entity in self.entities.items() if isinstance(entity, Run))
        workflow.SILENCE_SECONDS.set(self._silence.longest(runs, time.monotonic()))

    def states(self, shard: int) -> list[State]:
        """Returns the states of a shard for a snapshot. Lanes that may leave memory leave it first."""
        now_ms = self._clock.now_ms()
        for key, entity in list(self.entities.items()):
            if key.shard == shard and isinstance(entity, Lane) and entity.may_go(now_ms):
                self.drop(key)
        return [entity.state for key, entity in self.entities.items() if key.shard == shard]

    async def adopt(self, key: EntityKey, state: State) -> Entity | None:
        """Takes an entity into memory.

        A run whose definition can't be planned is ended in the log, where it would wait forever.
        """
        try:
            entity = self.entities[key] = host(key, state, self._plans)
        except Exception as error:
            log.exception("the definition can't be planned", extra={"org": key.org, "run": key.name})
            if isinstance(state, RunState):
                await end_unplannable(self._log, key, state, error, self._clock.now_ms())
            return None
        if isinstance(entity, Run):
            self.pools.adopt(key, entity)
        return entity

    async def reload(self, key: EntityKey, known: int = 0) -> Entity | None:
        """Reads the entity from the log again. known: a sequence of it that was seen. Returns None if it is over."""
        state = await reload(self._log, key, known)
        if state is None or is_over(key, state):
            self.drop(key)
            return None
        return await self.adopt(key, state)

    def drop(self, key: EntityKey) -> None:
        """Forgets the entity: it is over, or another scheduler serves it."""
        self.entities.pop(key, None)
        self.parked.pop(key, None)
        self.held_back.pop(key, None)
        self.pools.forget(key)

    def park(self, key: EntityKey, error: RetryableError) -> bool:
        """Puts aside a run whose decision needs something that is missing now, so that no other run waits for it.

        Returns False if it has been tried often enough.
        """
        tries = self.parked.get(key, (0.0, 0))[1] + 1
        if tries > PARK_TRIES_MAX:
            return False
        delay_s = min(0.2 * 2**tries, PARK_S_MAX)
        self.parked[key] = (asyncio.get_running_loop().time() + delay_s, tries)
        log.warning("a run waits %.1f s: %s", delay_s, error.message, extra={"org": key.org, "run": key.name})
        return True

    def must_wait(self, key: EntityKey, entity: Entity) -> bool:
        """True if the run is parked and its time has not come. A run that ends needs nothing, so it does not wait."""
        if key not in self.parked or not isinstance(entity, Run):
            return False
        if entity.state.cancel_requested or entity.state.deadline_passed:
            return False
        return self.parked[key][0] > asyncio.get_running_loop().time()
