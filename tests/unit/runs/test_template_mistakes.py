"""A mistake in a template or a condition, wherever it stands, is the failure of its step and of nothing else."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.events import Payload
from agentflow_common.expressions import language as expressions
from agentflow_common.expressions.sandbox import ExpressionError
from agentflow_common.runs.fold import fold, new_state
from agentflow_common.runs.state import RunStatus
from agentflow_scheduler.runs.plan import Plans
from agentflow_scheduler.runs.run import Run
from tests.support.deciding import decide

MISTAKE = "{{ {'to': [o.nope]} }}"
WORK = {"function_name": "f"}
UNDO = {"type": "function", "config": {"function_name": "undo"}}
BODY = {"type": "function", "config": {**WORK, "inputs": {"x": {"y": ["plain", MISTAKE]}}}}
CHILD = parse_dict({"name": "child", "dag": {"nodes": [{"id": "x", "type": "function", "config": WORK}]}}).canonical()


class Driven:
    """One run whose log is kept as bytes, and whose workers succeed; timers fire when nothing else is left."""

    def __init__(self, raw: dict[str, Any]) -> None:
        definition = parse_dict({"name": "w", "inputs": {"o": {"type": "object"}}, **raw}).canonical()
        self.log: list[tuple[int, Any]] = []
        self.plans = Plans()
        first = ev.RunSubmitted(org="o", run="r", ts=1, workflow="w", version=1, definition=definition,
                                inputs=Payload(value={"o": {"id": 1}}), definitions={"child": CHILD})  # fmt: skip
        self.run = Run(new_state(first, self.append(first)), self.plans.get(definition))
        self.fresh: list[Any] = []
        self.decide()

    def append(self, event: Any) -> int:
        self.log.append((len(self.log) + 1, ev.decode(ev.encode(event))))
        return len(self.log)

    def decide(self) -> None:
        for decision in decide(self.run, 10, {}).decisions:
            self.run.state.out_seq = self.append(decision)
            if isinstance(decision, ev.StepScheduled | ev.TimerSet):
                self.fresh.append(decision)

    def play(self) -> Any:
        """To its end, which is returned."""
        while not self.run.state.status.terminal:
            self.fresh.sort(key=lambda item: isinstance(item, ev.TimerSet))
            item = self.fresh.pop(0)
            own = {"org": "o", "run": "r", "ts": 10_000_000_000, "step": item.step, "attempt": item.attempt}
            fact: Any = ev.StepCompleted(**own, output=Payload(value={"id": 1}))
            if isinstance(item, ev.TimerSet):
                fact = ev.TimerFired(**own, timer=item.timer, kind=item.kind)
            self.run.apply(fact, self.append(fact))
            self.decide()
        state = fold(self.log)
        assert state is not None
        assert state.hash() == self.run.state.hash()
        return self.log[-1][1]


def function(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "type": "function", "config": {**WORK, **more.pop("config", {})}, **more}


PLACES = [
    (function("bad", config={"inputs": {"x": MISTAKE}}), "inputs.x"),
    (function("bad", config={"function_args": {"x": {"deep": [1, {"er": MISTAKE}]}}}), "function_args.x.deep[1].er"),
    ({"id": "bad", "type": "tool", "config": {"tool_name": "t", "tool_args": {"x": MISTAKE}}}, "tool_args.x"),
    ({"id": "bad", "type": "llm", "config": {"prompt_ref": "p", "inputs": {"x": MISTAKE}}}, "inputs.x"),
    ({"id": "bad", "type": "subworkflow", "config": {"workflow": "child", "inputs": {"x": MISTAKE}}}, "inputs.x"),
    (function("bad", config={"parallel": True, "inputs": {"n": [1, 2], "x": MISTAKE}}), "inputs.x"),
    ({"id": "bad", "type": "map", "config": {"over": MISTAKE, "body": BODY}}, "over"),
    ({"id": "bad", "type": "map", "config": {"over": [1, 2], "body": BODY}}, "inputs.x.y[1]"),
    ({"id": "bad", "type": "loop", "config": {"body": BODY, "while": "iteration < 3",
                                              "max_iterations": 3}}, "inputs.x.y[1]"),
    ({"id": "bad", "type": "loop", "config": {"body": {"type": "function", "config": WORK}, "until": "1 / 0 > 1",
                                              "max_iterations": 2}}, "until"),
    ({"id": "bad", "type": "loop", "config": {"body": {"type": "function", "config": WORK}, "while": "1 / 0 > 1",
                                              "max_iterations": 2}}, "while"),
    ({"id": "bad", "type": "wait", "config": {"duration": MISTAKE}}, "duration"),
    ({"id": "bad", "type": "approval", "config": {"message": MISTAKE}}, "message"),
    ({"id": "bad", "type": "approval", "config": {"message": "?", "approvers": ["ana", MISTAKE]}}, "approvers[1]"),
    ({"id": "bad", "type": "approval", "config": {"message": "?", "approvers": ["ana"], "escalate_ms": 5,
                                                  "escalate_to": ["bo", "{{o.id}}"]}}, "approvers are names"),
    (function("bad", lane="lane-{{ 1 // 0 }}", lane_limit=1), "lane"),
    (function("bad", condition="o.nope.deeper == 1"), "condition 'o.nope.deeper == 1'"),
    ({"id": "bad", "type": "continue_as_new", "condition": "true", "config": {"inputs": {"o": MISTAKE}}}, "inputs.o"),
]  # fmt: skip
IDS = [f"{node['type']}-{field}" for node, field in PLACES]


def saga(bad: dict[str, Any], **policy: Any) -> dict[str, Any]:
    """Two steps with an effect, the one with the mistake, and one behind it."""
    nodes = [
        function("hotel", compensate_with=UNDO), function("pay", compensate_with=UNDO),
        {**bad, "policy": {"retry": {"max_attempts": 3, "retryable": ["undecidable"]}, **policy}},
    ]  # fmt: skip
    edges = [{"from": "hotel", "to": "pay"}, {"from": "pay", "to": "bad"}]
    if bad["type"] != "continue_as_new":
        nodes.append(function("last"))
        edges.append({"from": "bad", "to": "last"})
    return {"dag": {"nodes": nodes, "edges": edges}}


@pytest.mark.parametrize(("node", "field"), PLACES, ids=IDS)
def test_engine_01_a_mistake_fails_its_step_and_the_run_is_compensated(node: dict[str, Any], field: str) -> None:
    run = Driven(saga(node))
    end = run.play()
    assert isinstance(end, ev.RunFailed)
    assert (end.error.type, end.compensated) == ("undecidable", ("pay", "hotel"))
    assert end.step.startswith("bad")
    assert "bad" in end.error.message
    assert field in end.error.message
    undone = [e.step for _, e in run.log if isinstance(e, ev.StepScheduled) and e.step.endswith(":undo")]
    assert undone == ["pay:undo", "hotel:undo"]
    if MISTAKE in str(node) and node["type"] != "approval":
        assert MISTAKE in end.error.message, "and the expression"


@pytest.mark.parametrize(("node", "field"), [p for p in PLACES if p[0]["type"] != "continue_as_new"],
                         ids=[i for i in IDS if not i.startswith("continue")])  # fmt: skip
def test_engine_01_the_run_goes_on_without_it_if_it_may(node: dict[str, Any], field: str) -> None:
    run = Driven(saga(node, on_failure="continue"))
    end = run.play()
    assert isinstance(end, ev.RunCompleted), field
    failed = run.run.state.steps["bad"]
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error.type == "undecidable"
    assert run.run.state.steps["last"].status == "completed"


def test_engine_01_a_map_tolerates_mistakes_as_its_policy_says() -> None:
    body = {"type": "function", "config": {**WORK, "inputs": {"x": "{{ [10 // item] }}"}}}
    config = {"over": [1, 0, 5, 0], "body": body, "on_item_failure": "continue", "max_failures": 2}
    run = Driven({"dag": {"nodes": [{"id": "m", "type": "map", "config": config}], "edges": []}})
    assert isinstance(run.play(), ev.RunCompleted)
    assert [run.run.state.steps[f"m[{i}]"].status for i in range(4)] == ["completed", "failed", "completed", "failed"]
    config["max_failures"] = 1
    end = Driven({"dag": {"nodes": [{"id": "m", "type": "map", "config": config}], "edges": []}}).play()
    assert isinstance(end, ev.RunFailed)
    assert (end.step, end.error.type) == ("m", "undecidable")
    assert "m[1]: inputs.x: {{ [10 // item] }}" in end.error.message


def test_engine_01_a_compensation_with_a_mistake_does_not_stop_the_others() -> None:
    wrong = {"type": "function", "config": {**WORK, "inputs": {"booking": "{{ {'id': [output.nope]} }}"}}}
    nodes = [
        function("hotel", compensate_with=UNDO), function("car", compensate_with=wrong),
        function("flight", compensate_with=UNDO), function("bad", config={"inputs": {"x": MISTAKE}}),
    ]  # fmt: skip
    names = [node["id"] for node in nodes]
    edges = [{"from": a, "to": b} for a, b in itertools.pairwise(names)]
    run = Driven({"dag": {"nodes": nodes, "edges": edges}})
    end = run.play()
    assert isinstance(end, ev.RunFailed)
    assert (end.compensated, end.uncompensated) == (("flight", "hotel"), ("car",))
    told = run.run.state.steps["car:undo"].error
    assert told is not None
    assert told.message.startswith("car:undo: inputs.booking: {{ {'id': [output.nope]} }}: there is no field 'nope'")


def test_engine_01_a_mistake_in_a_graph_names_its_node() -> None:
    nodes = [
        function("pay", compensate_with=UNDO),
        function("bad", config={"inputs": {"x": MISTAKE}}),
    ]
    graph = {"entry_point": "pay", "state": {"initial": {"n": 1}}}
    run = Driven({"graph": graph, "dag": {"nodes": nodes, "edges": [{"from": "pay", "to": "bad"}]}})
    end = run.play()
    assert isinstance(end, ev.RunFailed)
    assert (end.step, end.error.type, end.compensated) == ("bad", "undecidable", ("pay",))


@pytest.mark.parametrize(("edges", "place"), [
    ([{"from": "a", "to": "b", "condition": "1 / 0 > 1"}], "b: the edge a -> b: condition '1 / 0 > 1'"),
    ([{"from": "a", "to": "b"}, {"from": "b", "to": "a", "condition": "1 / 0 > 1", "max_iterations": 2}], "back edge"),
])  # fmt: skip
def test_engine_01_a_mistake_in_an_edge_names_it(edges: list[dict[str, Any]], place: str) -> None:
    end = Driven({"dag": {"nodes": [function("a", compensate_with=UNDO), function("b")], "edges": edges}}).play()
    assert isinstance(end, ev.RunFailed)
    assert (end.step, end.error.type, end.compensated) == ("b", "undecidable", ("a",))
    assert place in end.error.message


def test_engine_01_a_mistake_in_an_output_of_the_run_names_it() -> None:
    end = Driven({"outputs": {"all": {"x": [MISTAKE]}}, "dag": {"nodes": [function("a", compensate_with=UNDO)]}}).play()
    assert isinstance(end, ev.RunFailed)
    assert (end.error.type, end.compensated) == ("undecidable", ("a",))
    assert end.error.message.startswith(f"outputs.all.x[0]: {MISTAKE}: there is no field 'nope'")


def test_engine_01_a_wait_for_people_that_fails_is_over() -> None:
    """The escalation of an approval is computed while it waits."""
    node = next(n for n, field in PLACES if field == "approvers are names")
    run = Driven(saga(node, on_failure="continue"))
    run.play()
    late = ev.ApprovalGiven(org="o", run="r", ts=99, step="bad", decision="approve", by="ana")
    run.run.apply(late, run.append(late))
    assert run.run.state.status is RunStatus.COMPLETED


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ n | map('x') | list }}", "a number is not a list"),
        ("{{ 'a' in n }}", "a number is not a list"),
        ("{{ xs | sum }}", "+ takes no number and a text"),
        ("{{ xs + 1 }}", "+ takes no list and a number"),
        ("{{ s + 1 }}", "+ takes no text and a number"),
        ("{{ s * 1.5 }}", "* takes no text or list and a number"),
        ("{{ n < s }}", "a number and a text can't be compared"),
        ("{{ xs | sort }}", "can't be compared"),
        ("{{ -s }}", "- takes no text"),
        ("{{ s | round }}", "a text can't be rounded"),
        ("{{ n / 0 }}", "a division by zero"),
        ("{{ n % 0 }}", "a division by zero"),
    ],
)  # fmt: skip
def test_engine_11_a_mistake_in_computing_is_told_in_the_words_of_json(template: str, told: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        expressions.template(template).render({"n": 3, "s": "abc", "xs": [1, "a"]})
    assert told in caught.value.message
    assert not re.search(r"Error|'(int|str|list|dict)'", caught.value.message)
