"""Sends and barriers against a plain model: random graphs, failures, crashes between any two appends."""

from __future__ import annotations

import zlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_common.events import Payload, StepError
from agentflow_common.runs import fork as forking
from agentflow_common.runs.fork import Changes, Seed
from agentflow_common.runs.state import RunState, RunStatus, StepStatus, visit_key
from agentflow_scheduler.replay.state_hash import state_hash
from tests.support.events import base

from .random_run import RandomRun

SUPERSTEPS_MAX = 5
VISITS_MAX = 40
Visit = tuple[str, dict[str, Any] | None]  # a node, and what it is sent


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Any]:
    names = [f"n{index}" for index in range(draw(st.integers(2, 5)))]
    barriers = {name for name in names[1:] if draw(st.integers(0, 2)) == 0}
    edges: list[dict[str, Any]] = []
    for source in names:
        for target in names:
            follows = names.index(target) == names.index(source) + 1
            if not follows and draw(st.integers(0, 2)):
                continue
            edge: dict[str, Any] = {"from": source, "to": target, "max_iterations": draw(st.integers(1, 2))}
            kind = "plain" if target in barriers else draw(st.sampled_from(["plain", "args", "over", "over"]))
            if kind != "plain":
                edge["args"] = {"v": "{{item + 1}}" if kind == "over" else f"{source}.output.n"}
            if kind == "over":
                edge |= {"over": [[1, 2], [3], []][draw(st.integers(0, 2))], "condition": "item != 2"}
                if draw(st.booleans()):
                    edge["over"], edge["args"] = "state.last", {}
            edges.append(edge)
    nodes = [
        {
            "id": name,
            "type": "function",
            "config": {"function_name": "f", "state_args": True},
            "barrier": name in barriers,
        }
        for name in names
    ]
    state = {"reducers": {"log": "append"}, "initial": {"log": [], "last": [7, 2]}}
    graph = {"entry_point": "n0", "state": state, "max_supersteps": SUPERSTEPS_MAX}
    return {"name": "w", "graph": graph, "dag": {"nodes": nodes, "edges": edges}}


def number(step: str, seed: int) -> int:
    return zlib.crc32(f"{seed}/{step}".encode()) % 10


class SendingRun(RandomRun):
    """A run of such a graph; some of its steps fail unless it is a retry of one that did."""

    def __init__(self, definition: dict[str, Any], seed: int, kept: Seed | None = None) -> None:
        super().__init__(definition, seed)
        self.seed = seed
        self.failing = 0.08 if kept is None else 0.0
        seeded = {"seed": Payload(value=forking.encoded_steps(kept)), "position": kept.position} if kept else {}
        self.submit({}, **seeded)

    def report(self, task: ev.StepScheduled) -> ev.Event:
        own = base(ts=self.now_ms, step=task.step, attempt=task.attempt)
        if self.random.random() < self.failing:
            return ev.StepFailed(**own, error=StepError("E", "planned", retryable=False))
        n = number(task.step, self.seed)
        return ev.StepCompleted(**own, output=Payload(value={"n": n, "log": task.step, "last": [n, 2]}))

    def end(self, crashes: bool) -> RunState:
        self.settle(crashes)
        return self.refolded()


