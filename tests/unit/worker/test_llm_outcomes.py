"""The LLM step when a provider, a peer or the worker itself misbehaves, and when an answer is cut off or empty."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agentflow_common import ids, rpc
from agentflow_common.errors import BudgetExceededError, RetryableError
from agentflow_common.events import StepScheduled
from agentflow_worker.context import StepContext
from agentflow_worker.models.llm_step import LlmDeps, LlmStepError, run_llm
from agentflow_worker.providers import Completion, CompletionRequest, OnToken, ProviderError, Providers
from agentflow_worker.settings import WorkerSettings
from tests.support.llm_step import MAIL, TOKEN, FakeServices, ScriptedProvider, candidate, run_llm_step

TWO = (candidate("openai", "a"), candidate("openai", "b"))
OWN = ids.reservation_id("acme", "run_1", "s", 2)


def cut(text: str, input_tokens: int = 1000, output_tokens: int = 10) -> Completion:
    return Completion(text, input_tokens, output_tokens, "length")


async def fails(services: FakeServices, provider: Any, **policy: Any) -> LlmStepError:
    with pytest.raises(LlmStepError) as caught:
        await run_llm_step(services, provider, **policy)
    return caught.value


# --- 1 ---


@pytest.mark.parametrize("error", [AttributeError("no delta"), TypeError("null"), KeyError("x"), ZeroDivisionError()])
async def test_llm_01_whatever_a_provider_raises_is_an_attempt_and_the_next_one_answers(error: Exception) -> None:
    class Talking(ScriptedProvider):
        async def complete(self, request: CompletionRequest, on_token: OnToken) -> Completion:
            if not self.requests:
                on_token("abcdef")
            return await super().complete(request, on_token)

    made = await run_llm_step(FakeServices(*TWO), Talking(error, "Fine answer"))
    first, second = made.usage.attempts
    assert (first.ok, first.error, first.finish_reason) == (False, "malformed_answer", "error")
    assert first.output_tokens == 2  # what was streamed is billed
    assert first.cost_nano > 0
    assert (second.ok, second.finish_reason, made.output["text"]) == (True, "stop", "Fine answer")
    assert made.usage.cost_nano == first.cost_nano + second.cost_nano


async def test_llm_01_a_provider_that_can_t_be_made_is_an_attempt() -> None:
    providers = Providers(WorkerSettings(openai_api_key="k"))

    async def ready(_name: str) -> Any:
        raise ImportError("no SDK here")

    providers.ready = ready  # type: ignore[method-assign]
    services = FakeServices(candidate("openai", "a"))
    task = StepScheduled(
        org="acme", run="run_1", ts=0, step="s", attempt=2, lane="default", kind="llm", config={}, prompt="p@1"
    )
    context = StepContext("acme", "run_1", "s", 2, WorkerSettings())
    with pytest.raises(LlmStepError) as caught:
        await run_llm(task, {"content": "x"}, LlmDeps(services.ask, services.publish, providers), context)
    assert caught.value.usage is not None
    assert [a.error for a in caught.value.usage.attempts] == ["malformed_answer"]
    assert caught.value.usage.reservation == "res-1"


async def test_llm_01_a_fault_of_ours_after_the_reservation_names_it_and_what_was_spent() -> None:
    services = FakeServices(candidate("openai", "a"))
    ask = services.ask

    async def broken(verb: rpc.Verb[Any], request: Any, *, trace: str = "") -> Any:
        if getattr(request, "purpose", "") == "completion":
            raise AttributeError("a fault of ours")
        return await ask(verb, request, trace=trace)

    services.ask = broken  # type: ignore[method-assign]
    error = await fails(services, ScriptedProvider("It took 94 minutes."))
    assert (error.error.type, error.error.retryable) == ("AttributeError", True)
    assert error.usage is not None
    assert (error.usage.reservation, error.usage.cost_nano > 0, len(error.usage.attempts)) == ("res-1", True, 1)


async def test_llm_01_a_reply_that_was_lost_may_have_reserved_and_a_refusal_has_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agentflow_worker.models.llm_step.PATIENCE_S", 0.0)
    services = FakeServices(candidate("openai", "a"))
    services.fails["cost.route"] = RetryableError("no reply", kind="service_unavailable")
    lost = await fails(services, ScriptedProvider())
    assert lost.usage is not None
    assert (lost.usage.reservation, lost.usage.cost_nano, lost.usage.attempts) == (OWN, 0, ())
    services.fails["cost.route"] = BudgetExceededError("too dear")
    assert (await fails(services, ScriptedProvider())).usage is None


async def test_llm_01_a_step_that_is_stopped_while_it_asks_for_money_names_the_reservation() -> None:
    services = FakeServices(candidate("openai", "a"))
    asking, ask = asyncio.Event(), services.ask

    async def slow(verb: rpc.Verb[Any], request: Any, *, trace: str = "") -> Any:
        if verb is rpc.COST_ROUTE:
            asking.set()
            await asyncio.Event().wait()
        return await ask(verb, request, trace=trace)

    task = StepScheduled(
        org="acme", run="run_1", ts=0, step="s", attempt=2, lane="default", kind="llm", config={}, prompt="p@1"
    )
    context = StepContext("acme", "run_1", "s", 2, WorkerSettings())
    deps = LlmDeps(slow, services.publish, Providers(WorkerSettings()))
    calling = asyncio.ensure_future(run_llm(task, {"content": "x"}, deps, context))
    await asking.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert context.llm_usage is not None
    assert context.llm_usage.reservation == OWN


# --- 10 ---


async def test_llm_10_viewers_and_the_output_get_text_that_can_be_encoded() -> None:
    services = FakeServices(candidate("openai", "a"))
    made = await run_llm_step(services, ScriptedProvider(Completion("a\ufffdb", 1, 1)))
    await asyncio.sleep(0)
    assert made.output["text"] == "a\ufffdb"
    half = FakeServices(candidate("openai", "a"))

    class Careless(ScriptedProvider):
        async def complete(self, request: CompletionRequest, on_token: OnToken) -> Completion:
            on_token("a\ud83d")  # a provider of somebody else's that passes on what it gets
            return Completion("fine", 1, 1)

    await run_llm_step(half, Careless())
    await asyncio.sleep(0)
    assert [message["text"] for message in half.live] == ["a\ufffd"]


# --- 12 ---


async def test_llm_12_the_error_tells_what_each_provider_said_and_how_long_to_wait() -> None:
    services = FakeServices(*TWO, candidate("anthropic", "c"))
    provider = ScriptedProvider(
        ProviderError("rate_limited", "openai: HTTP 429 slow down", retryable=True, retry_after_ms=7000, status=429),
        ProviderError("overloaded", "openai: HTTP 503 busy", retryable=True, retry_after_ms=9000, status=503),
    )
    error = await fails(services, provider)
    assert (error.error.type, error.error.retryable, error.error.retry_after_ms) == ("rate_limited", True, 7000)
    for said in (
        "openai/a: rate_limited, HTTP 429 slow down, asks to wait 7 s",
        "openai/b: overloaded, HTTP 503 busy, asks to wait 9 s",
        "anthropic/c: provider_unavailable",
    ):
        assert said in error.error.message
    assert error.usage is not None
    assert [(a.status, a.error) for a in error.usage.attempts] == [
        (429, "rate_limited"), (503, "overloaded"), (0, "provider_unavailable"),
    ]  # fmt: skip


# --- 13 ---


async def test_llm_13_what_was_cut_off_fails_and_nobody_else_is_paid() -> None:
    provider = ScriptedProvider(cut("It took"), "never")
    error = await fails(FakeServices(*TWO), provider)
    assert (error.error.type, error.error.retryable) == ("truncated", False)
    assert "1,024 output tokens" in error.error.message
    assert "max_output_tokens" in error.error.message
    assert error.usage is not None
    (attempt,) = error.usage.attempts
    assert (attempt.error, attempt.finish_reason, attempt.output_tokens) == ("truncated", "length", 10)
    assert (error.usage.finish_reason, error.usage.cost_nano) == ("length", attempt.cost_nano)
    assert len(provider.requests) == 1


async def test_llm_13_accepted_it_says_so_in_output_and_event() -> None:
    made = await run_llm_step(FakeServices(*TWO), ScriptedProvider(cut("It took")), on_truncated="accept")
    assert (made.output["text"], made.output["finish_reason"]) == ("It took", "length")
    assert (made.usage.finish_reason, made.usage.attempts[0].finish_reason) == ("length", "length")
    assert made.usage.attempts[0].ok


async def test_llm_13_continued_it_is_one_answer_of_the_same_model() -> None:
    services = FakeServices(*TWO)
    provider = ScriptedProvider(cut("It took "), cut("94 min"), Completion("utes.", 1100, 3))
    made = await run_llm_step(services, provider, on_truncated="continue")
    await asyncio.sleep(0)
    assert (made.output["text"], made.output["finish_reason"]) == ("It took 94 minutes.", "stop")
    assert [(r.model, r.so_far) for r in provider.requests] == [("a", ""), ("a", "It took "), ("a", "It took 94 min")]
    assert [(a.ok, a.finish_reason) for a in made.usage.attempts] == [
        (True, "length"),
        (True, "length"),
        (True, "stop"),
    ]
    assert (made.usage.input_tokens, made.usage.output_tokens) == (3100, 23)
    assert made.usage.cost_nano == sum(a.cost_nano for a in made.usage.attempts)
    assert services.requests("cost.route")[0].calls == 4  # the money for all of them is reserved
    assert "".join(m["text"] for m in services.live) == "It took 94 minutes."
    offsets = [m["offset"] for m in services.live]
    assert offsets == sorted(offsets)


async def test_llm_13_it_is_continued_three_times_at_most() -> None:
    provider = ScriptedProvider(*[cut("more ")] * 4, "never")
    error = await fails(FakeServices(*TWO), provider, on_truncated="continue")
    assert (error.error.type, len(provider.requests)) == ("truncated", 4)
    assert error.usage is not None
    assert [a.error for a in error.usage.attempts] == ["", "", "", "truncated"]


async def test_llm_13_without_a_word_there_is_nothing_to_go_on_from() -> None:
    thinking = Completion("", 1000, 1024, "length", thought=True)
    for policy in ({}, {"on_truncated": "continue"}):
        provider = ScriptedProvider(thinking, "never")
        error = await fails(FakeServices(*TWO), provider, **policy)
        assert (error.error.type, len(provider.requests)) == ("truncated", 1)
        assert "still thinking" in error.error.message


async def test_llm_13_json_is_put_together_before_it_is_read() -> None:
    services = FakeServices(candidate("openai", "a"))
    provider = ScriptedProvider(cut('{"type": "te'), Completion('xt"}', 1100, 3))
    made = await run_llm_step(services, provider, config={"output": "json"}, on_truncated="continue")
    assert made.output["json"] == {"type": "text"}
    assert [request.json_output for request in provider.requests] == [True, False]
    error = await fails(
        FakeServices(*TWO), ScriptedProvider(cut("{"), "never"), on_truncated="accept", config={"output": "json"}
    )
    assert error.error.type == "truncated"


@pytest.mark.parametrize("thought", [True, False])
async def test_llm_13_an_empty_answer_makes_the_next_candidate_try(thought: bool) -> None:
    empty = Completion(" \n", 1000, 4, "stop", thought=thought)
    made = await run_llm_step(FakeServices(*TWO), ScriptedProvider(empty, "Fine"))
    assert [(a.error, a.finish_reason) for a in made.usage.attempts] == [("empty_answer", "stop"), ("", "stop")]
    error = await fails(FakeServices(*TWO), ScriptedProvider(empty, empty))
    assert (error.error.type, error.error.retryable) == ("empty_answer", True)
    assert ("thought" in error.error.message) == thought
    accepted = await run_llm_step(FakeServices(*TWO), ScriptedProvider(empty), on_truncated="accept")
    assert accepted.output["text"] == " \n"


async def test_llm_13_a_tool_call_is_an_answer_and_is_screened() -> None:
    calls = ({"id": "t1", "name": "look_up", "arguments": json.dumps({"mail": MAIL})},)
    made = await run_llm_step(
        FakeServices(*TWO), ScriptedProvider(Completion("", 1000, 4, "tool_calls", tool_calls=calls))
    )
    assert (made.output["text"], made.output["finish_reason"]) == ("", "tool_calls")
    assert made.output["tool_calls"] == [{"id": "t1", "name": "look_up", "arguments": json.dumps({"mail": TOKEN})}]


async def test_llm_13_a_withheld_answer_is_paid_for_and_the_next_candidate_tries() -> None:
    withheld = ProviderError(
        "content_filter", "openai: the answer was withheld (SAFETY)", retryable=False, finish_reason="filtered",
        input_tokens=1000, output_tokens=10,
    )  # fmt: skip
    made = await run_llm_step(FakeServices(*TWO), ScriptedProvider(withheld, "Fine"))
    assert [(a.error, a.finish_reason) for a in made.usage.attempts] == [("content_filter", "filtered"), ("", "stop")]
    assert made.usage.attempts[0].cost_nano > 0
    error = await fails(FakeServices(*TWO), ScriptedProvider(withheld, withheld), on_truncated="accept")
    assert (error.error.type, error.error.retryable) == ("content_filter", False)


@pytest.mark.parametrize(
    "answer",
    [cut("It took"), Completion("", 1000, 4, "stop"), Completion("It took", 1000, 4, "unknown"), cut("")],
)
async def test_llm_13_the_cache_keeps_whole_answers_only(answer: Completion) -> None:
    services = FakeServices(candidate("openai", "a"))
    await run_llm_step(services, ScriptedProvider(answer), cache=True, on_truncated="accept")
    assert services.requests("cost.cache_put") == []
    await run_llm_step(services, ScriptedProvider("Fine"), cache=True)
    assert len(services.requests("cost.cache_put")) == 1


async def test_llm_13_a_cached_answer_says_how_it_had_ended() -> None:
    services = FakeServices(candidate("openai", "a"))
    await run_llm_step(services, ScriptedProvider("Fine"), cache=True)
    services.cached = services.requests("cost.cache_put")[0].value
    again = await run_llm_step(services, ScriptedProvider(), cache=True)
    assert (again.output["finish_reason"], again.usage.finish_reason) == ("stop", "stop")


@pytest.mark.parametrize("verb", [rpc.PROMPT_RENDER, rpc.PROTECT, rpc.COST_ROUTE])
async def test_llm_01_a_service_that_restarts_costs_no_attempt(verb: rpc.Verb[Any]) -> None:
    services = FakeServices(candidate("openai", "a"))
    ask, away = services.ask, ["service_unavailable", "rpc_timeout", "database_unavailable"]

    async def restarting(asked: rpc.Verb[Any], request: Any, *, trace: str = "") -> Any:
        if asked is verb and away:
            raise RetryableError("away", kind=away.pop())
        return await ask(asked, request, trace=trace)

    services.ask = restarting  # type: ignore[method-assign]
    provider = ScriptedProvider("It took 94 minutes.")
    made = await run_llm_step(services, provider)
    assert (made.output["text"], len(provider.requests), away) == ("It took 94 minutes.", 1, [])


async def test_llm_06_what_a_service_answers_is_not_waited_for_here() -> None:
    services = FakeServices(candidate("openai", "a"))
    services.fails["cost.route"] = RetryableError("reservations are in the way", kind="budget_held")
    assert (await fails(services, ScriptedProvider())).error.type == "budget_held"
    assert len(services.requests("cost.route")) == 1
