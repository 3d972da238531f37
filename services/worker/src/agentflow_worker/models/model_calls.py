"""The model calls of one step attempt: the candidates in their order, and the result of each call.

Every call is recorded with its tokens and its cost, however it ended. After a failure the next
candidate is called. There are two exceptions, because the next candidate would fail in the same way
and cost money: a prompt that is too long, and an answer that was cut off by the limit on its
length.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from agentflow_common import rpc, subjects, telemetry
from agentflow_common.errors import AgentFlowError, InvalidError
from agentflow_common.events import LlmAttempt, StepScheduled
from agentflow_common.metrics import models
from agentflow_worker.models.completions import GO_ON, billed, cost_nano, counted, objection
from agentflow_worker.models.live_tokens import LiveStream
from agentflow_worker.providers import Completion, CompletionRequest, Provider, ProviderError, Providers
from agentflow_worker.providers.port import CONTEXT_LENGTH, EMPTY, LENGTH, MALFORMED, TRUNCATED

log = logging.getLogger(__name__)

Publish = Callable[[str, bytes], Awaitable[None]]
Make = Callable[[rpc.Candidate], Awaitable[CompletionRequest]]

CONTINUATIONS_MAX: Final = 3  # of one answer, with `on_truncated: continue`
_LAST: Final = frozenset({CONTEXT_LENGTH, TRUNCATED})  # kinds that end the search
_FIXES: Final = {
    CONTEXT_LENGTH: "shorten the inputs or split them",
    TRUNCATED: "raise max_output_tokens, or set policy.on_truncated to accept or continue",
    EMPTY: "change the prompt or the model, or set policy.on_truncated to accept",
    "auth": "set the provider's API key in the workers' environment",
}


class Calls:
    """The calls of one step attempt."""

    def __init__(self, task: StepScheduled, publish: Publish, providers: Providers) -> None:
        self.task = task
        self.trace = task.trace  # of the span that the calls belong to
        self.attempts: list[LlmAttempt] = []  # all that were made
        self._failed: list[tuple[LlmAttempt, ProviderError]] = []
        self._publish = publish
        self._providers = providers
        self._on_truncated = str(task.policy.get("on_truncated") or "fail")
        self._wants_json = task.config.get("output") == "json"

    @property
    def most(self) -> int:
        """The largest number of calls for one answer."""
        return 1 + CONTINUATIONS_MAX if self._on_truncated == GO_ON else 1

    async def first_answer(self, candidates: Sequence[rpc.Candidate], make: Make) -> tuple[rpc.Candidate, Completion]:
        """Returns the first candidate that answers, and its answer. make: makes the request to a
        candidate.

        Raises AgentFlowError if none answers, with the error of each.
        """
        for candidate in candidates:
            request = await make(candidate)
            live = LiveStream(self._publish, subjects.live(self.task.run, self.task.step), self.task)
            try:
                return candidate, await self._answer(candidate, request, live)
            except ProviderError as error:
                self._failed.append((self.attempts[-1], error))
                if error.kind in _LAST:
                    break
            finally:
                live.close()
        raise failure(self._failed, str(self.task.policy.get("quality") or "the wanted"))

    async def _answer(self, candidate: rpc.Candidate, request: CompletionRequest, live: LiveStream) -> Completion:
        """Returns the whole answer of one candidate, which may take several calls."""
        whole: Completion | None = None
        for calls_left in reversed(range(self.most)):
            whole = await self._call(candidate, request, live, whole, calls_left)
            if whole.finish_reason != LENGTH or self._on_truncated != GO_ON:
                break
            request = dataclasses.replace(request, so_far=whole.text, json_output=False)
        assert whole is not None  # noqa: S101  (at least one call is made)
        return whole

    async def _call(
        self,
        candidate: rpc.Candidate,
        request: CompletionRequest,
        live: LiveStream,
        before: Completion | None,
        calls_left: int,
    ) -> Completion:
        """Makes one call and returns the answer so far. calls_left: how many calls may follow it."""
        began, chars = time.perf_counter(), live.chars
        with _span(candidate, self.trace) as span:
            try:
                made, whole = await self._made(candidate, request, live, before, calls_left)
            except ProviderError as error:
                used = billed((error.input_tokens, error.output_tokens), live.chars - chars, request)
                self._record(span, candidate, used, began, error)
                raise
            except asyncio.CancelledError:
                used = billed((0, 0), live.chars - chars, request)
                self._record(span, candidate, used, began, None, "cancelled")
                raise
            used = (made.input_tokens, made.output_tokens)
            self._record(span, candidate, used, began, None, finish=made.finish_reason)
        return whole

    async def _made(
        self,
        candidate: rpc.Candidate,
        request: CompletionRequest,
        live: LiveStream,
        before: Completion | None,
        calls_left: int,
    ) -> tuple[Completion, Completion]:
        """Returns what one call said, and the answer so far.

        Every exception becomes a ProviderError, which ends this call alone.
        """
        try:
            provider = await self._provider(candidate)
            made = counted(await provider.complete(request, live.push), request)
            whole = _joined(before, made)
            continues = made.finish_reason == LENGTH and calls_left and made.text
            refused = objection(
                whole,
                provider=candidate.provider,
                limit=request.max_output_tokens,
                on_truncated=self._on_truncated,
                wants_json=self._wants_json,
            )
        except ProviderError:
            raise
        except Exception as error:
            log.warning("provider %s failed", candidate.provider, exc_info=True)
            text = f"{candidate.provider}: the call failed ({type(error).__name__})"
            raise ProviderError(MALFORMED, text, retryable=True) from error
        if refused is not None and not continues:
            refused.input_tokens, refused.output_tokens = made.input_tokens, made.output_tokens
            raise refused
        return made, whole

    async def _provider(self, candidate: rpc.Candidate) -> Provider:
        try:
            return await self._providers.ready(candidate.provider)
        except AgentFlowError as error:
            raise ProviderError(error.kind, error.message, retryable=False) from error

    def _record(
        self,
        span: telemetry.Span,
        candidate: rpc.Candidate,
        used: tuple[int, int],
        began: float,
        error: ProviderError | None,
        status: str = "",
        finish: str = "",
    ) -> None:
        seconds = time.perf_counter() - began
        latency_ms = round(seconds * 1000)
        made = LlmAttempt(
            provider=candidate.provider,
            model=candidate.model,
            ok=error is None and not status,
            input_tokens=used[0],
            output_tokens=used[1],
            cost_nano=cost_nano(candidate, *used),
            latency_ms=latency_ms,
            error=error.kind if error is not None else status,
            finish_reason=error.finish_reason if error is not None else finish,
            status=error.status if error is not None else 0,
            started_at=int(time.time() * 1000) - latency_ms,
        )
        self.attempts.append(made)
        _measure(made, seconds)
        _describe(span, made)


def _span(candidate: rpc.Candidate, trace: str) -> contextlib.AbstractContextManager[telemetry.Span]:
    if telemetry.from_log():
        return telemetry.span("llm.call", trace, "client")
    return telemetry.span(
        f"chat {candidate.model}",
        trace,
        "client",
        gen_ai__operation__name="chat",
        gen_ai__provider__name=candidate.provider,
        gen_ai__request__model=candidate.model,
    )


def _measure(made: LlmAttempt, seconds: float) -> None:
    model = (made.provider, made.model)
    status = made.error or "ok"
    models.PROVIDER_REQUESTS.labels(*model, status).inc()
    models.LLM_REQUESTS.labels(*model, status).inc()
    models.LLM_SECONDS.labels(*model).observe(seconds)
    models.LLM_TOKENS.labels(*model, "input").inc(made.input_tokens)
    models.LLM_TOKENS.labels(*model, "output").inc(made.output_tokens)


def _describe(span: telemetry.Span, made: LlmAttempt) -> None:
    if not made.ok:
        span.fail(made.error)
    if telemetry.from_log():
        return
    span.set(
        gen_ai__usage__input_tokens=made.input_tokens,
        gen_ai__usage__output_tokens=made.output_tokens,
        agentflow__cost__nano_usd=made.cost_nano,
    )
    if made.ok:
        span.set(gen_ai__response__model=made.model, gen_ai__response__finish_reasons=[made.finish_reason])


def _joined(before: Completion | None, made: Completion) -> Completion:
    """Joins an answer and its continuation."""
    if before is None:
        return made
    return dataclasses.replace(
        made,
        text=before.text + made.text,
        input_tokens=before.input_tokens + made.input_tokens,
        output_tokens=before.output_tokens + made.output_tokens,
        data=made.data or before.data,
        tool_calls=before.tool_calls + made.tool_calls,
        thought=before.thought or made.thought,
    )


def failure(failed: Sequence[tuple[LlmAttempt, ProviderError]], quality: str) -> AgentFlowError:
    """Returns the step's error when no candidate answered: the error of each one, and how long to
    wait.

    It is retryable if any of them was, after the shortest wait that a provider asked for.
    """
    if not failed:
        return InvalidError(f"no model is offered for quality {quality}", kind="no_candidate")
    last = failed[-1][1]
    errors = [error for _, error in failed]
    retryable = last.kind not in _LAST and any(error.retryable for error in errors)
    decisive = next((error for error in errors if error.retryable), last) if retryable else last
    waits = [error.retry_after_ms for error in errors if error.retryable and error.retry_after_ms is not None]
    said = "; ".join(f"{attempt.provider}/{attempt.model}: {_said(attempt, error)}" for attempt, error in failed)
    fix = _FIXES.get(decisive.kind, "see the attempts in the trace")
    error = AgentFlowError(
        f"{'every model' if len(failed) > 1 else 'the model'} failed ({said}); {fix}",
        kind=decisive.kind,
        retry_after_ms=min(waits, default=None),
    )
    error.retryable = retryable
    return error


def _said(attempt: LlmAttempt, error: ProviderError) -> str:
    text = error.message.removeprefix(f"{attempt.provider}: ")
    wait = "" if error.retry_after_ms is None else f", asks to wait {error.retry_after_ms / 1000:g} s"
    return f"{error.kind}, {text}{wait}"
