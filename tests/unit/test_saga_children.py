"""The node of a subworkflow that completed is undone; one that did not complete has undone its own steps."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.definition import parse_dict
from agentflow_common.events import Payload, StepError
from agentflow_common.runfold import new_state
from agentflow_common.runstate import RunStatus
from agentflow_scheduler.machine import decide
from agentflow_scheduler.plan import Plans
from agentflow_scheduler.run import Run

UNDO = {"type": "tool", "config": {"tool_name": "back", "tool_args": {"booking": "{{output.id}}"}}}
SUB = {"type": "subworkflow", "config": {"workflow": "child"}}
ALONE = {"id": "sub", **SUB, "compensate_with": UNDO}
EACH = {"id": "sub", "type": "map", "config": {"over": [1, 2], "body": SUB}, "compensate_with": UNDO}
LOOP = {
    "id": "sub", "type": "loop", "config": {"body": SUB, "until": "iteration == 2", "max_iterations": 2},
    "compensate_with": UNDO,
}  # fmt: skip


@pytest.mark.parametrize(
    ("node", "keys", "undone"),
    [
        (ALONE, ["sub"], [("sub:undo", "of sub")]),
        (EACH, ["sub[0]", "sub[1]"], [("sub[1]:undo", "of sub[1]"), ("sub[0]:undo", "of sub[0]")]),
        (LOOP, ["sub@1", "sub@2"], [("sub@2:undo", "of sub@2"), ("sub@1:undo", "of sub@1")]),
    ],
)
@pytest.mark.parametrize("cancelled", [False, True])
def test_what_completed_is_undone(
    node: dict[str, Any], keys: list[str], undone: list[tuple[str, str]], cancelled: bool
) -> None:
    pay = {"id": "pay", "type": "tool", "config": {"tool_name": "pay"}, "policy": {"retry": {"max_attempts": 1}}}
    raw = parse_dict({"name": "w", "dag": {"nodes": [node, pay], "edges": [{"from": "sub", "to": "pay"}]}}).canonical()
    made, run = play(raw, keys)
    if cancelled:
        made += tell(run, ev.RunCancelRequested(org="o", run="r", ts=1))
    else:
        error = StepError("E", "no money", False)
        made += tell(run, ev.StepFailed(org="o", run="r", ts=1, step="pay", attempt=1, error=error))
    for key, _ in undone:
        made += tell(run, ev.StepCompleted(org="o", run="r", ts=1, step=key, attempt=1, output=Payload(value={})))
    assert [(d.step, d.inputs["booking"]) for d in made if getattr(d, "step", "").endswith(":undo")] == undone
    assert made[-1].compensated == tuple(key.removesuffix(":undo") for key, _ in undone)
    assert run.state.status is (RunStatus.CANCELLED if cancelled else RunStatus.FAILED)


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_what_did_not_complete_is_not(how: str) -> None:
    raw = parse_dict({"name": "w", "dag": {"nodes": [{**ALONE, "policy": {"retry": {"max_attempts": 1}}}]}}).canonical()
    made, run = play(raw, [])
    if how == "failed":
        error = StepError("timeout", "a step of it took too long")  # it may have taken effect, and was undone there
        fact = ev.ChildEnded(
            org="o", run="r", ts=1, step="sub", attempt=1, child="c", status="failed", error=error, cost_nano=0
        )
        made += tell(run, fact)
    else:
        made += tell(run, ev.RunCancelRequested(org="o", run="r", ts=1))
    assert not [d for d in made if getattr(d, "step", "").endswith(":undo")]
    assert run.state.status is RunStatus(how)


def play(raw: dict[str, Any], keys: list[str]) -> tuple[list[Any], Run]:
    """A run in which the subworkflows of these steps have completed."""
    child = parse_dict(
        {"name": "child", "dag": {"nodes": [{"id": "a", "type": "tool", "config": {"tool_name": "t"}}]}}
    ).canonical()
    event = ev.RunSubmitted(
        org="o", run="r", ts=1, workflow="w", version=1, definition=raw, inputs=Payload(value={}),
        definitions={"child": child},
    )  # fmt: skip
    run = Run(new_state(event, 1), Plans().get(raw))
    made: list[Any] = list(decide(run, 1, {}).decisions)
    for key in keys:
        output = Payload(value={"id": f"of {key}"})
        ended = ev.ChildEnded(
            org="o", run="r", ts=1, step=key, attempt=1, child="c", status="completed", output=output, cost_nano=0
        )
        made += tell(run, ended)
    return made, run


def tell(run: Run, fact: Any) -> list[Any]:
    run.apply(fact, run.state.facts_seq + 1)
    return list(decide(run, 1, {}).decisions)
