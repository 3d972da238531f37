"""The scheduler's machine against a simulated log: random graphs, failures, duplicates, delays, crashes and cancels."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_common.definition.dependencies import dependencies
from agentflow_common.events import Payload, StepError
from agentflow_common.runs.fold import RunFold, fold
from agentflow_common.runs.state import RunState, RunStatus, StepStatus, parent_of
from agentflow_worker import machine as worker
from tests.support.attempts import begun_by
from tests.support.definitions import function, workflow
from tests.support.events import base
from tests.support.run_driver import RunDriver
from tests.support.transitions import impossible_events

from .random_run import RandomRun

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
        if sum(edge["to"] == node["id"] for edge in edges) > 1 and draw(st.booleans()):
            node["join"] = draw(st.sampled_from(["any", 2]))
        nodes.append(node)
    return {"name": "w", "dag": {"nodes": nodes, "edges": edges}}


class Progress(NamedTuple):
    """A task, its place in the log, and what its steps have given so far."""

    task: ev.StepScheduled
    seq: int
    outputs: dict[str, Any]


class ChainedRun(RandomRun):
    """A run whose workers go on with the next step of a task by themselves, if nothing was decided since."""

    def __init__(self, definition: dict[str, Any], seed: int) -> None:
        super().__init__(definition, seed)
        self.progress: dict[tuple[str, int], Progress] = {}
        self.submit()

    def offer(self, task: ev.StepScheduled, seq: int) -> None:
        super().offer(task, seq)
        self.progress[task.step, task.attempt] = Progress(task, seq, {})

    def report(self, task: ev.StepScheduled) -> ev.Event:
        """Returns the report with the step that its worker goes on with."""
        progress = self.progress[task.step, task.attempt]
        assert self.position(progress) in {None, task.step}, "whoever gets the task goes on where it is"
        decided = progress.seq != max(seq for seq, e in self.log if isinstance(e, ev.Decision))
        kept: list[ev.StepCompleted] = []  # reports that are written together, with the last one
        while True:
            report = self.result(task)
            if not isinstance(report, ev.StepCompleted):
                if not kept:
                    return report
                break  # what was done is written first; how the step ends is drawn again
            outputs = {**progress.outputs, task.step: report.output.value}
            following = None if decided or self.random.random() < 0.2 else worker.following(task, outputs)
            if following is None:
                return worker.together([*kept, report])
            kept.append(msgspec.structs.replace(report, begun=ev.BegunStep(following.step, following.kind)))
            task, progress = following, progress._replace(outputs=outputs)
            if self.random.random() < 0.5:
                break
        self.tasks.append(task)
        self.progress[task.step, 1] = progress
        return worker.together(kept)

    def position(self, progress: Progress) -> str | None:
        found = worker.position(progress.task, (event for seq, event in self.log if seq > progress.seq))
        assert found is None or found[1].keys() == progress.outputs.keys()
        return found[0] if found is not None else None

    def result(self, task: ev.StepScheduled) -> ev.Event:
        own = base(ts=self.now_ms, step=task.step, attempt=task.attempt)
        if self.random.random() < 0.3:
            return ev.StepFailed(**own, error=StepError("E", "planned", retryable=self.random.random() < 0.8))
        return ev.StepCompleted(**own, output=Payload(value={"n": self.random.randint(0, 10)}))

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
        state = self.refolded()
        for node in self.definition.dag.nodes:
            step = state.steps.get(node.id)
            if state.status is RunStatus.COMPLETED:
                assert step is not None and step.status in TERMINAL_STEP, node.id
            if step is not None and step.attempt > 1:
                assert step.attempt <= node.policy.retry.max_attempts

    def check_order(self) -> None:
        """No step is offered before everything that it waits for is decided."""
        sources = dependencies(self.definition)
        folded = RunFold()
        for seq, event in self.log:
            folded.add(event, seq)
            if isinstance(event, ev.StepScheduled):
                assert folded.state is not None
                node = parent_of(event.step) or event.step
                if self.is_met(node, folded.state):
                    continue
                for source, _ in sources[node]:
                    assert folded.state.steps[source].status in TERMINAL_STEP, f"{event.step} before {source}"
            for step, _ in () if isinstance(event, ev.StepScheduled) else begun_by(event):
                known = fold(self.log[:seq])
                assert known is not None
                for source, _ in sources[step]:
                    assert known.steps[source].status in TERMINAL_STEP, f"{step} before {source}"

    def is_met(self, name: str, state: RunState) -> bool:
        """True if the node joins, and enough of those before it have completed."""
        node = next(node for node in self.definition.dag.nodes if node.id == name)
        if node.join == "all":
            return False
        before = [state.steps.get(source) for source, _ in dependencies(self.definition)[name]]
        completed = sum(step is not None and step.status is StepStatus.COMPLETED for step in before)
        return completed >= (1 if node.join == "any" else node.join)


@settings(max_examples=150, deadline=None)
@given(workflows(), st.integers(0, 2**32), st.booleans(), st.one_of(st.none(), st.integers(0, 20)))
def test_every_run_ends_once_and_refolds_to_the_same_state(
    definition: dict[str, Any], seed: int, crashes: bool, cancel_at: int | None
) -> None:
    run = ChainedRun(definition, seed)
    run.settle(crashes, cancel_at)
    run.check()
    run.take()
    run.check_log()


@settings(max_examples=60, deadline=None)
@given(workflows(), st.integers(0, 2**32))
def test_a_cancelled_run_ends_whatever_the_workers_do(definition: dict[str, Any], seed: int) -> None:
    run = ChainedRun(definition, seed)
    run.turn()
    if run.status.terminal:
        return
    run.cancels(reason="enough")
    assert isinstance(run.made[-1], ev.RunCancelled)
    assert run.status is RunStatus.CANCELLED
    assert not [s for s in run.state.steps.values() if s.status in {StepStatus.SCHEDULED, StepStatus.RUNNING}]


@pytest.mark.parametrize("width", [0, 1, 50])
def test_the_cost_of_a_report_does_not_grow_with_the_fan_out(width: int) -> None:
    """One report looks at one step: the machine touches nothing else."""
    config = {"parallel": True, "inputs": {"items": list(range(width))}}
    run = RunDriver(workflow(function("each", config=config))).submit()
    for task in run.of(ev.StepScheduled):
        run.apply(ev.StepCompleted(**base(step=task.step, attempt=1), output=Payload(value=task.step)))
        assert list(run.run.dirty) == [task.step]
        run.decide()
    assert run.output == {"each": [f"each[{i}]" for i in range(width)]}
