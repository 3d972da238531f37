"""The LLM step: order of questions, fallback, cost, redaction, cache. Services are scripted, providers are real."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from agentflow_common import rpc
from agentflow_common.errors import AgentFlowError, BlockedError, BudgetExceededError, RetryableError
from agentflow_common.events import StepScheduled
from agentflow_worker.context import StepContext
from agentflow_worker.models.llm_step import LlmDeps, LlmStepError, run_llm
from agentflow_worker.providers import Completion, CompletionRequest, OnToken, ProviderError, Providers
from agentflow_worker.settings import WorkerSettings
from tests.support.llm_step import MAIL, TEXT, TOKEN, FakeServices, ScriptedProvider, candidate, run_llm_step


async def test_a_local_step_sees_protected_text_only_and_is_accounted_for() -> None:
    services = FakeServices(candidate("local", "extractive-1"))
    made = await run_llm_step(services, quality="Gold", sla_ms=500)
    assert [name for name, _ in services.asked] == [
        "prompt.render", "security.protect", "cost.route", "security.protect", "security.protect",
    ]  # fmt: skip
    route = services.requests("cost.route")[0]
    assert (route.quality, route.providers, route.run_budget_nano, route.sla_ms, route.attempt) == (
        "Gold", ("local",), 77, 500, 2,
    )  # fmt: skip
    assert MAIL not in json.dumps([made.output, services.live])
    assert TOKEN in made.output["text"]
    assert made.redactions == {"EMAIL_ADDRESS": 1}
    assert (made.output["provider"], made.output["summary"]) == ("local", made.output["text"])
    usage = made.usage
    assert (usage.prompt, usage.reservation, usage.quality) == ("analyzer@3", "res-1", "Gold")
    exact = usage.input_tokens * 1_500_001 + usage.output_tokens * 3_000_002
    assert usage.cost_nano == -(-exact // 1_000_000) > 0


async def test_inputs_that_the_screened_prompt_holds_are_not_screened_again() -> None:
    services = FakeServices(candidate("local", "extractive-1"))
    clean = "The gateway failed for 94 minutes; 11,382 payments were declined."
    made = await run_llm_step(services, content=clean)
    assert [request.purpose for request in services.requests("security.protect")] == ["prompt", "completion"]
    assert made.output["text"] == clean


async def test_a_paid_answer_waits_for_the_security_service() -> None:
    services = FakeServices(candidate("openai", "a"))
    failed: list[str] = []
    ask = services.ask

    async def flaky(verb: rpc.Verb[Any], request: Any, *, trace: str = "") -> Any:
        if getattr(request, "purpose", "") == "completion" and not failed:
            failed.append(request.purpose)
            raise RetryableError("away", kind="service_unavailable")
        return await ask(verb, request, trace=trace)

    services.ask = flaky  # type: ignore[method-assign]
    provider = ScriptedProvider("It took 94 minutes.")
    made = await run_llm_step(services, provider)
    assert (made.output["text"], len(provider.requests), failed) == ("It took 94 minutes.", 1, ["completion"])


async def test_fallback_pays_for_failed_calls_and_records_them() -> None:
    services = FakeServices(candidate("openai", "a"), candidate("openai", "b"), candidate("openai", "c"))
    provider = ScriptedProvider(
        ProviderError("rate_limited", "slow", retryable=True, retry_after_ms=500),
        ProviderError("stream_broken", "cut", retryable=True, input_tokens=1000),
        "Fine answer",
    )
    made = await run_llm_step(services, provider)
    assert [(a.model, a.ok, a.error, a.cost_nano) for a in made.usage.attempts] == [
        ("a", False, "rate_limited", 0), ("b", False, "stream_broken", 1501), ("c", True, "", 1531),
    ]  # fmt: skip
    assert (made.usage.model, made.usage.cost_nano) == ("c", 3032)
    assert (made.usage.input_tokens, made.usage.output_tokens) == (2000, 10)
    assert made.output == {"text": "Fine answer", "provider": "openai", "model": "c", "finish_reason": "stop"}


async def test_when_all_fail_the_error_is_retryable_if_any_was_and_waits_as_told() -> None:
    services = FakeServices(candidate("openai", "a"), candidate("openai", "b"))
    provider = ScriptedProvider(
        ProviderError("rate_limited", "slow", retryable=True, retry_after_ms=500),
        ProviderError("auth", "no", retryable=False),
    )
    with pytest.raises(LlmStepError) as caught:
        await run_llm_step(services, provider)
    error = caught.value.error
    assert (error.type, error.retryable, error.retry_after_ms) == ("rate_limited", True, 500)
    assert caught.value.usage is not None
    assert [a.error for a in caught.value.usage.attempts] == ["rate_limited", "auth"]
    assert caught.value.usage.reservation == "res-1"


async def test_a_prompt_that_is_too_long_ends_the_search() -> None:
    services = FakeServices(candidate("openai", "a"), candidate("openai", "b"))
    with pytest.raises(LlmStepError, match="shorten the inputs") as caught:
        await run_llm_step(services, ScriptedProvider(ProviderError("context_length", "long", retryable=False)))
    assert (caught.value.error.type, caught.value.error.retryable) == ("context_length", False)


@pytest.mark.parametrize(
    ("verb", "error", "kind"),
    [
        ("security.protect", BlockedError("no detector"), "blocked_error"),
        ("cost.route", BudgetExceededError("too dear"), "budget_exceeded_error"),
    ],
)
async def test_a_refusal_before_the_call_costs_nothing(verb: str, error: AgentFlowError, kind: str) -> None:
    services, provider = FakeServices(candidate("openai", "a")), ScriptedProvider("never")
    services.fails[verb] = error
    with pytest.raises(LlmStepError) as caught:
        await run_llm_step(services, provider)
    assert (caught.value.error.type, caught.value.error.retryable, caught.value.usage) == (kind, False, None)
    assert provider.requests == []


async def test_json_is_merged_next_to_the_text_and_prose_falls_back() -> None:
    services = FakeServices(candidate("openai", "a"), candidate("openai", "b"))
    provider = ScriptedProvider("I think so.", '```json\n{"type": "text", "text": "mine", "score": 0.9}\n```')
    made = await run_llm_step(services, provider, config={"output": "json"})
    assert (made.output["type"], made.output["json"]["text"], made.output["text"][:3]) == ("text", "mine", "```")
    assert [a.error for a in made.usage.attempts] == ["invalid_json", ""]
    assert provider.requests[0].json_output is True


async def test_tokens_stream_in_order_and_start_over_with_the_next_model() -> None:
    services = FakeServices(candidate("openai", "a"))
    made = await run_llm_step(services, ScriptedProvider("one two three"))
    await asyncio.sleep(0)
    assert {m["subject"] for m in services.live} == {"af.live.run_1.s"}
    assert services.live[0]["offset"] == 0
    assert "".join(m["text"] for m in services.live).strip() == made.output["text"]
    assert len(services.live) <= 2


async def test_a_cached_answer_calls_no_model_and_a_new_one_is_kept() -> None:
    services = FakeServices(candidate("openai", "a"))
    first = await run_llm_step(services, ScriptedProvider("Fine"), cache=True)
    (put,) = services.requests("cost.cache_put")
    assert put.cache_key == services.requests("cost.route")[0].cache_key != ""
    services.cached = put.value
    again = await run_llm_step(services, ScriptedProvider(), cache=True)
    assert again.output == first.output
    assert (again.usage.cache_hit, again.usage.cost_nano, again.usage.model) == (True, 0, "a")
    private = FakeServices(candidate("openai", "a"))
    await run_llm_step(private, ScriptedProvider(f"Write to {MAIL}"), cache=True)
    assert private.requests("cost.cache_put") == []  # tokens mean nothing in another run


async def test_a_cancelled_call_leaves_what_it_had_cost() -> None:
    begun = asyncio.Event()

    class Slow(ScriptedProvider):
        async def complete(self, request: CompletionRequest, on_token: OnToken) -> Completion:
            on_token("abc")
            begun.set()
            await asyncio.Event().wait()
            raise AssertionError

    services, providers = FakeServices(candidate("openai", "a")), Providers(WorkerSettings())
    providers._made["openai"] = Slow()
    task = StepScheduled(
        org="acme", run="run_1", ts=0, step="s", attempt=1, lane="default", kind="llm", config={}, prompt="p@1"
    )
    context = StepContext("acme", "run_1", "s", 1, WorkerSettings())
    deps = LlmDeps(services.ask, services.publish, providers)
    calling = asyncio.ensure_future(run_llm(task, {"content": TEXT}, deps, context))
    await begun.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert context.llm_usage is not None
    assert context.llm_usage.attempts[0].error == "cancelled"
    assert context.llm_usage.cost_nano > 0


async def test_a_text_of_the_definition_is_asked_as_it_is_and_protected() -> None:
    services = FakeServices(candidate("openai", "small"))
    provider = ScriptedProvider("Hello")
    text = f"Say hello to {MAIL}, not to {{{{content}}}}"
    made = await run_llm_step(services, provider, {"model": "openai/small"}, text=text)
    assert [name for name, _ in services.asked] == ["security.protect", "cost.route"], "no prompt is looked up"
    (request,) = provider.requests
    assert request.text == f"Say hello to {TOKEN}, not to {{{{content}}}}", "what is data is never read as a template"
    assert request.system == ""
    assert services.requests("cost.route")[0].model == "openai/small"
    assert (made.output["text"], made.usage.prompt, made.redactions) == ("Hello", "inline", {"EMAIL_ADDRESS": 1})


async def test_the_offline_provider_reads_the_inputs_beside_a_text() -> None:
    services = FakeServices(candidate("local", "extractive-1"))
    made = await run_llm_step(services, content="The vendor pays a service credit.", text="Summarise this.")
    assert made.output["text"] == "The vendor pays a service credit."


async def test_a_prompt_that_is_one_value_is_asked_as_json_and_an_empty_one_is_an_error() -> None:
    provider = ScriptedProvider("Fine")
    await run_llm_step(FakeServices(candidate("openai", "small")), provider, text={"a": [1, None]})
    assert provider.requests[0].text == '{"a":[1,null]}'
    for nothing in ("", " \n"):
        services = FakeServices(candidate("openai", "small"))
        with pytest.raises(LlmStepError) as caught:
            await run_llm_step(services, ScriptedProvider(), text=nothing)
        assert (caught.value.error.type, caught.value.error.retryable) == ("missing_prompt", False)
        assert services.asked == []


def test_llm_01_httpx_is_whole_before_the_sdk_of_openai_looks_at_it() -> None:
    """That SDK asks the modules that are loaded for httpx, which another SDK may be importing in a thread just then."""
    code = (
        "import sys, importlib.abc\n"
        "class Watch(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'openai':\n"
        "            print('httpx' in sys.modules and hasattr(sys.modules['httpx'], 'TimeoutException'))\n"
        "sys.meta_path.insert(0, Watch())\n"
        "import agentflow_worker.providers.openai\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "True"
