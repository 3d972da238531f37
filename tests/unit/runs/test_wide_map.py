"""A wide map whose items take slots of keyed lanes: what an item costs must not grow with their number."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common import events as ev
from agentflow_common.definition.parse import parse_dict
from agentflow_common.runs.fold import new_state
from agentflow_scheduler.runs import attempts
from agentflow_scheduler.runs.plan import Plans
from agentflow_scheduler.runs.run import Run
from tests.support.deciding import decide

ITEMS = 200
AT: dict[str, Any] = {"org": "o", "run": "run_1", "ts": 3}
BODY = {"type": "function", "config": {"function_name": "f", "inputs": {"v": "{{item}}"}}}
MAP = {"id": "m", "type": "map", "lane": "{{org}}-{{item}}", "config": {"over": "{{items}}", "body": BODY}}
EACH = {
    "id": "m", "type": "function", "lane": "{{org}}-calls",
    "config": {"function_name": "f", "parallel": True, "inputs": {"v": "{{items}}"}},
}  # fmt: skip


@pytest.mark.parametrize("node", [MAP, EACH], ids=["map", "parallel"])
def test_the_items_are_looked_up_once_in_a_decision(node: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    for name in ("map_items", "mapped_items"):
        real = getattr(attempts, name)
        monkeypatch.setattr(attempts, name, lambda *args, real=real: looked.append("") or real(*args))
    text = {"name": "w", "inputs": {"items": {"type": "array"}}, "dag": {"nodes": [node]}}
    definition = parse_dict(text).canonical()
    submitted = ev.RunSubmitted(
        **AT, workflow="w", version=1, definition=definition, inputs=ev.Payload({"items": list(range(ITEMS))})
    )
    run = Run(new_state(submitted, 1), Plans().get(definition))
    decisions, facts, seq = 0, list[ev.Event](), 1
    given: dict[str, Any] = {}
    while not run.state.status.terminal:
        for fact in facts:
            seq += 1
            run.apply(fact, seq)  # type: ignore[arg-type]
        facts, decisions = [], decisions + 1
        for decision in decide(run, 3, {}).decisions:
            if isinstance(decision, ev.StepQueued):
                at = {**AT, "step": decision.step, "attempt": decision.attempt}
                facts.append(ev.SlotGranted(**at, lane=decision.lane))
            elif isinstance(decision, ev.StepScheduled):
                given[decision.step] = decision.inputs["v"]
                at = {**AT, "step": decision.step, "attempt": decision.attempt}
                facts.append(ev.StepCompleted(**at, output=ev.Payload(1), worker="w"))
    assert given == {f"m[{index}]": index for index in range(ITEMS)}
    assert len(looked) <= decisions < 10
