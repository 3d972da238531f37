"""Gemini through Google's official SDK."""

from __future__ import annotations

from typing import Any, Final

import httpx
from google import genai
from google.genai import errors, types

from agentflow_worker.providers.port import (
    Answer,
    Completion,
    CompletionRequest,
    OnToken,
    ProviderError,
    retry_after_ms,
    status_error,
)

_FINISH: Final = {"STOP": "stop", "MAX_TOKENS": "length"}
_WITHHELD: Final = frozenset({"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"})


class GoogleProvider:
    """The SDK retries nothing unless told to; the step falls back to another model instead."""

    name = "google"

    def __init__(self, api_key: str, base_url: str = "") -> None:
        # a client of our own: the SDK would pick aiohttp where it is installed, with hidden reconnects
        self._http = httpx.AsyncClient(timeout=None)  # noqa: S113  (each call is bounded by guarded())
        options = types.HttpOptions(base_url=base_url or None, httpx_async_client=self._http)
        self._client = genai.Client(api_key=api_key, vertexai=False, http_options=options)

    async def complete(self, request: CompletionRequest, on_token: OnToken) -> Completion:
        answer = Answer(self.name, on_token)
        config = types.GenerateContentConfig(
            system_instruction=request.system or None,
            temperature=request.temperature,
            max_output_tokens=request.max_output_tokens,
            response_mime_type="application/json" if request.json_output else None,
        )
        async with answer.guarded(request.timeout_s, _translate):
            stream = await self._client.aio.models.generate_content_stream(
                model=request.model, contents=request.text, config=config
            )
            async for chunk in stream:
                _take(answer, chunk)
            return answer.done()
        raise AssertionError  # guarded() never swallows

    async def close(self) -> None:
        await self._http.aclose()


def _take(answer: Answer, chunk: types.GenerateContentResponse) -> None:
    if (usage := chunk.usage_metadata) is not None:
        answer.input_tokens = usage.prompt_token_count or answer.input_tokens
        # thinking is billed as output
        answer.output_tokens = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
    feedback = chunk.prompt_feedback
    if feedback is not None and feedback.block_reason:
        answer.finish = "content_filter"
    for candidate in chunk.candidates or []:
        for part in (candidate.content.parts if candidate.content else None) or []:
            if not part.thought:
                answer.push(part.text)
        if candidate.finish_reason:
            reason = candidate.finish_reason.value
            answer.finish = "content_filter" if reason in _WITHHELD else _FINISH.get(reason, reason.lower())


def _translate(error: Exception) -> ProviderError | None:
    if not isinstance(error, errors.APIError):
        return None
    wait = retry_after_ms(getattr(error.response, "headers", None))
    said = f"{error.status or ''} {error.message or ''}"
    return status_error("google", error.code, said, _retry_delay_ms(error.details) if wait is None else wait)


def _retry_delay_ms(details: Any) -> int | None:
    """`retryDelay: "3.5s"` of google.rpc.RetryInfo in the error's body."""
    body = details.get("error", details) if isinstance(details, dict) else {}
    for item in body.get("details") or []:
        delay = item.get("retryDelay") if isinstance(item, dict) else None
        if isinstance(delay, str) and delay.endswith("s"):
            return retry_after_ms({"retry-after": delay[:-1]})
    return None
