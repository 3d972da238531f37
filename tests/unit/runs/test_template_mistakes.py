"""A mistake in a template or a condition, wherever it stands, is the failure of its step and of nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.expressions import language as expressions
from agentflow_common.expressions.sandbox import ExpressionError
from agentflow_common.runs.state import RunStatus
from tests.support.definitions import BODY, UNDO, WORK, child, edges, function, in_order, workflow
from tests.support.events import base
from tests.support.run_driver import RunDriver

MISTAKE = "{{ {'to': [o.nope]} }}"
WRONG_BODY = {"type": "function", "config": {**WORK, "inputs": {"x": {"y": ["plain", MISTAKE]}}}}


def play(definition: dict[str, Any]) -> RunDriver:
    """Returns the run at its end; its workers succeed."""
    run = RunDriver({"inputs": {"o": {"type": "object"}}, **definition})
    return run.at(10).submit({"o": {"id": 1}}, definitions=child()).plays({"id": 1}).check_log()


def failure(definition: dict[str, Any]) -> ev.RunFailed:
    """Returns the end of a run that fails."""
    end = play(definition).made[-1]
    assert isinstance(end, ev.RunFailed)
    return end


PLACES = [
    (function("bad", {"x": MISTAKE}), "inputs.x"),
    (function("bad", config={"function_args": {"x": {"deep": [1, {"er": MISTAKE}]}}}), "function_args.x.deep[1].er"),
    ({"id": "bad", "type": "tool", "config": {"tool_name": "t", "tool_args": {"x": MISTAKE}}}, "tool_args.x"),
    ({"id": "bad", "type": "llm", "config": {"prompt_ref": "p", "inputs": {"x": MISTAKE}}}, "inputs.x"),
    ({"id": "bad", "type": "subworkflow", "config": {"workflow": "child", "inputs": {"x": MISTAKE}}}, "inputs.x"),
    (function("bad", config={"parallel": True, "inputs": {"n": [1, 2], "x": MISTAKE}}), "inputs.x"),
    ({"id": "bad", "type": "map", "config": {"over": MISTAKE, "body": WRONG_BODY}}, "over"),
    ({"id": "bad", "type": "map", "config": {"over": [1, 2], "body": WRONG_BODY}}, "inputs.x.y[1]"),
    ({"id": "bad", "type": "loop", "config": {"body": WRONG_BODY, "while": "iteration < 3",
                                              "max_iterations": 3}}, "inputs.x.y[1]"),
    ({"id": "bad", "type": "loop", "config": {"body": BODY, "until": "1 / 0 > 1",
                                              "max_iterations": 2}}, "until"),
    ({"id": "bad", "type": "loop", "config": {"body": BODY, "while": "1 / 0 > 1",
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
        function("hotel", compensate_with=UNDO),
        function("pay", compensate_with=UNDO),
        {**bad, "policy": {"retry": {"max_attempts": 3, "retryable": ["undecidable"]}, **policy}},
    ]
    if bad["type"] != "continue_as_new":
        nodes.append(function("last"))
    return in_order(*nodes)


@pytest.mark.parametrize(("node", "field"), PLACES, ids=IDS)
def test_engine_01_a_mistake_fails_its_step_and_the_run_is_compensated(node: dict[str, Any], field: str) -> None:
    run = play(saga(node))
    end = run.made[-1]
    assert isinstance(end, ev.RunFailed)
    assert end.error.type == "undecidable"
    assert end.compensated == ("pay", "hotel")
    assert end.step.startswith("bad")
    assert "bad" in end.error.message
    assert field in end.error.message
    assert [step for step in run.offered if step.endswith(":undo")] == ["pay:undo", "hotel:undo"]
    if MISTAKE in str(node) and node["type"] != "approval":
        assert MISTAKE in end.error.message, "and the expression"


@pytest.mark.parametrize(("node", "field"), [p for p in PLACES if p[0]["type"] != "continue_as_new"],
                         ids=[i for i in IDS if not i.startswith("continue")])  # fmt: skip
def test_engine_01_the_run_goes_on_without_it_if_it_may(node: dict[str, Any], field: str) -> None:
    run = play(saga(node, on_failure="continue"))
    assert isinstance(run.made[-1], ev.RunCompleted), field
    failed = run.state.steps["bad"]
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error.type == "undecidable"
    assert run.state.steps["last"].status == "completed"


def test_engine_01_a_map_tolerates_mistakes_as_its_policy_says() -> None:
    body = {"type": "function", "config": {**WORK, "inputs": {"x": "{{ [10 // item] }}"}}}
    config = {"over": [1, 0, 5, 0], "body": body, "on_item_failure": "continue", "max_failures": 2}
    run = play(workflow({"id": "m", "type": "map", "config": config}))
    assert isinstance(run.made[-1], ev.RunCompleted)
    assert [run.statuses[f"m[{i}]"] for i in range(4)] == ["completed", "failed", "completed", "failed"]
    config["max_failures"] = 1
    end = failure(workflow({"id": "m", "type": "map", "config": config}))
    assert end.step == "m"
    assert end.error.type == "undecidable"
    assert "m[1]: inputs.x: {{ [10 // item] }}" in end.error.message


def test_engine_01_a_compensation_with_a_mistake_does_not_stop_the_others() -> None:
    wrong = {"type": "function", "config": {**WORK, "inputs": {"booking": "{{ {'id': [output.nope]} }}"}}}
    run = play(
        in_order(
            function("hotel", compensate_with=UNDO),
            function("car", compensate_with=wrong),
            function("flight", compensate_with=UNDO),
            function("bad", {"x": MISTAKE}),
        )
    )
    end = run.made[-1]
    assert isinstance(end, ev.RunFailed)
    assert end.compensated == ("flight", "hotel")
    assert end.uncompensated == ("car",)
    error = run.state.steps["car:undo"].error
    assert error is not None
    assert error.message.startswith("car:undo: inputs.booking: {{ {'id': [output.nope]} }}: there is no field 'nope'")


def test_engine_01_a_mistake_in_a_graph_names_its_node() -> None:
    graph = {"entry_point": "pay", "state": {"initial": {"n": 1}}}
    end = failure(in_order(function("pay", compensate_with=UNDO), function("bad", {"x": MISTAKE}), graph=graph))
    assert end.step == "bad"
    assert end.error.type == "undecidable"
    assert end.compensated == ("pay",)


@pytest.mark.parametrize(
    ("links", "place"),
    [
        (edges("a b", condition="1 / 0 > 1"), "b: the edge a -> b: condition '1 / 0 > 1'"),
        (edges("a b") + edges("b a", condition="1 / 0 > 1", max_iterations=2), "back edge"),
    ],
)
def test_engine_01_a_mistake_in_an_edge_names_it(links: list[dict[str, Any]], place: str) -> None:
    end = failure(workflow(function("a", compensate_with=UNDO), function("b"), edges=links))
    assert end.step == "b"
    assert end.error.type == "undecidable"
    assert end.compensated == ("a",)
    assert place in end.error.message


def test_engine_01_a_mistake_in_an_output_of_the_run_names_it() -> None:
    end = failure(workflow(function("a", compensate_with=UNDO), outputs={"all": {"x": [MISTAKE]}}))
    assert end.error.type == "undecidable"
    assert end.compensated == ("a",)
    assert end.error.message.startswith(f"outputs.all.x[0]: {MISTAKE}: there is no field 'nope'")


def test_engine_01_a_wait_for_people_that_fails_is_over() -> None:
    """The escalation of an approval is computed while it waits."""
    node = next(n for n, field in PLACES if field == "approvers are names")
    run = play(saga(node, on_failure="continue"))
    run.apply(ev.ApprovalGiven(**base(ts=run.now_ms), step="bad", decision="approve", by="ana"))
    assert run.status is RunStatus.COMPLETED


@pytest.mark.parametrize(
    ("template", "said"),
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
def test_engine_11_a_mistake_in_computing_is_told_in_the_words_of_json(template: str, said: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        expressions.template(template).render({"n": 3, "s": "abc", "xs": [1, "a"]})
    assert said in caught.value.message
    assert not re.search(r"Error|'(int|str|list|dict)'", caught.value.message)
