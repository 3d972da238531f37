"""The scheduler's loop: take what has arrived, fold it, decide, append; nothing else happens in here.

One turn serves every entity (run, keyed lane, schedule) that something happened to. One whose append was refused, or
may or may not have been written, is read again from the log and decided anew; what it had decided is forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec
import nats.errors
from nats.js.errors import APIError
from nats.js.object_store import ObjectStore

from agentflow_common import events as ev
from agentflow_common import subjects, telemetry
from agentflow_common.errors import AgentFlowError, ConflictError, InvalidError, RetryableError
from agentflow_common.log.blobs import Blobs
from agentflow_common.log.consumers import Delivery
from agentflow_common.runs.state import RunState
from agentflow_common.runtime.service import Context
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.decisions import Decisions
from agentflow_scheduler.engine.append import Appender, Turn
from agentflow_scheduler.engine.controls import Controls
from agentflow_scheduler.engine.load_report import Load
from agentflow_scheduler.engine.log_trim import Trimmer
from agentflow_scheduler.engine.packing import Packer
from agentflow_scheduler.engine.pools import Pools
from agentflow_scheduler.engine.timers import purge_timers, set_timers
from agentflow_scheduler.entities import Entity, State, begin, decide_entity, host, is_over
from agentflow_scheduler.lanes.machine import Lane
from agentflow_scheduler.runs.decisions import unbounded
from agentflow_scheduler.runs.faults import Faults, LostValueError
from agentflow_scheduler.runs.plan import Plans
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.settings import SchedulerSettings
from agentflow_scheduler.shards.leases import Leases
from agentflow_scheduler.shards.recovery import end_unplannable, reload
from agentflow_scheduler.shards.shards import Shards

log = logging.getLogger(__name__)
ROUNDS_MAX: Final = 50  # tries of one turn before the engine starts over from the log
PARK_TRIES_MAX: Final = 12  # about three minutes: then what a run needs counts as lost
PARK_S_MAX: Final = 30.0


class Engine:
    """Serves the shards whose leases it holds."""

    def __init__(
        self, context: Context[SchedulerSettings], leases: Leases, snapshots: ObjectStore, controls: Controls
    ) -> None:
        self._context = context
        self._log = context.log
        self._leases = leases
        self._snapshots = snapshots
        self._controls = controls
        self._blobs = Blobs(context.nc)
        self._packer = Packer(context.nc, self._blobs)
        self._plans = Plans(context.settings.row_steps)
        self.trimmer = Trimmer(context.log)
        self._appender = Appender(context.log, context.settings.durability == "fsync")
        self._entities: dict[EntityKey, Entity] = {}
        self._parked: dict[EntityKey, tuple[float, int]] = {}  # (when to try again, tries so far)
        self._early: dict[tuple[EntityKey, str], None] = {}  # timers of which an older one fired
        self._held: dict[EntityKey, None] = {}  # runs of paused workflows that have something to offer
        self._pools = Pools(context.settings.window_steps)
        self._shards = Shards(context.log, snapshots, leases, context.settings)
        self._background: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        """For ever: serve the shards held; begin again from the log when something breaks."""
        while True:
            try:
                await self._serve()
            except (AgentFlowError, nats.errors.Error, APIError, TimeoutError):
                log.exception("the shards are recovered again")
                await asyncio.sleep(0.5)

    def load(self) -> Load:
        """What is in hand now."""
        runs = [entity for entity in self._entities.values() if isinstance(entity, Run)]
        return Load(len(runs), sum(len(run.in_flight) for run in runs))

    async def _serve(self) -> None:
        self._entities.clear()
        self._parked.clear()
        self._held.clear()
        self._pools = Pools(self._context.settings.window_steps)
        shards = self._shards = Shards(self._log, self._snapshots, self._leases, self._context.settings)
        try:
            while True:
                gone, came = await shards.follow()
                if gone:
                    for key in [key for key in self._entities if key.shard in gone]:
                        self._drop(key)
                    await self._advance({})  # what is gone has left room in the worker pools
                if came:
                    await self._join(came)
                self._context.health.set_part("shards", "ok" if shards.served else self._leases.why_none)
                batch = await shards.batch(0.5)
                if batch or self._parked or self._controls.changed.is_set():
                    await self._turn(batch)
                if batch:
                    telemetry.QUEUE_LAG.labels("scheduler").set(batch[-1].pending)
                due = shards.saver.due(len(self._entities), idle=not batch)
                if due in shards.served:
                    shards.saver.begin(due, *self._contents(due))
                for shard in self._leases.leaving & shards.served:
                    await self._hand_over(shard)
        finally:
            await shards.stop()

    async def _join(self, states: dict[EntityKey, State]) -> None:
        """What is in shards that are served from now on: decide what is missing, set what may not have been set."""
        for key, state in states.items():
            await self._adopt(key, state)
        await self._advance({key: self._entities[key] for key in states if key in self._entities})
        # as they are by now: what was decided and refused has been read again from the log
        joined = [(key, self._entities[key]) for key in states if key in self._entities]
        await set_timers(self._log, [(key, name, timer) for key, e in joined for name, timer in e.state.timers.items()])

    def _drop(self, key: EntityKey) -> None:
        self._entities.pop(key, None)
        self._parked.pop(key, None)
        self._held.pop(key, None)
        self._pools.forget(key)

    async def _hand_over(self, shard: int) -> None:
        """To a scheduler that joined: it finds a snapshot, so it has little to read."""
        if self._shards.serves(shard):  # a lost shard's entities may be forgotten already, and are not over
            with contextlib.suppress(AgentFlowError, nats.errors.Error, APIError, TimeoutError):
                await self._shards.saver.last(shard, *self._contents(shard))
        self._leases.give(shard)

    def _contents(self, shard: int) -> tuple[int, list[State]]:
        """What a snapshot of the shard holds: up to where it is folded, and its entities."""
        now_ms = self._context.clock.now_ms()
        for key, entity in list(self._entities.items()):
            if key.shard == shard and isinstance(entity, Lane) and entity.may_go(now_ms):
                self._drop(key)
        return self._shards.position(shard), [e.state for key, e in self._entities.items() if key.shard == shard]

    # --- one turn ---

    async def _turn(self, batch: list[Delivery]) -> None:
        touched: dict[EntityKey, Entity] = {key: self._entities[key] for key in self._parked if key in self._entities}
        if self._controls.changed.is_set():
            self._controls.changed.clear()
            concerned = [*self._held, *self._pools.waiting()]  # whose turn never comes may have a slot to give back
            touched.update({key: self._entities[key] for key in concerned if key in self._entities})
            touched.update({key: entity for key, entity in self._entities.items() if isinstance(entity, Lane)})
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
        await self._advance(touched)
        await set_timers(self._log, self._still_set())

    def _still_set(self) -> list[tuple[EntityKey, str, Any]]:
        """Timers in whose place an older one of their name was set: a word that was late on its way."""
        early, self._early = self._early, {}
        known = [(key, name, self._entities.get(key)) for key, name in early]
        return [(key, name, e.state.timers[name]) for key, name, e in known if e and name in e.state.timers]

    async def _fold(self, key: EntityKey, delivery: Delivery) -> Entity | None:
        """What the fact has given something to decide."""
        event = ev.decode(delivery.data)
        if isinstance(event, ev.Decision):
            raise InvalidError("a decision among the facts", kind="forged_decision")
        entity = self._entities.get(key)
        if entity is not None:
            entity.apply(event, delivery.seq)
            if isinstance(event, ev.TimerFired) and event.timer in entity.state.timers:
                self._early[key, event.timer] = None
            if isinstance(entity, Run):
                self._pools.folded(key, entity, event)
                return None if entity.worker_continues(event) else entity
            return entity
        state = begin(key, event, delivery.seq)
        if state is None:  # a late word about what is over
            heard = isinstance(event, ev.RunCancelRequested | ev.SignalReceived)
            return await self._reload(key, delivery.seq) if heard else None
        return await self._adopt(key, state)

    async def _adopt(self, key: EntityKey, state: State) -> Entity | None:
        """The entity in memory. A run whose definition can't be planned is ended in the log: it would wait for ever."""
        try:
            entity = self._entities[key] = host(key, state, self._plans)
        except Exception as error:
            log.exception("the definition can't be planned", extra={"org": key.org, "run": key.name})
            if not isinstance(state, RunState):
                return None
            await end_unplannable(self._log, key, state, error, self._context.clock.now_ms())
            return None
        if isinstance(entity, Run):
            self._pools.adopt(key, entity)
        return entity

    async def _advance(self, touched: dict[EntityKey, Entity]) -> None:
        """Decides and appends until nothing is left to decide for these entities, and for those whose turn came."""
        values: dict[str, Any] = {}  # kept while turns go round: else a run would use up its turn for fetching them
        await self._settle(touched, values)
        while came := {key: self._entities[key] for key in self._pools.grants() if key in self._entities}:
            await self._settle(came, values)

    async def _settle(self, touched: dict[EntityKey, Entity], values: dict[str, Any]) -> None:
        attempt = 0
        while touched and attempt < ROUNDS_MAX:
            fetched = len(values)
            turns, again = await self._decide(touched, values)
            failed = await self._appender.write(turns)
            refused = {turn.key for turn, _ in failed}
            await self._after([turn for turn in turns if turn.key not in refused])
            if any(isinstance(error, ConflictError) for _, error in failed):
                await self._leases.refresh()
            for turn, error in failed:
                log.warning("append of %s: %s", turn.key.name, error)
                fresh = await self._reload(turn.key, turn.entity.state.facts_seq)
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
        """The turns to append, and what must be decided again (with the blobs that are now at hand)."""
        now_ms = self._context.clock.now_ms()
        turns: list[Turn] = []
        again: dict[EntityKey, Entity] = {}
        for key, known in touched.items():
            entity = known
            if not self._shards.serves(key.shard):
                self._drop(key)
                continue
            if self._must_wait(key, entity):
                continue
            try:
                out, turn = await self._decide_one(key, entity, now_ms, values)
            except Exception as error:
                if (anew := await self._decide_anew(key, entity.state.facts_seq, now_ms, values, error)) is None:
                    continue
                entity, out, turn = anew
            self._parked.pop(key, None)
            if out.decisions or out.sends:
                turns.append(turn)
            if out.needs or out.more:
                again[key] = entity
            if isinstance(entity, Run):
                self._pools.after(key, entity, out.decisions)
                self._held.pop(key, None)
                if out.held and self._is_paused(entity):
                    self._held[key] = None
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
            fresh = await self._reload(key, known)
            if not isinstance(fresh, Run) or (isinstance(error, RetryableError) and self._park(key, error)):
                return None
            if not faults.meet(error):
                self._drop(key)
                return None
            faults.tell(fresh)
            try:
                return fresh, *await self._decide_one(key, fresh, now_ms, values)
            except Exception as following:
                error = following

    def _is_paused(self, run: Run) -> bool:
        return self._controls.is_paused(run.state.org, run.state.workflow)

    def _room(self, key: EntityKey, entity: Entity) -> Callable[[str], bool]:
        """Asks whether one more step may be offered to a worker pool now."""
        return self._pools.before(key, self._is_paused(entity)) if isinstance(entity, Run) else unbounded

    def _must_wait(self, key: EntityKey, entity: Entity) -> bool:
        """Whether the run is parked and its time has not come; to end it nothing needs to be fetched."""
        if key not in self._parked or not isinstance(entity, Run):
            return False
        if entity.state.cancel_requested or entity.state.deadline_passed:
            return False
        return self._parked[key][0] > asyncio.get_running_loop().time()

    def _park(self, key: EntityKey, error: RetryableError) -> bool:
        """Puts a run aside whose decision needs what is not there now, so that it holds up nobody; False: no more."""
        tries = self._parked.get(key, (0.0, 0))[1] + 1
        if tries > PARK_TRIES_MAX:
            return False
        delay_s = min(0.2 * 2**tries, PARK_S_MAX)
        self._parked[key] = (asyncio.get_running_loop().time() + delay_s, tries)
        log.warning("a run waits %.1f s: %s", delay_s, error.message, extra={"org": key.org, "run": key.name})
        return True

    async def _reload(self, key: EntityKey, known: int = 0) -> Entity | None:
        state = await reload(self._log, key, known)
        if state is None or is_over(key, state):
            self._drop(key)
            return None
        return await self._adopt(key, state)

    # --- what follows an append ---

    async def _after(self, turns: list[Turn]) -> None:
        timers: list[tuple[EntityKey, str, Any]] = []
        for turn in turns:
            self._shards.saver.count(turn.key.shard, len(turn.decisions))
            timers.extend((turn.key, d.timer, d) for d in turn.decisions if isinstance(d, ev.TimerSet))
            if isinstance(turn.entity, Run):
                await self._after_run(turn, turn.entity)
            else:
                self.trimmer.after(turn.key, turn.entity)
                if is_over(turn.key, turn.entity.state):
                    self._drop(turn.key)
        if timers:
            await set_timers(self._log, timers)

    async def _after_run(self, turn: Turn, run: Run) -> None:
        for decision in turn.decisions:
            if isinstance(decision, ev.StepScheduled):
                if decision.attempt > 1:
                    telemetry.STEP_RETRIES.labels(run.plan.workflow).inc()
            elif isinstance(decision, ev.TimerSet):
                run.used_timers = True
            elif isinstance(decision, ev.StepCancelled | ev.StepTimedOut):
                await self._hint(turn.key, decision.step, decision.attempt, "forced")
            elif isinstance(decision, ev.RunCancelling):
                await self._hint(turn.key, "", 0, "graceful")
            elif isinstance(decision, ev.TERMINAL_RUN):
                self._finish(turn.key, run, decision)

    async def _hint(self, key: EntityKey, step: str, attempt: int, mode: str) -> None:
        """Tells workers to stop; a worker that misses it asks the log."""
        word = {"run": key.name, "step": step, "attempt": attempt, "mode": mode}
        await self._context.nc.publish(subjects.control(key.name), msgspec.json.encode(word))

    def _finish(self, key: EntityKey, run: Run, decision: ev.RunCompleted | ev.RunFailed | ev.RunCancelled) -> None:
        state = run.state
        workflow = run.plan.workflow
        telemetry.RUNS.labels(str(state.status), workflow).inc()
        telemetry.RUN_SECONDS.labels(str(state.status)).observe(decision.duration_ms / 1000)
        telemetry.RUN_COST_CENTS.labels(workflow).observe(state.cost_nano / 10_000_000)
        with telemetry.span("run", state.trace, workflow=workflow, status=str(state.status), run=state.run):
            self._drop(key)
        if run.used_timers:
            task = asyncio.ensure_future(purge_timers(self._log, key))
            self._background.add(task)
            task.add_done_callback(self._background.discard)
