"""For tests of the LLM step: the services that it asks and the provider that it calls, both scripted."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from agentflow_common import rpc
from agentflow_common.errors import AgentFlowError
from agentflow_common.events import StepScheduled
from agentflow_worker.context import StepContext
from agentflow_worker.models.llm_step import LlmDeps, LlmResult, run_llm
from agentflow_worker.providers import Completion, CompletionRequest, OnToken, Providers
from agentflow_worker.settings import WorkerSettings

MAIL = "@".join(["ann", "mail.example"])
TOKEN = "<EMAIL_ADDRESS:7Q2M4K>"
TEXT = f"The gateway failed for 94 minutes. Write to {MAIL} for the report. The vendor pays a service credit."


class FakeServices:
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


class ScriptedProvider:
    """A provider that answers from a script of texts, completions and errors to raise."""

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
    """Returns a model that the cost service offers; its output costs twice its input."""
    return rpc.Candidate(
        provider=provider, model=model, input_nano_per_mtok=price, output_nano_per_mtok=2 * price, est_cost_nano=1
    )


async def run_llm_step(
    services: FakeServices,
    provider: ScriptedProvider | None = None,
    config: dict[str, Any] | None = None,
    content: str = TEXT,
    text: Any = None,
    **policy: Any,
) -> LlmResult:
    """Runs one LLM step with fake services; a given provider takes the place of OpenAI.

    text: the prompt, if the definition has it; None for a registered one.
    """
    providers = Providers(WorkerSettings())
    if provider is not None:
        providers._made["openai"] = provider
    task = StepScheduled(
        org="acme", run="run_1", ts=0, step="s", attempt=2, lane="default", kind="llm", config=config or {},
        policy=policy, budget_nano=77, prompt="analyzer@3" if text is None else "",
    )  # fmt: skip
    deps = LlmDeps(services.ask, services.publish, providers)
    inputs = {"content": content} if text is None else {"content": content, "prompt": text}
    return await run_llm(task, inputs, deps, StepContext("acme", "run_1", "s", 2, WorkerSettings()))
