"""The LLM step: render the prompt, protect it, route it, call a model, protect the answer, account
for it.

Output: an object with at least `text`, `provider`, `model` and `finish_reason`. Fields that the
model gave as a JSON object (or that the `local` provider computed: `summary`, `keywords`, `type`
...) stand next to `text` and never overwrite these four, so a condition reads
`classify.output.type`. With `config.output: json` the parsed value is also under `json`, and an
answer that is not JSON makes the next candidate try.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from nats.aio.client import Client

from agentflow_common import ids, rpc, screening, tasks, telemetry
from agentflow_common.errors import AgentFlowError, InvalidError, TerminalError
from agentflow_common.events import PROMPT, LlmUsage, StepError, StepScheduled
from agentflow_common.metrics import models
from agentflow_common.rpc import bus
from agentflow_worker import machine
from agentflow_worker.context import StepContext
from agentflow_worker.models.completions import covered, is_empty, parse_json
from agentflow_worker.models.model_calls import Calls, Publish
from agentflow_worker.providers import Completion, CompletionRequest, Providers
from agentflow_worker.providers.port import STOP, TOOL_CALLS
from agentflow_worker.settings import WorkerSettings

log = logging.getLogger(__name__)
Ask = Callable[..., Awaitable[Any]]  # (verb, request, *, trace) -> reply; raises AgentFlowError

INLINE: Final = "inline"  # the name of a prompt whose text stands in the definition
DEFAULT_QUALITY: Final = "Silver"
STRUCTURED: Final = frozenset({"local", "sim"})  # providers that read `inputs` instead of the prose
CACHE_TTL_S: Final = 3600
CACHE_FORM: Final = 2
PATIENCE_S: Final = 20.0
PAUSE_S_MAX: Final = 2.0
AWAY: Final = frozenset(  # kinds of errors of a part of the platform that restarts
    {
        "service_unavailable",
        "rpc_timeout",
        "log_unavailable",
        "database_unavailable",
        "backend_timeout",
        "vault_unavailable",
        "audit_unavailable",
    }
)


@dataclass(slots=True)
class LlmDeps:
    """Everything outside that an LLM step needs.

    A worker makes one by `connect`, and closes it at the end.
    """

    ask: Ask
    publish: Publish
    providers: Providers

    @classmethod
    def connect(cls, nc: Client, settings: WorkerSettings) -> LlmDeps:
        return cls(functools.partial(bus.call, nc), nc.publish, Providers(settings))

    async def close(self) -> None:
        await self.providers.close()


@dataclass(slots=True)
class LlmResult:
    """The result of an attempt."""

    output: dict[str, Any]
    usage: LlmUsage
    redactions: dict[str, int] = field(default_factory=dict)  # findings in prompt and completion, by category


class LlmStepError(Exception):
    """The step attempt failed."""

    def __init__(self, error: StepError, usage: LlmUsage | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.usage = usage  # what the calls had cost by then; None if no model was called


async def run_llm(task: StepScheduled, inputs: dict[str, Any], deps: LlmDeps, context: StepContext) -> LlmResult:
    """Runs one attempt. inputs: the resolved values by name. Raises LlmStepError."""
    call = _Call(task, inputs, deps, context)
    try:
        with telemetry.span("llm", context.trace, llm__prompt=task.prompt) as span:
            call.trace = call.calls.trace = span.traceparent
            return await call.run()
    except asyncio.CancelledError:
        context.llm_usage = call.usage_of_failure()  # the money is spent, however the step was stopped
        raise
    except AgentFlowError as error:
        body = StepError(error.kind, error.message, error.retryable, error.retry_after_ms)
        raise LlmStepError(body, call.usage_of_failure()) from error
    except Exception as error:  # a fault of ours: money that was reserved and spent must not be lost with it
        log.warning("an LLM step failed", exc_info=True)
        raise LlmStepError(machine.to_step_error(error), call.usage_of_failure()) from error


class _Call:
    """The state of one attempt: what was rendered, routed, tried and spent so far."""

    def __init__(self, task: StepScheduled, inputs: dict[str, Any], deps: LlmDeps, context: StepContext) -> None:
        self.task, self.deps, self.context = task, deps, context
        # Without a reference the prompt is one of the inputs, and has no variables: data is never read as a template.
        self.prompt = None if task.prompt else inputs.get(PROMPT)
        self.inputs = inputs if task.prompt else {name: value for name, value in inputs.items() if name != PROMPT}
        self.trace = context.trace
        self.quality = str(task.policy.get("quality") or DEFAULT_QUALITY)
        self.wants_json = task.config.get("output") == "json"
        self.redactions: dict[str, int] = {}
        self.calls = Calls(task, deps.publish, deps.providers)
        self.reservation = ""  # the money that is, or may be, reserved; the attempt's end must name it
        self._protected_inputs: dict[str, Any] | None = None

    async def run(self) -> LlmResult:
        rendered = await self._render()
        safe = await self._protect({"text": rendered.text, "system": rendered.system}, "prompt")
        limit = int(self.task.config.get("max_output_tokens") or rendered.max_output_tokens)
        cache_key = self._cache_key(safe, limit) if self.task.policy.get("cache") else ""
        route = await self._route(safe, limit, cache_key)
        if route.cached is not None:
            return self._from_cache(route.cached)
        if cache_key:
            models.CACHE_MISSES.labels(self.quality).inc()
        candidate, completion = await self.calls.first_answer(
            route.candidates, lambda candidate: self._request(candidate, safe, rendered, limit)
        )
        output = await self._output(candidate, completion)
        whole = completion.finish_reason in (STOP, TOOL_CALLS) and not is_empty(completion)
        if cache_key and whole and not screening.contains_token(output):
            await self._remember(cache_key, output)
        return LlmResult(output, self._usage(candidate.provider, candidate.model), self.redactions)

    async def _render(self) -> rpc.RenderReply:
        task = self.task
        if not task.prompt:
            return rpc.RenderReply(prompt=INLINE, system="", text=self._text_of_definition())
        request = rpc.RenderRequest(org=task.org, run=task.run, step=task.step, ref=task.prompt, inputs=self.inputs)
        reply: rpc.RenderReply = await self._ask(rpc.PROMPT_RENDER, request)
        return reply

    def _text_of_definition(self) -> str:
        """Returns the prompt that the scheduler has filled in. A value alone is asked as JSON. Raises InvalidError."""
        text = self.prompt if isinstance(self.prompt, str) else msgspec.json.encode(self.prompt).decode()
        if self.prompt is None or not text.strip():
            message = f"step {self.task.step} has no prompt: its text is empty, so the model would be asked nothing"
            raise InvalidError(message, kind="missing_prompt")
        return text

    async def _protect(self, value: Any, purpose: str, count: bool = True) -> Any:
        task = self.task
        request = rpc.ProtectRequest(org=task.org, run=task.run, step=task.step, value=value, purpose=purpose)
        reply = await rpc.protected(request, lambda: self._ask(rpc.PROTECT, request))
        if count:
            for category, number in reply.counts.items():
                self.redactions[category] = self.redactions.get(category, 0) + number
        return reply.value

    def _cache_key(self, safe: dict[str, str], limit: int) -> str:
        config, policy = self.task.config, self.task.policy
        model = config.get("model") or policy.get("model")
        parts = (
            CACHE_FORM,  # changes with the kind of answers that are cached: once, answers that were cut off were
            safe["text"],
            safe["system"],
            limit,
            self.quality,
            model,
            config.get("temperature"),
            self.wants_json,
            self.task.prompt,
        )
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()

    async def _route(self, safe: dict[str, str], limit: int, cache_key: str) -> rpc.RouteReply:
        task = self.task
        request = rpc.RouteRequest(
            org=task.org,
            run=task.run,
            step=task.step,
            attempt=task.attempt,
            quality=self.quality,
            prompt_bytes=len(safe["text"].encode()) + len(safe["system"].encode()),
            max_output_tokens=limit,
            providers=self.deps.providers.available(),
            model=str(task.config.get("model") or task.policy.get("model") or ""),
            sla_ms=task.policy.get("sla_ms"),
            run_budget_nano=task.budget_nano,
            cache_key=cache_key,
            workflow=task.workflow,
            calls=self.calls.most,
        )
        # from here on money may be reserved, even if the answer to the question is lost
        self.reservation = ids.reservation_id(task.org, task.run, task.step, task.attempt)
        try:
            reply: rpc.RouteReply = await self._ask(rpc.COST_ROUTE, request)
        except TerminalError:
            self.reservation = ""  # it was refused
            raise
        self.reservation = reply.reservation
        return reply

    async def _request(
        self, candidate: rpc.Candidate, safe: dict[str, str], rendered: rpc.RenderReply, limit: int
    ) -> CompletionRequest:
        temperature = self.task.config.get("temperature")
        sla_ms = self.task.policy.get("sla_ms")
        return CompletionRequest(
            model=candidate.model,
            text=safe["text"],
            system=safe["system"],
            max_output_tokens=limit,
            temperature=float(rendered.temperature if temperature is None else temperature),
            timeout_s=sla_ms / 1000 if sla_ms else self.context.settings.llm_timeout_s,
            json_output=self.wants_json,
            task=rendered.task,
            inputs=await self._safe_inputs(safe["text"]) if candidate.provider in STRUCTURED else {},
            key=f"{self.context.idempotency_key}/{self.task.attempt}",
        )

    async def _safe_inputs(self, safe_text: str) -> dict[str, Any]:
        if self._protected_inputs is None and covered(self.inputs, safe_text):
            self._protected_inputs = self.inputs
        elif self._protected_inputs is None:
            # the rendered text was counted already, and the same findings must not count twice
            self._protected_inputs = await self._protect(self.inputs, "prompt", count=False)
        return self._protected_inputs

    async def _output(self, candidate: rpc.Candidate, completion: Completion) -> dict[str, Any]:
        parsed = completion.data or parse_json(completion.text)
        value: dict[str, Any] = {"text": completion.text}
        if isinstance(parsed, dict):
            value = {**{str(k): v for k, v in parsed.items()}, **value}
        if self.wants_json:
            value["json"] = parsed
        if completion.tool_calls:
            value["tool_calls"] = list(completion.tool_calls)
        # the answer is paid for: a service that is away for a moment must not lose it
        value = await tasks.patiently(lambda: self._protect(value, "completion"), PATIENCE_S, PAUSE_S_MAX)
        answered = {"provider": candidate.provider, "model": candidate.model}
        return {**value, **answered, "finish_reason": completion.finish_reason}

    async def _ask(self, verb: rpc.Verb[Any], request: Any) -> Any:
        """Asks a service.

        One that restarts is asked again for a while, so that its restart does not fail the step.
        """
        return await tasks.patiently(
            lambda: self.deps.ask(verb, request, trace=self.trace), PATIENCE_S, PAUSE_S_MAX, kinds=AWAY
        )

    async def _remember(self, cache_key: str, output: dict[str, Any]) -> None:
        request = rpc.CachePutRequest(
            org=self.task.org, cache_key=cache_key, value={"output": output}, ttl_s=CACHE_TTL_S
        )
        try:
            await self.deps.ask(rpc.COST_CACHE_PUT, request, trace=self.trace)
        except AgentFlowError as error:  # a cache that can't be filled costs money later, not this answer now
            self.context.logger.warning("the answer was not cached: %s", error.kind)

    def _from_cache(self, cached: dict[str, Any]) -> LlmResult:
        output = cached.get("output", cached)
        models.CACHE_HITS.labels(self.quality).inc()
        provider, model, finish = (str(output.get(name, "")) for name in ("provider", "model", "finish_reason"))
        usage = msgspec.structs.replace(self._usage(provider, model), cache_hit=True, finish_reason=finish)
        return LlmResult(output, usage, self.redactions)

    def _usage(self, provider: str, model: str) -> LlmUsage:
        attempts = tuple(self.calls.attempts)
        return LlmUsage(
            provider=provider,
            model=model,
            prompt=self.task.prompt or INLINE,
            input_tokens=sum(a.input_tokens for a in attempts),
            output_tokens=sum(a.output_tokens for a in attempts),
            cost_nano=sum(a.cost_nano for a in attempts),
            reservation=self.reservation,
            quality=self.quality,
            attempts=attempts,
            finish_reason=attempts[-1].finish_reason if attempts else "",
        )

    def usage_of_failure(self) -> LlmUsage | None:
        """Returns None only if nothing was reserved: a reservation must reach the cost service to
        be released.
        """
        if not self.calls.attempts and not self.reservation:
            return None
        last = self.calls.attempts[-1] if self.calls.attempts else None
        return self._usage(last.provider if last else "", last.model if last else "")
