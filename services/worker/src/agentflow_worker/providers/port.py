"""The port that every model provider stands behind. Nothing here imports an SDK."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

OnToken = Callable[[str], None]  # receives each piece of text as it arrives; must not block

CONTEXT_LENGTH: Final = "context_length"
_CONTEXT_SIGNS: Final = (
    "context_length_exceeded",
    "context length",
    "context window",
    "maximum context",
    "prompt is too long",
    "input is too long",
    "too many tokens",
    "input token count",
    "exceeds the maximum number of tokens",
)


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One call. text and system are already protected; so are `inputs`, the same values by name.

    task and inputs are for providers that don't read prose (`local`, `sim`). json_output asks for one JSON object.
    """

    model: str
    text: str
    system: str = ""
    max_output_tokens: int = 1024
    temperature: float = 0.0
    timeout_s: float = 120.0
    json_output: bool = False
    task: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)
    key: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """finish_reason: `stop`, `length`, `content_filter` or the provider's own word.

    data: structured fields next to the text, from providers that make them. Token counts of 0 mean "not reported".
    """

    text: str
    input_tokens: int
    output_tokens: int
    finish_reason: str = "stop"
    data: dict[str, Any] = field(default_factory=dict)


class ProviderError(Exception):
    """A call failed. kind: rate_limited, overloaded, timeout, connection, stream_broken, server_error (retryable);
    auth, bad_request, not_found, context_length, content_filter, quota (not retryable).

    input_tokens, output_tokens: what the provider had reported by then and will bill.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        retryable: bool,
        retry_after_ms: int | None = None,
        input_tokens: int = 0,
        output_tokens: int = 0,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens


class Provider(Protocol):
    name: str

    async def complete(self, request: CompletionRequest, on_token: OnToken) -> Completion:
        """The whole answer; its pieces go to `on_token` as they arrive. Raises ProviderError."""
        ...

    async def close(self) -> None: ...


def status_error(provider: str, status: int, message: str, retry_after_ms: int | None = None) -> ProviderError:
    """The ProviderError that an HTTP status and the provider's message stand for."""
    lowered = message.lower()
    if status in (400, 413, 422) and any(sign in lowered for sign in _CONTEXT_SIGNS):
        kind, retryable = CONTEXT_LENGTH, False
    elif status == 429 and "insufficient_quota" in lowered:
        kind, retryable = "quota", False
    elif status in (401, 403) or (status == 400 and "api key" in lowered):
        kind, retryable = "auth", False
    elif status == 404:
        kind, retryable = "not_found", False
    elif status == 408:
        kind, retryable = "timeout", True
    elif status == 429:
        kind, retryable = "rate_limited", True
    elif status in (503, 529):
        kind, retryable = "overloaded", True
    elif status >= 500:
        kind, retryable = "server_error", True
    else:
        kind, retryable = "bad_request", False
    # a refusal of credentials may quote them; anything else says what is wrong with the request
    said = "" if kind == "auth" else " " + " ".join(message.split())[:300]
    text = f"{provider}: HTTP {status}{said}"
    return ProviderError(kind, text, retryable=retryable, retry_after_ms=retry_after_ms)


def retry_after_ms(headers: Any) -> int | None:
    """`retry-after-ms`, or `Retry-After` in seconds or as a date; None without one. At most one hour."""
    if headers is None:
        return None
    lowered = {str(k).lower(): str(v) for k, v in dict(headers).items()}
    try:
        if "retry-after-ms" in lowered:
            value = float(lowered["retry-after-ms"])
        elif "retry-after" in lowered:
            value = _seconds(lowered["retry-after"]) * 1000
        else:
            return None
    except (ValueError, TypeError):
        return None
    return int(min(max(value, 0), 3_600_000))


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        import time
        from email.utils import parsedate_to_datetime

        return parsedate_to_datetime(text).timestamp() - time.time()


class Answer:
    """A streamed answer as it grows, and what is known of its cost at any moment."""

    def __init__(self, provider: str, on_token: OnToken) -> None:
        self._provider = provider
        self._on_token = on_token
        self._pieces: list[str] = []
        self.input_tokens = 0
        self.output_tokens = 0
        self.finish = ""

    def push(self, text: str | None) -> None:
        if text:
            self._pieces.append(text)
            self._on_token(text)

    def done(self) -> Completion:
        """The completion. A stream that ended without saying why was cut: `stream_broken`."""
        if not self.finish:
            raise ProviderError("stream_broken", f"{self._provider}: the stream ended early", retryable=True)
        text = "".join(self._pieces)
        if self.finish == "content_filter" and not text:
            raise ProviderError("content_filter", f"{self._provider}: the answer was withheld", retryable=False)
        return Completion(text, self.input_tokens, self.output_tokens, self.finish)

    @contextlib.asynccontextmanager
    async def guarded(
        self, timeout_s: float, translate: Callable[[Exception], ProviderError | None]
    ) -> AsyncIterator[None]:
        """Bounds the call in time and turns every failure into a ProviderError that knows the tokens so far."""
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except (TypeError, AttributeError, NameError, AssertionError):
            raise  # a fault of ours must not pass for the provider's
        except Exception as error:
            found = error if isinstance(error, ProviderError) else translate(error) or self._broken(error)
            found.input_tokens = found.input_tokens or self.input_tokens
            found.output_tokens = found.output_tokens or self.output_tokens
            if found is error:
                raise
            raise found from error

    def _broken(self, error: Exception) -> ProviderError:
        """A failure below HTTP: no connection, a timeout, or a stream that broke in the middle."""
        name = type(error).__name__
        if isinstance(error, TimeoutError) or "Timeout" in name:
            kind = "timeout"
        else:
            kind = "stream_broken" if self._pieces else "connection"
        return ProviderError(kind, f"{self._provider}: {name}", retryable=True)


JSON_ONLY: Final = "Answer with one JSON object and nothing else."


def system_of(request: CompletionRequest) -> str:
    """The system text, with the wish for JSON where it is wanted."""
    return "\n\n".join(filter(None, (request.system, JSON_ONLY if request.json_output else "")))


def estimate_tokens(text: str) -> int:
    """Tokens of a text when the provider reports none, from its bytes and rounded up: never understated for English."""
    return -(-len(text.encode()) // 3)
