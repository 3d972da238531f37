"""A worker that dies in the middle of a paid model call: the call is made again on the record, never in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentflow_sdk import Client
from tests.support.stack import running_stack
from tests.support.waiting import PATIENCE_S, until_now

pytestmark = [pytest.mark.integration, pytest.mark.fault]
WORKFLOW = """
name: slow_answer
dag:
  nodes:
    - id: ask
      type: llm
      config: {prompt_ref: summarizer, inputs: {content: "The harbour was busy all day. Boats came in before noon."}}
      policy: {model: sim/slow}
"""


def test_a_model_call_of_a_dead_worker_is_made_again_on_the_record(tmp_path: Path) -> None:
    env = {"AGENTFLOW_SIM_MODELS": json.dumps({"slow": {"latency_ms": 5000}}), "AGENTFLOW_ACK_WAIT_S": "2"}
    with running_stack(tmp_path / "data", env=env) as stack, Client(stack.grpc, stack.dev_key) as client:
        run = client.workflows.submit(WORKFLOW)

        def types() -> list[str]:
            return [event.type for event in client.traces.get(run).events]

        until_now(lambda: "step.started" in types())
        stack.kill("worker")
        finished = client.workflows.wait(run, timeout=3 * PATIENCE_S)
        assert finished.status == "completed", finished.error
        (step,) = finished.steps
        assert step.attempt == 2
        told = types()
        assert told.count("claim.taken") == 2
        assert told.count("step.outcome_unknown") == 1
        assert told.count("step.completed") == 1
