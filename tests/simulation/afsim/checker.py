"""What must hold in every seed, whatever had gone wrong."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import nats.errors
from nats.js.errors import APIError

from afsim.server import EPOCH_MS, Message, Server
from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.definition_check import dependencies
from agentflow_common.errors import AgentFlowError
from agentflow_common.runfold import RunFold, fold
from agentflow_common.runstate import ACTIVE, RunState, StepStatus, parent_of
from agentflow_common.subjects import RunKey
from agentflow_scheduler.recovery import Snapshot

if TYPE_CHECKING:
    from afsim.world import World

DECIDED = {StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED,
           StepStatus.OUTCOME_UNKNOWN}  # fmt: skip
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
    for state in snapshot.runs:
        run = subjects.prefix(RunKey(shard, state.org, state.run))
        server.known[writer, run] = max(server.known.get((writer, run), 0), state.out_seq)


def events_of(world: World, key: RunKey) -> list[tuple[Message, ev.AnyEvent]]:
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
        serve, turn, join = engine._serve, engine._turn, engine._join

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

        engine._serve, engine._turn, engine._join = watched_serve, watched_turn, watched_join


def probe(world: World) -> None:
    """State equals fold: what an idle scheduler has in memory is what the log up to there says."""
    log = world.server.log
    for process, watched in list(world.engines.values()):
        if not process.alive:
            continue
        for executor in world.executors:
            if len(executor.flights) > 6:
                world.fail(f"{len(executor.flights)} tasks in hand, 6 allowed")
        if not watched.idle:
            continue
        for key, run in watched.engine._entities.items():
            state = run.state
            if not isinstance(state, RunState):
                continue
            prefix = subjects.prefix(key)
            if state.out_seq != world.server.newest.get(prefix + ".out.>", 0):
                continue  # another one owns the run by now
            seen = [
                (seq, ev.decode(log[seq - 1].data))
                for seq in world.server.by_run[prefix]
                if not log[seq - 1].subject.endswith(".in") or seq <= state.facts_seq
            ]
            world.probes += 1
            folded = fold(seen)
            if folded is None or folded.hash() != state.hash():
                world.fail(f"{key.run}: the state in memory differs from the fold of the log")


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
    for key, found in world.runs.items():
        _Checked(world, key, found).check()


class _Checked:
    def __init__(self, world: World, key: RunKey, definition: Any) -> None:
        self.world, self.key, self.definition = world, key, definition
        self.events = events_of(world, key)
        self.decisions = [(m, e) for m, e in self.events if isinstance(e, ev.Decision)]

    def fail(self, text: str) -> None:
        self.world.fail(f"{self.key.run}: {text}")

    def check(self) -> None:
        self._ends()
        self._once()
        self._owners()
        self._cancel()
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

    def _once(self) -> None:
        offered = Counter((e.step, e.attempt) for _, e in self.decisions if isinstance(e, ev.StepScheduled))
        limits = {node.id: node.policy.retry.max_attempts for node in self.definition.dag.nodes}
        for (step, attempt), count in offered.items():
            if count > 1:
                self.fail(f"{step} attempt {attempt} was offered {count} times")
            if attempt > limits[parent_of(step) or step]:
                self.fail(f"{step} has an attempt {attempt}, more than its policy allows")
        closed = Counter(
            e.step for _, e in self.decisions if isinstance(e, ev.StepSkipped | ev.StepJoined | ev.StepUndecidable)
        )
        for step, count in closed.items():
            if count > 1:
                self.fail(f"{step} was closed {count} times")
        timers = Counter(e.timer for _, e in self.decisions if isinstance(e, ev.TimerSet))
        for timer, count in timers.items():
            if count > 1:
                self.fail(f"the timer {timer} was set {count} times")
        ends = Counter((e.step, e.attempt) for _, e in self.events if isinstance(e, ev.StepCompleted | ev.StepFailed))
        for (step, attempt), count in ends.items():
            if count > 1:  # message ids are remembered for longer than a seed lasts
                self.fail(f"{step} attempt {attempt} was reported {count} times")
            if (step, attempt) not in offered:
                self.fail(f"{step} attempt {attempt} was reported but never offered")

    def _owners(self) -> None:
        before = 0
        for message, event in self.decisions:
            if message.known < before:
                self.fail(f"{message.writer} wrote {ev.event_type(event)} without knowing decision {before}")
            before = message.seq

    def _cancel(self) -> None:
        asked = next((m.seq for m, e in self.events if isinstance(e, ev.RunCancelRequested)), None)
        if asked is None:
            return
        for _, event in self.decisions:
            if event.seen >= asked and not isinstance(event, ev.RunCancelled | ev.StepCancelled | ev.RunStarted
                                                      | ev.TimerSet):  # fmt: skip
                self.fail(f"{ev.event_type(event)} after the cancel was seen")
            if event.seen >= asked and isinstance(event, ev.TimerSet) and event.kind != "deadline":
                self.fail("a timer was set after the cancel was seen")

    def _in_order(self) -> None:
        """Folds event by event: inputs are decided before a step, no timer is late, one report counts."""
        sources = dependencies(self.definition)
        run = RunFold()
        effective: Counter[tuple[str, int]] = Counter()
        timers: dict[str, float] = {}
        over: set[str] = set()  # the fold may hold their facts back until the next decision
        for message, event in self.events:
            if isinstance(event, ev.TimerFired):
                over.add(event.timer)
            elif isinstance(event, ev.StepCompleted | ev.StepFailed | ev.StepOutcomeUnknown):
                over.add(f"timeout:{event.step}:{event.attempt}")
            before = _active(run.state)
            run.add(event, message.seq)
            if run.state is None:
                continue
            for name in before - _active(run.state):
                effective[name] += 1
            if isinstance(event, ev.StepScheduled):
                for source, _ in sources[parent_of(event.step) or event.step]:
                    found = run.state.steps.get(source)
                    if found is None or found.status not in DECIDED:
                        self.fail(f"{event.step} was offered before {source} was decided")
            self._timers(timers, over, run.state, message)
        self._timers(timers, over, run.state, None)
        for (step, attempt), count in effective.items():
            if count > 1:
                self.fail(f"{count} ends of {step} attempt {attempt} took effect")

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


def _active(state: RunState | None) -> set[tuple[str, int]]:
    if state is None:
        return set()
    return {(k, s.attempt) for k, s in state.steps.items() if s.status in ACTIVE and s.width < 0}
