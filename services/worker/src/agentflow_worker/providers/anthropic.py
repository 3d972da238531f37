"""Anthropic's messages API through the official SDK."""

from __future__ import annotations

from typing import Any, Final

import anthropic

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

_FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "refusal": "content_filter",
}
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
        self._client = anthropic.AsyncAnthropic(api_key=api_key, base_url=base_url or None, max_retries=0)

    async def complete(self, request: CompletionRequest, on_token: OnToken) -> Completion:
        answer = Answer(self.name, on_token)
        body: dict[str, Any] = {
            "model": request.model,
            "max_tokens": request.max_output_tokens,
            "messages": [{"role": "user", "content": request.text}],
            "stream": True,
            "timeout": request.timeout_s,
        }
        if system := system_of(request):
            body["system"] = system
        async with answer.guarded(request.timeout_s, _translate):
            stream: Any = await self._client.messages.create(**body)
            async with stream:
                async for event in stream:
                    _take(answer, event)
            return answer.done()
        raise AssertionError  # guarded() never swallows

    async def close(self) -> None:
        await self._client.close()


def _take(answer: Answer, event: Any) -> None:
    if event.type == "message_start":
        usage = event.message.usage
        answer.input_tokens = (
            usage.input_tokens + (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0)
        )
    elif event.type == "content_block_delta" and event.delta.type == "text_delta":
        answer.push(event.delta.text)
    elif event.type == "message_delta":
        answer.output_tokens = event.usage.output_tokens
        if event.delta.stop_reason:
            answer.finish = _FINISH.get(event.delta.stop_reason, event.delta.stop_reason)


def _translate(error: Exception) -> ProviderError | None:
    if not isinstance(error, anthropic.APIStatusError):
        return None
    status = error.status_code
    if status < 400:  # an error event inside a stream that had begun well
        body: Any = error.body if isinstance(error.body, dict) else {}
        status = _BY_TYPE.get(str((body.get("error") or {}).get("type", "")), 500)
    return status_error("anthropic", status, str(error.message), retry_after_ms(error.response.headers))
