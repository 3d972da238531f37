"""All the machines together on one simulated log: every node type, crashes between any two appends.

Runs, their subworkflows and keyed lanes are hosted as the engine hosts them: a decision and what it sends are one
append. The world outside answers in any order, twice, late, or with failures. At any moment the memory of an entity may
be lost; it is then folded from the log and decided again.
"""

from __future__ import annotations

import random
from typing import Any

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.definition.parse import parse_dict
from agentflow_common.events import BlobRef, Payload, SeedPosition, StepError
from agentflow_common.lanes.fold import LaneConfig, LaneState
from agentflow_common.runs.state import RunState
from agentflow_common.subjects import EntityKey
from agentflow_scheduler.entities import Entity, begin, decide_entity, folding, host, is_over
from agentflow_scheduler.lanes.machine import Lane
from agentflow_scheduler.replay.state_hash import state_hash
from agentflow_scheduler.runs.invariants import check_invariants
from agentflow_scheduler.runs.plan import Plans
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.shards.overtaken import overtaken

from .entities_checks import Logs, check_run, check_slots
from .entities_workflows import subworkflows

ROUNDS_MAX = 4_000


class World:
    """A log of all entities, those in memory, and an outside that answers as the seed says.

    tight: worker pools often have no room, and half of the outputs are stored out of line. kept: steps and position
    of the run that this one was forked from.
    """

    def __init__(
        self,
        definition: dict[str, Any],
        seed: int,
        crashes: bool,
        tight: bool = False,
        kept: tuple[Payload, SeedPosition | None] = (Payload(), None),
    ) -> None:
        self.random = random.Random(seed)
        self.crashes, self.tight = crashes, tight
        self.stored: dict[str, Any] = {}
        self.fetched: dict[str, Any] = {}
        self.held: dict[EntityKey, None] = {}  # they have more to offer than there was room for
        self.stopped = False  # their workflows are paused
        self.passed_on: set[tuple[EntityKey, int]] = set()
        self.late: list[tuple[EntityKey, ev.Event]] = []  # grants that lanes will tell again
        self.now, self.seq = 1_000_000, 0
        self.logs: Logs = {}
        self.memory: dict[EntityKey, Entity] = {}
        self.unseen: dict[EntityKey, list[tuple[int, ev.Event]]] = {}
        self.recovered: set[EntityKey] = set()  # and not decided since
        self.plans = Plans()
        self.tasks: list[tuple[EntityKey, ev.StepScheduled]] = []
        self.timers: dict[tuple[EntityKey, str], ev.TimerSet] = {}
        self.key = subjects.key_of("o", "run_1")
        self.definition = definition
        self.fact(self.key, self.submission(kept))

    def submission(self, kept: tuple[Payload, SeedPosition | None]) -> ev.RunSubmitted:
        return ev.RunSubmitted(
            org="o", run="run_1", ts=self.now, workflow="w", version=1, inputs=Payload(value={"go": True}),
            definition=parse_dict(self.definition).canonical(), definitions=subworkflows(), seed=kept[0],
            position=kept[1],
        )  # fmt: skip

    def append(self, key: EntityKey, event: Any) -> int:
        self.seq += 1
        self.logs.setdefault(key, []).append((self.seq, event))
        return self.seq

    def base(self, key: EntityKey) -> dict[str, Any]:
        """Returns the fields that every event of the entity has."""
        return {"org": key.org, "run": key.name, "ts": self.now}

    def fact(self, key: EntityKey, event: Any) -> None:
        self.unseen.setdefault(key, []).append((self.append(key, event), event))

    # --- the engine ---

    def recover(self, key: EntityKey) -> None:
        """Memory is lost: the entity as its log tells it."""
        fold = folding(key)
        for seq, event in self.logs[key]:
            fold.add(event, seq)
        state = fold.finish()
        self.unseen.pop(key, None)
        self.memory.pop(key, None)
        self.held.pop(key, None)
        if state is not None and not is_over(key, state):
            self.adopt(key, state)
            self.recovered.add(key)
        else:
            self.pass_on(key)

    def pass_on(self, key: EntityKey) -> None:
        """What came too late for a run that went on as a new one is for that one."""
        for seq, to, word in overtaken(key, self.logs[key]):
            if (key, seq) not in self.passed_on:
                self.passed_on.add((key, seq))
                self.fact(to, word)

    def adopt(self, key: EntityKey, state: Any) -> None:
        entity = self.memory[key] = host(key, state, self.plans)
        if isinstance(entity, Lane):
            entity.wanted = LaneConfig()
        for name, timer in state.timers.items():
            names = self.base(key) | {"step": timer.step, "attempt": timer.attempt}
            self.timers[key, name] = ev.TimerSet(**names, timer=name, kind=timer.kind, fire_at=timer.fire_at)

    def turn(self, key: EntityKey) -> None:
        self.now += 1
        if self.crashes and self.random.random() < 0.2:
            self.recover(key)
        facts = self.unseen.pop(key, [])
        if len(facts) > 1 and self.random.random() < 0.5:  # the others come later, and what is decided knows of none
            cut = self.random.randint(1, len(facts) - 1)
            facts, self.unseen[key] = facts[:cut], facts[cut:]
        for seq, event in facts:
            entity = self.memory.get(key)
            if entity is not None:
                entity.apply(event, seq)
            else:
                state = begin(key, event, seq)
                if state is not None and len(self.logs[key]) == 1:
                    self.adopt(key, state)
                elif state is not None or isinstance(event, (*ev.LANE_EVENTS, ev.RunCancelRequested)):
                    self.recover(key)
        self.recovered.discard(key)
        entity = self.memory.get(key)
        while entity is not None:
            entity, out = self.decide(key, entity)
            self.held.pop(key, None)
            if not self.write(key, entity, out):
                return
            self.fetched |= {ref.sha256: self.stored[ref.sha256] for ref in out.needs}
            if out.held and key in self.memory:
                self.held[key] = None
            if not out.needs and not out.more:
                break
        self.check_memory(key)

    def decide(self, key: EntityKey, entity: Entity) -> tuple[Entity, Any]:
        out = decide_entity(key, entity, self.now, self.fetched, self.room)
        if isinstance(entity, Run):
            check_invariants(entity)
        return entity, out

    def room(self, pool: str) -> bool:
        if self.stopped:
            return False
        return not (self.tight and pool) or self.random.random() < 0.4

    def write(self, key: EntityKey, entity: Entity, out: Any) -> bool:
        """Appends group by group; False if the process died in between."""
        at = sent = 0
        for decisions, sends in out.groups():
            if self.crashes and self.random.random() < 0.05:
                self.recover(key)
                return False
            for decision in out.decisions[at : at + decisions]:
                entity.state.out_seq = self.append(key, decision)
                self.take(key, decision)
            for to, event in out.sends[sent : sent + sends]:
                self.fact(to, event)
                if isinstance(event, ev.SlotGranted) and self.random.random() < 0.3:
                    self.late.append((to, event))
            at += decisions
            sent += sends
        assert (at, sent) == (len(out.decisions), len(out.sends))
        if is_over(key, entity.state):
            self.memory.pop(key, None)
            self.held.pop(key, None)
        return True

    def take(self, key: EntityKey, decision: ev.Decision) -> None:
        if isinstance(decision, ev.StepScheduled):
            self.tasks.append((key, decision))
        elif isinstance(decision, ev.TimerSet):
            self.timers[key, decision.timer] = decision

    def check_memory(self, key: EntityKey) -> None:
        entity = self.memory.get(key)
        if entity is None or not isinstance(entity.state, RunState):
            return
        fold = folding(key)
        for seq, event in self.logs[key]:
            if isinstance(event, ev.Decision) or seq <= entity.state.facts_seq:
                fold.add(event, seq)
        assert state_hash(fold.finish()) == state_hash(entity.state), "the state in memory is not the fold of the log"

    def check_paused(self) -> None:
        """What is paused keeps no slot of a lane that it does not use."""
        for key, entity in self.memory.items():
            if isinstance(entity, Run) and (self.stopped or entity.state.pause_requested):
                kept = [name for name, step in entity.state.steps.items() if step.status == "queued" and step.granted]
                assert not kept, f"{key.name} is paused and keeps the slots of {kept}"

    # --- outside ---

    def outside(self) -> None:
        """Something happens: a report, a timer, an answer. Nothing left: time goes on."""
        choices: list[Any] = [*self.tasks, *((place, t) for place, t in self.timers.items() if t.kind != "children")]
        choices = choices or list(self.timers.items())  # hours pass only if nothing else is to come
        if self.random.random() < 0.3 or not choices:
            self.people()
        if not choices:
            return
        chosen = self.random.choice(choices)
        if isinstance(chosen[1], ev.TimerSet):
            key, timer = chosen[0][0], chosen[1]
            del self.timers[chosen[0]]
            self.now = max(self.now, timer.fire_at)
            names = self.base(key) | {"ts": timer.fire_at, "step": timer.step, "attempt": timer.attempt}
            self.fact(key, ev.TimerFired(**names, timer=timer.timer, kind=timer.kind))
            return
        key, task = chosen
        if self.random.random() < 0.2:
            self.fact(key, ev.StepStarted(**self.base(key), step=task.step, attempt=task.attempt, worker="w"))
            return
        self.tasks.remove(chosen)
        report = self.report(key, task)
        for _ in range(1 + (self.random.random() < 0.2)):
            self.fact(key, report)

    def report(self, key: EntityKey, task: ev.StepScheduled) -> ev.Event:
        names = self.base(key) | {"step": task.step, "attempt": task.attempt}
        luck = self.random.random()
        if luck < 0.15:
            return ev.StepFailed(**names, error=StepError("E", "planned", retryable=self.random.random() < 0.8))
        if luck < 0.2:
            return ev.StepOutcomeUnknown(**names)
        return ev.StepCompleted(**names, output=self.stored_output() if luck < 0.6 else Payload(value={"n": 1}))

    def stored_output(self) -> Payload:
        """An output that is stored out of line, if this world is tight."""
        if not self.tight:
            return Payload(value={"n": 1})
        name = f"{len(self.stored):064x}"
        self.stored[name] = {"n": self.random.randint(0, 9)}
        return Payload(ref=BlobRef(name, 9))

    def people(self) -> None:
        """Answers what waits for somebody."""
        for key, entity in list(self.memory.items()):
            if not isinstance(entity, Run):
                continue
            names = self.base(key)
            for step_key, step in entity.state.steps.items():
                if step.status == "outcome_unknown":
                    outcome = self.random.choice(["completed", "retry", "fail"])
                    self.fact(key, ev.OutcomeResolved(**names, step=step_key, attempt=step.attempt, outcome=outcome))
                elif step.waiting == "approval" and step.status == "waiting":
                    by = self.random.choice(["ana", "bo", "eve"])
                    self.fact(key, ev.ApprovalGiven(**names, step=step_key, decision="approve", by=by))
                elif step.waiting == "signal" and step.status == "waiting":
                    self.fact(key, ev.SignalReceived(**names, name="s", id=str(self.seq)))
            if entity.state.pause_requested and self.random.random() < 0.5:
                self.fact(key, ev.RunResumeRequested(**names))
        self.stopped = self.stopped and self.random.random() < 0.5

    def play(self, cancel_at: int, pause_at: int) -> None:
        for moment in range(ROUNDS_MAX):
            names = self.base(self.key)
            if moment == pause_at and self.random.random() < 0.5:
                self.fact(self.key, ev.RunPauseRequested(**names))
            elif moment == pause_at:
                self.stopped = True
                for key in list(self.held):  # who had its slot and waited for room in a pool
                    self.turn(key)
            if moment == cancel_at:
                grace = self.random.choice([0, 500])
                self.fact(self.key, ev.RunCancelRequested(**names, grace_ms=grace, force=self.random.random() < 0.3))
            pending = [*(key for key, facts in self.unseen.items() if facts), *self.recovered]
            pending += [] if self.stopped else self.held
            if not pending:
                self.check_paused()
            if self.late and self.random.random() < 0.1:
                self.fact(*self.late.pop(0))
            elif pending:
                self.turn(self.random.choice(pending))
            elif not any(isinstance(entity, Run) for entity in self.memory.values()):
                return
            else:
                self.outside()
        states = {key.name: {k: str(s.status) for k, s in e.state.steps.items()} for key, e in self.memory.items()
                  if isinstance(e, Run)}  # fmt: skip
        raise AssertionError(f"these do not end: {states}")

    # --- what must hold ---

    def check(self) -> None:
        check_slots(self.logs, self.definition)
        for key in self.logs:
            if key.kind == "lane":
                self.check_lane(key)
            else:
                check_run(self.logs, key)

    def check_lane(self, key: EntityKey) -> None:
        while self.unseen.get(key) or key in self.recovered:
            self.turn(key)
        entity = self.memory[key]
        assert isinstance(entity.state, LaneState)
        assert not entity.state.holders, f"slots leak: {list(entity.state.holders)}"
        assert not entity.state.queue
