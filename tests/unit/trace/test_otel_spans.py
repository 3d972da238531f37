"""The spans of a run, made from its rows: one tree by the GenAI conventions, the same bytes each time, no payloads."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2 as pb

from agentflow_common import events as ev
from agentflow_common import span_ids
from agentflow_trace import machine, rows
from agentflow_trace.otel import answer, genai, spans
from tests.property.trace_events import EVENTS
from tests.support.trace_rows import rows_of

ORG, RUN = "acme", "run_1"
IDS: dict[str, Any] = {"org": ORG, "run": RUN}
TRACE, CALLER = "a1" * 16, "b2" * 8
PARENT = f"00-{TRACE}-{CALLER}-01"
SECRET = "the client's words"
MS = 1_000_000


def _log(parent: ev.ParentRef | None = None) -> list[rows.Row]:
    calls = (
        ev.LlmAttempt("google", "g-1", False, 10, 0, 300, 20, "rate_limited", "error", 429, started_at=132),
        ev.LlmAttempt("openai", "o-1", True, 12, 8, 700, 25, "", "stop", started_at=155),
    )
    usage = ev.LlmUsage("openai", "o-1", "analyzer@3", 22, 8, 1000, attempts=calls, finish_reason="stop")
    tool = {"kind": "tool", "config": {"tool_name": "file.read", "tool_args": {"path": SECRET}}}
    part = {"kind": "function", "config": {"function_name": "f", "args": {"x": SECRET}}}
    offer = {"lane": "default", "attempt": 1}
    return rows_of(
        enumerate(
            [
                ev.RunSubmitted(
                    **IDS, ts=100, trace=PARENT, workflow="wf", version=4, definition={}, parent=parent,
                    inputs=ev.Payload({"text": SECRET}),
                ),
                ev.RunStarted(**IDS, ts=110, seen=1, trace=PARENT, workflow="wf", version=4, steps=3),
                ev.StepScheduled(**IDS, ts=120, seen=1, step="ask", kind="llm", config={}, **offer),
                ev.StepScheduled(**IDS, ts=120, seen=1, step="read", **offer, **tool),
                ev.StepFailed(
                    **IDS, ts=128, step="read", attempt=1, error=ev.StepError("not_found", SECRET), started_at=121,
                    duration_ms=7,
                ),
                ev.StepCompleted(
                    **IDS, ts=180, step="ask", attempt=1, worker="w1", started_at=130, duration_ms=50, llm=usage,
                    output=ev.Payload({"text": SECRET}),
                ),
                ev.StepExpanded(**IDS, ts=185, seen=6, step="each", width=1),
                ev.StepScheduled(**IDS, ts=186, seen=6, step="each[0]", **offer, **part),
                ev.StepCompleted(**IDS, ts=190, step="each[0]", attempt=1, started_at=187, duration_ms=3),
                ev.StepJoined(**IDS, ts=195, seen=9, step="each", status="completed"),
                ev.RunCompleted(**IDS, ts=200, seen=9, cost_nano=1000),
            ],
            1,
        )
    )  # fmt: skip


def _spans(log: list[rows.Row], *, rooted: bool = False) -> dict[str, spans.Span]:
    found = answer.spans_of_run(ORG, RUN, log, rooted=rooted)
    assert len({span.span_id for span in found}) == len(found)
    return {span.name: span for span in found}


def test_a_run_is_one_tree() -> None:
    found = _spans(_log())
    tree = {span.span_id: span.name for span in found.values()}
    assert {name: tree.get(span.parent_id, span.parent_id.hex()) for name, span in found.items()} == {
        "invoke_workflow wf": CALLER,
        "invoke_agent ask": "invoke_workflow wf",
        "chat g-1": "invoke_agent ask",
        "chat o-1": "invoke_agent ask",
        "execute_tool file.read": "invoke_workflow wf",
        "step each": "invoke_workflow wf",
        "step each[0]": "step each",
    }
    assert {span.trace_id.hex() for span in found.values()} == {TRACE}
    order = [span.span_id for span in found.values()]
    assert order.index(found["invoke_agent ask"].span_id) < order.index(found["chat g-1"].span_id)


def test_spans_have_times_errors_and_the_attributes_of_the_conventions() -> None:
    found = _spans(_log())
    assert [(found[name].start_ns // MS, found[name].end_ns // MS) for name in list(found)[:4]] == [
        (100, 200), (130, 180), (132, 152), (155, 180),
    ]  # fmt: skip
    assert {name: span.error_type for name, span in found.items() if span.error_type} == {
        "chat g-1": "rate_limited",
        "execute_tool file.read": "not_found",
    }
    assert found["chat o-1"].attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "o-1",
        "gen_ai.response.model": "o-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 8,
        "gen_ai.prompt.name": "analyzer",
        "agentflow.prompt.version": "3",
        "agentflow.cost.nano_usd": 700,
        "agentflow.run": RUN,
        "agentflow.step": "ask",
        "agentflow.attempt": 1,
        "agentflow.call": 2,
    }
    failed = found["chat g-1"].attributes
    assert (failed[genai.PROVIDER], failed[genai.HTTP_STATUS]) == ("gcp.gemini", 429)
    assert genai.RESPONSE_MODEL not in failed
    run = found["invoke_workflow wf"].attributes
    assert (run[genai.OPERATION], run[genai.AGENT_NAME], run[genai.AGENT_VERSION]) == ("invoke_workflow", "wf", "4")
    assert run[genai.COST_TOTAL] == sum(int(str(span.attributes.get(genai.COST, 0))) for span in found.values()) == 1000


def test_the_export_is_the_same_bytes_each_time_without_any_payload() -> None:
    (first,) = answer.messages(answer.spans_of_run(ORG, RUN, _log(), rooted=True))
    (again,) = answer.messages(answer.spans_of_run(ORG, RUN, _log(), rooted=True))
    assert first == again
    assert SECRET.encode() not in first
    (resource,) = ExportTraceServiceRequest.FromString(first).resource_spans
    made = {span.name: span for span in resource.scope_spans[0].spans}
    assert made["invoke_workflow wf"].parent_span_id == b""
    failed = made["chat g-1"]
    assert failed.kind == pb.Span.SpanKind.SPAN_KIND_CLIENT
    assert (failed.status.code, failed.status.message) == (pb.Status.StatusCode.STATUS_CODE_ERROR, "")
    assert [(a.key, a.value.string_value) for a in failed.attributes if a.key == "error.type"] == [
        ("error.type", "rate_limited")
    ]
    assert [a.key for a in made["chat o-1"].attributes] == sorted(a.key for a in made["chat o-1"].attributes)
    assert failed.parent_span_id == span_ids.step_span(ORG, RUN, "ask", 1)


def test_a_subworkflow_is_beneath_the_step_that_started_it() -> None:
    found = _spans(_log(ev.ParentRef("run_0", "sub", 2)), rooted=True)
    assert found["invoke_workflow wf"].parent_id == span_ids.step_span(ORG, "run_0", "sub", 2)


def test_what_has_not_ended_has_no_span_yet_but_its_calls_have() -> None:
    assert list(_spans(_log()[:4])) == []
    assert list(_spans(_log()[:6])) == ["invoke_agent ask", "chat g-1", "chat o-1", "execute_tool file.read"]


def test_calls_of_events_without_times_follow_one_another_and_end_with_the_attempt() -> None:
    log = _log()
    body = log[5].body.replace('"started_at":132', '"started_at":0').replace('"started_at":155', '"started_at":0')
    assert body != log[5].body
    found = _spans([*log[:5], log[5]._replace(body=body), *log[6:]])
    times = [(found[name].start_ns // MS, found[name].end_ns // MS) for name in ("chat g-1", "chat o-1")]
    assert times == [(135, 155), (155, 180)]


@pytest.mark.parametrize("trace", ["", "zz" * 16, "00" * 16, "a1"])
def test_a_run_without_a_valid_trace_has_one_that_derives_from_it(trace: str) -> None:
    found = span_ids.trace_of(ORG, RUN, trace)
    assert found == span_ids.trace_of(ORG, RUN, "") and len(found) == 16 and any(found)
    assert found != span_ids.trace_of("other", RUN, "")


def test_ids_do_not_mix_up_their_parts() -> None:
    assert span_ids.step_span(ORG, "r", "a", 11) != span_ids.step_span(ORG, "r", "a1", 1)
    assert span_ids.call_span(ORG, "r", "a", 1, 11) != span_ids.call_span(ORG, "r", "a", 11, 1)
    assert len({span_ids.step_span(ORG, "r", f"a[{number}]", 1) for number in range(10_000)}) == 10_000


def test_what_is_done_for_a_step_is_beneath_its_span() -> None:
    beneath = span_ids.beneath_step(PARENT, ORG, RUN, "ask", 1)
    assert beneath == f"00-{TRACE}-{span_ids.step_span(ORG, RUN, 'ask', 1).hex()}-01"
    assert span_ids.beneath_step("", ORG, RUN, "ask", 1) == ""


def test_a_sampled_run_is_chosen_by_its_trace_and_a_failed_one_is_always_sent() -> None:
    whole = answer.spans_of_run(ORG, RUN, _log(), rooted=False)
    quiet = [span for span in whole if not span.error_type]
    assert answer.is_sampled(whole, 0.0)
    assert not answer.is_sampled(quiet, 0.0) and answer.is_sampled(quiet, 1.0)
    assert not answer.is_sampled([], 1.0)
    ids = [bytes(8) + span_ids.step_span(ORG, RUN, str(number), 1) for number in range(2_000)]
    kept = sum(answer.is_sampled([quiet[0]._replace(trace_id=one)], 0.25) for one in ids)
    assert 400 < kept < 600


@given(st.lists(EVENTS, max_size=25))
def test_any_log_makes_a_tree_whose_costs_are_those_of_the_run(drawn: list[tuple[type[ev.Event], Any]]) -> None:
    log = rows_of((seq, kind(**IDS, ts=100 + seq, **fields)) for seq, (kind, fields) in enumerate(drawn, 1))
    found = answer.spans_of_run(ORG, RUN, log, rooted=True)
    assert len({span.span_id for span in found}) == len(found)
    ids = {span.span_id for span in found}
    steps = {span_ids.step_span(ORG, RUN, step.step, step.attempt) for step in machine.fold(log).steps()}
    root = span_ids.run_span(ORG, RUN)
    assert all(span.parent_id in ids | steps | {root} for span in found if span.span_id != root)
    assert all(0 <= span.start_ns <= span.end_ns for span in found)
    list(answer.messages(found))
    spent = sum(step.cost_nano - sum(call.cost_nano for call in step.calls) for step in machine.fold(log).steps())
    total = sum(int(str(span.attributes.get(genai.COST, 0))) for span in found)
    assert total + spent == sum(step.cost_nano for step in machine.fold(log).steps())
