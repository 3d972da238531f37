"""The LLM step: render the prompt, protect it, route it, call a model, protect the answer, account for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from agentflow_common.events import LlmUsage, StepError, StepScheduled
from nats.aio.client import Client

from agentflow_worker.context import StepContext
from agentflow_worker.settings import WorkerSettings

Ask = Callable[..., Awaitable[Any]]  # (verb, request, *, trace, timeout_s) -> reply; raises AgentFlowError
Publish = Callable[[str, bytes], Awaitable[None]]


@dataclass(slots=True)
class LlmDeps:
    """What an LLM step needs of the outside. Build one per worker with `LlmDeps.connect(nc, settings)`."""

    ask: Ask
    publish: Publish

    @classmethod
    def connect(cls, nc: Client, settings: WorkerSettings) -> LlmDeps:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


@dataclass(slots=True)
class LlmResult:
    """output: an object with at least `text`. redactions: findings by entity in prompt and completion."""

    output: dict[str, Any]
    usage: LlmUsage
    redactions: dict[str, int] = field(default_factory=dict)


class LlmStepError(Exception):
    """The step attempt failed. usage: what the calls had cost by then, None if no model was called."""

    def __init__(self, error: StepError, usage: LlmUsage | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.usage = usage


async def run_llm(task: StepScheduled, inputs: dict[str, Any], deps: LlmDeps, context: StepContext) -> LlmResult:
    """Runs one attempt. inputs: the resolved values by name. Raises LlmStepError."""
    raise NotImplementedError
