"""Forks and retries on the real machine: whatever is kept, the new run ends as the whole run would have, and offers no
step whose result it has."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_common.definition.model import Definition
from agentflow_common.definition.parse import parse_dict
from agentflow_common.events import Payload, StepError
from agentflow_common.runs import fork as forking
from agentflow_common.runs.fold import fold
from agentflow_common.runs.fork import Changes, Seed
from agentflow_common.runs.parts import whole_of
from agentflow_common.runs.state import RunState, RunStatus, node_of, parent_of
from tests.support.events import base
from tests.support.run_driver import RunDriver

TURNS_MAX = 400
_LOCAL = {"map": "{{item}}", "loop": "{{iteration}}"}


@st.composite
def workflows(draw: st.DrawFn) -> dict[str, Any]:
    """A random graph: edges, some conditional; fan-outs; some nodes may fail without harm; maybe a back edge."""
    count = draw(st.integers(2, 6))
    nodes: list[dict[str, Any]] = []
    edges: list[dict[str, Any]] = []
    for index in range(count):
        inputs: dict[str, Any] = {}
        for source in range(index):
            if draw(st.integers(0, 2)) == 0:
                edge: dict[str, Any] = {"from": f"n{source}", "to": f"n{index}"}
                if draw(st.integers(0, 4)) == 0:
                    edge["condition"] = f"n{source}.output.n % 2 == 0"
                edges.append(edge)
            elif draw(st.integers(0, 2)) == 0:
                inputs[f"from{source}"] = f"n{source}.output"
        config: dict[str, Any] = {"function_name": "f", "inputs": inputs}
        if draw(st.integers(0, 4)) == 0:
            inputs["items"] = [1, 2, 3]
            config |= {"parallel": True, "for_each": "items"}
        policy = {"on_failure": draw(st.sampled_from(["fail", "fail", "continue"])), "retry": {"max_attempts": 1}}
        kind = draw(st.sampled_from(["function", "function", "function", "map", "loop"]))
        if kind != "function":
            body = {"type": "function", "config": {"function_name": "f", "inputs": {**inputs, "x": _LOCAL[kind]}}}
            body["config"]["inputs"].pop("items", None)  # type: ignore[index]
            config = {"body": body, "max_iterations": 3, "until": "previous.n % 2 == 0"}
            if kind == "map":
                if draw(st.booleans()):
                    body = {"type": "map", "config": {"body": body, "over": [5, 6], "item": "inner"}}
                config = {"body": body, "over": [1, 2, 3, 4], "concurrency": draw(st.integers(1, 3))}
        nodes.append({"id": f"n{index}", "type": kind, "config": config, "policy": policy})
    forward = [(int(edge["from"][1:]), int(edge["to"][1:])) for edge in edges if "condition" not in edge]
    if forward and draw(st.booleans()):
        target, source = draw(st.sampled_from(forward))
        if all(nodes[at]["type"] == "function" and "for_each" not in nodes[at]["config"] for at in (source, target)):
            condition = f"n{source}.output.n % 3 != 0"
            edges.append({"from": f"n{source}", "to": f"n{target}", "condition": condition, "max_iterations": 3})
    return {"name": "w", "dag": {"nodes": nodes, "edges": edges}}


class PlayedRun(RunDriver):
    """A run at its end. Its steps give what their name and their inputs determine, or fail for good."""

    def __init__(self, definition: Definition, failing: frozenset[str] = frozenset(), seed: Seed | None = None) -> None:
        super().__init__(definition)
        self.failing = failing
        seed = seed or Seed({})
        self.at(1000).submit(seed=Payload(value=forking.encoded_steps(seed)), position=seed.position)
        for _ in range(TURNS_MAX):
            if self.status.terminal:
                break
            for decision in self.made:
                if isinstance(decision, ev.StepScheduled):
                    self.apply(self.report(decision))
            self.at(self.now_ms + 10).decide()
        self.check_log()

    def report(self, task: ev.StepScheduled) -> ev.Event:
        own = base(ts=self.now_ms, step=task.step, attempt=task.attempt)
        if task.step in self.failing:
            return ev.StepFailed(**own, error=StepError("broken", "it broke", retryable=False))
        number = zlib.crc32(node_of(task.step).encode() + msgspec.json.encode(task.inputs, order="sorted")) % 1000
        return ev.StepCompleted(**own, output=Payload(value={"n": number}))

    def before(self, at: str) -> RunState:
        kinds = (ev.StepScheduled, ev.StepExpanded, ev.StepIterated, ev.StepSkipped, ev.StepUndecidable)
        place = next(n for n, (_, e) in enumerate(self.log) if isinstance(e, kinds) and e.step == at)
        state = fold(self.log[:place])
        assert state is not None
        return state


@settings(deadline=None, max_examples=150)
@given(workflows(), st.data())
def test_a_fork_without_changes_ends_as_its_origin(raw: dict[str, Any], data: st.DataObject) -> None:
    definition = parse_dict(raw)
    origin = PlayedRun(definition)
    assume(origin.state.status is RunStatus.COMPLETED)
    at = data.draw(st.sampled_from(sorted(origin.state.steps)))
    seed = forking.fork(origin.state, origin.before(whole_of(at)), definition, at)
    made = PlayedRun(definition, seed=seed)
    assert made.state.status is RunStatus.COMPLETED
    assert made.state.output == origin.state.output
    assert at not in seed.kept
    assert not set(made.offered) & {key for key in seed.kept if seed.steps[key].width < 0}, "what is kept is not run"
    beside = {key for key in origin.state.steps if parent_of(at) and parent_of(key) == parent_of(at)} - {at}
    assert "]" not in at or beside <= set(seed.kept), "its other parts are kept"
    assert set(made.state.steps) == set(origin.state.steps)
    assert made.state.taken == origin.state.taken


@settings(deadline=None, max_examples=150)
@given(workflows(), st.data())
def test_a_retry_ends_as_if_nothing_had_failed_and_repeats_nothing(raw: dict[str, Any], data: st.DataObject) -> None:
    definition = parse_dict(raw)
    healthy = PlayedRun(definition)
    assume(healthy.state.status is RunStatus.COMPLETED and healthy.offered)
    failing = frozenset(data.draw(st.sets(st.sampled_from(sorted(set(healthy.offered))), min_size=1, max_size=2)))
    failed = PlayedRun(definition, failing)
    assume(failed.state.status is RunStatus.FAILED)
    seed = forking.retry(failed.state, definition, Changes())
    made = PlayedRun(definition, seed=seed)
    goes_on = {node.id for node in definition.dag.nodes if node.policy.on_failure == "continue"}
    stays = any(node_of(key) in goes_on for key in failing)  # such a failure is a result, and stays one
    if stays:  # a condition that is asked only then may be one that can't be answered
        assume(made.state.error is None or made.state.error.type != "undecidable")
    assert made.state.status is RunStatus.COMPLETED
    if not stays:
        assert made.state.output == healthy.state.output
    done = {key for key, step in failed.state.steps.items() if step.status == "completed" and step.width < 0}
    assert not set(made.offered) & done, "what had succeeded is not run again"
