"""The port that every model provider stands behind. Nothing here imports an SDK."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

OnToken = Callable[[str], None]  # receives each piece of text as it arrives; must not block

CONTEXT_LENGTH: Final = "context_length"
TRUNCATED: Final = "truncated"
EMPTY: Final = "empty_answer"
MALFORMED: Final = "malformed_answer"
CONTENT_FILTER: Final = "content_filter"

# how an answer ended, whichever word the provider has for it
STOP: Final = "stop"
LENGTH: Final = "length"
TOOL_CALLS: Final = "tool_calls"
FILTERED: Final = "filtered"
UNKNOWN: Final = "unknown"
ERROR: Final = "error"

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
    """One call. Its texts and inputs are protected already."""

    model: str
    text: str
    system: str = ""
    max_output_tokens: int = 1024
    temperature: float = 0.0
    timeout_s: float = 120.0
    json_output: bool = False  # asks for one JSON object
    task: str = ""  # for providers that don't read prose (`local`, `sim`)
    inputs: dict[str, Any] = field(default_factory=dict)  # the values in the text by name, for the same providers
    key: str = ""
    so_far: str = ""  # an answer that the length limit cut: the model is asked for the rest


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer."""

    text: str
    input_tokens: int  # 0: not reported
    output_tokens: int  # 0: not reported
    finish_reason: str = STOP  # STOP, LENGTH or TOOL_CALLS; UNKNOWN for no reason, or an unknown one
    data: dict[str, Any] = field(default_factory=dict)  # structured fields next to the text, if the provider makes them
    tool_calls: tuple[dict[str, str], ...] = ()  # `{id, name, arguments}` for each tool that the model wants to call
    thought: bool = False  # the model sent thoughts; they are not in the text


class ProviderError(Exception):
    """A call failed.

    kind: rate_limited, overloaded, timeout, connection, stream_broken, server_error,
    malformed_answer, empty_answer (retryable); auth, bad_request, not_found, context_length,
    content_filter, quota, truncated (not retryable).
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
        status: int = 0,
        finish_reason: str = ERROR,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms
        self.input_tokens = input_tokens  # that the provider had reported by then and will bill
        self.output_tokens = output_tokens
        self.status = status  # of HTTP; 0 without one
        self.finish_reason = finish_reason  # how the answer ended, if it did


class Provider(Protocol):
    """A model provider."""

    name: str

    async def complete(self, request: CompletionRequest, on_token: OnToken) -> Completion:
        """Returns the whole answer.

        Its pieces go to `on_token` as they arrive. Raises ProviderError.
        """
        ...

    async def close(self) -> None: ...


def status_error(provider: str, status: int, message: str, retry_after_ms: int | None = None) -> ProviderError:
    """Returns the error for an HTTP status and the provider's message."""
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
    # a refusal of credentials may quote them; any other message says what is wrong with the request
    said = "" if kind == "auth" else " " + " ".join(message.split())[:300]
    text = f"{provider}: HTTP {status}{said}"
    return ProviderError(kind, text, retryable=retryable, retry_after_ms=retry_after_ms, status=status)


def message_of(body: Any, otherwise: Any) -> str:
    """Returns the message in an error's body. otherwise: the text for a body of another shape."""
    inner = body.get("error", body) if isinstance(body, dict) else None
    said = inner.get("message") if isinstance(inner, dict) else inner
    return said if isinstance(said, str) and said else str(otherwise)


JSON_ONLY: Final = "Answer with one JSON object and nothing else."
GO_ON: Final = (
    "Your answer was cut off by the limit on its length. Continue exactly where it stopped. "
    "Repeat nothing and add no introduction."
)


def system_of(request: CompletionRequest) -> str:
    """Returns the system text, with the request for JSON if it is wanted."""
    return "\n\n".join(filter(None, (request.system, JSON_ONLY if request.json_output else "")))


def turns(request: CompletionRequest) -> list[tuple[str, str]]:
    """Returns (role, text) of each turn: the prompt, and to continue an answer, the answer and the
    request for more.
    """
    prompt = ("user", request.text)
    return [prompt, ("assistant", request.so_far), ("user", GO_ON)] if request.so_far else [prompt]


def estimate_tokens(text: str) -> int:
    """Estimates the tokens of a text from its bytes, rounded up: never too few for English."""
    return -(-len(text.encode("utf-8", "replace")) // 3)
