"""Graph-style workflows against a plain model: random cyclic graphs, failures, crashes between any two appends."""

from __future__ import annotations

import itertools
import zlib
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_common.definition.model import Definition
from agentflow_common.events import Payload, StepError
from agentflow_common.runs import fork as forking
from agentflow_common.runs.fork import Changes, Seed
from agentflow_common.runs.state import RunState, RunStatus, StepStatus, visit_key
from agentflow_scheduler.replay.state_hash import state_hash
from tests.support.events import base

from .random_run import RandomRun

SUPERSTEPS_MAX = 12
CONDITIONS = [
    None, "state.n < 40", "state.n >= 25", "size(state.log) < 9", "{}.status == 'completed'", "{}.output.n > 4",
]  # fmt: skip
REDUCERS = {"log": "append", "n": "sum", "seen": "union", "best": "max", "first": "first"}


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Any]:
    """Any edges at all: cycles, self-loops, several ways to one node, ways that end."""
    names = [f"n{index}" for index in range(draw(st.integers(1, 5)))]
    nodes: list[dict[str, Any]] = []
    for name in names:
        node: dict[str, Any] = {
            "id": name,
            "type": "function",
            "config": {"function_name": "f", "state_args": draw(st.booleans())},
            "policy": {
                "on_failure": draw(st.sampled_from(["fail", "continue", "continue"])),
                "retry": {"max_attempts": draw(st.integers(1, 2)), "initial_ms": draw(st.sampled_from([0, 10]))},
            },
        }
        if draw(st.integers(0, 4)) == 0:
            node["condition"] = "state.n < 30"
        if draw(st.integers(0, 4)) == 0:
            node["config"] = {"function_name": "f", "parallel": True, "inputs": {"items": [1, 2]}}
            node["writes"] = "parts"
        nodes.append(node)
    edges: list[dict[str, Any]] = [{"from": a, "to": b} for a, b in itertools.pairwise(names)]
    for source in names:
        for target in [*names, "END"]:
            if {"from": source, "to": target} not in edges and draw(st.integers(0, 3)) == 0:
                edge: dict[str, Any] = {"from": source, "to": target}
                lists = nodes[names.index(source)].get("writes")
                condition = draw(st.sampled_from(CONDITIONS[:-1] if lists else CONDITIONS))
                if condition is not None:
                    edge["condition"] = condition.format(source)
                if draw(st.booleans()):
                    edge["max_iterations"] = draw(st.integers(1, 3))
                edges.append(edge)
    spec = {"schema": {"properties": {"n": {"type": "integer"}}}, "reducers": REDUCERS, "initial": {"n": 0, "log": []}}
    graph = {"entry_point": "n0", "state": spec, "max_supersteps": SUPERSTEPS_MAX}
    return {"name": "w", "graph": graph, "dag": {"nodes": nodes, "edges": edges}}


def output(step: str, seed: int) -> Any:
    """What a step gives: the same for every attempt, so that the model can tell it too."""
    n = zlib.crc32(f"{seed}/{step}".encode()) % 10
    return step if "[" in step else {"n": n, "log": step, "seen": [n], "best": n, "first": step, step[:2]: None}


class GraphRun(RandomRun):
    """A run of a graph; some of its steps fail unless it is a retry of one that did."""

    def __init__(self, definition: dict[str, Any], seed: int, kept: Seed | None = None) -> None:
        super().__init__(definition, seed)
        self.seed = seed
        self.failing = 0.15 if kept is None else 0.0
        seeded = {"seed": Payload(value=forking.encoded_steps(kept)), "position": kept.position} if kept else {}
        self.submit({"start": 1}, **seeded)

    def report(self, task: ev.StepScheduled) -> ev.Event:
        own = base(ts=self.now_ms, step=task.step, attempt=task.attempt)
        if self.random.random() < self.failing:
            return ev.StepFailed(**own, error=StepError("E", "planned", retryable=True))
        return ev.StepCompleted(**own, output=Payload(value=output(task.step, self.seed)))

    def end(self, crashes: bool) -> RunState:
        """Returns the state that the log gives once the run has ended."""
        self.settle(crashes)
        return self.refolded()


