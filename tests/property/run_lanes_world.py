"""Many runs in run lanes on one simulated log: crashes, cancels, pauses, changed limits. See entities_world.py."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.definition.parse import parse_dict
from agentflow_common.events import Payload, SeedPosition
from agentflow_common.lanes.fold import LaneConfig, LaneState, key_of_lane
from agentflow_common.runs.state import RunState
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.lanes.machine import Lane
from agentflow_scheduler.runs.run import Run

from .entities_workflows import WORK
from .entities_world import World

POLICIES = ("queue", "queue", "skip", "cancel_running", "cancel_newest", "newest_waits")
SHAPES = ("plain", "plain", "undo", "again", "parent", "given")
REASONS = {"skip": "skipped", "cancel_newest": "newest_cancelled", "newest_waits": "superseded",
           "cancel_running": "superseded"}  # fmt: skip
OPEN_MAX = 60  # runs under way or waiting
STALLED_MAX = 3_000  # rounds in which no run ends


@lru_cache
def definition(policy: str, limit: int, shape: str) -> dict[str, Any]:
    """A workflow whose runs take a slot of the lane that its input names."""
    undo = {"type": "function", "config": {"function_name": "undo"}}
    once = {"retry": {"max_attempts": 2, "initial_ms": 0}}
    work = {"id": "a", "type": "function", "config": WORK, "policy": once}
    nodes: dict[str, list[dict[str, Any]]] = {
        "plain": [work],
        "undo": [{**work, "compensate_with": undo}, {**work, "id": "b", "depends_on": ["a"]}],
        "again": [
            {**work, "policy": {**once, "on_failure": "continue"}},
            {"id": "next", "type": "continue_as_new", "condition": "n < 2", "depends_on": ["a"],
             "config": {"inputs": {"lane": "another", "n": "{{n + 1}}"}}},
        ],
        "parent": [{"id": "sub", "type": "subworkflow", "policy": {"on_failure": "continue"},
                    "config": {"workflow": "below", "inputs": {"lane": "{{lane}}", "n": 2}}}],
        # Its subworkflow takes a slot of the lane `given` and one of a lane of its own, and hands both on.
        "given": [{"id": "sub", "type": "subworkflow", "policy": {"on_failure": "continue"},
                   "config": {"workflow": "chain", "inputs": {"lane": "own-{{lane}}", "n": 1},
                              "run_lane": {"key": "given-{{lane}}", "limit": limit, "policy": policy}}}],
    }  # fmt: skip
    inputs = {"lane": {"type": "string"}, "n": {"type": "integer"}}
    rate = {"rate": "200/s"} if limit == 3 else {}
    run_lane = {"key": "{{lane}}", "limit": limit, "policy": policy, **rate}
    name = shape if shape in ("below", "chain") else "w"
    shown = nodes.get("again" if shape == "chain" else shape, [work])
    found = {"name": name, "inputs": inputs, "run_lane": run_lane, "dag": {"nodes": shown}}
    return parse_dict(found).canonical()


class RunLanesWorld(World):
    """Submits runs one by one. Each append is checked: no lane has more runs that have begun a step than it may."""

    def __init__(self, seed: int, runs: int, lanes: int, crashes: bool) -> None:
        self.runs, self.lanes = runs, lanes
        self.submitted = 0
        self.ended = 0
        self.open: set[EntityKey] = set()  # roots that have not ended
        self.roots: dict[EntityKey, EntityKey] = {}  # by run: the first of its chain, or that of its parent
        self.policy: dict[EntityKey, str] = {}
        self.place: dict[EntityKey, str] = {}  # by root: the lane
        self.active: dict[str, set[EntityKey]] = {}
        self.takes: dict[EntityKey, list[str]] = {}  # by run: the lanes that it takes slots of
        self.taken: dict[str, set[EntityKey]] = {}  # by lane: the runs that have begun a step and not ended
        self.overrides: dict[str, LaneConfig] = {}
        self.most: dict[str, int] = {}  # by lane: the highest limit that it ever had
        super().__init__({}, seed, crashes)

    def submission(self, kept: tuple[Payload, SeedPosition | None]) -> ev.RunSubmitted:
        return self._submission(self.key)

    def _submission(self, key: EntityKey) -> ev.RunSubmitted:
        rng = self.random
        number = rng.randrange(self.lanes)
        limit = 1 + number % 3
        policy, shape = rng.choice(POLICIES), rng.choice(SHAPES)
        lane = f"run:o:l{number}"
        self.submitted += 1
        self.roots[key], self.policy[key], self.place[key] = key, policy, lane
        self.open.add(key)
        for name in (f"l{number}", f"given-l{number}", f"own-l{number}"):
            self.most.setdefault(f"run:o:{name}", limit)
        return ev.RunSubmitted(
            org="o", run=key.name, ts=self.now, workflow="w", version=1, priority=0,
            definition=definition(policy, limit, shape), inputs=Payload(value={"lane": f"l{number}", "n": 1}),
            definitions={name: definition(policy, limit, name) for name in ("below", "chain")},
        )  # fmt: skip

    def _count(self, key: EntityKey, event: Any) -> None:
        """By the logs of the runs alone, those that take a slot of a lane are no more than it has."""
        if isinstance(event, ev.RunSubmitted):
            self.takes[key] = [lane for lane in (*event.slots, event.slot) if lane]
        elif isinstance(event, ev.RunQueued):
            self.takes[key].append(event.lane)
        elif isinstance(event, ev.StepScheduled | ev.StepWaiting):
            for lane in self.takes[key]:
                self.taken.setdefault(lane, set()).add(key)
                assert len(self.taken[lane]) <= self.most[lane], f"{lane}: {self.taken[lane]}"
        elif isinstance(event, ev.TERMINAL_RUN):
            for lane in self.takes[key]:
                self.taken.get(lane, set()).discard(key)

    def append(self, key: EntityKey, event: Any) -> int:
        self._count(key, event)
        if isinstance(event, ev.RunSubmitted) and key not in self.roots:
            above = event.parent.run if event.parent is not None else event.origin.run if event.origin else ""
            self.roots[key] = self.roots[subjects.key_of("o", above)]
        elif isinstance(event, ev.StepScheduled | ev.StepWaiting):
            root = self.roots[key]
            lane = self.place[root]
            if root in self.open:  # a parent that is cancelled by force does not wait for its subworkflow
                self.active.setdefault(lane, set()).add(root)
            assert len(self.active.get(lane, ())) <= self.most[lane], f"{lane}: {self.active[lane]}"
        elif isinstance(event, ev.TERMINAL_RUN):
            self.ended += 1
            submitted = self.logs[key][0][1]
            if submitted.parent is None and not getattr(event, "continued_as", ""):
                root = self.roots[key]
                self.open.discard(root)
                self.active.setdefault(self.place[root], set()).discard(root)
        return super().append(key, event)

    def adopt(self, key: EntityKey, state: Any) -> None:
        super().adopt(key, state)
        entity = self.memory[key]
        if isinstance(entity, Lane):
            entity.wanted = self.overrides.get(state.lane, LaneConfig())

    def trouble(self) -> None:
        """Somebody cancels or pauses a run, or changes the limit of a lane."""
        rng = self.random
        runs = [key for key, entity in self.memory.items() if isinstance(entity, Run)]
        if runs and rng.random() < 0.6:
            key = rng.choice(runs)
            grace = rng.choice([0, 0, 50])
            self.fact(key, ev.RunCancelRequested(**self.base(key), grace_ms=grace, force=rng.random() < 0.2))
        elif runs and rng.random() < 0.8:
            key = rng.choice(runs)
            self.fact(key, ev.RunPauseRequested(**self.base(key)))
        else:
            name = f"run:o:l{rng.randrange(self.lanes)}"
            limit = rng.choice([1, 2, 4])
            self.overrides[name] = LaneConfig(limit=limit)
            self.most[name] = max(self.most.get(name, 3), limit)
            entity = self.memory.get(key_of_lane(name))
            if isinstance(entity, Lane):
                entity.wanted = self.overrides[name]
                self.recovered.add(key_of_lane(name))  # it decides anew

    def play_all(self) -> None:
        stalled, before = 0, 0
        while True:
            pending = [*(key for key, facts in self.unseen.items() if facts), *self.recovered]
            if self.submitted < self.runs and len(self.open) < OPEN_MAX and self.random.random() < 0.5:
                key = subjects.key_of("o", f"run_{self.submitted + 1}")
                self.fact(key, self._submission(key))
            elif self.random.random() < 0.01:
                self.trouble()
            elif pending:
                self.turn(self.random.choice(pending))
            elif any(isinstance(entity, Run) for entity in self.memory.values()):
                self.outside()
            elif self.submitted == self.runs:
                return
            stalled, before = (stalled + 1, before) if before == self.ended else (0, self.ended)
            assert stalled < STALLED_MAX, f"these starve: {self.open_runs()}"

    def open_runs(self) -> list[str]:
        runs = [entity.state for entity in self.memory.values() if isinstance(entity.state, RunState)]
        return [f"{state.run} {state.status} {state.run_lane} {state.slot_granted}" for state in runs][:20]

    def check_all(self) -> None:
        """Every run ended once and as its policy allows; lanes are empty, and gave slots in the order of requests."""
        for key, log in list(self.logs.items()):
            if key.kind == "lane":
                self.check_lane(key)
                self._check_order(key)
            else:
                ends = [event for _, event in log if isinstance(event, ev.TERMINAL_RUN)]
                assert len(ends) == 1, f"{key.name} ended {len(ends)} times"
                error = getattr(ends[0], "error", None)
                if isinstance(ends[0], ev.RunCancelled) and error is not None:
                    assert error.type == REASONS[self.policy[self.roots[key]]]
        assert not any((*self.active.values(), *self.taken.values())), (self.active, self.taken)

    def _check_order(self, key: EntityKey) -> None:
        """By the requests that wait under every circumstance: who asked first is served first."""
        asked: list[str] = []
        for _, event in self.logs[key]:
            if isinstance(event, ev.LaneRequested) and event.policy == "queue":
                asked.append(event.holder_run)
            elif isinstance(event, ev.LaneReleased) and event.holder_run in asked:
                asked.remove(event.holder_run)
            elif isinstance(event, ev.LaneGranted) and event.holder_run in asked:
                before = asked[: asked.index(event.holder_run)]
                assert not before, f"{event.holder_run} was served before {before}"
                asked.remove(event.holder_run)

    def lane_states(self) -> list[LaneState]:
        return [entity.state for entity in self.memory.values() if isinstance(entity.state, LaneState)]
