"""A provider's answer as it arrives: its text, how it ended, its tokens, and why it failed.

The official SDKs send the request and judge its status. They treat the chunks of a stream
differently: one passes on nulls, another leaves out chunks that it can't read and goes on. So each
event is read here from the JSON itself, before the SDK sees it, in the same way for every wire
format. An event that can't be read ends the call.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from agentflow_worker.providers import reading
from agentflow_worker.providers.port import (
    CONTENT_FILTER,
    ERROR,
    FILTERED,
    LENGTH,
    MALFORMED,
    STOP,
    TOOL_CALLS,
    UNKNOWN,
    Completion,
    OnToken,
    ProviderError,
    status_error,
)
from agentflow_worker.providers.surrogates import Joiner, repaired

log = logging.getLogger(__name__)

TOOL_CALLS_MAX: Final = 128
ANSWER_CHARS_MAX: Final = 8 * 1024 * 1024  # of the text, and of the arguments of one tool call

_WORDS: Final = {
    STOP: "stop end_turn stop_sequence complete eos eos_token end_of_text",
    LENGTH: "length max_tokens max_output_tokens model_length model_context_window_exceeded error_limit pause_turn",
    TOOL_CALLS: "tool_calls tool_call tool_use function_call",
    FILTERED: """content_filter content_filtered refusal safety recitation blocklist prohibited_content spii language
        image_safety image_prohibited_content image_recitation error_toxic guardrail_intervened""",
    ERROR: """error timeout other malformed_function_call malformed_response unexpected_tool_call too_many_tool_calls
        missing_thought_signature user_cancel abort aborted cancelled insufficient_system_resource""",
}
_FINISH: Final = {word: reason for reason, words in _WORDS.items() for word in words.split()}


def finish_of(word: str) -> str:
    """Returns STOP, LENGTH, TOOL_CALLS, FILTERED or ERROR for a provider's own word; UNKNOWN for an
    unknown one.
    """
    return _FINISH.get(word.strip().lower(), UNKNOWN)


class Format(NamedTuple):
    """The wire format of a provider's answers."""

    name: str
    take: Callable[[Answer, dict[str, Any]], None]  # reads an event of a stream; the SDK reads events about errors
    take_whole: Callable[[Answer, dict[str, Any]], None]  # reads an answer that came whole, although streamed was asked
    translate: Callable[[Exception], ProviderError | None]  # of an SDK's exception; None for another exception


class _Whole(Exception):
    """Ends the SDK's call: the answer came whole and was read."""


class _ToolCall:
    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments = ""
        self.joiner = Joiner()


