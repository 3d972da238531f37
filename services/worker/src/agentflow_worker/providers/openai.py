"""OpenAI and every server that speaks its chat completions protocol, through the official SDK."""

from __future__ import annotations

import re
from typing import Any, Final

import httpx  # noqa: F401  (whole before the SDK looks at it: another SDK may be importing it in a thread meanwhile)
import openai

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

_FIXED_TEMPERATURE: Final = re.compile(r"(?:o\d|gpt-5)")  # reasoning models refuse any but their own


class OpenAIProvider:
    """Retries are switched off in the SDK: the step falls back to another model instead."""

    name = "openai"

    def __init__(self, api_key: str, base_url: str = "") -> None:
        self._official = not base_url or "api.openai.com" in base_url
        http = openai.DefaultAsyncHttpxClient(event_hooks=HOOKS)
        self._client = openai.AsyncOpenAI(
            api_key=api_key or "none", base_url=base_url or None, max_retries=0, http_client=http
        )

    async def complete(self, request: CompletionRequest, on_token: OnToken) -> Completion:
        async def drain() -> None:
            stream: Any = await self._client.chat.completions.create(**self._body(request))
            async with stream:
                async for _ in stream:
                    pass

        return await Answer(_FORMAT, on_token).collect(request.timeout_s, drain)

    def _body(self, request: CompletionRequest) -> dict[str, Any]:
        messages = [{"role": role, "content": text} for role, text in turns(request)]
        if system := system_of(request):
            messages.insert(0, {"role": "system", "content": system})
        body: dict[str, Any] = {
            "model": request.model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            # compatible servers often know the older name only
            "max_completion_tokens" if self._official else "max_tokens": request.max_output_tokens,
            "timeout": request.timeout_s,
        }
        if not _FIXED_TEMPERATURE.match(request.model):
            body["temperature"] = request.temperature
        if request.json_output:
            body["response_format"] = {"type": "json_object"}
        return body

    async def close(self) -> None:
        await self._client.close()


def _take(answer: Answer, chunk: dict[str, Any]) -> None:
    usage = fields(chunk.get("usage"))
    answer.count(usage.get("prompt_tokens"), usage.get("completion_tokens"))
    choices = listed(chunk.get("choices"))
    if usage and not choices:
        answer.ended = True  # only the last chunk is about the usage alone
    for choice in choices:
        if not choice.get("index"):
            _take_message(answer, fields(choice.get("delta")))
            answer.finish(choice.get("finish_reason"))


def _take_whole(answer: Answer, body: dict[str, Any]) -> None:
    usage = fields(body.get("usage"))
    answer.count(usage.get("prompt_tokens"), usage.get("completion_tokens"))
    for choice in listed(body.get("choices"))[:1]:
        answer.finish(choice.get("finish_reason"))
        _take_message(answer, fields(choice.get("message")))


def _take_message(answer: Answer, message: dict[str, Any]) -> None:
    content = message.get("content")
    if isinstance(content, list):  # some servers send parts
        for part in listed(content):
            answer.push(part.get("text"))
            answer.thought = answer.thought or part.get("type") in ("thinking", "reasoning")
    else:
        answer.push(content)
    if message.get("reasoning_content") or message.get("reasoning"):
        answer.thought = True
    for number, call in enumerate(listed(message.get("tool_calls"))):
        function = fields(call.get("function"))
        answer.tool(call.get("index", number), function.get("name"), function.get("arguments"), call.get("id"))
    if message.get("refusal"):
        answer.refuse()


def _translate(error: Exception) -> ProviderError | None:
    if isinstance(error, openai.APIStatusError):
        said = f"{error.code or ''} {message_of(error.body, error.message)}"
        return status_error("openai", error.status_code, said, retry_after_ms(error.response.headers))
    if isinstance(error, openai.APIConnectionError):
        return None
    if isinstance(error, openai.APIError):  # an error event inside the stream: it has no status of its own
        said = f"{error.code or ''} {error.type or ''} {error.message}"
        return status_error("openai", 429 if "rate_limit" in said else 400 if "context" in said else 500, said)
    return None


_FORMAT: Final = Format("openai", _take, _take_whole, _translate)
