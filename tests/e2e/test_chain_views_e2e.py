"""A chain of quick steps on a whole stack: each step is shown once and in order, wherever a client goes on."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_sdk import RunEvent
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.e2e

NAMES = [f"step_{number}" for number in range(1, 13)]
RUNS_MAX = 20
FLOW = {
    "name": "quick_chain",
    "version": 1,
    "dag": {
        "nodes": [
            {
                "id": name,
                "type": "function",
                "config": {"function_name": "text_splitter", "function_args": {"text": name, "chunk_size": 100}},
                **({"depends_on": [before]} if before else {}),
            }
            for before, name in zip(["", *NAMES], NAMES, strict=False)
        ]
    },
}


def test_each_step_of_a_quick_chain_is_shown_once(platform: Any) -> None:
    with platform.client() as client:

        def watched(**after: Any) -> list[RunEvent]:
            items = client.workflows.watch(run, tokens=False, timeout=PATIENCE_S, **after)
            return [item for item in items if isinstance(item, RunEvent)]

        for _ in range(RUNS_MAX):  # a worker on a busy machine may report each step by itself
            run = client.workflows.submit(FLOW)
            every = watched()
            if any(event.part for event in every):
                break
        else:
            pytest.fail("the worker reported no steps together")
        done = [event for event in every if event.type == "step.completed"]
        assert [event.step for event in done] == NAMES
        assert [event.steps_done for event in done] == list(range(1, len(NAMES) + 1))
        assert [event.ts for event in done] == sorted(event.ts for event in done)
        assert [event.body["step"] for event in done] == NAMES
        assert not any("before" in event.body for event in done)
        for number, event in enumerate(every, 1):
            assert watched(after_sequence=event.sequence, after_part=event.part) == every[number:]

        found = client.workflows.wait(run, timeout=PATIENCE_S)
        assert [(step.step, step.status.value, step.attempt) for step in found.steps] == [
            (name, "completed", 1) for name in NAMES
        ]
        trace = client.traces.get(run, bodies=True)
        assert [(step.step, step.status.value) for step in trace.steps] == [(name, "completed") for name in NAMES]
        shown = [event for event in trace.events if event.type == "step.completed"]
        assert [(event.sequence, event.part, event.step, event.ts, event.body) for event in shown] == [
            (event.sequence, event.part, event.step, event.ts, event.body) for event in done
        ]
        summary = client.traces.query(workflow="quick_chain")[0]
        assert (summary.run_id, summary.steps) == (run.run_id, len(NAMES))
    lines = platform.cli("workflow", "watch", run.run_id).stderr.splitlines()
    assert [line.split()[2] for line in lines if "step.completed" in line] == NAMES
