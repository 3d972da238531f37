"""Anthropic's messages API through the official SDK."""

from __future__ import annotations

from typing import Any, Final

import anthropic

from agentflow_worker.providers.answer import HOOKS, Answer, Format
from agentflow_worker.providers.port import (
    Completion,
    CompletionRequest,
    OnToken,
    ProviderError,
    message_of,
    status_error,
    system_of,
    turns,
)
from agentflow_worker.providers.reading import fields, listed, tokens
from agentflow_worker.retry_after import retry_after_ms

_BY_TYPE: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "overloaded_error": 529,
}


class AnthropicProvider:
    """Retries are switched off in the SDK: the step falls back to another model instead.

    The API takes no temperature.
    """

    name = "anthropic"

    def __init__(self, api_key: str, base_url: str = "") -> None:
        self._client = anthropic.AsyncAnthropic(
            api_key=api_key,
            base_url=base_url or None,
            max_retries=0,
            http_client=anthropic.DefaultAsyncHttpxClient(event_hooks=HOOKS),
        )

    async def complete(self, request: CompletionRequest, on_token: OnToken) -> Completion:
        body: dict[str, Any] = {
            "model": request.model,
            "max_tokens": request.max_output_tokens,
            "messages": [{"role": role, "content": text} for role, text in turns(request)],
            "stream": True,
            "timeout": request.timeout_s,
        }
        if system := system_of(request):
            body["system"] = system

        async def drain() -> None:
            stream: Any = await self._client.messages.create(**body)
            async with stream:
                async for _ in stream:
                    pass

        return await Answer(_FORMAT, on_token).collect(request.timeout_s, drain)

    async def close(self) -> None:
        await self._client.close()


def _take(answer: Answer, event: dict[str, Any]) -> None:
    kind, index = event.get("type"), event.get("index")
    if kind == "message_start":
        _count(answer, fields(fields(event.get("message")).get("usage")))
    elif kind == "content_block_start":
        _take_block(answer, fields(event.get("content_block")), index)
    elif kind == "content_block_delta":
        delta = fields(event.get("delta"))
        if delta.get("type") == "text_delta":
            answer.push(delta.get("text"))
        elif delta.get("type") == "input_json_delta":
            answer.tool(index, arguments=delta.get("partial_json"))
        elif delta.get("type") == "thinking_delta":
            answer.thought = True
    elif kind == "message_delta":
        answer.count(output_tokens=fields(event.get("usage")).get("output_tokens"))
        answer.finish(fields(event.get("delta")).get("stop_reason"))
    elif kind == "message_stop":
        answer.ended = True


def _take_whole(answer: Answer, body: dict[str, Any]) -> None:
    usage = fields(body.get("usage"))
    _count(answer, usage)
    answer.count(output_tokens=usage.get("output_tokens"))
    answer.finish(body.get("stop_reason"))
    for index, block in enumerate(listed(body.get("content"))):
        _take_block(answer, block, index)


def _take_block(answer: Answer, block: dict[str, Any], index: Any) -> None:
    if block.get("type") == "text":
        answer.push(block.get("text"))
    elif block.get("type") == "tool_use":
        answer.tool(index, block.get("name"), block.get("input") or None, block.get("id"))
    elif block.get("type") in ("thinking", "redacted_thinking"):
        answer.thought = True


def _count(answer: Answer, usage: dict[str, Any]) -> None:
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    answer.count(sum(tokens(usage.get(name)) for name in names))


def _translate(error: Exception) -> ProviderError | None:
    if not isinstance(error, anthropic.APIStatusError):
        return None
    status = error.status_code
    if status < 400:  # an error event inside a stream that had begun well
        body: Any = error.body if isinstance(error.body, dict) else {}
        inner = body.get("error")
        status = _BY_TYPE.get(str(inner.get("type", "")) if isinstance(inner, dict) else "", 500)
    return status_error(
        "anthropic", status, message_of(error.body, error.message), retry_after_ms(error.response.headers)
    )


_FORMAT: Final = Format("anthropic", _take, _take_whole, _translate)
