"""A simulated provider for tests and routing studies: latency, failures and quality as configured,
by seed.

AGENTFLOW_SIM_MODELS is a JSON object of models: `{"fast": {"latency_ms": 20, "failure_rate": 0.1,
"failures": ["rate_limited"], "quality": 0.7, "seed": 1}}`. The same request (key, model, seed)
always has the same result. The cost service knows the prices.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Annotated, Final

import msgspec

from agentflow_common import ids
from agentflow_common.errors import InvalidError
from agentflow_worker.providers.port import Completion, CompletionRequest, OnToken, ProviderError, estimate_tokens

_RETRYABLE: Final = frozenset({"rate_limited", "overloaded", "timeout", "connection", "stream_broken", "server_error"})
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class SimModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The behaviour of one simulated model."""

    latency_ms: float = 0.0  # to the first token
    jitter: Share = 0.0  # spreads the latency by this share, up and down
    tokens_per_s: float = 0.0  # 0: all at once
    failure_rate: Share = 0.0
    failures: tuple[str, ...] = ("server_error",)  # kinds; each failure draws one
    retry_after_ms: int | None = None
    quality: Share = 1.0  # the share of requests that get a good answer; the others get an evasive sentence
    context_tokens: int = 1_000_000
    seed: int = 0


class SimProvider:
    """Answers as the settings of its models say."""

    name = "sim"

    def __init__(self, models: str) -> None:
        try:
            self._models = msgspec.json.decode(models, type=dict[str, SimModel])
        except msgspec.MsgspecError as error:
            raise InvalidError(f"AGENTFLOW_SIM_MODELS is not valid: {error}", kind="bad_setting") from error

    async def complete(self, request: CompletionRequest, on_token: OnToken) -> Completion:
        model = self._models.get(request.model)
        if model is None:
            raise ProviderError("not_found", f"sim: no model {request.model!r}", retryable=False)
        read = estimate_tokens(request.system + request.text)
        if read > model.context_tokens:
            raise ProviderError("context_length", f"sim: {read} tokens are too many", retryable=False)
        spread = 1 + model.jitter * (2 * self._draw("latency", request, model) - 1)
        latency_s = model.latency_ms * spread / 1000
        if latency_s > request.timeout_s:
            await asyncio.sleep(request.timeout_s)
            raise ProviderError("timeout", "sim: no answer in time", retryable=True)
        await asyncio.sleep(latency_s)
        if self._draw("failure", request, model) < model.failure_rate:
            kind = model.failures[int(self._draw("kind", request, model) * len(model.failures))]
            raise ProviderError(
                kind,
                f"sim: {kind}",
                retryable=kind in _RETRYABLE,
                retry_after_ms=model.retry_after_ms,
                input_tokens=read,
            )
        return await self._answer(request, model, read, on_token)

    async def _answer(self, request: CompletionRequest, model: SimModel, read: int, on_token: OnToken) -> Completion:
        from agentflow_worker.providers.local.provider import answer

        good = self._draw("quality", request, model) < model.quality
        text, data = answer(dataclasses.replace(request, model="extractive-pro")) if good else (_EVASIVE, {})
        for piece in text.split(" "):
            on_token(piece + " ")
            if model.tokens_per_s:
                await asyncio.sleep(1 / model.tokens_per_s)
        return Completion(text, read, max(1, estimate_tokens(text)), "stop", data)

    @staticmethod
    def _draw(what: str, request: CompletionRequest, model: SimModel) -> float:
        return ids.fraction(model.seed, what, request.model, request.key or request.text)

    async def close(self) -> None:
        """Has nothing to close."""


_EVASIVE: Final = "This depends on several factors that the text does not settle."
