"""A world on virtual time in which a test decides how each node behaves; the engine is the real one.

Runs, subworkflows and lanes are hosted as the engine hosts them (entities_world.py). Nodes do what their act says: an
act is called with each task, and plans the worker's reports. Timers fire when their time comes.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping
from typing import Any, Final

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.definition.parse import parse_dict
from agentflow_common.events import LlmUsage, Payload, StepError
from agentflow_common.runs.state import node_of
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.runs.run import Run
from agentflow_trace import rows
from agentflow_trace.explain.explain import answer
from agentflow_trace.explain.open_runs import Around
from agentflow_trace.explain.run_log import Logs, RunLog
from tests.support.trace_rows import rows_of

from .entities_world import World

EVENTS_MAX: Final = 20_000
REPORTED_MS: Final = 500  # a worker reports the start of an attempt that takes longer
_NOTHING: Final = Payload()
Act = Callable[["Task"], None]


class Task:
    """A step attempt, or a wait, that an act answers."""

    def __init__(self, world: PlantedWorld, key: EntityKey, decision: Any) -> None:
        self.world, self.key, self.decision = world, key, decision
        self.step: str = decision.step
        self.attempt: int = decision.attempt

    def tell(self, after_ms: int, kind: type[ev.Event], **fields: Any) -> None:
        """Plans a fact about the attempt."""
        self.world.after(after_ms, lambda: self.world.tell(self.key, kind, step=self.step, **fields))

    def begins(self, after_ms: int, worker: str, silent: bool = False) -> None:
        if not silent:
            self.tell(after_ms, ev.StepStarted, attempt=self.attempt, worker=worker)

    def completes(self, ms: int, wait_ms: int = 5, output: Any = None, llm: LlmUsage | None = None) -> None:
        self._ends(ev.StepCompleted, ms, wait_ms, output=Payload(value={"n": 1} if output is None else output), llm=llm)

    def fails(self, ms: int, error: StepError, wait_ms: int = 5, llm: LlmUsage | None = None, **fields: Any) -> None:
        self._ends(ev.StepFailed, ms, wait_ms, error=error, llm=llm, **fields)

    def _ends(self, kind: type[ev.Event], ms: int, wait_ms: int, **fields: Any) -> None:
        worker = f"w-{self.world.random.randint(1, 4)}"
        started_at = self.world.now + wait_ms
        self.begins(wait_ms, worker, silent=ms < REPORTED_MS)
        common = {"attempt": self.attempt, "worker": worker, "started_at": started_at, "duration_ms": float(ms)}
        self.tell(wait_ms + ms, kind, **common, **fields)


class PlantedWorld(World):
    def __init__(
        self,
        definition: dict[str, Any],
        seed: int,
        acts: Mapping[str, Act],
        children: Mapping[str, dict[str, Any]] | None = None,
        **submission: Any,
    ) -> None:
        self.acts = acts
        self.children = {name: parse_dict(raw).canonical() for name, raw in (children or {}).items()}
        self.fields = submission
        self.planned: list[tuple[int, int, Callable[[], None]]] = []
        self.numbers = itertools.count()
        self.ledger: dict[EntityKey, list[tuple[str, str, int, ev.Event]]] = {}
        super().__init__(definition, seed, crashes=False)

    def submission(self, kept: Any) -> ev.RunSubmitted:
        return self.submitted(self.key, self.definition, kept[0], **self.fields)

    def submitted(
        self, key: EntityKey, definition: dict[str, Any], seed: Payload = _NOTHING, **fields: Any
    ) -> ev.RunSubmitted:
        parsed = parse_dict(definition)
        known = {"inputs": Payload(value={"go": True}), "definitions": self.children, "seed": seed}
        return ev.RunSubmitted(
            **self.base(key), workflow=parsed.name, version=1, definition=parsed.canonical(), **{**known, **fields}
        )

    def submit(self, name: str, definition: dict[str, Any], **fields: Any) -> EntityKey:
        """Begins another run."""
        key = subjects.key_of("o", name)
        self.fact(key, self.submitted(key, definition, **fields))
        return key

    # --- what happens ---

    def after(self, ms: int, happens: Callable[[], None]) -> None:
        heapq.heappush(self.planned, (self.now + ms, next(self.numbers), happens))

    def tell(self, key: EntityKey, kind: type[ev.Event], **fields: Any) -> None:
        self.fact(key, kind(**self.base(key), **fields))

    def spend(self, key: EntityKey, kind: type[ev.Event], **fields: Any) -> None:
        """Writes to the ledger of costs, or of security decisions."""
        stream, subject = subjects.AUDIT_STREAM, subjects.audit(key.org, key.name)
        if kind is ev.CostSettled:
            stream, subject = subjects.COST_STREAM, subjects.cost_ledger(key.org, key.name)
        self.seq += 1
        self.ledger.setdefault(key, []).append((stream, subject, self.seq, kind(**self.base(key), **fields)))

    def take(self, key: EntityKey, decision: ev.Decision) -> None:
        if isinstance(decision, ev.TimerSet):
            self.timers[key, decision.timer] = decision
        elif isinstance(decision, ev.StepScheduled | ev.StepWaiting):
            step = decision.step
            act = self.acts.get(step) or self.acts.get(step if step.endswith(":undo") else node_of(step))
            if act is not None:
                act(Task(self, key, decision))
            elif isinstance(decision, ev.StepScheduled):
                Task(self, key, decision).completes(self.random.randint(10, 400))

    def room(self, pool: str) -> bool:
        return True

    def goes_on(self, until: int = 0) -> PlantedWorld:
        """Lets time go on until nothing happens any more, or until a moment."""
        for _ in range(EVENTS_MAX):
            pending = [key for key, facts in self.unseen.items() if facts]
            if pending:
                self.turn(pending[0])
                continue
            timers = [(timer.fire_at, place) for place, timer in self.timers.items() if place[0] in self.memory]
            fires_at, place = min(timers, default=(2**62, None), key=lambda item: item[0])
            happens_at = self.planned[0][0] if self.planned else 2**62
            if min(fires_at, happens_at) >= (until or 2**62):
                return self
            if happens_at <= fires_at:
                self.now = max(self.now, happens_at)
                heapq.heappop(self.planned)[2]()
            elif place is not None:
                timer = self.timers.pop(place)
                self.now = max(self.now, timer.fire_at)
                names = {"step": timer.step, "attempt": timer.attempt}
                event = ev.TimerFired(**self.base(place[0]), timer=timer.timer, kind=timer.kind, **names)
                self.fact(place[0], event)
        raise AssertionError(f"the world does not come to rest: {[key.name for key in self.memory]}")

    # --- what is seen of it ---

    def rows(self, name: str) -> list[rows.Row]:
        """Returns the rows that the trace service keeps of a run."""
        key = subjects.key_of("o", name)
        found = rows_of(self.logs.get(key, []))
        for stream, subject, seq, event in self.ledger.get(key, []):
            found.append(rows.of(stream, subject, ev.encode(event), seq, event.ts))
        return found

    def explain(self, name: str = "run_1") -> Any:
        """Returns the explanation of a run, as the trace service gives it."""
        logs = Logs()
        logs.put(RunLog(name, self.rows(name)))
        while True:
            reply = answer(logs, name, Around(self.now))
            if not logs.missing:
                return reply
            for other in list(logs.missing):
                logs.put(RunLog(other, self.rows(other)))

    def status(self, name: str = "run_1") -> str:
        log = RunLog(name, self.rows(name))
        assert log.state is not None
        return str(log.state.status)

    def is_open(self, name: str) -> bool:
        return isinstance(self.memory.get(subjects.key_of("o", name)), Run)
