"""Answers that are odd, broken, cut off or withheld, on the wire of each provider: what the port makes of them."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentflow_worker.providers import Completion, ProviderError

from .provider_wire import JSON_TYPE, NAMES, Case, answer_of, sse, whole_of, wire_server

pytestmark = pytest.mark.integration

SMILE = "\U0001f600"
HALVES = ("\ud83d", "\ude00")


@pytest.fixture(params=NAMES)
async def case(request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    async with wire_server() as wire:
        made = Case(request.param, wire)
        yield made
        await made.providers.close()


def nulls_of(name: str) -> dict[str, Any]:
    """An event whose fields are null, as filters and proxies send it between others."""
    return {
        "openai": {"choices": [{"index": 0, "delta": None, "finish_reason": None}], "usage": None},
        "anthropic": {"type": "content_block_delta", "index": 0, "delta": None},
        "google": {"candidates": [{"content": None, "finishReason": None}], "usageMetadata": None},
        "cohere": {"type": "content-delta", "index": 0, "delta": {"message": None}},
    }[name]


def of_other_types(name: str) -> list[Any]:
    """Events whose fields have another type than they should."""
    return {
        "openai": [
            {"choices": [{"index": 0, "delta": {"content": 7}}]},
            {"choices": "none"},
            {"choices": [{"index": 0, "delta": "text"}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": {"why": 1}}]},
            {"choices": [], "usage": [1]},
            {"choices": [{"index": 0, "delta": {"tool_calls": "none"}}]},
            {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": 7}}]}}]},
            {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": [], "function": {"name": "f"}}]}}]},
        ],
        "anthropic": [
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 7}},
            {"type": "content_block_delta", "index": 0, "delta": "text"},
            {"type": "message_delta", "delta": {"stop_reason": ["end_turn"]}, "usage": {"output_tokens": 3}},
            {"type": "message_delta", "delta": {}, "usage": 3},
            {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": 7}},
            {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": 7, "name": "f"}},
        ],
        "google": [
            {"candidates": [{"content": {"parts": [{"text": 7}]}}]},
            {"candidates": {"content": {}}},
            {"candidates": [{"content": {"parts": "text"}}]},
            {"candidates": [{"finishReason": 1}]},
            {"usageMetadata": "many"},
            {"candidates": [{"content": {"parts": [{"functionCall": "f"}]}}]},
            {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": [1]}}]}}]},
        ],
        "cohere": [
            {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": 7}}}},
            {"type": "content-delta", "index": 0, "delta": "text"},
            {"type": "message-end", "delta": {"finish_reason": 7}},
            {"type": "message-end", "delta": {"usage": "many"}},
            {"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls": "none"}}},
            {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": {"function": {"name": 7}}}}},
        ],
    }[name]


def placed(case: Case, event: Any, tool: list[str] | None = None) -> None:
    """The event, after the first piece of text of an answer."""
    chunks = answer_of(case.name, ["Hel", "lo"], (11, 7), tool=tool)
    first = next(i for i, chunk in enumerate(chunks) if "Hel" in chunk)
    made = sse(event, names=case.name == "anthropic") if isinstance(event, dict) else [f"data: {event}\n\n"]
    case.wire.chunks = [*chunks[: first + 1], *made, *chunks[first + 1 :]]


@pytest.mark.parametrize("tool", [None, ['{"ci', 'ty": "Köln"}']])
async def test_llm_01_null_fields_between_others_are_nothing(case: Case, tool: list[str] | None) -> None:
    placed(case, nulls_of(case.name), tool)
    made = await case.ask()
    assert (made.text, made.input_tokens, made.output_tokens) == ("Hello", 11, 7)
    assert [json.loads(call["arguments"]) for call in made.tool_calls] == ([{"city": "Köln"}] if tool else [])


async def test_llm_01_fields_of_another_type_are_an_error_of_the_provider(case: Case) -> None:
    for event in of_other_types(case.name):
        placed(case, event)
        error = await case.fails()
        assert (error.kind, error.retryable, error.status) == ("malformed_answer", True, 200), event
        assert error.input_tokens == (11 if case.name == "anthropic" else 0)  # what it had reported by then


@pytest.mark.parametrize("line", ["{not json", "null", "[1]", '"text"', '{"a": ', "\ufffd", "1e999"])
async def test_llm_01_an_event_that_is_no_json_object_is_an_error_of_the_provider(
    case: Case, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    placed(case, line)
    with caplog.at_level(logging.DEBUG, "root"):
        error = await case.fails()
    assert (error.kind, error.retryable) == ("malformed_answer", True)
    assert case.live == ["Hel"]
    assert "not json" not in caplog.text  # an answer is a payload: no log quotes it


async def test_llm_01_what_the_sdk_alone_can_t_read_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    async with wire_server() as wire:
        case = Case("cohere", wire)
        odd = {"type": "content-delta", "index": "secret", "delta": {"message": {"content": {"text": "secret"}}}}
        placed(case, odd)
        with caplog.at_level(logging.DEBUG):
            assert (await case.ask()).text == "Helsecretlo"  # read here all the same
        assert "secret" not in caplog.text
        await case.providers.close()


async def test_llm_01_an_answer_without_end_is_an_error_of_the_provider(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentflow_worker.providers.answer.ANSWER_CHARS_MAX", 1000)
    monkeypatch.setattr("agentflow_worker.providers.reading.EVENT_BYTES_MAX", 4000)
    case.wire.chunks = answer_of(case.name, ["x" * 100] * 11, (11, 7))
    assert (await case.fails()).kind == "malformed_answer"
    case.wire.chunks = ["data: " + "x" * 5000]
    assert (await case.fails()).kind == "malformed_answer"
    case.wire.headers, case.wire.chunks = JSON_TYPE, ["[" + " " * 5000]
    assert (await case.fails()).kind == "malformed_answer"


async def test_llm_01_comments_of_a_proxy_are_no_part_of_the_answer(case: Case) -> None:
    chunks = answer_of(case.name, ["Hel", "lo"], (11, 7))
    case.wire.chunks = [part for chunk in chunks for part in (": ping\n\n", chunk[:9], chunk[9:])]
    assert (await case.ask()).text == "Hello"


async def test_llm_01_tokens_that_are_no_counts_are_not_reported(case: Case) -> None:
    refused: list[str] = []
    for value in (-5, "12", True, 1e300, 10**30, None, [], float("nan")):
        case.wire.chunks = answer_of(case.name, ["Hello"], (value, value))  # type: ignore[arg-type]
        try:
            made = await case.ask()
        except ProviderError as error:  # by the SDK, which may know the field's type
            refused.append(error.kind)
            made = Completion("Hello", error.input_tokens, error.output_tokens)
        assert (made.text, made.input_tokens, made.output_tokens) == ("Hello", 0, 0), value
    assert set(refused) <= {"malformed_answer"}


@pytest.mark.parametrize(
    ("headers", "chunks", "kind"),
    [
        ({"content-type": "text/html"}, ["<html>Sign in</html>"], "malformed_answer"),
        (JSON_TYPE, ["{broken"], "malformed_answer"),
        (JSON_TYPE, ["[1, 2]"], "malformed_answer"),
        (JSON_TYPE, ["null"], "malformed_answer"),
        (JSON_TYPE, [""], "malformed_answer"),
        (JSON_TYPE, ['{"error": {"message": "no room", "code": 429}}'], "rate_limited"),
        (JSON_TYPE, ['{"error": "no room"}'], "server_error"),
        (JSON_TYPE, ['{"message": "no room"}'], "server_error"),
        ({}, [""], "stream_broken"),
        ({}, [": ping\n\n", ": ping\n\n"], "stream_broken"),
    ],
)
async def test_llm_01_what_is_no_stream_and_no_answer_is_an_error_of_the_provider(
    case: Case, headers: dict[str, str], chunks: list[str], kind: str
) -> None:
    case.wire.headers, case.wire.chunks = headers, chunks
    error = await case.fails()
    if case.name == "cohere" and "message" in chunks[0] and "error" not in chunks[0]:
        kind = "malformed_answer"  # there, `message` is an answer's field
    assert (error.kind, error.retryable) == (kind, True)
    if "no room" in chunks[0] and kind != "malformed_answer":
        assert "no room" in error.message


@pytest.mark.parametrize(
    "body", ["<html>502</html>", '{"error": "x"}', '{"error": {"type": 7}}', "[]", "null", "7", ""]
)
@pytest.mark.parametrize("wait", ["nan", "inf", "-1", "soon", "1e400", "Wed, 99 Foo 2026"])
async def test_llm_01_an_error_with_any_body_and_headers_is_an_error_of_the_provider(
    case: Case, body: str, wait: str
) -> None:
    case.wire.status, case.wire.chunks = 502, [body]
    case.wire.headers = {"retry-after": wait, "retry-after-ms": wait, **JSON_TYPE}
    error = await case.fails()
    assert (error.kind, error.status) == ("server_error", 502)
    assert error.retry_after_ms in (None, 0, 3_600_000)


@pytest.mark.parametrize("tool", [False, True])
async def test_llm_01_a_whole_answer_where_a_stream_was_asked_is_read(case: Case, tool: bool) -> None:
    case.wire.headers = JSON_TYPE
    case.wire.chunks = whole_of(case.name, "Hello", (11, 7), "tool_calls" if tool else "stop", tool=tool)
    made = await case.ask()
    assert (made.text, made.input_tokens, made.output_tokens) == ("Hello", 11, 7)
    assert made.finish_reason == ("tool_calls" if tool else "stop")
    assert [json.loads(call["arguments"]) for call in made.tool_calls] == ([{"city": "Köln"}] if tool else [])
    assert case.live == ["Hello"]


async def test_llm_01_a_whole_answer_of_another_shape_is_an_error_of_the_provider(case: Case) -> None:
    case.wire.headers = JSON_TYPE
    bodies = {
        "openai": ['{"choices": "none"}', '{"choices": [{"message": "Hi"}]}', '{"choices": [7]}', '{"choices": null}'],
        "anthropic": ['{"content": "Hi"}', '{"content": [{"type": "text", "text": 7}]}', '{"stop_reason": 7}', "{}"],
        "google": ['{"candidates": "none"}', '{"candidates": [{"content": "Hi"}]}', '{"candidates": [7]}', "{}"],
        "cohere": ['{"message": "Hi"}', '{"message": {"content": [7]}}', '{"finish_reason": 7}', '{"message": null}'],
    }
    for body in bodies[case.name]:
        case.wire.chunks = [body]
        error = await case.fails()
        assert error.kind in ("malformed_answer", "server_error"), body
        assert error.retryable


# --- 10 ---


async def test_llm_10_a_stream_that_is_over_without_a_reason_is_an_answer(case: Case) -> None:
    case.wire.chunks = answer_of(case.name, ["Hel", "lo"], (11, 7), None)
    if case.name == "google":  # its stream has no other mark of its end
        assert (await case.fails()).kind == "stream_broken"
        return
    made = await case.ask()
    assert (made.text, made.finish_reason, made.input_tokens, made.output_tokens) == ("Hello", "unknown", 11, 7)


async def test_llm_10_done_alone_or_the_usage_alone_say_that_the_stream_is_over() -> None:
    async with wire_server() as wire:
        case = Case("openai", wire)
        whole = answer_of("openai", ["Hello"], (11, 7), None)
        wire.chunks = [chunk for chunk in whole if '"usage"' not in chunk]
        assert (await case.ask()).finish_reason == "unknown"
        wire.chunks = [chunk for chunk in whole if "[DONE]" not in chunk]
        assert (await case.ask()).finish_reason == "unknown"
        wire.chunks = [chunk for chunk in whole if "[DONE]" not in chunk and '"usage"' not in chunk]
        assert (await case.fails()).kind == "stream_broken"
        await case.providers.close()


async def test_llm_10_a_word_that_nobody_knows_is_unknown(case: Case) -> None:
    word = {"google": "FINISH_REASON_UNSPECIFIED"}.get(case.name, "because")
    case.wire.chunks = answer_of(case.name, ["Hello"], (11, 7), word)
    made = await case.ask()
    assert (made.text, made.finish_reason) == ("Hello", "unknown")


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["Hi " + HALVES[0], HALVES[1] + " you"], f"Hi {SMILE} you"),
        ([HALVES[0], HALVES[1]], SMILE),
        (["a" + HALVES[0], "b"], "a\ufffdb"),
        (["a", HALVES[1] + "b"], "a\ufffdb"),
        (["a" + HALVES[0]], "a\ufffd"),
        ([HALVES[0], HALVES[0], HALVES[1]], f"\ufffd{SMILE}"),
        ([HALVES[1], HALVES[0]], "\ufffd\ufffd"),
        (["x" + HALVES[0] + HALVES[1]], f"x{SMILE}"),
    ],
)
async def test_llm_10_halves_of_a_character_are_joined_or_replaced(case: Case, pieces: list[str], text: str) -> None:
    case.wire.chunks = answer_of(case.name, pieces, (11, 7))
    made = await case.ask()
    assert made.text == text
    assert "".join(case.live) == text
    assert "".join(case.live).encode()


async def test_llm_10_halves_in_the_arguments_of_a_tool_are_joined_or_replaced(case: Case) -> None:
    if case.name == "google":
        pieces = [json.dumps({"smile": SMILE, "half": "\ud83d"})]  # its arguments are an object, which comes whole
    else:
        pieces = ['{"smile": "' + HALVES[0], HALVES[1] + '", "half": "' + HALVES[1] + '"}']
    case.wire.chunks = answer_of(case.name, ["Hi"], (11, 7), "tool_calls", tool=pieces)
    (call,) = (await case.ask()).tool_calls
    assert (call["id"], call["name"]) == ("t1", "look_up")
    assert json.loads(call["arguments"]) == {"smile": SMILE, "half": "\ufffd"}
    assert call["arguments"].encode()
