"""The scheduler's machine against a simulated log: random graphs, failures, duplicates, delays, crashes and cancels."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_common.definition.dependencies import dependencies
from agentflow_common.definition.parse import parse_dict
from agentflow_common.events import Payload, StepError
from agentflow_common.runs.fold import RunFold, fold, new_state
from agentflow_common.runs.state import RunStatus, StepStatus, parent_of
from agentflow_scheduler.runs.plan import Plans
from agentflow_scheduler.runs.run import Run
from agentflow_worker import machine as worker
from tests.support.attempts import begun_by
from tests.support.deciding import decide
from tests.support.transitions import impossible_events

TERMINAL_STEP = {StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED}


@st.composite
def workflows(draw: st.DrawFn) -> dict[str, Any]:
    """A random graph: edges point forward, some conditional; some nodes parallel, some may fail without harm."""
    count = draw(st.integers(1, 7))
    nodes: list[dict[str, Any]] = []
    edges: list[dict[str, Any]] = []
    for index in range(count):
        node: dict[str, Any] = {
            "id": f"n{index}",
            "type": "function",
            "config": {"function_name": "f", "inputs": {}},
            "policy": {
                "on_failure": draw(st.sampled_from(["fail", "continue"])),
                "retry": {"max_attempts": draw(st.integers(1, 3)), "initial_ms": draw(st.sampled_from([0, 10]))},
            },
        }
        if draw(st.booleans()):
            node["policy"]["timeout_ms"] = 1000
        for source in range(index):
            if draw(st.integers(0, 2)) == 0:
                edge: dict[str, Any] = {"from": f"n{source}", "to": f"n{index}"}
                if draw(st.integers(0, 3)) == 0:
                    edge["condition"] = f"n{source}.output.n > 5"
                edges.append(edge)
                if draw(st.booleans()):
                    node["config"]["inputs"][f"from{source}"] = f"n{source}.output"
        if index and draw(st.integers(0, 4)) == 0:
            node["config"]["inputs"]["items"] = [1, 2, 3][: draw(st.integers(0, 3))]
            node["config"]["parallel"] = True
            node["config"]["for_each"] = "items"
        nodes.append(node)
    return {"name": "w", "dag": {"nodes": nodes, "edges": edges}}


class Course(NamedTuple):
    """A task, its place in the log, and what its steps have given so far."""

    task: ev.StepScheduled
    seq: int
    outputs: dict[str, Any]


class World:
    """A log, one run in memory, and workers whose reports arrive when the seed says."""

    def __init__(self, definition: dict[str, Any], seed: int) -> None:
        self.random = random.Random(seed)
        self.definition = parse_dict(definition)
        self.log: list[tuple[int, ev.Event]] = []
        self.plans = Plans()
        self.now = 1_000_000
        first = ev.RunSubmitted(
            org="o",
            run="run_1",
            ts=self.now,
            workflow="w",
            version=1,
            definition=self.definition.canonical(),
            inputs=Payload(value={}),
        )
        seq = self.append(first)
        state = new_state(first, seq)
        self.run = Run(state, self.plans.get(state.definition))
        self.unseen: list[tuple[int, ev.Event]] = []  # facts in the log that the scheduler has not taken yet
        self.tasks: list[ev.StepScheduled] = []
        self.courses: dict[tuple[str, int], Course] = {}
        self.timers: list[ev.TimerSet] = []

    def append(self, event: ev.Event) -> int:
        seq = len(self.log) + 1
        self.log.append((seq, ev.decode(ev.encode(event))))
        return seq

    def fact(self, event: ev.Event) -> None:
        self.unseen.append((self.append(event), event))

    def turn(self, crash: bool) -> None:
        """The scheduler takes some facts and decides; at a crash only a prefix of its decisions reaches the log."""
        take = self.random.randint(0, len(self.unseen))
        for seq, event in self.unseen[:take]:
            self.run.apply(event, seq)
        del self.unseen[:take]
        out = decide(self.run, self.now, {})
        assert not out.needs
        keep = self.random.randint(0, len(out.decisions)) if crash else len(out.decisions)
        for decision in out.decisions[:keep]:
            self.run.state.out_seq = self.append(decision)
            if isinstance(decision, ev.StepScheduled):
                self.tasks.append(decision)
                self.courses[decision.step, decision.attempt] = Course(decision, self.run.state.out_seq, {})
            elif isinstance(decision, ev.TimerSet):
                self.timers.append(decision)
        if crash:
            self.recover()

    def recover(self) -> None:
        state = fold(self.log)
        assert state is not None
        self.unseen.clear()
        self.run = Run(state, self.plans.get(state.definition))

    def step_outside(self) -> None:
        """A worker reports, maybe twice; a timer fires; time passes."""
        self.now += self.random.randint(1, 50)
        choices = [*self.tasks, *self.timers]
        if not choices:
            return
        chosen = self.random.choice(choices)
        if isinstance(chosen, ev.TimerSet):
            self.timers.remove(chosen)
            fired = ev.TimerFired(
                org="o", run="run_1", ts=chosen.fire_at, timer=chosen.timer, kind=chosen.kind, step=chosen.step,
                attempt=chosen.attempt,
            )  # fmt: skip
            self.fact(fired)
            if self.random.random() < 0.2:
                self.fact(fired)
            return
        self.tasks.remove(chosen)
        report = self.going_on(chosen, self.report(chosen))
        self.fact(report)
        if self.random.random() < 0.2:
            self.fact(report)

    def going_on(self, task: ev.StepScheduled, report: ev.Event) -> ev.Event:
        """The report with the step that its worker goes on with, if nothing was decided since the task."""
        course = self.courses[task.step, task.attempt]
        assert self.position(course) in {None, task.step}, "whoever gets the task goes on where it is"
        if not isinstance(report, ev.StepCompleted) or self.random.random() < 0.2:
            return report
        outputs = {**course.outputs, task.step: report.output.value}
        following = worker.following(task, outputs)
        if following is None or course.seq != max(seq for seq, e in self.log if isinstance(e, ev.Decision)):
            return report
        self.tasks.append(following)
        self.courses[following.step, 1] = course._replace(outputs=outputs)
        return msgspec.structs.replace(report, begun=ev.BegunStep(following.step, following.kind))

    def position(self, course: Course) -> str | None:
        found = worker.position(course.task, (event for seq, event in self.log if seq > course.seq))
        assert found is None or found[1].keys() == course.outputs.keys()
        return found[0] if found is not None else None

    def report(self, task: ev.StepScheduled) -> ev.Event:
        if self.random.random() < 0.3:
            error = StepError("E", "planned", retryable=self.random.random() < 0.8)
            return ev.StepFailed(org="o", run="run_1", ts=self.now, step=task.step, attempt=task.attempt, error=error)
        output = Payload(value={"n": self.random.randint(0, 10)})
        return ev.StepCompleted(org="o", run="run_1", ts=self.now, step=task.step, attempt=task.attempt, output=output)

    def settle(self, crashes: bool, cancel_at: int | None) -> None:
        for moment in range(2_000):
            if moment == cancel_at:
                self.fact(ev.RunCancelRequested(org="o", run="run_1", ts=self.now))
            self.turn(crashes and self.random.random() < 0.3)
            if self.run.state.status.terminal:
                return
            self.step_outside()
        raise AssertionError(f"the run does not end: {self.run.state}")

    def check(self) -> None:
        decisions = [e for _, e in self.log if isinstance(e, ev.Decision)]
        ends = [e for e in decisions if isinstance(e, ev.TERMINAL_RUN)]
        assert len(ends) == 1
        assert decisions[-1] is ends[0], "nothing is decided after the end"
        offered = Counter(attempt for e in decisions for attempt in begun_by(e))
        offered.update({attempt for _, e in self.log if e not in decisions for attempt in begun_by(e)})
        assert max(offered.values(), default=1) == 1, "an attempt is offered once"
        closed = Counter(
            e.step for e in decisions if isinstance(e, ev.StepSkipped | ev.StepJoined | ev.StepUndecidable)
        )
        assert max(closed.values(), default=1) == 1
        self.check_order()
        assert impossible_events(self.log) == []
        state = fold(self.log)
        assert state is not None
        for node in self.definition.dag.nodes:
            step = state.steps.get(node.id)
            if state.status is RunStatus.COMPLETED:
                assert step is not None and step.status in TERMINAL_STEP, node.id
            if step is not None and step.attempt > 1:
                assert step.attempt <= node.policy.retry.max_attempts

    def check_order(self) -> None:
        """No step is offered before everything that it waits for is decided."""
        sources = dependencies(self.definition)
        run = RunFold()
        for seq, event in self.log:
            run.add(event, seq)
            if isinstance(event, ev.StepScheduled):
                assert run.state is not None
                node = parent_of(event.step) or event.step
                for source, _ in sources[node]:
                    assert run.state.steps[source].status in TERMINAL_STEP, f"{event.step} before {source}"
            for step, _ in () if isinstance(event, ev.StepScheduled) else begun_by(event):
                known = fold(self.log[:seq])
                assert known is not None
                for source, _ in sources[step]:
                    assert known.steps[source].status in TERMINAL_STEP, f"{step} before {source}"


@settings(max_examples=150, deadline=None)
@given(workflows(), st.integers(0, 2**32), st.booleans(), st.one_of(st.none(), st.integers(0, 20)))
def test_every_run_ends_once_and_refolds_to_the_same_state(
    definition: dict[str, Any], seed: int, crashes: bool, cancel_at: int | None
) -> None:
    world = World(definition, seed)
    world.settle(crashes, cancel_at)
    world.check()
    refolded = fold(world.log)
    assert refolded is not None
    for seq, event in world.unseen:
        world.run.apply(event, seq)
    assert refolded.hash() == world.run.state.hash()


@settings(max_examples=60, deadline=None)
@given(workflows(), st.integers(0, 2**32))
def test_a_cancelled_run_ends_whatever_the_workers_do(definition: dict[str, Any], seed: int) -> None:
    world = World(definition, seed)
    world.turn(crash=False)
    if world.run.state.status.terminal:
        return
    world.fact(ev.RunCancelRequested(org="o", run="run_1", ts=world.now, reason="enough"))
    for seq, event in world.unseen:
        world.run.apply(event, seq)
    world.unseen.clear()
    out = decide(world.run, world.now, {})
    assert isinstance(out.decisions[-1], ev.RunCancelled)
    assert world.run.state.status is RunStatus.CANCELLED
    assert not [s for s in world.run.state.steps.values() if s.status in {StepStatus.SCHEDULED, StepStatus.RUNNING}]


@pytest.mark.parametrize("width", [0, 1, 50])
def test_the_cost_of_a_report_does_not_grow_with_the_fan_out(width: int) -> None:
    """One report looks at one step: the machine touches nothing else."""
    definition = {
        "name": "w",
        "dag": {
            "nodes": [
                {
                    "id": "each",
                    "type": "function",
                    "config": {"function_name": "f", "parallel": True, "inputs": {"items": list(range(width))}},
                }
            ]
        },
    }
    world = World(definition, 1)
    world.turn(crash=False)
    for task in list(world.tasks):
        done = ev.StepCompleted(org="o", run="run_1", ts=1, step=task.step, attempt=1, output=Payload(value=task.step))
        world.run.apply(done, world.append(done))
        assert list(world.run.dirty) == [task.step]
        world.turn(crash=False)
    assert world.run.state.status is RunStatus.COMPLETED
    assert world.run.state.output is not None
    assert world.run.state.output.value == {"each": [f"each[{i}]" for i in range(width)]}
