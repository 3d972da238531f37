"""The call of the code that a step names: with resolved inputs, within its time, stoppable."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any, Final

from nats.aio.client import Client

from agentflow_common import events as ev
from agentflow_common import rpc, screening
from agentflow_common.errors import DeadlineError, TerminalError
from agentflow_common.expressions.language import walk
from agentflow_common.log.blobs import Blobs
from agentflow_common.metrics import models
from agentflow_common.rpc import bus
from agentflow_common.runs.state import holds_marker, is_marker, marked_ref
from agentflow_worker import machine
from agentflow_worker.invoke import from_state, invoke
from agentflow_worker.models.llm_step import LlmDeps, LlmStepError, run_llm
from agentflow_worker.registry import Registry
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.tasks.attempt import Attempt
from agentflow_worker.tasks.reports import patiently
from agentflow_worker.tasks.results import TaskResult

TIMEOUT_GRACE_S: Final = 2.0  # the scheduler's timer decides; the worker's own bound is the second net


class StepCalls:
    """Runs tools, functions and LLM steps for the executor."""

    def __init__(self, nc: Client, settings: WorkerSettings, registry: Registry, llm: LlmDeps, blobs: Blobs) -> None:
        self._nc = nc
        self._settings = settings
        self._registry = registry
        self._llm = llm
        self._blobs = blobs

    def must_claim(self, task: ev.StepScheduled) -> bool:
        """True if the step must not silently happen twice: a tool with an effect, a model call that
        is paid for.
        """
        if task.kind != "tool":
            return task.kind == "llm"
        name = str(task.config.get("tool_name"))
        return ("tool", name) in self._registry and not self._registry.get("tool", name).idempotent

    async def run(self, attempt: Attempt) -> TaskResult:
        """Calls the step's code and returns its output, or its error.

        Is cancelled only when the worker stops.
        """
        task, context = attempt.task, attempt.context
        bound_s = self._settings.step_timeout_s_max
        if task.timeout_ms is not None:
            bound_s = min(bound_s, task.timeout_ms / 1000 + TIMEOUT_GRACE_S)
        if context.cancelled.is_set():
            return TaskResult(error=TerminalError("the step was stopped before it began", kind="cancelled"))
        attempt.work = work = asyncio.current_task()
        assert work is not None  # noqa: S101  (a coroutine runs in a task)
        attempt.late_at = asyncio.get_running_loop().time() + bound_s
        try:
            return await self._call(attempt)
        except asyncio.CancelledError:
            if work.cancelling() > attempt.interrupts:
                raise  # the worker stops
            if attempt.late:
                late = DeadlineError(f"the step did not end within {bound_s:g} s", kind="timeout")
                return TaskResult(error=late, llm=context.llm_usage)
            return TaskResult(error=TerminalError("the step was stopped", kind="cancelled"), llm=context.llm_usage)
        except LlmStepError as error:
            return TaskResult(error=error, llm=error.usage)
        except Exception as error:
            return TaskResult(error=error)
        finally:
            attempt.work = None
            attempt.late_at = math.inf
            for _ in range(attempt.interrupts):
                work.uncancel()

    async def _call(self, attempt: Attempt) -> TaskResult:
        task = attempt.task
        inputs = await self._resolve(task.inputs) if holds_marker(task.inputs) else task.inputs
        if task.kind == "llm":
            result = await run_llm(task, inputs, self._llm, attempt.context)
            return TaskResult(result.output, result.usage, dict(result.redactions))
        name = str(task.config.get(f"{task.kind}_name"))
        registration = self._registry.get(task.kind, name)
        if task.config.get("state_args"):
            inputs = from_state(registration, inputs)
        inputs = registration.by_own_names(inputs)
        asked: tuple[str, ...] = task.config.get("reveal", ())
        revealed = {*registration.reveal, *(registration.aliases.get(name, name) for name in asked)}
        if revealed:
            inputs = await self._reveal(attempt, inputs, revealed)
        attempt.blocking = not registration.is_async
        status, began = "error", time.perf_counter()
        try:
            output = await invoke(registration, inputs, attempt.context)
            status = "ok"
        finally:
            if task.kind == "tool":
                models.TOOL_EXECUTIONS.labels(name, status).inc()
                models.TOOL_SECONDS.labels(name).observe(time.perf_counter() - began)
        return TaskResult(output)

    async def _resolve(self, value: Any) -> Any:
        """Puts values that are stored out of line in the place of their markers."""
        if is_marker(value):
            whole = await self._blobs.fetch(marked_ref(value))
            part = await self._resolve(walk(whole, tuple(value["path"]), "input"))
            return machine.plain(part)  # a step may change its inputs, and others are given the same value
        if isinstance(value, dict):
            return {name: await self._resolve(item) for name, item in value.items()} if value else value
        if isinstance(value, list) and holds_marker(value):
            return [await self._resolve(item) for item in value]
        return value

    async def _reveal(self, attempt: Attempt, inputs: dict[str, Any], names: set[str]) -> dict[str, Any]:
        """Restores the originals of the arguments that the tool declares.

        The security service audits it.
        """
        hidden = {name: value for name, value in inputs.items() if name in names and screening.contains_token(value)}
        if not hidden:
            return inputs
        task = attempt.task
        request = rpc.RestoreRequest(
            org=task.org,
            run=task.run,
            value=hidden,
            actor=f"worker/{task.step}",
            step=task.step,
            reason=f"{task.kind} {task.config.get(f'{task.kind}_name')} needs {', '.join(sorted(hidden))}",
        )
        reply = await patiently(lambda: bus.call(self._nc, rpc.RESTORE, request, trace=attempt.context.trace))
        return {**inputs, **reply.value}
