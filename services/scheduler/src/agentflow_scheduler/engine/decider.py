"""A turn's decisions: decide, append, and decide again what was refused, until nothing is left to decide.

An entity whose append was refused is read again from the log and decided anew. Its earlier decisions are forgotten. The
same is done if it is unknown whether an append was written. runs/faults.py says what follows an error of the engine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from agentflow_common.errors import AgentFlowError, ConflictError, RetryableError
from agentflow_common.log.blobs import Blobs
from agentflow_common.runtime.service import Context
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.decisions import Decisions
from agentflow_scheduler.engine.append import Appender, Turn
from agentflow_scheduler.engine.controls import Controls
from agentflow_scheduler.engine.memory import Memory
from agentflow_scheduler.engine.packing import Packer
from agentflow_scheduler.engine.publish import Publisher
from agentflow_scheduler.engine.timers import set_timers
from agentflow_scheduler.entities import Entity, decide_entity
from agentflow_scheduler.lanes.machine import Lane
from agentflow_scheduler.runs.decisions import unbounded
from agentflow_scheduler.runs.faults import Faults, LostValueError
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.settings import SchedulerSettings
from agentflow_scheduler.shards.leases import Leases
from agentflow_scheduler.shards.shards import Shards

log = logging.getLogger(__name__)
ROUNDS_MAX: Final = 50  # tries of one turn before the engine starts over from the log


class Decider:
    """Decides for entities in memory."""

    def __init__(
        self,
        context: Context[SchedulerSettings],
        memory: Memory,
        shards: Shards,
        leases: Leases,
        controls: Controls,
        publisher: Publisher,
    ) -> None:
        self._log = context.log
        self._clock = context.clock
        self._memory = memory
        self._shards = shards
        self._leases = leases
        self._controls = controls
        self._publisher = publisher
        self._blobs = Blobs(context.nc)
        self._packer = Packer(context.nc, self._blobs)
        self._appender = Appender(context.log, context.settings.durability == "fsync")

    async def advance(self, touched: dict[EntityKey, Entity]) -> None:
        """Decides and appends until nothing is left to decide for these entities, and for those whose turn came."""
        values: dict[str, Any] = {}  # kept for all rounds: else a run would use up its turn for fetching them
        await self._settle(touched, values)
        while granted := self._memory.those(self._memory.pools.grants()):
            await self._settle(granted, values)

    async def _settle(self, touched: dict[EntityKey, Entity], values: dict[str, Any]) -> None:
        attempt = 0
        while touched and attempt < ROUNDS_MAX:
            fetched = len(values)
            turns, again = await self._decide(touched, values)
            failed = await self._appender.write(turns)
            refused = {turn.key for turn, _ in failed}
            await self._publisher.publish([turn for turn in turns if turn.key not in refused])
            if any(isinstance(error, ConflictError) for _, error in failed):
                await self._leases.refresh()
            for turn, error in failed:
                log.warning("append of %s: %s", turn.key.name, error)
                fresh = await self._memory.reload(turn.key, turn.entity.state.facts_seq)
                if fresh is not None:
                    again[turn.key] = fresh
                    # an append that was written and not acknowledged may have decided timers that nobody has set
                    await set_timers(self._log, [(turn.key, name, timer) for name, timer in fresh.state.timers.items()])
            touched = again
            if failed:
                await asyncio.sleep(min(0.01 * 2**attempt, 1.0))
            attempt += len(failed) == len(turns) and len(values) == fetched  # else it gets on, however long it takes
        if touched:
            raise AgentFlowError(f"{len(touched)} entities can't be appended", kind="append_stuck")

    async def _decide(
        self, touched: dict[EntityKey, Entity], values: dict[str, Any]
    ) -> tuple[list[Turn], dict[EntityKey, Entity]]:
        """Returns the turns to append, and the entities to decide again, with the values that were fetched for them."""
        now_ms = self._clock.now_ms()
        memory = self._memory
        turns: list[Turn] = []
        again: dict[EntityKey, Entity] = {}
        for key, known in touched.items():
            entity = known
            if not self._shards.serves(key.shard):
                memory.drop(key)
                continue
            if memory.must_wait(key, entity):
                continue
            try:
                out, turn = await self._decide_one(key, entity, now_ms, values)
            except Exception as error:
                if (anew := await self._decide_anew(key, entity.state.facts_seq, now_ms, values, error)) is None:
                    continue
                entity, out, turn = anew
            memory.parked.pop(key, None)
            if out.decisions or out.sends:
                turns.append(turn)
            if out.needs or out.more:
                again[key] = entity
            if isinstance(entity, Run):
                memory.pools.on_decided(key, entity, out.decisions)
                if not out.held:
                    memory.held_back.pop(key, None)
        return turns, again

    async def _decide_one(
        self, key: EntityKey, entity: Entity, now_ms: int, values: dict[str, Any]
    ) -> tuple[Decisions, Turn]:
        if isinstance(entity, Lane):
            entity.wanted = self._controls.lane(entity.state.lane)
        out = decide_entity(key, entity, now_ms, values, self._room(key, entity))
        for ref in out.needs:
            try:
                values[ref.sha256] = await self._blobs.fetch(ref)
            except RetryableError as error:
                raise LostValueError(out.askers.get(ref.sha256, ""), error) from error
        return out, await self._packer.turn(key, entity, out)

    async def _decide_anew(
        self, key: EntityKey, known: int, now_ms: int, values: dict[str, Any], error: Exception
    ) -> tuple[Run, Decisions, Turn] | None:
        """Reads the run again after an error and decides it as runs/faults.py says.

        Returns None if the run waits, is over, or can't be ended. A lane or a schedule has nothing to end.
        """
        faults = Faults()
        while True:
            if not isinstance(error, RetryableError):
                log.error("the run can't go on", exc_info=error, extra={"org": key.org, "run": key.name})
            fresh = await self._memory.reload(key, known)
            if not isinstance(fresh, Run) or (isinstance(error, RetryableError) and self._memory.park(key, error)):
                return None
            if not faults.meet(error):
                self._memory.drop(key)
                return None
            faults.mark(fresh)
            try:
                return fresh, *await self._decide_one(key, fresh, now_ms, values)
            except Exception as following:
                error = following

    def _room(self, key: EntityKey, entity: Entity) -> Callable[[str], bool]:
        """Returns a function that is True if one more step may be offered to a worker pool now.

        A run of a paused workflow is noted as held back here, because its pause may end before the turn does.
        """
        if not isinstance(entity, Run):
            return unbounded
        paused = self._controls.is_paused(entity.state.org, entity.state.workflow)
        if paused:
            self._memory.held_back[key] = None
        else:
            self._memory.held_back.pop(key, None)
        return self._memory.pools.room(key, paused)
