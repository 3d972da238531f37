"""What follows a step that failed and without which the run goes on (`on_failure: continue`)."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.events import Payload, StepError
from agentflow_common.runs.fold import new_state
from agentflow_common.runs.state import RunStatus
from agentflow_scheduler.runs.plan import Plans
from agentflow_scheduler.runs.run import Run
from tests.support.deciding import decide


class Driven:
    """One run; the test plays its workers. given: the inputs of each step that was offered."""

    def __init__(self, dag: dict[str, Any], **top: Any) -> None:
        raw = parse_dict({"name": "w", "dag": dag, **top}).canonical()
        event = ev.RunSubmitted(org="o", run="r", ts=1, workflow="w", version=1, definition=raw,
                                inputs=Payload(value={}))  # fmt: skip
        self.run = Run(new_state(event, 1), Plans().get(raw))
        self.seq = 1
        self.given: dict[str, Any] = {}
        self.decide()

    def decide(self) -> None:
        for decision in decide(self.run, 1, {}).decisions:
            if isinstance(decision, ev.StepScheduled):
                self.given[decision.step] = decision.inputs

    def tell(self, fact: ev.Event) -> None:
        self.seq += 1
        self.run.apply(fact, self.seq)
        self.decide()

    def done(self, *names: str, output: Any = None) -> None:
        for name in names:
            self.tell(ev.StepCompleted(org="o", run="r", ts=1, step=name, attempt=1, output=Payload(value=output)))

    def failed(self, *names: str) -> None:
        for name in names:
            self.tell(ev.StepFailed(org="o", run="r", ts=1, step=name, attempt=1, error=StepError("E", "no", False)))

    def statuses(self) -> dict[str, str]:
        return {key: str(step.status) for key, step in self.run.state.steps.items()}

    @property
    def status(self) -> RunStatus:
        return self.run.state.status


def node(name: str, **more: Any) -> dict[str, Any]:
    inputs = more.pop("inputs", {})
    return {"id": name, "type": "function", "config": {"function_name": "f", "inputs": inputs}, **more}


def shaky(name: str, **more: Any) -> dict[str, Any]:
    return node(name, policy={"on_failure": "continue", "retry": {"max_attempts": 1}}, **more)


def edges(*pairs: str) -> list[dict[str, Any]]:
    return [dict(zip(("from", "to"), pair.split(), strict=True)) for pair in pairs]


def test_engine_02_what_follows_a_failed_step_runs_and_is_given_null() -> None:
    nodes = [
        shaky("a"),
        node("b", inputs={"x": "a.output.n", "y": "{{a.status}}"}),
        node("c", inputs={"x": "b.output"}),
    ]
    run = Driven({"nodes": nodes, "edges": edges("a b", "b c")})
    run.failed("a")
    assert run.given["b"] == {"x": None, "y": "failed"}
    run.done("b", output=7)
    assert run.given["c"] == {"x": 7}
    run.done("c", output=8)
    assert (run.status, run.statuses()) == (RunStatus.COMPLETED, {"a": "failed", "b": "completed", "c": "completed"})


@pytest.mark.parametrize(
    ("follower", "edge"),
    [
        (node("b", depends_on=["a"]), []),
        (node("b", inputs={"x": "a.output"}), []),
        (node("b", condition="a.status == 'failed'"), []),
        (node("b", condition="a.status == 'failed' && a.error.type == 'E'"), edges("a b")),
        (node("b"), [{"from": "a", "to": "b", "condition": "a.error != null"}]),
        (node("b"), [{"from": "a", "to": "b", "condition": "a.output == null"}]),
    ],
)
def test_engine_02_every_way_to_follow_a_failed_step_is_taken(
    follower: dict[str, Any], edge: list[dict[str, Any]]
) -> None:
    run = Driven({"nodes": [shaky("a"), follower], "edges": edge})
    run.failed("a")
    assert "b" in run.given


@pytest.mark.parametrize("condition", ["a.status == 'completed'", "a.error == null", "a.output != null"])
def test_engine_02_a_condition_still_tells_them_apart(condition: str) -> None:
    by_edge = Driven({"nodes": [shaky("a"), node("b")], "edges": [{"from": "a", "to": "b", "condition": condition}]})
    by_node = Driven({"nodes": [shaky("a"), node("b", condition=condition)], "edges": edges("a b")})
    for run in (by_edge, by_node):
        run.failed("a")
        assert (run.status, run.statuses()["b"]) == (RunStatus.COMPLETED, "skipped")


def test_engine_02_a_join_waits_for_both_and_a_skipped_branch_stays_skipped() -> None:
    nodes = [shaky("a"), node("b"), node("join", inputs={"x": "a.output", "y": "b.output"}), node("no"), node("on")]
    links = [*edges("a join", "b join", "no on"), {"from": "b", "to": "no", "condition": "b.output > 5"}]
    run = Driven({"nodes": nodes, "edges": links})
    run.failed("a")
    assert "join" not in run.given, "it waits for b"
    run.done("b", output=1)
    assert run.given["join"] == {"x": None, "y": 1}
    assert (run.statuses()["no"], run.statuses()["on"]) == ("skipped", "skipped"), "nothing failed there"


def test_engine_02_an_unknown_outcome_is_followed_as_a_failure_is() -> None:
    run = Driven({"nodes": [shaky("a"), node("b")], "edges": edges("a b")})
    run.tell(ev.StepOutcomeUnknown(org="o", run="r", ts=1, step="a", attempt=1))
    assert "b" in run.given


def test_engine_02_a_step_that_failed_after_some_of_its_parts_gives_null() -> None:
    """Of a map, and of a loop that came to its bound."""
    body = {"type": "function", "config": {"function_name": "f"}}
    policy = {"on_failure": "continue", "retry": {"max_attempts": 1}}
    each = {"id": "each", "type": "map", "config": {"over": [1, 2], "body": body}, "policy": policy}
    often = {"id": "often", "type": "loop", "policy": policy,
             "config": {"body": body, "until": "false", "max_iterations": 1, "on_max": "fail"}}  # fmt: skip
    nodes = [each, often, node("b", inputs={"x": "each.output", "y": "often.output", "n": "{{[each.output]}}"})]
    run = Driven({"nodes": nodes, "edges": edges("each b", "often b")}, outputs={"all": "each.output"})
    run.done("each[0]", "often@1", output=1)
    run.failed("each[1]")
    assert run.given["b"] == {"x": None, "y": None, "n": [None]}
    run.done("b")
    assert run.run.state.output is not None
    assert run.run.state.output.value == {"all": None}


def test_engine_02_a_back_edge_of_a_failed_step_is_asked() -> None:
    back = {"from": "b", "to": "a", "condition": "b.status == 'failed'", "max_iterations": 2}
    run = Driven({"nodes": [node("a"), shaky("b"), node("c")], "edges": [*edges("a b", "b c"), back]})
    run.done("a")
    run.failed("b")
    assert "c" not in run.given
    run.done("a#2", "b#2")
    assert "c" in run.given


def test_engine_02_in_a_loop_the_newest_outcome_counts_also_if_it_is_not_known() -> None:
    back = {"from": "b", "to": "a", "condition": "b.status == 'completed'", "max_iterations": 2}
    run = Driven({"nodes": [node("a"), shaky("b"), node("c", inputs={"x": "b.output"})],
                  "edges": [*edges("a b", "b c"), back]})  # fmt: skip
    run.done("a", "b", "a#2", output=1)
    run.tell(ev.StepOutcomeUnknown(org="o", run="r", ts=1, step="b#2", attempt=1))
    assert "a#3" not in run.given, "the condition speaks of the second visit"
    assert run.given["c"] == {"x": None}


def test_engine_02_a_graph_goes_on_behind_a_failed_node() -> None:
    top = {"graph": {"entry_point": "a", "state": {"initial": {"n": 1}}}}
    nodes = [shaky("a"), node("b", writes={"n": "output"}), node("rescue"), node("other")]
    links = [
        *edges("a b"),
        {"from": "a", "to": "rescue", "condition": "a.status == 'failed'"},
        {"from": "a", "to": "other", "condition": "a.status == 'completed'"},
    ]
    run = Driven({"nodes": nodes, "edges": links}, **top)
    run.failed("a")
    assert run.run.state.active == ("b", "rescue")
    run.done("b", output=5)
    run.done("rescue", output={})
    assert run.run.state.output is not None
    assert (run.status, run.run.state.output.value) == (RunStatus.COMPLETED, {"n": 5})


def test_engine_02_behind_a_failed_subworkflow_too() -> None:
    child = parse_dict({"name": "child", "dag": {"nodes": [node("x")]}}).canonical()
    part = {"id": "part", "type": "subworkflow", "config": {"workflow": "child"},
            "policy": {"on_failure": "continue", "retry": {"max_attempts": 1}}}  # fmt: skip
    raw = parse_dict({"name": "w", "dag": {"nodes": [part, node("b")], "edges": edges("part b")}}).canonical()
    event = ev.RunSubmitted(org="o", run="r", ts=1, workflow="w", version=1, definition=raw,
                            inputs=Payload(value={}), definitions={"child": child})  # fmt: skip
    run = Run(new_state(event, 1), Plans().get(raw))
    decide(run, 1, {})
    ended = ev.ChildEnded(org="o", run="r", ts=1, step="part", attempt=1, child=run.state.steps["part"].child,
                          status="failed", error=StepError("E", "no", False))  # fmt: skip
    run.apply(ended, 2)
    assert [d.step for d in decide(run, 1, {}).decisions if isinstance(d, ev.StepScheduled)] == ["b"]
