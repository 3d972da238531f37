"""The LLM step: order of questions, fallback, cost, redaction, cache. Peers are scripted, providers are real ones."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from agentflow_common import rpc
from agentflow_common.errors import AgentFlowError, BlockedError, BudgetExceededError, RetryableError
from agentflow_common.events import StepScheduled
from agentflow_worker.context import StepContext
from agentflow_worker.models.llm_step import LlmDeps, LlmResult, LlmStepError, run_llm
from agentflow_worker.providers import Completion, CompletionRequest, OnToken, ProviderError, Providers
from agentflow_worker.settings import WorkerSettings

MAIL = "@".join(["ann", "mail.example"])
TOKEN = "<EMAIL_ADDRESS:7Q2M4K>"
TEXT = f"The gateway failed for 94 minutes. Write to {MAIL} for the report. The vendor pays a service credit."


class Peers:
    """The prompt, security and cost services, as far as one step sees them."""

    def __init__(
        self, *candidates: rpc.Candidate, template: str = "Summarise: {content}", task: str = "summarize"
    ) -> None:
        self.candidates = candidates
        self.template, self.task = template, task
        self.asked: list[tuple[str, Any]] = []
        self.fails: dict[str, AgentFlowError] = {}
        self.cached: dict[str, Any] | None = None
        self.live: list[dict[str, Any]] = []

    async def ask(self, verb: rpc.Verb[Any], request: Any, *, trace: str = "") -> Any:
        name = f"{verb.service}.{verb.name}"
        self.asked.append((name, request))
        if name in self.fails:
            raise self.fails[name]
        if name == "prompt.render":
            return rpc.RenderReply(
                prompt=request.ref, system="", text=self.template.format(**request.inputs), task=self.task
            )
        if name == "security.protect":
            body = msgspec.json.encode(request.value).decode()
            counts = {"EMAIL_ADDRESS": body.count(MAIL)} if MAIL in body else {}
            return rpc.ProtectReply(value=json.loads(body.replace(MAIL, TOKEN)), counts=counts)
        if name == "cost.route":
            return rpc.RouteReply(reservation="res-1", reserved_nano=9, candidates=self.candidates, cached=self.cached)
        return rpc.Empty()

    async def publish(self, subject: str, data: bytes) -> None:
        self.live.append({"subject": subject, **json.loads(data)})

    def requests(self, name: str) -> list[Any]:
        return [request for asked, request in self.asked if asked == name]


class Scripted:
    """A provider that says what it is told: texts, completions, or errors to raise."""

    name = "openai"

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.requests: list[CompletionRequest] = []

    async def complete(self, request: CompletionRequest, on_token: OnToken) -> Completion:
        self.requests.append(request)
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        if isinstance(step, Completion):
            on_token(step.text)
            return step
        for word in step.split(" "):
            on_token(word + " ")
        return Completion(step, 1000, 10)

    async def close(self) -> None: ...


def candidate(provider: str, model: str, price: int = 1_500_001) -> rpc.Candidate:
    return rpc.Candidate(
        provider=provider, model=model, input_nano_per_mtok=price, output_nano_per_mtok=2 * price, est_cost_nano=1
    )


async def run(
    peers: Peers,
    provider: Scripted | None = None,
    config: dict[str, Any] | None = None,
    content: str = TEXT,
    **policy: Any,
) -> LlmResult:
    providers = Providers(WorkerSettings())
    if provider is not None:
        providers._made["openai"] = provider
    task = StepScheduled(
        org="acme", run="run_1", ts=0, step="s", attempt=2, lane="default", kind="llm", config=config or {},
        policy=policy, budget_nano=77, prompt="analyzer@3",
    )  # fmt: skip
    deps = LlmDeps(peers.ask, peers.publish, providers)
    return await run_llm(task, {"content": content}, deps, StepContext("acme", "run_1", "s", 2, WorkerSettings()))


async def test_a_local_step_sees_protected_text_only_and_is_accounted_for() -> None:
    peers = Peers(candidate("local", "extractive-1"))
    made = await run(peers, quality="Gold", sla_ms=500)
    assert [name for name, _ in peers.asked] == [
        "prompt.render", "security.protect", "cost.route", "security.protect", "security.protect",
    ]  # fmt: skip
    route = peers.requests("cost.route")[0]
    assert (route.quality, route.providers, route.run_budget_nano, route.sla_ms, route.attempt) == (
        "Gold", ("local",), 77, 500, 2,
    )  # fmt: skip
    assert MAIL not in json.dumps([made.output, peers.live])
    assert TOKEN in made.output["text"]
    assert made.redactions == {"EMAIL_ADDRESS": 1}
    assert (made.output["provider"], made.output["summary"]) == ("local", made.output["text"])
    usage = made.usage
    assert (usage.prompt, usage.reservation, usage.quality) == ("analyzer@3", "res-1", "Gold")
    exact = usage.input_tokens * 1_500_001 + usage.output_tokens * 3_000_002
    assert usage.cost_nano == -(-exact // 1_000_000) > 0


async def test_inputs_that_the_screened_prompt_holds_are_not_screened_again() -> None:
    peers = Peers(candidate("local", "extractive-1"))
    clean = "The gateway failed for 94 minutes; 11,382 payments were declined."
    made = await run(peers, content=clean)
    assert [request.purpose for request in peers.requests("security.protect")] == ["prompt", "completion"]
    assert made.output["text"] == clean


async def test_a_paid_answer_waits_for_the_security_service() -> None:
    peers = Peers(candidate("openai", "a"))
    failed: list[str] = []
    ask = peers.ask

    async def flaky(verb: rpc.Verb[Any], request: Any, *, trace: str = "") -> Any:
        if getattr(request, "purpose", "") == "completion" and not failed:
            failed.append(request.purpose)
            raise RetryableError("away", kind="service_unavailable")
        return await ask(verb, request, trace=trace)

    peers.ask = flaky  # type: ignore[method-assign]
    provider = Scripted("It took 94 minutes.")
    made = await run(peers, provider)
    assert (made.output["text"], len(provider.requests), failed) == ("It took 94 minutes.", 1, ["completion"])


async def test_fallback_pays_for_failed_calls_and_records_them() -> None:
    peers = Peers(candidate("openai", "a"), candidate("openai", "b"), candidate("openai", "c"))
    provider = Scripted(
        ProviderError("rate_limited", "slow", retryable=True, retry_after_ms=500),
        ProviderError("stream_broken", "cut", retryable=True, input_tokens=1000),
        "Fine answer",
    )
    made = await run(peers, provider)
    assert [(a.model, a.ok, a.error, a.cost_nano) for a in made.usage.attempts] == [
        ("a", False, "rate_limited", 0), ("b", False, "stream_broken", 1501), ("c", True, "", 1531),
    ]  # fmt: skip
    assert (made.usage.model, made.usage.cost_nano) == ("c", 3032)
    assert (made.usage.input_tokens, made.usage.output_tokens) == (2000, 10)
    assert made.output == {"text": "Fine answer", "provider": "openai", "model": "c", "finish_reason": "stop"}


async def test_when_all_fail_the_error_is_retryable_if_any_was_and_waits_as_told() -> None:
    peers = Peers(candidate("openai", "a"), candidate("openai", "b"))
    provider = Scripted(
        ProviderError("rate_limited", "slow", retryable=True, retry_after_ms=500),
        ProviderError("auth", "no", retryable=False),
    )
    with pytest.raises(LlmStepError) as caught:
        await run(peers, provider)
    error = caught.value.error
    assert (error.type, error.retryable, error.retry_after_ms) == ("rate_limited", True, 500)
    assert caught.value.usage is not None
    assert [a.error for a in caught.value.usage.attempts] == ["rate_limited", "auth"]
    assert caught.value.usage.reservation == "res-1"


async def test_a_prompt_that_is_too_long_ends_the_search() -> None:
    peers = Peers(candidate("openai", "a"), candidate("openai", "b"))
    with pytest.raises(LlmStepError, match="shorten the inputs") as caught:
        await run(peers, Scripted(ProviderError("context_length", "long", retryable=False)))
    assert (caught.value.error.type, caught.value.error.retryable) == ("context_length", False)


@pytest.mark.parametrize(
    ("verb", "error", "kind"),
    [
        ("security.protect", BlockedError("no detector"), "blocked_error"),
        ("cost.route", BudgetExceededError("too dear"), "budget_exceeded_error"),
    ],
)
async def test_a_refusal_before_the_call_costs_nothing(verb: str, error: AgentFlowError, kind: str) -> None:
    peers, provider = Peers(candidate("openai", "a")), Scripted("never")
    peers.fails[verb] = error
    with pytest.raises(LlmStepError) as caught:
        await run(peers, provider)
    assert (caught.value.error.type, caught.value.error.retryable, caught.value.usage) == (kind, False, None)
    assert provider.requests == []


async def test_json_is_merged_next_to_the_text_and_prose_falls_back() -> None:
    peers = Peers(candidate("openai", "a"), candidate("openai", "b"))
    provider = Scripted("I think so.", '```json\n{"type": "text", "text": "mine", "score": 0.9}\n```')
    made = await run(peers, provider, config={"output": "json"})
    assert (made.output["type"], made.output["json"]["text"], made.output["text"][:3]) == ("text", "mine", "```")
    assert [a.error for a in made.usage.attempts] == ["invalid_json", ""]
    assert provider.requests[0].json_output is True


async def test_tokens_stream_in_order_and_start_over_with_the_next_model() -> None:
    peers = Peers(candidate("openai", "a"))
    made = await run(peers, Scripted("one two three"))
    await asyncio.sleep(0)
    assert {m["subject"] for m in peers.live} == {"af.live.run_1.s"}
    assert peers.live[0]["offset"] == 0
    assert "".join(m["text"] for m in peers.live).strip() == made.output["text"]
    assert len(peers.live) <= 2


async def test_a_cached_answer_calls_no_model_and_a_new_one_is_kept() -> None:
    peers = Peers(candidate("openai", "a"))
    first = await run(peers, Scripted("Fine"), cache=True)
    (put,) = peers.requests("cost.cache_put")
    assert put.cache_key == peers.requests("cost.route")[0].cache_key != ""
    peers.cached = put.value
    again = await run(peers, Scripted(), cache=True)
    assert again.output == first.output
    assert (again.usage.cache_hit, again.usage.cost_nano, again.usage.model) == (True, 0, "a")
    private = Peers(candidate("openai", "a"))
    await run(private, Scripted(f"Write to {MAIL}"), cache=True)
    assert private.requests("cost.cache_put") == []  # tokens mean nothing in another run


async def test_a_cancelled_call_leaves_what_it_had_cost() -> None:
    begun = asyncio.Event()

    class Slow(Scripted):
        async def complete(self, request: CompletionRequest, on_token: OnToken) -> Completion:
            on_token("abc")
            begun.set()
            await asyncio.Event().wait()
            raise AssertionError

    peers, providers = Peers(candidate("openai", "a")), Providers(WorkerSettings())
    providers._made["openai"] = Slow()
    task = StepScheduled(
        org="acme", run="run_1", ts=0, step="s", attempt=1, lane="default", kind="llm", config={}, prompt="p@1"
    )
    context = StepContext("acme", "run_1", "s", 1, WorkerSettings())
    deps = LlmDeps(peers.ask, peers.publish, providers)
    calling = asyncio.ensure_future(run_llm(task, {"content": TEXT}, deps, context))
    await begun.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert context.llm_usage is not None
    assert context.llm_usage.attempts[0].error == "cancelled"
    assert context.llm_usage.cost_nano > 0


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
