"""A trace that is too large for one answer: no body is lost, and an answer that lacks one says so."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow.v1 import trace_pb2, trace_pb2_grpc
from tests.support import deadlines
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.e2e

OUTPUTS, SIZE = 100, 60_000
FLOW = {
    "name": "large_outputs",
    "version": 1,
    "inputs": {"items": {"type": "array"}, "text": {"type": "string"}},
    "outputs": {"text": "{{text}}"},
    "dag": {
        "nodes": [
            {
                "id": "split",
                "type": "map",
                "config": {
                    "over": "{{items}}",
                    "body": {
                        "type": "function",
                        "config": {
                            "function_name": "text_join",
                            "function_args": {"items": ["{{text}}"]},
                        },
                    },
                },
            }
        ]
    },
}


def test_llm_20_no_body_of_a_large_trace_is_lost(platform: Any) -> None:
    inputs = {"items": list(range(OUTPUTS)), "text": "words " * (SIZE // 6)}
    with platform.client() as client:
        run = client.workflows.submit(FLOW, inputs)
        ended = client.workflows.wait(run, timeout=2 * PATIENCE_S)
        assert ended.status == "completed", ended.error
        trace = client.traces.get(run, bodies=True)
        assert not trace.truncated
        assert all(event.body for event in trace.events)
        assert len({(event.stream, event.sequence, event.part) for event in trace.events}) == len(trace.events)
        done = [event for event in trace.events if event.type == "step.completed" and event.step.startswith("split[")]
        assert len(done) == OUTPUTS
        assert all(len(str(event.body["output"])) > SIZE - 10 for event in done)
        plain = client.traces.get(run)
        assert not plain.truncated
        assert [event.sequence for event in plain.events] == [event.sequence for event in trace.events]

    key = [("authorization", f"Bearer {platform.stack.dev_key}")]
    with deadlines.blocking_channel(platform.stack.grpc) as channel:
        stub = trace_pb2_grpc.TraceServiceStub(channel)
        whole = stub.GetTrace(trace_pb2.GetTraceRequest(run_id=run.run_id, include_bodies=True), metadata=key)
        assert whole.truncated and not whole.next_page_token
        assert len(whole.events) == len(trace.events)
        first = stub.GetTrace(
            trace_pb2.GetTraceRequest(run_id=run.run_id, include_bodies=True, page_size=10), metadata=key
        )
        assert first.truncated and first.next_page_token and 1 <= len(first.events) <= 10
