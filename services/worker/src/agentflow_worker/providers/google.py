"""Gemini through Google's official SDK."""

from __future__ import annotations

from typing import Any, Final

import httpx
from google import genai
from google.genai import errors, types

from agentflow_worker.providers.answer import HOOKS, Answer, Format
from agentflow_worker.providers.port import (
    Completion,
    CompletionRequest,
    OnToken,
    ProviderError,
    status_error,
    turns,
)
from agentflow_worker.providers.reading import fields, listed, tokens
from agentflow_worker.retry_after import retry_after_ms

_ROLES: Final = {"user": "user", "assistant": "model"}


class GoogleProvider:
    """The SDK retries only on request, and is not asked to: the step falls back to another model instead."""

    name = "google"

    def __init__(self, api_key: str, base_url: str = "") -> None:
        # a client of our own: the SDK would pick aiohttp where it is installed, with hidden reconnects
        self._http = httpx.AsyncClient(timeout=None, follow_redirects=True, event_hooks=HOOKS)  # noqa: S113  (bounded by collect())
        options = types.HttpOptions(base_url=base_url or None, httpx_async_client=self._http)
        self._client = genai.Client(api_key=api_key, vertexai=False, http_options=options)

    async def complete(self, request: CompletionRequest, on_token: OnToken) -> Completion:
        config = types.GenerateContentConfig(
            system_instruction=request.system or None,
            temperature=request.temperature,
            max_output_tokens=request.max_output_tokens,
            response_mime_type="application/json" if request.json_output else None,
        )
        contents: Any = [
            types.Content(role=_ROLES[role], parts=[types.Part(text=said)]) for role, said in turns(request)
        ]

        async def drain() -> None:
            stream = await self._client.aio.models.generate_content_stream(
                model=request.model, contents=contents, config=config
            )
            async for _ in stream:
                pass

        return await Answer(_FORMAT, on_token).collect(request.timeout_s, drain)

    async def close(self) -> None:
        await self._http.aclose()


def _take(answer: Answer, chunk: dict[str, Any]) -> None:
    usage = fields(chunk.get("usageMetadata"))
    # thinking is billed as output
    made = tokens(usage.get("candidatesTokenCount")) + tokens(usage.get("thoughtsTokenCount"))
    answer.count(usage.get("promptTokenCount"), made)
    if fields(chunk.get("promptFeedback")).get("blockReason"):
        answer.refuse()
    for candidate in listed(chunk.get("candidates"))[:1]:
        for part in listed(fields(candidate.get("content")).get("parts")):
            if part.get("thought"):
                answer.thought = True
            else:
                answer.push(part.get("text"))
            if call := fields(part.get("functionCall")):  # each comes whole
                answer.tool(object(), call.get("name"), fields(call.get("args")), call.get("id"))
        answer.finish(candidate.get("finishReason"))


def _translate(error: Exception) -> ProviderError | None:
    if not isinstance(error, errors.APIError) or not isinstance(error.code, int) or error.code < 400:
        return None
    wait = retry_after_ms(getattr(error.response, "headers", None))
    said = f"{error.status or ''} {error.message or ''}"
    return status_error("google", error.code, said, _retry_delay_ms(error.details) if wait is None else wait)


def _retry_delay_ms(details: Any) -> int | None:
    """Returns the delay of google.rpc.RetryInfo in the error's body, `retryDelay: "3.5s"`, in ms."""
    body = details.get("error", details) if isinstance(details, dict) else {}
    items = body.get("details") if isinstance(body, dict) else None
    for item in items if isinstance(items, list) else []:
        delay = item.get("retryDelay") if isinstance(item, dict) else None
        if isinstance(delay, str) and delay.endswith("s"):
            return retry_after_ms({"retry-after": delay[:-1]})
    return None


_FORMAT: Final = Format("google", _take, _take, _translate)
