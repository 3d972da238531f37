"""The official SDKs against a local server that speaks each provider's wire format, errors included."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from agentflow_worker.providers import CompletionRequest, ProviderError, Providers
from agentflow_worker.settings import WorkerSettings

from .provider_wire import KEY, NAMES, Wire, answer_of, error_of, wire_server

pytestmark = pytest.mark.integration

Run = Callable[..., Awaitable[Any]]


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with wire_server() as running:
        yield running


@pytest.fixture(params=NAMES)
async def case(request: pytest.FixtureRequest, wire: Wire) -> AsyncIterator[tuple[str, Wire, Run, list[str]]]:
    name = request.param
    suffix = "/v1" if name == "openai" else ""
    providers = Providers(
        WorkerSettings(**{f"{name}_api_key": KEY, f"{name}_base_url": wire.url + suffix})  # type: ignore[arg-type]
    )
    streamed: list[str] = []

    async def run(**changes: Any) -> Any:
        asked = CompletionRequest(**{"model": "m", "text": "Say it", "system": "Be kind", "timeout_s": 60.0, **changes})
        return await providers.get(name).complete(asked, streamed.append)

    yield name, wire, run, streamed
    await providers.close()


async def test_a_streamed_answer_arrives_whole_with_its_tokens(case: tuple[str, Wire, Run, list[str]]) -> None:
    name, wire, run, streamed = case
    wire.chunks = answer_of(name, ["Hel", "lo ", "wörld"], (11, 7))
    done = await run()
    assert (done.text, done.input_tokens, done.output_tokens, done.finish_reason) == ("Hello wörld", 11, 7, "stop")
    assert streamed == ["Hel", "lo ", "wörld"]
    asked = wire.asked[0]
    assert KEY in json.dumps(asked["headers"])
    assert "Say it" in json.dumps(asked["body"])
    assert "Be kind" in json.dumps(asked["body"])


@pytest.mark.parametrize(
    ("status", "message", "kind", "retryable"),
    [
        (429, "slow down", "rate_limited", True),
        (500, "oops", "server_error", True),
        (503, "busy", "overloaded", True),
        (401, "bad key", "auth", False),
        (404, "no such model", "not_found", False),
        (400, "the prompt is too long: maximum context length is 10 tokens", "context_length", False),
        (400, "bad parameter", "bad_request", False),
    ],
)
async def test_errors_have_their_kind_and_are_asked_once(
    case: tuple[str, Wire, Run, list[str]], status: int, message: str, kind: str, retryable: bool
) -> None:
    name, wire, run, _ = case
    wire.status, wire.chunks, wire.headers = status, error_of(name, message), {"retry-after": "7"}
    with pytest.raises(ProviderError) as caught:
        await run()
    assert (caught.value.kind, caught.value.retryable) == (kind, retryable)
    assert caught.value.retry_after_ms == 7000
    assert len(wire.asked) == 1


@pytest.mark.parametrize("clean", [True, False])
async def test_a_stream_that_breaks_is_retryable_and_known_as_broken(
    case: tuple[str, Wire, Run, list[str]], clean: bool
) -> None:
    name, wire, run, streamed = case
    whole = answer_of(name, ["Hel", "lo"], (11, 7))
    first_text = next(i for i, chunk in enumerate(whole) if "Hel" in chunk)
    wire.chunks, wire.cut = whole[: first_text + 1], not clean
    with pytest.raises(ProviderError) as caught:
        await run()
    assert (caught.value.kind, caught.value.retryable) == ("stream_broken", True)
    assert streamed == ["Hel"]
    assert caught.value.input_tokens == (11 if name == "anthropic" else 0)


async def test_a_slow_answer_ends_in_time(case: tuple[str, Wire, Run, list[str]]) -> None:
    _, wire, run, _ = case
    wire.delay_s = 0.6
    with pytest.raises(ProviderError) as caught:
        await run(timeout_s=0.2)
    assert (caught.value.kind, caught.value.retryable) == ("timeout", True)


async def test_an_error_inside_a_stream_is_told_by_its_type(wire: Wire) -> None:
    providers = Providers(WorkerSettings(anthropic_api_key=KEY, anthropic_base_url=wire.url))
    wire.chunks = [
        *answer_of("anthropic", ["a"], (5, 1))[:1],
        'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}\n\n',
    ]
    with pytest.raises(ProviderError) as caught:
        await providers.get("anthropic").complete(CompletionRequest("m", "x"), lambda _text: None)
    assert (caught.value.kind, caught.value.retryable, caught.value.input_tokens) == ("overloaded", True, 5)
    await providers.close()


async def test_nobody_listens() -> None:
    providers = Providers(WorkerSettings(openai_base_url="http://127.0.0.1:1/v1"))
    with pytest.raises(ProviderError) as caught:
        await providers.get("openai").complete(CompletionRequest("m", "x"), lambda _text: None)
    assert (caught.value.kind, caught.value.retryable) == ("connection", True)
    await providers.close()
