"""What is told of model calls while they happen: metrics that count every call, and spans without payloads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from prometheus_client import REGISTRY

from agentflow_common import telemetry
from agentflow_worker.models.llm_step import LlmStepError
from agentflow_worker.providers import Completion, ProviderError
from tests.support.llm_step import FakeServices, ScriptedProvider, candidate, run_llm_step

SECRET = "the client's words"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setitem(telemetry._state, "tracer", provider.get_tracer("agentflow"))
    yield exporter
    provider.shutdown()


def _value(name: str, model: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"provider": "openai", "model": model, **labels}) or 0.0


def _named(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    (span,) = [span for span in exporter.get_finished_spans() if span.name == name]
    return span


async def test_the_tokens_of_all_calls_are_counted_by_provider_and_model() -> None:
    failed = ProviderError("server_error", "it broke", retryable=True, input_tokens=70, output_tokens=3)
    services = FakeServices(candidate("openai", "counted-1"), candidate("openai", "counted-2"))
    result = await run_llm_step(services, ScriptedProvider(failed, Completion("An answer.", 900, 20)))
    assert (result.usage.input_tokens, result.usage.output_tokens) == (970, 23)
    assert _value("llm_tokens_total", "counted-1", type="input") == 70
    assert _value("llm_tokens_total", "counted-1", type="output") == 3
    assert _value("llm_tokens_total", "counted-2", type="input") == 900
    assert _value("llm_tokens_total", "counted-2", type="output") == 20
    assert _value("llm_requests_total", "counted-1", status="server_error") == 1
    assert _value("llm_requests_total", "counted-1", status="ok") == 0


async def test_a_call_that_crashes_is_not_counted_as_ok() -> None:
    class Odd(Completion):
        def __getattribute__(self, name: str) -> object:
            if name == "finish_reason":
                raise KeyError(SECRET)
            return super().__getattribute__(name)

    answers = ScriptedProvider(KeyError(SECRET), Odd("Words.", 9, 2), Completion("An answer.", 9, 2))
    services = FakeServices(*(candidate("openai", f"crashed-{number}") for number in (1, 2, 3)))
    result = await run_llm_step(services, answers)
    assert [call.ok for call in result.usage.attempts] == [False, False, True]
    for number, status in ((1, "malformed_answer"), (2, "malformed_answer"), (3, "ok")):
        assert _value("llm_requests_total", f"crashed-{number}", status=status) == 1
        assert _value("llm_requests_total", f"crashed-{number}", status="ok") == (number == 3)


async def test_each_call_has_a_span_by_the_genai_conventions(exporter: InMemorySpanExporter) -> None:
    failed = ProviderError("rate_limited", SECRET, retryable=True, status=429)
    services = FakeServices(candidate("openai", "spanned-1"), candidate("openai", "spanned-2", 1_000_000))
    await run_llm_step(services, ScriptedProvider(failed, Completion("An answer.", 900, 20)))
    first, second = _named(exporter, "chat spanned-1"), _named(exporter, "chat spanned-2")
    assert first.attributes is not None and second.attributes is not None
    assert first.status.status_code is StatusCode.ERROR and first.status.description is None
    assert first.attributes["error.type"] == "rate_limited"
    assert second.status.status_code is StatusCode.UNSET
    assert dict(second.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "spanned-2",
        "gen_ai.response.model": "spanned-2",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 900,
        "gen_ai.usage.output_tokens": 20,
        "agentflow.cost.nano_usd": 900 + 40,
    }
    assert SECRET not in str([span.to_json() for span in exporter.get_finished_spans()])


async def test_a_failed_step_has_a_failed_span_without_the_errors_text(exporter: InMemorySpanExporter) -> None:
    error = ProviderError("auth", SECRET, retryable=False)
    with pytest.raises(LlmStepError):
        await run_llm_step(FakeServices(candidate("openai", "refused-1")), ScriptedProvider(error))
    span = _named(exporter, "llm")
    assert span.attributes is not None
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert span.attributes["error.type"] == "auth"
    assert SECRET not in str([found.to_json() for found in exporter.get_finished_spans()])
