"""The scheduler's loop: take what has arrived, fold it, decide, append; nothing else happens in here.

One turn serves every run that something happened to. A run whose append was refused, or may or may not have been
written, is read again from the log and decided again; what it had decided in memory is forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import nats.errors
from nats.js.errors import APIError
from nats.js.object_store import ObjectStore

from agentflow_common import events as ev
from agentflow_common import subjects, telemetry
from agentflow_common.blobs import INLINE_BYTES_MAX, Blobs
from agentflow_common.errors import AgentFlowError, ConflictError, InvalidError, RetryableError
from agentflow_common.eventlog import Entry, Fence
from agentflow_common.events import StepError
from agentflow_common.pull import Delivery
from agentflow_common.runfold import new_state
from agentflow_common.runstate import RunState, parent_of
from agentflow_common.service import Context
from agentflow_common.subjects import RunKey
from agentflow_scheduler.append import Appender, Turn
from agentflow_scheduler.lease import Leases
from agentflow_scheduler.machine import Decision, Run, decide, fail_run
from agentflow_scheduler.plan import Plans
from agentflow_scheduler.recovery import reload
from agentflow_scheduler.settings import SchedulerSettings
from agentflow_scheduler.shards import Shards

log = logging.getLogger(__name__)
ROUNDS_MAX: Final = 50  # tries of one turn before the engine starts over from the log
PARK_TRIES_MAX: Final = 12  # about three minutes: then what a run needs counts as lost
PARK_S_MAX: Final = 30.0
PACK_BYTES_MIN: Final = 4 * 1024  # smaller inputs stay in line even in a large task


class Engine:
    """Serves the shards whose leases it holds."""

    def __init__(self, context: Context[SchedulerSettings], leases: Leases, snapshots: ObjectStore) -> None:
        self._context = context
        self._log = context.log
        self._leases = leases
        self._snapshots = snapshots
        self._blobs = Blobs(context.nc)
        self._plans = Plans()
        self._appender = Appender(context.log, context.settings.durability == "fsync")
        self._runs: dict[RunKey, Run] = {}
        self._parked: dict[RunKey, tuple[float, int]] = {}  # (when to try again, tries so far)
        self._shards = Shards(context.log, snapshots, leases)
        self._since_snapshot = 0
        self._background: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        """For ever: serve the shards held; begin again from the log when something breaks."""
        while True:
            try:
                await self._serve()
            except (AgentFlowError, nats.errors.Error, APIError, TimeoutError):
                log.exception("the shards are recovered again")
                await asyncio.sleep(0.5)

    async def _serve(self) -> None:
        self._runs.clear()
        self._parked.clear()
        shards = self._shards = Shards(self._log, self._snapshots, self._leases)
        try:
            while True:
                gone, came = await shards.follow()
                if gone:
                    self._forget(gone)
                if came:
                    await self._join(came)
                self._context.health.set_part("shards", "ok" if shards.served else "no shard is free yet")
                batch = await shards.batch(0.5)
                if batch or self._parked:
                    await self._turn(batch)
                if batch:
                    telemetry.QUEUE_LAG.labels("scheduler").set(batch[-1].pending)
                if self._since_snapshot >= self._context.settings.snapshot_every:
                    for shard in shards.served:
                        await self._snapshot(shard)
                    self._since_snapshot = 0
                for shard in self._leases.leaving & shards.served:
                    await self._hand_over(shard)
        finally:
            await shards.stop()

    async def _join(self, states: dict[RunKey, RunState]) -> None:
        """Runs of shards that are served from now on: decide what is missing, set what may not have been set."""
        for key, state in states.items():
            await self._adopt(key, state)
        joined = {key: self._runs[key] for key in states if key in self._runs}
        await self._advance(dict(joined))
        await self._set_timers(
            [(key, name, timer) for key, run in joined.items() for name, timer in run.state.timers.items()]
        )

    def _forget(self, shards: set[int]) -> None:
        for key in [key for key in self._runs if key.shard in shards]:
            del self._runs[key]
            self._parked.pop(key, None)

    async def _hand_over(self, shard: int) -> None:
        """To a scheduler that joined: it finds a snapshot, so it has little to read."""
        with contextlib.suppress(AgentFlowError, nats.errors.Error, APIError, TimeoutError):
            await self._snapshot(shard)
        self._leases.give(shard)

    async def _snapshot(self, shard: int) -> None:
        # a turn forgets the runs of a shard that it has lost: no snapshot may say that they are over
        if self._shards.serves(shard):
            await self._shards.save(shard, [run.state for key, run in self._runs.items() if key.shard == shard])

    # --- one turn ---

    async def _turn(self, batch: list[Delivery]) -> None:
        touched: dict[RunKey, Run] = {key: self._runs[key] for key in self._parked if key in self._runs}
        for delivery in batch:
            key = subjects.parse(delivery.subject)
            if key is None or not self._shards.is_new(key.shard, delivery.seq):
                continue
            try:
                run = await self._fold(key, delivery)
            except Exception as error:
                log.exception("an event was put with the dead letters", extra={"seq": delivery.seq})
                await self._log.bury("scheduler", delivery, type(error).__name__)
                continue
            if run is not None:
                touched[key] = run
        await self._advance(touched)

    async def _fold(self, key: RunKey, delivery: Delivery) -> Run | None:
        event = ev.decode(delivery.data)
        if isinstance(event, ev.Decision):
            raise InvalidError("a decision among the facts", kind="forged_decision")
        run = self._runs.get(key)
        if run is not None:
            run.apply(event, delivery.seq)
        elif isinstance(event, ev.RunSubmitted):
            run = await self._adopt(key, new_state(event, delivery.seq))
        return run  # None: a late word about a run that is over

    async def _adopt(self, key: RunKey, state: RunState) -> Run | None:
        """The run in memory. One whose definition can't be planned is ended in the log: it would wait for ever."""
        try:
            run = self._runs[key] = Run(state, self._plans.get(state.definition))
        except Exception as error:
            log.exception("the definition can't be planned", extra={"org": key.org, "run": key.run})
            text = f"the definition can't be planned: {type(error).__name__}"
            end = ev.RunFailed(
                org=key.org, run=key.run, ts=self._context.clock.now_ms(), seen=state.facts_seq, trace=state.trace,
                error=StepError("undecidable", text, retryable=False),
            )  # fmt: skip
            fence = Fence(state.out_seq, subjects.run_out_all(key))
            with contextlib.suppress(ConflictError):  # another scheduler was first
                await self._log.append(Entry(subjects.out_run(key), ev.encode(end), fence=fence))
            return None
        return run

    async def _advance(self, touched: dict[RunKey, Run]) -> None:
        """Decides and appends until nothing is left to decide for these runs."""
        values: dict[str, Any] = {}
        for attempt in range(ROUNDS_MAX):
            if not touched:
                return
            turns, again = await self._decide(touched, values)
            failed = await self._appender.write(turns)
            refused = {turn.key for turn, _ in failed}
            await self._after([turn for turn in turns if turn.key not in refused])
            if any(isinstance(error, ConflictError) for _, error in failed):
                await self._leases.refresh()
            for turn, error in failed:
                log.warning("append of %s: %s", turn.key.run, error)
                fresh = await self._reload(turn.key)
                if fresh is not None:
                    again[turn.key] = fresh
                    # an append that was written and not acknowledged may have decided timers that nobody has set
                    await self._set_timers([(turn.key, name, timer) for name, timer in fresh.state.timers.items()])
            touched = again
            if failed:
                await asyncio.sleep(min(0.01 * 2**attempt, 1.0))
        raise AgentFlowError(f"{len(touched)} runs can't be appended", kind="append_stuck")

    async def _decide(self, touched: dict[RunKey, Run], values: dict[str, Any]) -> tuple[list[Turn], dict[RunKey, Run]]:
        """The turns to append, and the runs that must be decided again with the blobs that are now at hand."""
        now_ms = self._context.clock.now_ms()
        turns: list[Turn] = []
        again: dict[RunKey, Run] = {}
        for key, known in touched.items():
            run = known
            if not self._shards.serves(key.shard):
                self._runs.pop(key, None)
                continue
            if self._must_wait(key, run):
                continue
            try:
                out = decide(run, now_ms, values)
                for ref in out.needs:
                    values[ref.sha256] = await self._blobs.fetch(ref)
                encoded = [await self._encode(run, decision) for decision in out.decisions]
            except RetryableError as error:
                fresh = await self._reload(key)
                if fresh is None or self._park(key, error):
                    continue
                run = fresh
                out, encoded = self._give_up(run, now_ms, error)
            except Exception as error:
                log.exception("the run can't go on", extra={"org": key.org, "run": key.run})
                out, encoded = self._give_up(run, now_ms, error)
            self._parked.pop(key, None)
            if out.decisions:
                turns.append(Turn(key, run, out.decisions, encoded))
            if out.needs:
                again[key] = run
        return turns, again

    def _must_wait(self, key: RunKey, run: Run) -> bool:
        """Whether the run is parked and its time has not come; to end it nothing needs to be fetched."""
        if key not in self._parked or run.state.cancel_requested or run.state.deadline_passed:
            return False
        return self._parked[key][0] > asyncio.get_running_loop().time()

    def _park(self, key: RunKey, error: RetryableError) -> bool:
        """Puts a run aside whose decision needs what is not there now, so that it holds up nobody; False: no more."""
        tries = self._parked.get(key, (0.0, 0))[1] + 1
        if tries > PARK_TRIES_MAX:
            return False
        delay_s = min(0.2 * 2**tries, PARK_S_MAX)
        self._parked[key] = (asyncio.get_running_loop().time() + delay_s, tries)
        log.warning("a run waits %.1f s: %s", delay_s, error.message, extra={"org": key.org, "run": key.run})
        return True

    def _give_up(self, run: Run, now_ms: int, error: Exception) -> tuple[Decision, list[bytes]]:
        kind = error.kind if isinstance(error, AgentFlowError) else "engine_error"
        text = (
            error.message if isinstance(error, AgentFlowError) else f"{type(error).__name__}; see the scheduler's log"
        )
        out = fail_run(run, now_ms, StepError(kind, text, retryable=False))
        return out, [ev.encode(decision) for decision in out.decisions]

    async def _encode(self, run: Run, decision: ev.Decision) -> bytes:
        """The event's bytes; what makes it too large is stored out of line first."""
        data = ev.encode(decision)
        is_child = isinstance(decision, ev.StepScheduled) and parent_of(decision.step) is not None
        # what the children of a parallel step have in common is stored once and not in each of their tasks
        if len(data) <= (2 * PACK_BYTES_MIN if is_child else INLINE_BYTES_MAX):
            return data
        if isinstance(decision, ev.StepScheduled):
            packed = dict(decision.inputs)
            for name, value in packed.items():
                if len(msgspec.json.encode(value)) > PACK_BYTES_MIN:
                    packed[name] = await self._store(value)
            return ev.encode(msgspec.structs.replace(decision, inputs=packed))
        if isinstance(decision, ev.RunCompleted):
            payload = await self._blobs.pack(decision.output.value, "the run's output")
            run.state.output = payload
            return ev.encode(msgspec.structs.replace(decision, output=payload))
        return data

    async def _store(self, value: Any) -> Any:
        """A marker in the place of a large value; see runstate.blob_marker."""
        ref = await self._blobs.store(value, "a step's input")
        return {"$blob": {"sha256": ref.sha256, "size": ref.size}, "path": []}

    async def _reload(self, key: RunKey) -> Run | None:
        state = await reload(self._log, key)
        if state is None or state.status.terminal:
            self._runs.pop(key, None)
            return None
        return await self._adopt(key, state)

    # --- what follows an append ---

    async def _after(self, turns: list[Turn]) -> None:
        timers: list[tuple[RunKey, str, Any]] = []
        for turn in turns:
            self._since_snapshot += len(turn.decisions)
            for decision in turn.decisions:
                if isinstance(decision, ev.StepScheduled):
                    if decision.attempt > 1:
                        telemetry.STEP_RETRIES.labels(turn.run.plan.workflow).inc()
                elif isinstance(decision, ev.TimerSet):
                    turn.run.used_timers = True
                    timers.append((turn.key, decision.timer, decision))
                elif isinstance(decision, ev.StepCancelled | ev.StepTimedOut):
                    await self._hint(turn.key, decision.step, decision.attempt)
                elif isinstance(decision, ev.TERMINAL_RUN):
                    self._finish(turn, decision)
        if timers:
            await self._set_timers(timers)

    async def _hint(self, key: RunKey, step: str, attempt: int) -> None:
        """Tells workers to stop; a worker that misses it asks the log."""
        await self._context.nc.publish(
            subjects.control(key.run), msgspec.json.encode({"run": key.run, "step": step, "attempt": attempt})
        )

    async def _set_timers(self, timers: list[tuple[RunKey, str, Any]]) -> None:
        """Publishes message schedules. One that is set twice replaces itself; one that fires twice is folded once."""
        futures = []
        for key, name, timer in timers:
            at = datetime.fromtimestamp(timer.fire_at / 1000, UTC).isoformat(timespec="milliseconds")
            fired = ev.TimerFired(
                org=key.org, run=key.run, ts=timer.fire_at, timer=name, kind=timer.kind, step=timer.step,
                attempt=timer.attempt,
            )  # fmt: skip
            headers = {
                "Nats-Schedule": f"@at {at.replace('+00:00', 'Z')}",
                "Nats-Schedule-Target": subjects.run_in(key),
            }
            futures.append(await self._log.publish(Entry(subjects.timer(key, name), ev.encode(fired), headers=headers)))
        for future in futures:
            await future

    def _finish(self, turn: Turn, decision: ev.RunCompleted | ev.RunFailed | ev.RunCancelled) -> None:
        state = turn.run.state
        workflow = turn.run.plan.workflow
        telemetry.RUNS.labels(str(state.status), workflow).inc()
        telemetry.RUN_SECONDS.labels(str(state.status)).observe(decision.duration_ms / 1000)
        telemetry.RUN_COST_CENTS.labels(workflow).observe(state.cost_nano / 10_000_000)
        with telemetry.span("run", state.trace, workflow=workflow, status=str(state.status), run=state.run):
            self._runs.pop(turn.key, None)
        if turn.run.used_timers:
            self._spawn(self._purge_timers(turn.key))

    async def _purge_timers(self, key: RunKey) -> None:
        """Schedules of a run that is over would only wake it for nothing."""
        with contextlib.suppress(APIError, nats.errors.Error, TimeoutError):
            await self._context.nc.jsm().purge_stream(subjects.EVENTS_STREAM, subject=subjects.run_timers(key))

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
