"""Cohere's chat API (v2) through the official SDK."""

from __future__ import annotations

import logging
from typing import Any, Final

import cohere
import httpx
from cohere.core.api_error import ApiError

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
from agentflow_worker.providers.reading import fields, listed
from agentflow_worker.retry_after import retry_after_ms


def _quotes_no_answer(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_QUOTING)


# the SDK logs what it can't read in full, by the root logger too: an answer is a payload, which no log may hold
_QUOTING: Final = ("Skipping SSE event", "Failed to parse SSE", "Unexpected error processing SSE")
for _name in (None, "cohere.core.pydantic_utilities"):
    logging.getLogger(_name).addFilter(_quotes_no_answer)


class CohereProvider:
    """Retries are switched off in the SDK: the step falls back to another model instead."""

    name = "cohere"

    def __init__(self, api_key: str, base_url: str = "") -> None:
        self._http = httpx.AsyncClient(timeout=None, follow_redirects=True, event_hooks=HOOKS)  # noqa: S113  (bounded by collect())
        self._client = cohere.AsyncClientV2(
            api_key=api_key, base_url=base_url or None, httpx_client=self._http, max_retries=0
        )

    async def complete(self, request: CompletionRequest, on_token: OnToken) -> Completion:
        messages: list[Any] = [{"role": role, "content": text} for role, text in turns(request)]
        if system := system_of(request):
            messages.insert(0, {"role": "system", "content": system})
        body: dict[str, Any] = {
            "model": request.model,
            "messages": messages,
            "max_tokens": request.max_output_tokens,
            "temperature": min(request.temperature, 1.0),
            "request_options": {"max_retries": 0, "timeout_in_seconds": max(1, int(request.timeout_s))},
        }
        if request.json_output:
            body["response_format"] = {"type": "json_object"}

        async def drain() -> None:
            async for _ in self._client.chat_stream(**body):
                pass

        return await Answer(_FORMAT, on_token).collect(request.timeout_s, drain)

    async def close(self) -> None:
        await self._http.aclose()


def _take(answer: Answer, event: dict[str, Any]) -> None:
    kind, index = event.get("type"), event.get("index")
    delta = fields(event.get("delta"))
    message = fields(delta.get("message"))
    if kind in ("content-start", "content-delta"):
        _take_content(answer, fields(message.get("content")))
    elif kind in ("tool-call-start", "tool-call-delta"):
        _take_call(answer, fields(message.get("tool_calls")), index)
    elif kind == "message-end":
        _take_end(answer, delta)
        answer.ended = True


def _take_whole(answer: Answer, body: dict[str, Any]) -> None:
    message = fields(body.get("message"))
    for content in listed(message.get("content")):
        _take_content(answer, content)
    for index, call in enumerate(listed(message.get("tool_calls"))):
        _take_call(answer, call, index)
    _take_end(answer, body)


def _take_content(answer: Answer, content: dict[str, Any]) -> None:
    answer.push(content.get("text"))
    if content.get("thinking"):
        answer.thought = True


def _take_call(answer: Answer, call: dict[str, Any], index: Any) -> None:
    function = fields(call.get("function"))
    answer.tool(index, function.get("name"), function.get("arguments"), call.get("id"))


def _take_end(answer: Answer, end: dict[str, Any]) -> None:
    usage = fields(end.get("usage"))
    counted = fields(usage.get("billed_units")) or fields(usage.get("tokens"))
    answer.count(counted.get("input_tokens"), counted.get("output_tokens"))
    answer.finish(end.get("finish_reason"))


def _translate(error: Exception) -> ProviderError | None:
    if not isinstance(error, ApiError) or error.status_code is None or error.status_code < 400:
        return None
    body = error.body
    said = message_of(body, getattr(body, "message", body))
    return status_error("cohere", error.status_code, said, retry_after_ms(error.headers))


_FORMAT: Final = Format("cohere", _take, _take_whole, _translate)
