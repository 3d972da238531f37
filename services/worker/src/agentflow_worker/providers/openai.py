"""OpenAI and every server that speaks its chat completions protocol, through the official SDK."""

from __future__ import annotations

import re
from typing import Any, Final

import openai

from agentflow_worker.providers.port import (
    Answer,
    Completion,
    CompletionRequest,
    OnToken,
    ProviderError,
    retry_after_ms,
    status_error,
    system_of,
)

_FINISH: Final = {"stop": "stop", "length": "length", "content_filter": "content_filter"}
_FIXED_TEMPERATURE: Final = re.compile(r"(?:o\d|gpt-5)")  # reasoning models refuse any but their own


class OpenAIProvider:
    """Retries are switched off in the SDK: the step falls back to another model instead."""

    name = "openai"

    def __init__(self, api_key: str, base_url: str = "") -> None:
        self._official = not base_url or "api.openai.com" in base_url
        self._client = openai.AsyncOpenAI(api_key=api_key or "none", base_url=base_url or None, max_retries=0)

    async def complete(self, request: CompletionRequest, on_token: OnToken) -> Completion:
        answer = Answer(self.name, on_token)
        async with answer.guarded(request.timeout_s, _translate):
            stream: Any = await self._client.chat.completions.create(**self._body(request))
            async with stream:
                async for chunk in stream:
                    if chunk.usage is not None:
                        answer.input_tokens = chunk.usage.prompt_tokens or 0
                        answer.output_tokens = chunk.usage.completion_tokens or 0
                    for choice in chunk.choices:
                        answer.push(choice.delta.content)
                        if choice.finish_reason:
                            answer.finish = _FINISH.get(choice.finish_reason, choice.finish_reason)
            return answer.done()
        raise AssertionError  # guarded() never swallows

    def _body(self, request: CompletionRequest) -> dict[str, Any]:
        messages = [{"role": "user", "content": request.text}]
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


def _translate(error: Exception) -> ProviderError | None:
    if isinstance(error, openai.APIStatusError):
        said = f"{error.code or ''} {error.message}"
        return status_error("openai", error.status_code, said, retry_after_ms(error.response.headers))
    if isinstance(error, openai.APIConnectionError):
        return None
    if isinstance(error, openai.APIError):  # an error event inside the stream: it has no status of its own
        said = f"{error.code or ''} {error.type or ''} {error.message}"
        return status_error("openai", 429 if "rate_limit" in said else 400 if "context" in said else 500, said)
    return None