class Model:
    """Supersteps as the definition says them, if every step completes."""

    def __init__(self, definition: dict[str, Any], seed: int) -> None:
        self.nodes = definition["dag"]["nodes"]
        self.edges = definition["dag"]["edges"]
        self.seed = seed
        self.last = [7, 2]
        self.visits: dict[str, int] = {}
        self.taken: dict[str, int] = {}
        self.arrived: dict[str, set[str]] = {}

    def supersteps(self) -> list[dict[str, dict[str, Any] | None]]:
        """Returns for each superstep its steps, and what each was sent. At most one more than may run."""
        told: list[dict[str, dict[str, Any] | None]] = []
        following: list[Visit] = [("n0", None)]
        while following and len(told) <= SUPERSTEPS_MAX:
            keys: dict[str, dict[str, Any] | None] = {}
            for node, sent in following:
                self.visits[node] = self.visits.get(node, 0) + 1
                keys[visit_key(node, self.visits[node])] = sent
            told.append(keys)
            for key in keys:
                self.last = [number(key, self.seed), 2]
            following = self.after(list(keys))
        return told

    def after(self, keys: list[str]) -> list[Visit]:
        plain: set[str] = set()
        sent: dict[str, list[dict[str, Any]]] = {}
        now: dict[str, int] = {}
        came: set[str] = set()
        for key in keys:
            for edge in self.edges:
                name, target = f"{edge['from']}->{edge['to']}", edge["to"]
                if edge["from"] != key.partition("#")[0] or self.taken.get(name, 0) >= edge["max_iterations"]:
                    continue
                values = self.values(edge, key)
                if values == []:
                    continue
                now[name] = 1
                if next(node for node in self.nodes if node["id"] == target)["barrier"]:
                    self.arrived.setdefault(target, set()).add(edge["from"])
                    came.add(target)
                elif values is None:
                    plain.add(target)
                else:
                    sent.setdefault(target, []).extend(values)
        for target in came:
            if self.arrived[target] == {edge["from"] for edge in self.edges if edge["to"] == target}:
                plain.add(target)
                self.arrived[target] = set()
        for name in now:
            self.taken[name] = self.taken.get(name, 0) + 1
        found: list[Visit] = []
        for node in self.nodes:
            found += [(node["id"], None)] if node["id"] in plain else []
            found += [(node["id"], values) for values in sent.get(node["id"], [])]
        return found

    def values(self, edge: dict[str, Any], key: str) -> list[dict[str, Any]] | None:
        """Returns what each visit is sent; None for an edge that sends nothing."""
        if "over" in edge:
            items = self.last if edge["over"] == "state.last" else edge["over"]
            return [{"v": item + 1} if edge["args"] else {"item": item} for item in items if item != 2]
        return [{"v": number(key, self.seed)}] if edge.get("args") else None


def supersteps_of(log: Any) -> list[dict[str, dict[str, Any] | None]]:
    advanced = [event for _, event in log if isinstance(event, ev.GraphAdvanced) and event.steps]
    return [{key: event.sent[key].value if key in event.sent else None for key in event.steps} for event in advanced]


def check_inputs(run: SendingRun, expected: list[dict[str, dict[str, Any] | None]]) -> None:
    sent = {key: values for superstep in expected for key, values in superstep.items()}
    for _, event in run.log:
        if isinstance(event, ev.StepScheduled):
            given = sent[event.step]
            assert set(event.inputs) == {"state"} if given is None else event.inputs == given


@settings(max_examples=150, deadline=None)
@given(graphs(), st.integers(0, 2**32), st.booleans())
def test_each_visit_gets_what_it_was_sent_whatever_crashes(
    definition: dict[str, Any], seed: int, crashes: bool
) -> None:
    expected = Model(definition, seed).supersteps()
    if sum(map(len, expected)) > VISITS_MAX:
        return
    run = SendingRun(definition, seed)
    state = run.end(crashes)
    run.take()
    assert state_hash(state) == state_hash(run.state)
    told = supersteps_of(run.log)
    check_inputs(run, expected)
    if state.status is RunStatus.FAILED and state.error is not None and state.error.type == "E":
        assert told == expected[: len(told)]
        retried(definition, seed, state, expected, crashes)
        return
    assert told == expected[:SUPERSTEPS_MAX]
    ended = RunStatus.COMPLETED if len(expected) <= SUPERSTEPS_MAX else RunStatus.FAILED
    assert state.status is ended
    offered = [(e.step, e.attempt) for _, e in run.log if isinstance(e, ev.StepScheduled)]
    assert len(offered) == len(set(offered)), "an attempt is offered once"


def retried(definition: dict[str, Any], seed: int, failed: RunState, expected: Any, crashes: bool) -> None:
    kept = forking.retry(failed, SendingRun(definition, seed).definition, Changes())
    again = SendingRun(definition, seed, kept)
    state = again.end(crashes)
    check_inputs(again, expected)
    offered = {event.step for _, event in again.log if isinstance(event, ev.StepScheduled)}
    done = {key for key, step in failed.steps.items() if step.status is StepStatus.COMPLETED}
    assert not offered & done
    assert supersteps_of(again.log) == expected[failed.superstep : SUPERSTEPS_MAX]
    assert state.status is (RunStatus.COMPLETED if len(expected) <= SUPERSTEPS_MAX else RunStatus.FAILED)