class GraphModel:
    """Supersteps as the definition says them, on the outcomes of the steps that the log tells."""

    def __init__(self, definition: Definition, state: RunState, seed: int) -> None:
        self.definition = definition
        self.outcomes = {key: str(step.status) for key, step in state.steps.items()}
        self.seed = seed
        self.shared: dict[str, Any] = {"n": 0, "log": [], "start": 1}
        self.visits: dict[str, int] = {}
        self.taken: dict[str, int] = {}

    def holds(self, text: str, node: str, key: str) -> bool:
        if text == "state.n < 40":
            return bool(self.shared["n"] < 40)
        if text == "state.n < 30":
            return bool(self.shared["n"] < 30)
        if text == "state.n >= 25":
            return bool(self.shared["n"] >= 25)
        if text == "size(state.log) < 9":
            return len(self.shared["log"]) < 9
        if text.endswith("'completed'"):
            return self.outcomes[key] == "completed"
        given = self.given(node, key)
        return given is not None and bool(given["n"] > 4)

    def given(self, node: str, key: str) -> Any:
        config = next(n for n in self.definition.dag.nodes if n.id == node).config
        if getattr(config, "parallel", False):
            done = (f"{key}[{i}]" if self.outcomes[f"{key}[{i}]"] == "completed" else None for i in range(2))
            return list(done)
        return output(key, self.seed) if self.outcomes[key] == "completed" else None

    def supersteps(self) -> tuple[list[tuple[str, ...]], str]:
        """The steps of each superstep, and how it ended."""
        told: list[tuple[str, ...]] = []
        active = ["n0"]
        while active:
            if len(told) == SUPERSTEPS_MAX:
                return told, "max_supersteps"
            keys: dict[str, str] = {}
            for node in active:
                self.visits[node] = self.visits.get(node, 0) + 1
                keys[node] = visit_key(node, self.visits[node])
            told.append(tuple(keys.values()))
            if any(self.outcomes.get(key) in {"cancelled", None} for key in keys.values()) or any(
                self.outcomes[keys[node]] == "failed" and self.policy(node) == "fail" for node in active
            ):
                return told, "failed"
            for node in active:
                self.merge(node, keys[node])
            active = self.route(active, keys)
        return told, "completed"

    def policy(self, node: str) -> str:
        return next(n for n in self.definition.dag.nodes if n.id == node).policy.on_failure

    def merge(self, node: str, key: str) -> None:
        if self.outcomes[key] != "completed":
            return
        given = self.given(node, key)
        if isinstance(given, list):
            self.shared["parts"] = given
            return
        shared = self.shared
        shared["n"] += given["n"]
        shared["log"] = [*shared["log"], given["log"]]
        shared["seen"] = list(dict.fromkeys([*shared.get("seen", []), *given["seen"]]))
        shared["best"] = max(shared.get("best", 0), given["best"])
        shared.setdefault("first", given["first"])
        shared[key[:2]] = None

    def route(self, active: list[str], keys: dict[str, str]) -> list[str]:
        targets = set()
        for edge in self.definition.dag.edges:
            if edge.source not in active:
                continue
            name, key = f"{edge.source}->{edge.target}", keys[edge.source]
            if edge.max_iterations is not None and self.taken.get(name, 0) >= edge.max_iterations:
                continue
            outcome = self.outcomes[key]
            is_taken = outcome in {"completed", "failed"}
            if is_taken and edge.condition is not None:
                is_taken = self.holds(edge.condition, edge.source, key)
            if is_taken:
                targets.add(edge.target)
                self.taken[name] = self.taken.get(name, 0) + (edge.max_iterations is not None)
        return [node.id for node in self.definition.dag.nodes if node.id in targets]


@settings(max_examples=120, deadline=None)
@given(graphs(), st.integers(0, 2**32), st.booleans())
def test_a_graph_runs_as_its_definition_says_whatever_crashes(
    definition: dict[str, Any], seed: int, crashes: bool
) -> None:
    run = GraphRun(definition, seed)
    state = run.end(crashes)
    run.take()
    assert state_hash(state) == state_hash(run.state)
    advanced = [event for _, event in run.log if isinstance(event, ev.GraphAdvanced)]
    model = GraphModel(run.definition, state, seed)
    expected, ended = model.supersteps()
    assert [event.steps for event in advanced if event.steps] == expected
    assert [event.superstep for event in advanced if event.steps] == list(range(1, len(expected) + 1))
    if ended == "completed":
        assert state.status is RunStatus.COMPLETED
        assert state.output is not None
        assert state.output.value == model.shared
        assert {name: payload.value for name, payload in state.shared.items()} == model.shared
    else:
        assert state.status is RunStatus.FAILED
        assert state.error is not None
        assert state.error.type == ("E" if ended == "failed" else ended)
    offered = [(e.step, e.attempt) for _, e in run.log if isinstance(e, ev.StepScheduled)]
    assert len(offered) == len(set(offered)), "an attempt is offered once"


@settings(max_examples=60, deadline=None)
@given(graphs(), st.integers(0, 2**32), st.booleans())
def test_a_failed_graph_that_is_tried_again_goes_on_where_it_was(
    definition: dict[str, Any], seed: int, crashes: bool
) -> None:
    run = GraphRun(definition, seed)
    failed = run.end(crashes)
    assume(failed.status is RunStatus.FAILED and failed.error is not None and failed.error.type == "E")
    kept = forking.retry(failed, run.definition, Changes())
    again = GraphRun(definition, seed, kept)
    state = again.end(crashes)
    offered = {event.step for _, event in again.log if isinstance(event, ev.StepScheduled)}
    done = {key for key, step in failed.steps.items() if step.status is StepStatus.COMPLETED}
    assert not offered & done
    model = GraphModel(again.definition, state, seed)
    expected, ended = model.supersteps()
    advanced = [event.superstep for _, event in again.log if isinstance(event, ev.GraphAdvanced) and event.steps]
    assert advanced == list(range(failed.superstep + 1, len(expected) + 1))
    if ended == "completed":
        assert state.status is RunStatus.COMPLETED
        assert {name: payload.value for name, payload in state.shared.items()} == model.shared
    else:
        assert state.error is not None
        assert state.error.type == "max_supersteps"
