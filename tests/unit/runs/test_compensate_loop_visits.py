"""A compensation in a loop speaks of the visit that it undoes, and not of the newest one."""

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

UNDO = {"type": "tool", "config": {"tool_name": "back", "tool_args": {"entry": "pay.output.entry"}}}
NODES = [
    {
        "id": "pay", "type": "tool", "config": {"tool_name": "pay"}, "compensate_with": UNDO,
        "policy": {"retry": {"max_attempts": 1}},
    },
]  # fmt: skip
DAG = {"edges": [{"from": "pay", "to": "pay", "condition": "pay.output.more", "max_iterations": 5}]}
GRAPH = {"edges": [{"from": "pay", "to": "pay", "condition": "state.more"}]}


@pytest.mark.parametrize("is_graph", [False, True])
def test_each_visit_is_undone_by_what_it_had_given(is_graph: bool) -> None:
    raw: dict[str, Any] = {"name": "w", "dag": {"nodes": NODES, **(GRAPH if is_graph else DAG)}}
    if is_graph:
        raw["graph"] = {"entry_point": "pay"}
    definition = parse_dict(raw)
    event = ev.RunSubmitted(
        org="o", run="r", ts=1, workflow="w", version=1, definition=definition.canonical(), inputs=Payload(value={})
    )
    state = new_state(event, 1)
    run = Run(state, Plans().get(state.definition))
    decisions: list[Any] = list(decide(run, 1, {}).decisions)
    seq = 1

    def tell(fact: Any) -> None:
        nonlocal seq
        seq += 1
        run.apply(fact, seq)
        decisions.extend(decide(run, 1, {}).decisions)

    def done(step: str, output: Any) -> None:
        tell(ev.StepCompleted(org="o", run="r", ts=1, step=step, attempt=1, output=Payload(value=output)))

    done("pay", {"entry": "first", "more": True})
    done("pay#2", {"entry": "second", "more": True})
    tell(ev.StepFailed(org="o", run="r", ts=1, step="pay#3", attempt=1, error=StepError("E", "no", False)))
    done("pay#2:undo", {})
    done("pay:undo", {})
    undone = [(d.step, d.inputs["entry"]) for d in decisions if getattr(d, "step", "").endswith(":undo")]
    assert undone == [("pay#2:undo", "second"), ("pay:undo", "first")]
    assert state.status is RunStatus.FAILED
