"""What must hold in every seed, whatever had gone wrong."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import nats.errors
from nats.js.errors import APIError

from afsim import locks
from afsim.breakpoints import DebuggedRules
from afsim.due import missing_timers
from afsim.others import check_families, check_lane, check_schedule, check_slots
from afsim.people import SCHEDULE
from afsim.rules import is_attempt
from afsim.run_lanes import check_given, check_runs
from afsim.server import EPOCH_MS, Message, Server
from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.definition.model import load_trusted
from agentflow_common.errors import AgentFlowError
from agentflow_common.events import Payload
from agentflow_common.lanes.fold import LaneConfig, LaneState
from agentflow_common.runs.fold import fold
from agentflow_common.runs.state import UNDO, RunState, StepStatus, node_of
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.entities import folding
from agentflow_scheduler.replay.state_hash import state_hash
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.shards.snapshots import Snapshot
from tests.support.attempts import begun_by, singly
from tests.support.transitions import impossible_events

if TYPE_CHECKING:
    from afsim.world import World

Log = list[tuple[Message, ev.Event]]
LATE_S = 30.0  # a timer that is still set so long after its time is lost


def is_weather(error: BaseException) -> bool:
    """What a service may end of, to be started again."""
    return isinstance(error, AgentFlowError | nats.errors.Error | APIError | TimeoutError)


def learn_snapshot(server: Server, writer: str, name: str, data: bytes) -> None:
    shard = int(name.removeprefix("shard-"))
    snapshot = msgspec.msgpack.decode(data, type=Snapshot)
    for key in [tuple(run.split(".")) for run in server.by_run]:
        if int(key[2]) == shard:
            run = ".".join(key)
            newest = max((s for s in server.by_run[run] if s <= snapshot.seq), default=0)
            server.known[writer, run] = max(server.known.get((writer, run), 0), newest)
    for state in snapshot.states():
        run = subjects.prefix(EntityKey(shard, state.org, state.run))
        server.known[writer, run] = max(server.known.get((writer, run), 0), state.out_seq)


def events_of(world: World, key: EntityKey) -> Log:
    log = world.server.log
    return [(log[seq - 1], ev.decode(log[seq - 1].data)) for seq in world.server.by_run.get(subjects.prefix(key), ())]


def all_ended(world: World) -> bool:
    ends = 0
    for key in world.runs:
        last = world.server.last(subjects.out_run(key))
        ends += last is not None and isinstance(ev.decode(last.data), ev.TERMINAL_RUN)
    return ends == len(world.runs)


class Watched:
    """An engine. idle: it has ended a turn and waits for the next."""

    def __init__(self, engine: Any, world: World) -> None:
        self.engine = engine
        self.idle = False
        serve, turn, join, advance = engine._serve, engine._turn, engine._join, engine._decider.advance

        async def watched_serve() -> None:
            self.idle = False
            await serve()

        async def watched_join(states: Any) -> None:
            self.idle = False
            await join(states)

        async def watched_turn(batch: Any) -> None:
            self.idle = False
            await turn(batch)
            self.idle = True  # not after an error: the engine then starts over from the log

        async def watched_advance(touched: Any) -> None:
            before, self.idle = self.idle, False  # what is gone makes room for others, without a turn
            await advance(touched)
            self.idle = before

        engine._serve, engine._turn, engine._join = watched_serve, watched_turn, watched_join
        engine._decider.advance = watched_advance


def probe(world: World) -> None:
    """State equals fold: what an idle scheduler has in memory is what the log up to there says."""
    for executor in world.executors:
        if len(executor.in_hand) > 6:
            world.fail(f"{len(executor.in_hand)} tasks in hand, 6 allowed")
    for process, watched in list(world.engines.values()):
        if process.alive and watched.idle:
            for key, entity in watched.engine.memory.entities.items():
                _probe_entity(world, watched.engine, key, entity)


def _hash(state: Any) -> str:
    """A lane that is idle may be forgotten, and with it whose turn it was."""
    if isinstance(state, LaneState):
        config = LaneConfig(*msgspec.structs.astuple(state.config))  # out of a checkpoint it is spelled out
        state = msgspec.structs.replace(
            state, served={}, grants=0, since_checkpoint=0, refusals=0, tat_us=0, config=config
        )
    return str(state_hash(state))


def _probe_entity(world: World, engine: Any, key: EntityKey, entity: Any) -> None:
    log, state = world.server.log, entity.state
    prefix = subjects.prefix(key)
    if state.out_seq != world.server.newest.get(prefix + ".out.>", 0):
        return  # another one owns it by now
    folded = folding(key)
    for seq in world.server.by_run[prefix]:
        if not log[seq - 1].subject.endswith(".in") or seq <= state.facts_seq:
            folded.add(ev.decode(log[seq - 1].data), seq)
    world.probes += 1
    found = folded.finish()
    if found is None or _hash(found) != _hash(state):
        world.fail(f"{key.name}: the state in memory differs from the fold of the log")
    if not isinstance(entity, Run) or key in engine.memory.parked:
        return
    missing = missing_timers(state, entity.plan.nodes)
    if missing:
        world.fail(f"{key.name}: nobody has set the timer {missing[0]}")
    kept = [name for name, step in state.steps.items() if step.status is StepStatus.QUEUED and step.granted]
    stopped = state.pause_requested or (state.stops is not None and state.stops.before)
    if kept and stopped and not state.cancel_requested and state.finishing is None:
        world.fail(f"{key.name} is paused and keeps the slots of {kept}")
    window = engine.memory.pools._window._steps.get(key, {})
    active = {name for name, step in state.steps.items() if is_attempt(step)}
    if set(window) - active:
        world.fail(f"{key.name}: {sorted(set(window) - active)} are over and take room in the window")
    if active - set(window):
        world.fail(f"{key.name}: {sorted(active - set(window))} are under way and take no room in the window")


def final(world: World) -> None:
    if world.server.dead:
        world.fail(f"{len(world.server.dead)} events with the dead letters")
    for context in world.loop.errors:
        error = context.get("exception")
        if error is not None and not is_weather(error):
            world.fail(f"an error that nobody took: {type(error).__name__}: {error}")
    for name, count in world.effects.tools.items():
        if count > 1:
            world.fail(f"{name[0]}: the effect of {name[1]} attempt {name[2]} happened {count} times")
    logs = {key: events_of(world, key) for key in (*world.runs, *world.others)}
    for key, log in logs.items():
        check_owners(world, key, log)
        if key in world.runs:
            if any(isinstance(event, ev.RunSubmitted) for _, event in log):
                _Checked(world, key, log).check()
            else:
                world.fail(f"{key.name}: has events, and nobody submitted it")
        elif key.name == SCHEDULE:
            check_schedule(world, log)
        else:
            check_lane(world, key, log)
    if not world.plain:
        check_slots(world, logs)
        check_runs(world, logs)
        check_given(world, logs)
        locks.check_runs(world, logs)
        check_families(world, logs)


class _Checked:
    def __init__(self, world: World, key: EntityKey, log: Log) -> None:
        self.world, self.key, self.events = world, key, log
        self.decisions = [(m, e) for m, e in self.events if isinstance(e, ev.Decision)]
        submitted = next(e for _, e in log if isinstance(e, ev.RunSubmitted))
        self.definition = load_trusted(submitted.definition)

    def fail(self, text: str) -> None:
        self.world.fail(f"{self.key.name}: {text}")

    def check(self) -> None:
        for what in impossible_events([(m.seq, e) for m, e in self.events]):
            self.fail(what)
        self._ends()
        self._once()
        self._in_order()

    def _ends(self) -> None:
        ends = [e for _, e in self.decisions if isinstance(e, ev.TERMINAL_RUN)]
        if not ends:
            state = fold([(m.seq, e) for m, e in self.events])
            steps = {k: f"{s.status} {s.attempt}" for k, s in state.steps.items()} if state else None
            self.fail(f"does not end: {steps}, timers {list(state.timers) if state else None}")
        elif len(ends) > 1:
            self.fail(f"ended {len(ends)} times")
        elif self.decisions[-1][1] is not ends[0]:
            self.fail("something was decided after the end")
        for end in ends:
            if isinstance(end, ev.RunFailed) and end.error.type == "engine_error":
                self.fail(f"the engine gave up: {end.error.message}")

    def _limits(self) -> dict[str, int]:
        limits: dict[str, int] = {}
        for node in self.definition.dag.nodes:
            limits[node.id] = node.policy.retry.max_attempts
            if node.compensate_with is not None:
                limits[node.id + UNDO] = node.compensate_with.retry.max_attempts
        return limits

    def _once(self) -> None:
        begun = Counter(attempt for _, e in self.events for attempt in begun_by(e))
        offered = set(begun)
        begun.update((e.step, e.attempt) for _, e in self.decisions if isinstance(e, ev.StepWaiting))
        queued = Counter((e.step, e.attempt) for _, e in self.decisions if isinstance(e, ev.StepQueued) and e.lane)
        queued.subtract((e.step, e.attempt) for _, e in self.decisions if isinstance(e, ev.StepQueued) and not e.lane)
        asked = Counter(e.step for _, e in self.events if isinstance(e, ev.OutcomeResolved) and e.outcome == "retry")
        limits = self._limits()
        for counts in (begun, queued):
            for (step, attempt), count in counts.items():
                if count > 1:
                    self.fail(f"{step} attempt {attempt} was offered {count} times")
                name = node_of(step) + (UNDO if step.endswith(UNDO) else "")
                if attempt > limits[name] + asked[step]:
                    self.fail(f"{step} has an attempt {attempt}, more than its policy allows")
        closed = Counter(
            e.step
            for _, e in self.decisions
            if isinstance(e, ev.StepSkipped | ev.StepJoined | ev.StepUndecidable | ev.StepResolved)
        )
        for step, count in closed.items():
            if count > 1:
                self.fail(f"{step} was closed {count} times")
        timers = Counter(e.timer for _, e in self.decisions if isinstance(e, ev.TimerSet) and e.kind != "heartbeat")
        for timer, count in timers.items():
            if count > 1:
                self.fail(f"the timer {timer} was set {count} times")
        reports = singly(e for _, e in self.events)
        ends = Counter((e.step, e.attempt) for e in reports if isinstance(e, ev.StepCompleted | ev.StepFailed))
        for (step, attempt), count in ends.items():
            if count > 1:  # message ids are remembered for longer than a seed lasts
                self.fail(f"{step} attempt {attempt} was reported {count} times")
            if (step, attempt) not in offered:
                self.fail(f"{step} attempt {attempt} was reported but never offered")

    def _look(self, payload: Payload) -> Any:
        """The value, out of line or not."""
        if payload.ref is None:
            return payload.value
        return msgspec.json.decode(self.world.server.objects[subjects.BLOB_BUCKET, payload.ref.sha256])

    def _in_order(self) -> None:
        """Folds event by event: rules.py, no timer is late, one report counts."""
        run = DebuggedRules(self.definition, self.fail, self._look)
        timers: dict[str, float] = {}
        over: set[str] = set()  # the fold may hold their facts back until the next decision
        chain: tuple[str, ...] = ()  # of the newest decision
        for message, event in self.events:
            if isinstance(event, ev.Decision):
                chain = (event.step, *(n.step for n in event.then)) if isinstance(event, ev.StepScheduled) else ()
            elif isinstance(event, ev.StepCompleted):
                self._goes_on(event, chain)
            if isinstance(event, ev.TimerFired):
                over.add(event.timer)
            elif isinstance(event, ev.StepCompleted | ev.StepFailed | ev.StepOutcomeUnknown):
                for step, attempt in [(e.step, e.attempt) for e in singly([event])]:  # type: ignore[attr-defined]
                    over.update({f"timeout:{step}:{attempt}", f"heartbeat:{step}:{attempt}"})
            elif isinstance(event, ev.TimerSet):
                over.discard(event.timer)
            run.add(event, message.seq)
            self._timers(timers, over, run.state, message)
        run.finish()
        self._timers(timers, over, run.state, None)
        for (step, attempt), count in run.effective.items():
            if count > 1:
                self.fail(f"{count} ends of {step} attempt {attempt} took effect")

    def _goes_on(self, event: ev.StepCompleted, chain: tuple[str, ...]) -> None:
        """A worker goes on with the steps that the newest decision names, one by one."""
        self.world.quick.count += bool(event.before)
        for report in event.reports():
            if report.begun is not None:
                if (report.step, report.begun.step) not in itertools.pairwise(chain):
                    self.fail(f"a worker began {report.begun.step} after {report.step}, the newest offer is {chain}")
                self.world.in_chains += 1

    def _timers(
        self, timers: dict[str, float], over: set[str], state: RunState | None, message: Message | None
    ) -> None:
        now = message.at_s if message is not None else self.world.loop.time()
        for name, at in list(timers.items()):
            if (
                name not in over
                and now > max(at, self.world.healed_at) + LATE_S
                and state is not None
                and not state.status.terminal
            ):
                self.fail(f"the timer {name} is {now - at:.0f} s late")
        timers.clear()
        if state is not None:
            timers.update({name: (timer.fire_at - EPOCH_MS) / 1000 for name, timer in state.timers.items()})


def check_owners(world: World, key: EntityKey, log: Log) -> None:
    """Who writes a decision has seen the one before it."""
    before = 0
    for message, event in log:
        if isinstance(event, ev.Decision):
            if message.known < before:
                world.fail(
                    f"{key.name}: {message.writer} wrote {ev.event_type(event)} without knowing decision {before}"
                )
            before = message.seq
