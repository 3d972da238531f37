"""How an answer ended, on the wire of each provider: whole, cut off, withheld, failed, or only thought of."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from .provider_wire import JSON_TYPE, NAMES, Case, answer_of, sse, whole_of, wire_server

pytestmark = pytest.mark.integration


@pytest.fixture(params=NAMES)
async def case(request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    async with wire_server() as wire:
        made = Case(request.param, wire)
        yield made
        await made.providers.close()


@pytest.mark.parametrize("finish", ["stop", "length", "tool_calls"])
@pytest.mark.parametrize("tool", [None, ['{"a": 1}']])
async def test_llm_13_the_finish_reason_has_one_name_for_all(case: Case, finish: str, tool: list[str] | None) -> None:
    case.wire.chunks = answer_of(case.name, ["Hello"], (11, 7), finish, tool=tool)
    made = await case.ask()
    wanted = "tool_calls" if tool and finish == "stop" else finish
    if case.name == "google" and finish == "tool_calls" and not tool:
        wanted = "stop"
    assert (made.text, made.finish_reason, len(made.tool_calls)) == ("Hello", wanted, 1 if tool else 0)


@pytest.mark.parametrize("pieces", [[], ["Hel", "lo"]])
@pytest.mark.parametrize("streamed", [True, False])
async def test_llm_13_a_filter_withholds_the_answer_also_in_its_middle(
    case: Case, pieces: list[str], streamed: bool
) -> None:
    if streamed:
        case.wire.chunks = answer_of(case.name, pieces, (11, 7), "filtered")
    else:
        case.wire.headers, case.wire.chunks = JSON_TYPE, whole_of(case.name, "".join(pieces), (11, 7), "filtered")
    error = await case.fails()
    assert (error.kind, error.retryable, error.finish_reason) == ("content_filter", False, "filtered")
    assert (error.input_tokens, error.output_tokens) == (11, 7)  # it is paid for all the same


async def test_llm_13_a_refusal_in_the_stream_is_no_answer(case: Case) -> None:
    chunks = answer_of(case.name, ["Hello"], (11, 7))
    if case.name == "openai":
        refusal = {"choices": [{"index": 0, "delta": {"refusal": "I can't"}, "finish_reason": None}]}
        case.wire.chunks = [*sse(refusal), *chunks]
    elif case.name == "google":
        case.wire.chunks = sse({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 11}})
    else:
        case.wire.chunks = answer_of(case.name, ["Hello"], (11, 7), "filtered")
    error = await case.fails()
    assert (error.kind, error.finish_reason, error.input_tokens) == ("content_filter", "filtered", 11)


@pytest.mark.parametrize(
    ("name", "word", "kind"),
    [
        ("google", "MALFORMED_FUNCTION_CALL", "malformed_answer"),
        ("google", "UNEXPECTED_TOOL_CALL", "malformed_answer"),
        ("google", "OTHER", "server_error"),
        ("google", "RECITATION", "content_filter"),
        ("google", "SPII", "content_filter"),
        ("cohere", "ERROR", "server_error"),
        ("cohere", "TIMEOUT", "server_error"),
        ("openai", "error", "server_error"),
        ("openai", "insufficient_system_resource", "server_error"),
        ("anthropic", "refusal", "content_filter"),
    ],
)
async def test_llm_13_a_word_for_a_failure_is_one(name: str, word: str, kind: str) -> None:
    async with wire_server() as wire:
        case = Case(name, wire)
        wire.chunks = answer_of(name, ["Hel"], (11, 7), word)
        error = await case.fails()
        assert (error.kind, error.retryable) == (kind, kind != "content_filter")
        assert (error.input_tokens, error.output_tokens) == (11, 7)
        assert word.lower() in error.message.lower()
        await case.providers.close()


@pytest.mark.parametrize(
    ("name", "word"),
    [("anthropic", "model_context_window_exceeded"), ("anthropic", "pause_turn"), ("openai", "max_tokens")],
)
async def test_llm_13_other_words_for_an_answer_that_was_cut_off(name: str, word: str) -> None:
    async with wire_server() as wire:
        case = Case(name, wire)
        wire.chunks = answer_of(name, ["Hel"], (11, 7), word)
        assert (await case.ask()).finish_reason == "length"
        await case.providers.close()


async def test_llm_13_thoughts_are_known_and_no_text(case: Case) -> None:
    thought = {
        "openai": {"choices": [{"index": 0, "delta": {"reasoning_content": "Hm"}, "finish_reason": None}]},
        "anthropic": {
            "type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm"}},
        "google": {"candidates": [{"content": {"parts": [{"text": "Hm", "thought": True}]}}]},
        "cohere": {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"thinking": "Hm"}}}},
    }[case.name]  # fmt: skip
    chunks = answer_of(case.name, [], (11, 7), "length")
    case.wire.chunks = [*chunks[:1], *sse(thought, names=case.name == "anthropic"), *chunks[1:]]
    if case.name == "google":
        case.wire.chunks = [*sse(thought), *chunks]
    made = await case.ask()
    assert (made.text, made.thought, made.finish_reason) == ("", True, "length")


async def test_llm_13_the_rest_of_an_answer_is_asked_for_with_what_was_said(case: Case) -> None:
    case.wire.chunks = answer_of(case.name, ["world"], (11, 7))
    await case.ask(so_far="Hello ")
    body = json.dumps(case.wire.asked[0]["body"])
    assert body.index("Say it") < body.index("Hello ") < body.index("Continue exactly where it stopped")
    assert '"model"' in body if case.name == "google" else '"assistant"' in body
