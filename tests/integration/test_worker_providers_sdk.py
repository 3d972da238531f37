"""The official SDKs against a local server that speaks each provider's wire format, errors included."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from agentflow_worker.providers import CompletionRequest, ProviderError, Providers
from agentflow_worker.settings import WorkerSettings

pytestmark = pytest.mark.integration

KEY = "-".join(["test", "key"])
NAMES = ("openai", "anthropic", "google", "cohere")


@dataclass
class Wire:
    """What the server answers next, and what it was asked. cut: break the connection after the chunks."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    chunks: list[str] = field(default_factory=list)
    cut: bool = False
    delay_s: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)


@contextlib.asynccontextmanager
async def wire_server() -> AsyncIterator[Wire]:
    wire = Wire()

    serving: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await _answer(wire, reader, writer)
        writer.close()
        serving.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield wire
    finally:
        server.close()
        await asyncio.gather(*serving, return_exceptions=True)


async def _answer(wire: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = head.split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:]) if k}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    wire.asked.append({"line": lines[0], "headers": headers, "body": json.loads(body) if body else None})
    await asyncio.sleep(wire.delay_s)
    kind = "text/event-stream" if wire.status == 200 else "application/json"
    sent = {"content-type": kind, "transfer-encoding": "chunked", "connection": "close", **wire.headers}
    writer.write(f"HTTP/1.1 {wire.status} X\r\n".encode())
    writer.write("".join(f"{k}: {v}\r\n" for k, v in sent.items()).encode() + b"\r\n")
    for chunk in wire.chunks:
        data = chunk.encode()
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0.005)
    if not wire.cut:
        writer.write(b"0\r\n\r\n")
    await writer.drain()


def sse(*events: Any, names: bool = False) -> list[str]:
    made = []
    for event in events:
        prefix = f"event: {event['type']}\n" if names else ""
        made.append(f"{prefix}data: {event if isinstance(event, str) else json.dumps(event)}\n\n")
    return made


def answer_of(name: str, pieces: list[str], tokens: tuple[int, int]) -> list[str]:
    """The provider's stream of a whole answer."""
    used, made = tokens
    if name == "openai":
        base = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        deltas = [{**base, "choices": [{"index": 0, "delta": {"content": p}, "finish_reason": None}]} for p in pieces]
        end = {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        usage = {"prompt_tokens": used, "completion_tokens": made, "total_tokens": used + made}
        return sse(*deltas, end, {**base, "choices": [], "usage": usage}, "[DONE]")
    if name == "anthropic":
        start: dict[str, Any] = {
                 "id": "m1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None,
                 "stop_sequence": None, "usage": {"input_tokens": used, "output_tokens": 1}}  # fmt: skip
        return sse(
            {"type": "message_start", "message": start},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": p}} for p in pieces),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
             "usage": {"output_tokens": made}},
            {"type": "message_stop"},
            names=True,
        )  # fmt: skip
    if name == "google":
        parts: list[Any] = [{"candidates": [{"content": {"role": "model", "parts": [{"text": p}]}}]} for p in pieces]
        parts[-1]["candidates"][0]["finishReason"] = "STOP"
        usage = {"promptTokenCount": used, "candidatesTokenCount": made}
        return sse(*parts[:-1], {**parts[-1], "usageMetadata": usage})
    return sse(
        {"type": "message-start", "id": "m1", "delta": {"message": {"role": "assistant"}}},
        *({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": p}}}} for p in pieces),
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {
            "billed_units": {"input_tokens": used, "output_tokens": made}}}},
    )  # fmt: skip


def error_of(name: str, message: str, code: str = "") -> list[str]:
    """The provider's error body."""
    bodies: dict[str, Any] = {
        "openai": {"error": {"message": message, "type": "invalid_request_error", "code": code or None}},
        "anthropic": {"type": "error", "error": {"type": "invalid_request_error", "message": message}},
        "google": {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}},
        "cohere": {"message": message},
    }
    return [json.dumps(bodies[name])]


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
