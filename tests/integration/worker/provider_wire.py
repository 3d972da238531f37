"""A local server that speaks the wire format of each model provider, and what its answers look like."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from agentflow_worker.providers import Completion, CompletionRequest, ProviderError, Providers
from agentflow_worker.settings import WorkerSettings

JSON_TYPE = {"content-type": "application/json"}
KEY = "-".join(["test", "key"])
NAMES = ("openai", "anthropic", "google", "cohere")
WORDS = {
    "openai": {"stop": "stop", "length": "length", "filtered": "content_filter", "tool_calls": "tool_calls"},
    "anthropic": {"stop": "end_turn", "length": "max_tokens", "filtered": "refusal", "tool_calls": "tool_use"},
    "google": {"stop": "STOP", "length": "MAX_TOKENS", "filtered": "SAFETY", "tool_calls": "STOP"},
    "cohere": {"stop": "COMPLETE", "length": "MAX_TOKENS", "filtered": "ERROR_TOXIC", "tool_calls": "TOOL_CALL"},
}


@dataclass
class Wire:
    """What the server answers, and what it was asked.

    cut: break the connection after the chunks.
    replies: chunks of one answer after the other; when they are used up, `chunks` follow.
    stalled: set once an answer waits forever after its chunks; hold makes it do so.
    """

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    chunks: list[str] = field(default_factory=list)
    cut: bool = False
    delay_s: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    replies: list[list[str]] = field(default_factory=list)
    hold: bool = False
    stalled: asyncio.Event = field(default_factory=asyncio.Event)


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
    for chunk in wire.replies.pop(0) if wire.replies else wire.chunks:
        data = chunk.encode()
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0.005)
    if wire.hold:
        wire.stalled.set()
        await reader.read()  # until the client goes
    if not wire.cut:
        writer.write(b"0\r\n\r\n")
    await writer.drain()


@contextlib.contextmanager
def serving(*names: str) -> Iterator[dict[str, Wire]]:
    """A server for each name, in a thread of their own, for tests that wait for a whole stack."""
    ready, wires, stopped = threading.Event(), {}, asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for name in names:
                wires[name] = await stack.enter_async_context(wire_server())
            ready.set()
            await stopped.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        ready.wait()
        yield wires
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
        loop.close()


def environment(wires: dict[str, Wire]) -> dict[str, str]:
    """The settings of workers that call these servers."""
    env = {}
    for name, wire in wires.items():
        env[f"{name.upper()}_API_KEY"] = KEY
        env[f"{name.upper()}_BASE_URL"] = wire.url + ("/v1" if name == "openai" else "")
    return env


def sse(*events: Any, names: bool = False) -> list[str]:
    made = []
    for event in events:
        prefix = f"event: {event['type']}\n" if names else ""
        made.append(f"{prefix}data: {event if isinstance(event, str) else json.dumps(event)}\n\n")
    return made


def answer_of(
    name: str, pieces: list[str], tokens: tuple[int, int], finish: str | None = "stop", *, tool: list[str] | None = None
) -> list[str]:
    """The provider's stream of a whole answer. finish: how it ends; None: without a reason. tool: the pieces of the
    arguments of a call of the tool `look_up` that follows the text."""
    used, made = tokens
    word = None if finish is None else WORDS[name].get(finish, finish)
    return {"openai": _openai, "anthropic": _anthropic, "google": _google, "cohere": _cohere}[name](
        pieces, used, made, word, tool or []
    )


def _openai(pieces: list[str], used: int, made: int, word: str | None, tool: list[str]) -> list[str]:
    base = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    deltas: list[Any] = [{"content": piece} for piece in pieces]
    if tool:
        deltas.append({"tool_calls": [{"index": 0, "id": "t1", "type": "function", "function": {"name": "look_up"}}]})
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in tool]
    chunks = [{**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    if word is not None:
        chunks.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": word}]})
    usage = {"prompt_tokens": used, "completion_tokens": made}
    return sse(*chunks, {**base, "choices": [], "usage": usage}, "[DONE]")


def _anthropic(pieces: list[str], used: int, made: int, word: str | None, tool: list[str]) -> list[str]:
    start: dict[str, Any] = {
        "id": "m1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None,
        "stop_sequence": None, "usage": {"input_tokens": used, "output_tokens": 1},
    }  # fmt: skip
    block = {"type": "tool_use", "id": "t1", "name": "look_up", "input": {}}
    called: list[Any] = [
        {"type": "content_block_start", "index": 1, "content_block": block},
        *({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": piece}}
          for piece in tool),
        {"type": "content_block_stop", "index": 1},
    ] if tool else []  # fmt: skip
    return sse(
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": p}} for p in pieces),
        {"type": "content_block_stop", "index": 0},
        *called,
        {"type": "message_delta", "delta": {"stop_reason": word, "stop_sequence": None},
         "usage": {"output_tokens": made}},
        {"type": "message_stop"},
        names=True,
    )  # fmt: skip


def _google(pieces: list[str], used: int, made: int, word: str | None, tool: list[str]) -> list[str]:
    parts: list[Any] = [{"text": piece} for piece in pieces]
    if tool:
        parts.append({"functionCall": {"id": "t1", "name": "look_up", "args": json.loads("".join(tool))}})
    chunks: list[Any] = [{"candidates": [{"content": {"role": "model", "parts": [part]}}]} for part in parts]
    chunks = chunks or [{"candidates": [{"content": {"role": "model"}}]}]
    if word is not None:
        chunks[-1]["candidates"][0]["finishReason"] = word
    chunks[-1]["usageMetadata"] = {"promptTokenCount": used, "candidatesTokenCount": made}
    return sse(*chunks)


def _cohere(pieces: list[str], used: int, made: int, word: str | None, tool: list[str]) -> list[str]:
    def call(kind: str, **function: str) -> dict[str, Any]:
        inner = {"id": "t1", "type": "function", "function": function}
        return {"type": f"tool-call-{kind}", "index": 0, "delta": {"message": {"tool_calls": inner}}}

    called = [call("start", name="look_up", arguments=""), *(call("delta", arguments=p) for p in tool)] if tool else []
    return sse(
        {"type": "message-start", "id": "m1", "delta": {"message": {"role": "assistant"}}},
        *({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": p}}}} for p in pieces),
        *called,
        {"type": "message-end", "delta": {"finish_reason": word, "usage": {
            "billed_units": {"input_tokens": used, "output_tokens": made}}}},
    )  # fmt: skip


def whole_of(name: str, text: str, tokens: tuple[int, int], finish: str = "stop", *, tool: bool = False) -> list[str]:
    """The provider's answer in one piece, as a server sends it that does not stream."""
    used, made = tokens
    word, args = WORDS[name][finish], {"city": "Köln"}
    call = {"id": "t1", "type": "function", "function": {"name": "look_up", "arguments": json.dumps(args)}}
    message: dict[str, Any] = {"role": "assistant", "content": text, **({"tool_calls": [call]} if tool else {})}
    blocks: list[Any] = [{"type": "text", "text": text}]
    parts: list[Any] = [{"text": text}]
    if tool:
        blocks.append({"type": "tool_use", "id": "t1", "name": "look_up", "input": args})
        parts.append({"functionCall": {"id": "t1", "name": "look_up", "args": args}})
    bodies: dict[str, Any] = {
        "openai": {
            "choices": [{"index": 0, "message": message, "finish_reason": word}],
            "usage": {"prompt_tokens": used, "completion_tokens": made},
        },
        "anthropic": {
            "type": "message", "role": "assistant", "content": blocks, "stop_reason": word,
            "usage": {"input_tokens": used, "output_tokens": made},
        },
        "google": {
            "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": word}],
            "usageMetadata": {"promptTokenCount": used, "candidatesTokenCount": made},
        },
        "cohere": {
            "message": {**message, "content": [{"type": "text", "text": text}]}, "finish_reason": word,
            "usage": {"billed_units": {"input_tokens": used, "output_tokens": made}},
        },
    }  # fmt: skip
    return [json.dumps(bodies[name])]


def error_of(name: str, message: str, code: str = "") -> list[str]:
    """The provider's error body."""
    bodies: dict[str, Any] = {
        "openai": {"error": {"message": message, "type": "invalid_request_error", "code": code or None}},
        "anthropic": {"type": "error", "error": {"type": "invalid_request_error", "message": message}},
        "google": {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}},
        "cohere": {"message": message},
    }
    return [json.dumps(bodies[name])]


class Case:
    """One provider, its server, and the pieces of text that viewers saw."""

    def __init__(self, name: str, wire: Wire) -> None:
        self.name, self.wire = name, wire
        self.live: list[str] = []
        url = wire.url + ("/v1" if name == "openai" else "")
        settings: dict[str, Any] = {f"{name}_api_key": KEY, f"{name}_base_url": url}
        self.providers = Providers(WorkerSettings(**settings))

    async def ask(self, **changes: Any) -> Completion:
        request = CompletionRequest(**{"model": "m", "text": "Say it", "timeout_s": 60.0, **changes})
        return await self.providers.get(self.name).complete(request, self.live.append)

    async def fails(self) -> ProviderError:
        with pytest.raises(ProviderError) as caught:
            await self.ask()
        return caught.value
