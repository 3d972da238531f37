"""Cohere's chat API (v2) through the official SDK."""

from __future__ import annotations

from typing import Any, Final

import cohere
import httpx
from cohere.core.api_error import ApiError

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

_FINISH: Final = {"COMPLETE": "stop", "STOP_SEQUENCE": "stop", "MAX_TOKENS": "length", "ERROR_TOXIC": "content_filter"}


class CohereProvider:
    """Retries are switched off in the SDK: the step falls back to another model instead."""

    name = "cohere"

    def __init__(self, api_key: str, base_url: str = "") -> None:
        self._http = httpx.AsyncClient(timeout=None)  # noqa: S113  (each call is bounded by guarded())
        self._client = cohere.AsyncClientV2(
            api_key=api_key, base_url=base_url or None, httpx_client=self._http, max_retries=0
        )

    async def complete(self, request: CompletionRequest, on_token: OnToken) -> Completion:
        answer = Answer(self.name, on_token)
        messages: list[Any] = [{"role": "user", "content": request.text}]
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
        async with answer.guarded(request.timeout_s, _translate):
            async for event in self._client.chat_stream(**body):
                _take(answer, event)
            return answer.done()
        raise AssertionError  # guarded() never swallows

    async def close(self) -> None:
        await self._http.aclose()


def _take(answer: Answer, event: Any) -> None:
    if event.type == "content-delta":
        content = event.delta.message.content if event.delta and event.delta.message else None
        answer.push(getattr(content, "text", None))
    elif event.type == "message-end" and event.delta is not None:
        usage = event.delta.usage
        counted = (usage.billed_units or usage.tokens) if usage is not None else None
        if counted is not None:
            answer.input_tokens = round(counted.input_tokens or 0)
            answer.output_tokens = round(counted.output_tokens or 0)
        reason = event.delta.finish_reason or ""
        if reason in ("ERROR", "TIMEOUT"):
            raise status_error("cohere", 408 if reason == "TIMEOUT" else 500, "the generation failed")
        answer.finish = _FINISH.get(reason, reason.lower())


def _translate(error: Exception) -> ProviderError | None:
    if not isinstance(error, ApiError) or error.status_code is None or error.status_code < 400:
        return None
    body = error.body
    said = str(body.get("message", "")) if isinstance(body, dict) else str(getattr(body, "message", body))
    return status_error("cohere", error.status_code, said, retry_after_ms(error.headers))
