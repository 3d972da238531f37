"""The spans of a real run: one tree beneath the client's span, and the same money everywhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.agentctl import AgentCtl, configure
from tests.support.otlp_receiver import OtlpReceiver, attributes_of
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE_S, until_now

pytestmark = [pytest.mark.integration, pytest.mark.e2e]

MODELS = (
    '{"sim-gold": {"failure_rate": 1, "failures": ["server_error"]}, "sim-other": {}, "sim-silver": {"latency_ms": 5}, '
    '"sim-bronze": {"failure_rate": 0.4, "failures": ["rate_limited"]}}'
)
CHILD = {
    "name": "spans_child",
    "version": 1,
    "inputs": {"text": {"type": "string"}},
    "dag": {
        "nodes": [
            {
                "id": "answer",
                "type": "llm",
                "config": {"prompt": "Summarise: {{text}}", "model": "sim/sim-silver"},
            }
        ]
    },
}
PARENT = {
    "name": "spans_parent",
    "version": 1,
    "inputs": {"texts": {"type": "array"}},
    "dag": {
        "nodes": [
            {
                "id": "each",
                "type": "map",
                "config": {
                    "over": "{{texts}}",
                    "body": {"type": "llm", "config": {"prompt": "Summarise: {{item}}", "model": "sim/sim-bronze"}},
                },
                "policy": {"retry": {"max_attempts": 12, "initial_ms": 10, "max_ms": 50}},
            },
            {
                "id": "fallback",
                "type": "llm",
                "config": {"prompt": "Summarise: {{texts}}"},
                "policy": {"quality": "Gold", "retry": {"max_attempts": 2, "initial_ms": 10}},
            },
            {
                "id": "child",
                "type": "subworkflow",
                "config": {"workflow": "spans_child", "inputs": {"text": "The service was down."}},
            },
        ]
    },
}


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    receiver = OtlpReceiver()
    yield receiver
    receiver.stop()


def _from_log(receiver: OtlpReceiver, trace_id: str) -> list[Any]:
    return receiver.spans(trace_id, "agentflow")


def test_the_spans_of_a_run_are_one_tree_with_the_money_of_the_ledger(
    receiver: OtlpReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agentflow_sdk import Client
    from tests.support.stack import running_stack

    models = (ROOT / "services" / "cost" / "models.yaml").read_text()
    gold = "  - {provider: sim, model: sim-gold, tiers: [Gold]}\n"
    assert gold in models
    (tmp_path / "models.yaml").write_text(models.replace(gold, gold + gold.replace("sim-gold", "sim-other")))
    env = {
        "AGENTFLOW_MODELS_FILE": str(tmp_path / "models.yaml"),
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "AGENTFLOW_TRACE_EXPORT": receiver.url,
        "AGENTFLOW_SIM_MODELS": MODELS,
    }
    with running_stack(tmp_path / "data", env=env) as stack, Client(stack.grpc, stack.dev_key) as client:
        client.workflows.register(CHILD)
        texts = [f"Text {number} says that the service was down for {number} hours." for number in range(6)]
        run = client.workflows.submit(PARENT, {"texts": texts})
        finished = client.workflows.wait(run, timeout=2 * PATIENCE_S)
        assert finished.status == "completed", finished.error
        child = next(step.child_run_id for step in client.traces.get(run).steps if step.child_run_id)
        until_now(lambda: all(_is_settled(client.traces.get(one)) for one in (run, child)))  # the ledger follows
        trace, inner = (client.traces.get(one, bodies=True) for one in (run, child))

        deadline = time.monotonic() + 3 * PATIENCE_S
        while len({attributes_of(span)["agentflow.run"] for span in _from_log(receiver, finished.trace_id)}) < 2:
            assert time.monotonic() < deadline, [span.name for span in receiver.spans(finished.trace_id)]
            time.sleep(0.2)
        _check_tree(receiver, finished.trace_id, run.run_id, child)
        _check_money(receiver, finished, trace, inner)
        configure(monkeypatch, tmp_path, stack.grpc, stack.dev_key)
        _check_export(receiver, client, run.run_id, tmp_path)


def _is_settled(trace: Any) -> bool:
    """True if the ledger has each attempt that called a model."""
    called = {(step.step, step.attempt) for step in trace.steps if step.calls}
    return called <= {(event.step, event.attempt) for event in trace.events if event.type == "cost.settled"}


def _check_tree(receiver: OtlpReceiver, trace_id: str, run: str, child: str) -> None:
    """Every span hangs beneath another one of the trace, up to the one of the submission."""
    time.sleep(2.0)  # the services send their own spans now and then
    every = {span.span_id: span for span in receiver.spans(trace_id)}
    roots = {span.name for span in every.values() if span.parent_span_id not in every}
    assert len(roots) == 1 and not any(name.startswith("invoke_workflow") for name in roots), roots
    names = {span.name for span in _from_log(receiver, trace_id)}
    assert {"invoke_workflow spans_parent", "invoke_workflow spans_child", "invoke_agent fallback"} <= names
    assert {"chat sim-bronze", "chat sim-silver"} <= names
    live = [span.name for span in every.values() if "agentflow.run" not in attributes_of(span)]
    assert "llm.call" in live and not any(name.startswith("chat ") for name in live)
    steps = {span.span_id for span in _from_log(receiver, trace_id) if span.name.startswith("invoke_agent")}
    worked = [span for span in every.values() if span.name == "step llm"]
    assert worked and {span.parent_span_id for span in worked} <= steps


def _check_money(receiver: OtlpReceiver, finished: Any, trace: Any, inner: Any) -> None:
    calls = [span for span in _from_log(receiver, finished.trace_id) if span.name.startswith("chat ")]
    by_id = {span.span_id: attributes_of(span) for span in calls}
    told = sum(attributes["agentflow.cost.nano_usd"] for attributes in by_id.values())
    assert told == finished.cost_nano_usd == trace.cost_nano_usd > 0
    both = [call for one in (trace, inner) for step in one.steps for call in step.calls]
    assert told == sum(call.cost_nano_usd for call in both)
    assert len(by_id) == len(both)
    assert any(not call.ok for call in both) and any(len(step.calls) > 1 for step in trace.steps)
    settled = [event.body for one in (trace, inner) for event in one.events if event.type == "cost.settled"]
    assert told == sum(int(body["cost_nano"]) for body in settled)
    tokens = [
        sum(attributes[f"gen_ai.usage.{kind}_tokens"] for attributes in by_id.values()) for kind in ("input", "output")
    ]
    assert tokens == [finished.input_tokens, finished.output_tokens]
    failed = [span for span in calls if "error.type" in attributes_of(span)]
    assert {attributes_of(span)["error.type"] for span in failed} <= {"server_error", "rate_limited"}
    assert all(span.status.code == 2 and not span.status.message for span in failed)


def _check_export(receiver: OtlpReceiver, client: Any, run: str, tmp_path: Path) -> None:
    sent = {span.span_id: span for span in _from_log(receiver, "")}
    before = len(receiver.requests)
    AgentCtl()("trace", "export", run, "--format", "otlp", "--receiver", receiver.url)
    again = [
        span
        for request in receiver.requests[before:]
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
        if scope.scope.name == "agentflow.log"
    ]
    assert again and all(sent[span.span_id] == span for span in again)
    path = tmp_path / "run.otlp"
    AgentCtl()("trace", "export", run, "--to", path)
    assert path.read_bytes() == b"".join(client.traces.spans(run))
