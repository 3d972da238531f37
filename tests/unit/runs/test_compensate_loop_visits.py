"""A compensation in a loop speaks of the visit that it undoes, and not of the newest one."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common.runs.state import RunStatus
from tests.support.definitions import ONCE, edges, tool, workflow
from tests.support.run_driver import RunDriver

UNDO = {"type": "tool", "config": {"tool_name": "back", "tool_args": {"entry": "pay.output.entry"}}}
PAY = tool("pay", compensate_with=UNDO, policy=ONCE)
LOOP = workflow(PAY, edges=edges("pay pay", condition="pay.output.more", max_iterations=5))
GRAPH = workflow(PAY, edges=edges("pay pay", condition="state.more"), graph={"entry_point": "pay"})


@pytest.mark.parametrize("definition", [LOOP, GRAPH], ids=["loop", "graph"])
def test_each_visit_is_undone_by_what_it_had_given(definition: dict[str, Any]) -> None:
    run = RunDriver(definition).submit()
    run.completes("pay", {"entry": "first", "more": True}).completes("pay#2", {"entry": "second", "more": True})
    run.fails("pay#3").completes("pay#2:undo", {}).completes("pay:undo", {})
    undone = [step for step in run.offered if step.endswith(":undo")]
    assert undone == ["pay#2:undo", "pay:undo"]
    assert [run.inputs(step)["entry"] for step in undone] == ["second", "first"]
    assert run.status is RunStatus.FAILED