class Answer:
    """A streamed answer as it grows, with the tokens that are known so far."""

    def __init__(self, form: Format, on_token: OnToken) -> None:
        self._form = form
        self._on_token = on_token
        self._pieces: list[str] = []
        self._joiner = Joiner()
        self._calls: dict[Any, _ToolCall] = {}
        self._finish = ""
        self._word = ""
        self._status = 200
        self._error: Any = None
        self._refused = False
        self._chars = 0
        self.thought = False
        self.ended = False  # the stream said that it was over, with or without a reason
        self.input_tokens = 0
        self.output_tokens = 0

    # --- called by the formats ---

    def push(self, text: Any) -> None:
        """Adds a piece of the text; null adds nothing. Raises TypeError for another type."""
        if text is None:
            return
        self._chars += len(reading.text(text))
        if self._chars > ANSWER_CHARS_MAX:
            raise ValueError("the answer is too long")
        self._say(self._joiner.push(text))

    def tool(self, index: Any, name: Any = None, arguments: Any = None, call_id: Any = None) -> None:
        """Adds a piece of a tool call: its name and id come once, its arguments in pieces."""
        if index not in self._calls and len(self._calls) >= TOOL_CALLS_MAX:
            raise ValueError("too many tool calls")
        call = self._calls.setdefault(index, _ToolCall())
        call.id = call.id or reading.text(call_id or "")
        call.name = call.name or reading.text(name or "")
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments, ensure_ascii=False)
        call.arguments += call.joiner.push(reading.text(arguments or ""))
        if len(call.arguments) > ANSWER_CHARS_MAX:
            raise ValueError("the arguments of a tool call are too long")

    def count(self, input_tokens: Any = None, output_tokens: Any = None) -> None:
        """Takes the tokens that the provider reports.

        A value that is not a count is ignored, and estimated later.
        """
        self.input_tokens = reading.tokens(input_tokens) or self.input_tokens
        self.output_tokens = reading.tokens(output_tokens) or self.output_tokens

    def finish(self, word: Any) -> None:
        """Takes the provider's word for how the answer ended.

        Null and an empty text are ignored.
        """
        if word and not self._refused:
            self._word = reading.text(word)
            self._finish = finish_of(self._word)

    def refuse(self) -> None:
        """Notes that the model or a filter refused to answer, whatever else it says."""
        self._word, self._finish, self._refused = "refusal", FILTERED, True

    # --- the call ---

    async def collect(self, timeout_s: float, drain: Callable[[], Awaitable[None]]) -> Completion:
        """Returns the completion. drain: makes the SDK's call and reads its stream to the end.

        Raises ProviderError for every failure, with the tokens so far.
        """
        watch = _collecting.set(self)
        try:
            async with asyncio.timeout(timeout_s):
                await drain()
        except Exception as error:
            if not _cause(error, _Whole):
                failure = self._counted(self._translated(error))
                raise failure from None if _cause(error, ProviderError) else error
        finally:
            _collecting.reset(watch)
        return self._done()

    def _done(self) -> Completion:
        self._say(self._joiner.end())
        name = self._form.name
        if self._error:
            raise self._counted(self._error_inside(self._error))
        if not self._finish and not self.ended:
            raise self._failed("stream_broken", f"{name}: the stream ended early", retryable=True)
        if self._finish == FILTERED:
            raise self._failed(CONTENT_FILTER, f"{name}: the answer was withheld ({self._word})", retryable=False)
        if self._finish == ERROR:
            kind = MALFORMED if "tool" in self._word.lower() or "malformed" in self._word.lower() else "server_error"
            raise self._failed(kind, f"{name}: the answer failed ({self._word})", retryable=True)
        for call in self._calls.values():
            call.arguments += call.joiner.end()
        calls = tuple({"id": call.id, "name": call.name, "arguments": call.arguments} for call in self._calls.values())
        if calls and self._finish == STOP:
            self._finish = TOOL_CALLS
        return Completion(
            "".join(self._pieces),
            self.input_tokens,
            self.output_tokens,
            self._finish or UNKNOWN,
            tool_calls=calls,
            thought=self.thought,
        )

    def _failed(self, kind: str, message: str, *, retryable: bool) -> ProviderError:
        reason = self._finish or ERROR
        return self._counted(
            ProviderError(kind, message, retryable=retryable, finish_reason=reason, status=self._status)
        )

    def _counted(self, error: ProviderError) -> ProviderError:
        error.input_tokens = error.input_tokens or self.input_tokens
        error.output_tokens = error.output_tokens or self.output_tokens
        return error

    def _translated(self, error: Exception) -> ProviderError:
        cause = _cause(error, ProviderError)
        if isinstance(cause, ProviderError):
            return cause
        try:
            translated = self._form.translate(error)
        except Exception:  # an error whose body has another shape
            log.warning("an error of %s can't be read", self._form.name, exc_info=True)
            translated = None
        return translated or self._broken(error)

    def _broken(self, error: Exception) -> ProviderError:
        """Returns the error for a failure below HTTP, or for an answer that can't be read.

        Below HTTP are a missing connection, a timeout, and a stream that broke in the middle.
        """
        name, kinds = type(error).__name__, _kinds(error)
        if isinstance(error, TimeoutError) or "Timeout" in kinds:
            kind = "timeout"
        elif "malformed" in kinds:
            kind = MALFORMED
            log.warning("an answer of %s can't be read", self._form.name, exc_info=error)
        else:
            kind = "stream_broken" if self._pieces else "connection"
        return ProviderError(kind, f"{self._form.name}: {name}", retryable=True)

    def _say(self, text: str) -> None:
        if text:
            self._pieces.append(text)
            self._on_token(text)

    # --- the wire ---

    async def _watch(self, response: Any) -> None:
        """Reads along with the SDK.

        An answer that is not a stream is read here and ends the SDK's call.
        """
        if response.status_code >= 300:
            return  # the SDK knows what that means
        self._status = response.status_code
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "text/html" or kind.endswith("json"):
            self._read_whole(await reading.body_of(response), kind)
            raise _Whole
        original = response.aiter_bytes

        async def watched(chunk_size: int | None = None) -> Any:
            events = reading.Events(self._event)
            async for data in original(chunk_size):
                yield events.feed(data)
            yield events.end()

        response.aiter_bytes = watched

    def _event(self, data: bytes) -> None:
        if data.strip() == b"[DONE]":
            self.ended = True
            return
        (body,) = self._objects(data, "an event of the stream")
        if body.get("error"):  # the SDK knows what it means, but may leave it out
            self._error = body["error"]
        else:
            self._take(self._form.take, body)

    def _read_whole(self, data: bytes, kind: str) -> None:
        for body in self._objects(data, f"the answer ({kind}, where a stream was asked for)", many=True):
            if body.get("error"):
                raise self._error_inside(body["error"])
            self._take(self._form.take_whole, body)
            if not self._finish and not self._pieces and not self._calls:
                raise self._error_inside(body)
        self.ended = True

    def _error_inside(self, error: Any) -> ProviderError:
        """Returns the error that stands in an answer with HTTP status 200."""
        body = error if isinstance(error, dict) else {"message": error}
        code = body.get("code")
        status = code if isinstance(code, int) and 400 <= code < 600 else 500
        inner = status_error(self._form.name, status, repaired(str(body.get("message") or "no reason given")))
        text = inner.message.replace(f"HTTP {status}", f"HTTP {self._status} with an error inside:", 1)
        return ProviderError(inner.kind, text, retryable=inner.retryable, status=self._status)

    def _take(self, take: Callable[[Answer, dict[str, Any]], None], body: dict[str, Any]) -> None:
        try:
            take(self, body)
        except ProviderError:
            raise
        except Exception as error:
            log.warning("an answer of %s can't be read", self._form.name, exc_info=True)
            raise self._unread(f"an event of the stream has another shape ({type(error).__name__})") from error

    def _objects(self, data: bytes, what: str, *, many: bool = False) -> list[dict[str, Any]]:
        """Returns the JSON objects of an event. many: it may be a list of them."""
        try:
            body = reading.decoded(data)
        except reading.NOT_JSON as error:
            raise self._unread(f"{what} is not JSON") from error
        objects = body if many and isinstance(body, list) else [body]
        if not all(isinstance(item, dict) for item in objects):
            raise self._unread(f"{what} is not a JSON object")
        return objects

    def _unread(self, what: str) -> ProviderError:
        return ProviderError(MALFORMED, f"{self._form.name}: {what}", retryable=True, status=self._status)


_collecting: Final[ContextVar[Answer | None]] = ContextVar("agentflow_answer", default=None)


async def _on_response(response: Any) -> None:
    answer = _collecting.get()
    if answer is not None:
        await answer._watch(response)


# for the HTTP client that an SDK uses: the answer that is being collected reads along
HOOKS: Final[dict[str, list[Callable[..., Any]]]] = {"response": [_on_response]}


def _chain(error: BaseException) -> list[BaseException]:
    causes: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in causes:
        causes.append(step)
        step = step.__cause__ or step.__context__
    return causes


def _cause(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """Returns the error, or one of its causes, of this kind.

    SDKs wrap the exception that ends their calls.
    """
    return next((step for step in _chain(error) if isinstance(step, kind)), None)


def _kinds(error: BaseException) -> str:
    """Returns what kind of failure without a status the exceptions are: `Timeout`, `malformed`, or
    neither.
    """
    # by name: the SDKs use two packages with the same exceptions
    names = {base.__name__ for step in _chain(error) for base in type(step).__mro__}
    if any("Timeout" in name for name in names):
        return "Timeout"
    return "" if names & {"TransportError", "StreamError", "OSError"} else "malformed"
