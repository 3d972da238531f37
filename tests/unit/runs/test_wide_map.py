"""A wide map whose items take slots of keyed lanes: what an item costs must not grow with their number."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.events import Payload
from agentflow_scheduler.runs.steps import items
from tests.support.definitions import WORK, workflow
from tests.support.events import base
from tests.support.run_driver import RunDriver

ITEMS = 200
BODY = {"type": "function", "config": {**WORK, "inputs": {"v": "{{item}}"}}}
MAP = {"id": "m", "type": "map", "lane": "{{org}}-{{item}}", "config": {"over": "{{items}}", "body": BODY}}
EACH = {
    "id": "m", "type": "function", "lane": "{{org}}-calls",
    "config": {**WORK, "parallel": True, "inputs": {"v": "{{items}}"}},
}  # fmt: skip


@pytest.mark.parametrize("node", [MAP, EACH], ids=["map", "parallel"])
def test_the_items_are_looked_up_once_in_a_decision(node: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []
    for name in ("_of_map", "_mapped_input"):
        real = getattr(items, name)
        monkeypatch.setattr(items, name, lambda *args, real=real: looked_up.append("") or real(*args))
    run = RunDriver(workflow(node, inputs={"items": {"type": "array"}})).submit({"items": list(range(ITEMS))})
    turns = 1
    while not run.status.terminal:
        facts: list[ev.Event] = []
        for decision in run.made:
            if isinstance(decision, ev.StepQueued):
                own = base(step=decision.step, attempt=decision.attempt)
                facts.append(ev.SlotGranted(**own, lane=decision.lane))
            elif isinstance(decision, ev.StepScheduled):
                own = base(step=decision.step, attempt=decision.attempt)
                facts.append(ev.StepCompleted(**own, output=Payload(value=1), worker="w"))
        for fact in facts:
            run.apply(fact)
        run.decide()
        turns += 1
    assert {step: run.inputs(step)["v"] for step in run.offered} == {f"m[{index}]": index for index in range(ITEMS)}
    assert len(looked_up) <= turns
    assert turns < 10
