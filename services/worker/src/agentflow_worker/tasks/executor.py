"""One task: decode, check, run, screen, report, and only then, when the report is durable,
acknowledge.

Crash points. Before the report: the queue delivers the task again after `ack_wait`; an idempotent
step runs again, a non-idempotent one finds its claim taken and is reported as `outcome_unknown`.
After the report, before the acknowledgement: the redelivery finds the report in the log and is
acknowledged without running.

A task may name steps that follow (ADR 0009). The report of one step begins the next, so the log
says at any moment which step the task is at. A worker that is given the task again goes on there.
The log is a few milliseconds behind where steps are quick (ADR 0013): these run again.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import time
from collections.abc import Callable
from typing import Final

import msgspec

from agentflow_common import events as ev
from agentflow_common import span_ids, subjects, telemetry
from agentflow_common.clock import Clock
from agentflow_common.errors import InvalidError, TerminalError
from agentflow_common.log.blobs import Blobs
from agentflow_common.log.consumers import Delivery
from agentflow_common.log.event_log import EventLog
from agentflow_common.metrics import workflow
from agentflow_worker import machine
from agentflow_worker.context import StepContext, no_heartbeat
from agentflow_worker.models.llm_step import LlmDeps, LlmStepError
from agentflow_worker.registry import Registry
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.tasks.attempt import Attempt
from agentflow_worker.tasks.heartbeat import Heartbeat
from agentflow_worker.tasks.in_hand import AttemptsInHand
from agentflow_worker.tasks.kept_reports import KeptReports, Written
from agentflow_worker.tasks.reports import Reporter
from agentflow_worker.tasks.results import ResultPacker, TaskResult
from agentflow_worker.tasks.step_calls import StepCalls
from agentflow_worker.tasks.task_chain import TakenOver, TaskChain
from agentflow_worker.tasks.task_positions import TaskPositions

log = logging.getLogger(__name__)

DELIVERIES_MAX: Final = 20  # of one attempt: more means that it ends the workers that take it


class Executor:
    """Runs the tasks of one worker."""

    def __init__(
        self,
        event_log: EventLog,
        settings: WorkerSettings,
        registry: Registry,
        llm: LlmDeps,
        *,
        clock: Clock,
        is_paused: Callable[[ev.StepScheduled], bool],
    ) -> None:
        self._log = event_log
        self._settings = settings
        blobs = Blobs(event_log.nc)
        self._reports = Reporter(event_log, settings, clock)
        self._calls = StepCalls(event_log.nc, settings, registry, llm, blobs)
        self._packer = ResultPacker(event_log.nc, blobs)
        self.positions = TaskPositions(event_log, blobs, clock, settings.worker_id)
        self.in_hand = AttemptsInHand(self._announce)
        self._is_paused = is_paused  # True for a task whose pool or workflow operators have paused
        self._deliveries: set[int] = set()  # in hand, by their sequences

    async def handle(self, delivery: Delivery) -> None:
        """Takes one delivery to its end. Never raises, except to be cancelled at shutdown."""
        key = subjects.parse(delivery.subject)
        try:
            task = ev.decode(delivery.data)
            if key is None or not isinstance(task, ev.StepScheduled):
                raise InvalidError("not a task")
        except (msgspec.MsgspecError, InvalidError) as error:
            log.warning("a task that can't be read was put with the dead letters", extra={"seq": delivery.seq})
            await self._log.bury("worker", delivery, type(error).__name__)
            await self._log.ack(delivery)
            return
        if delivery.seq in self._deliveries:
            return  # delivered again while it is still in hand here: its own end acknowledges it
        self._deliveries.add(delivery.seq)
        try:
            await self._run_chain(TaskChain(key, task, delivery))
            await self._log.ack(delivery)
        except TakenOver:
            pass  # not acknowledged: if that worker is lost, the queue offers it again
        except Exception:  # not acknowledged either
            log.exception("the task's report could not be written", extra={"run": task.run, "step": task.step})
        finally:
            self._deliveries.discard(delivery.seq)

    async def _run_chain(self, chain: TaskChain) -> None:
        """Runs the step that the task is at, and the steps that follow in it."""
        task = await self.positions.first(chain)
        before: Attempt | None = None
        kept = KeptReports(chain, self._reports.write, self.in_hand.leave)
        try:
            while task is not None:
                context = StepContext(task.org, task.run, task.step, task.attempt, self._settings, trace=task.trace)
                attempt = Attempt(chain, task, context, kept)
                if before is not None and before.context.cancelled.is_set():  # while its report was on its way
                    attempt.stop(before.forced)
                before = attempt
                task = await self._run_step(attempt)
        except asyncio.CancelledError:  # the worker stops
            await kept.save()
            raise
        finally:
            kept.close()

    async def _run_step(self, attempt: Attempt) -> ev.StepScheduled | None:
        """Runs one step of a task. Returns the next step of the task, if it has begun."""
        context = attempt.context
        self.in_hand.add(attempt)
        context.on_heartbeat = functools.partial(self._beat, attempt)
        try:
            return await self._run(attempt) if await self._may_begin(attempt) else None
        finally:
            if attempt.heartbeat is not None:
                attempt.heartbeat.abandon()
            self.in_hand.remove(attempt)
            # else the two refer to each other, and the garbage collector has to free each step (7 % of its time)
            context.on_heartbeat = no_heartbeat

    async def _announce(self, attempt: Attempt) -> None:
        if await attempt.kept.has_begun():
            await self._reports.report_started(attempt)

    async def _progress(self, attempt: Attempt, progress: float, detail: str) -> None:
        if await attempt.kept.has_begun():
            await self._reports.report_progress(attempt, progress, detail)

    def _beat(self, attempt: Attempt, progress: float | None, detail: str) -> None:
        if attempt not in self.in_hand:
            return  # from a thread that was left behind
        if attempt.heartbeat is None:
            send = functools.partial(self._progress, attempt)
            attempt.heartbeat = Heartbeat(send, attempt.task.heartbeat_ms)
        attempt.heartbeat.beat(progress, detail)

    async def _may_begin(self, attempt: Attempt) -> bool:
        """Claims the attempt, if it needs a claim.

        Returns False if it must not run: that has been reported.
        """
        if attempt.delivery.delivered > DELIVERIES_MAX:  # a step that ends every process would go round forever
            text = f"{DELIVERIES_MAX} workers were lost, or did not report, while they had this step"
            await self._reports.report_lost(attempt, text)
        elif not self._calls.must_claim(attempt.task) or await self._reports.claim(attempt):
            return True
        if attempt.chain.task.then:  # the step may be done, and its worker further
            await self.positions.current(attempt.chain, own=True)
        return False

    async def _run(self, attempt: Attempt) -> ev.StepScheduled | None:
        """Runs and reports the step. Returns the task's next step, if it has begun."""
        task = attempt.task
        self.in_hand.watch(attempt)
        began = time.perf_counter()
        parent = task.trace
        if telemetry.from_log():
            parent = span_ids.beneath_step(parent, task.org, task.run, task.step, task.attempt)
        with telemetry.span(f"step {task.kind}", parent, "consumer", run=task.run, step=task.step) as span:
            attempt.context.trace = span.traceparent
            result = await self._calls.run(attempt)
            duration_ms = round((time.perf_counter() - began) * 1000, 3)
            _measure(attempt, duration_ms, failed=result.error is not None)
            attempt.announce_at = math.inf
            if attempt.heartbeat is not None:
                await attempt.heartbeat.close()
            # the scheduler has closed this attempt; a late report matters only for money
            closed = attempt.forced and result.llm is None
            if attempt.context.cancelled.is_set() and result.error is not None:
                result.error = TerminalError("the step was stopped", kind="cancelled")
            if result.error is None and not closed:
                await self._packer.pack(attempt, result)
            if result.error is not None and not closed:
                attempt.kept.flush()  # the log has to know of the begin of a step before its failure
            _describe(span, result)
            early = await attempt.kept.early()
            if early is not None:
                current = await self._current(attempt.chain, early, task)
                if current is None or current.step != task.step:
                    return current
            return None if closed else await self._report(attempt, result, duration_ms)

    async def _report(self, attempt: Attempt, result: TaskResult, duration_ms: float) -> ev.StepScheduled | None:
        """Writes how the step ended, or keeps its report. Returns the step that follows in the task, if it begins."""
        chain = attempt.chain
        if result.error is not None:
            failed = await self._failed(attempt, result.error, result.llm, duration_ms)
            written = Written(await self._reports.send(chain, failed, "end"), whole=True)
            return await self._current(chain, written, None)
        chain.keep(attempt.task.step, result.output)
        assert result.payload is not None  # noqa: S101  (packed)
        following = self._following(attempt)
        completed = self._reports.completed(
            attempt, result.payload, result.redactions, result.llm, duration_ms, following
        )
        if following is not None and self._may_keep(chain) and attempt.kept.keep(completed):
            return following
        return await self._current(chain, await attempt.kept.write(completed), following)

    async def _current(
        self, chain: TaskChain, written: Written, following: ev.StepScheduled | None
    ) -> ev.StepScheduled | None:
        """Returns the step that the task is at once reports were written: this one, or what the log says."""
        if chain.task.then and (written.ack.duplicate or chain.is_old):
            return await self.positions.current(chain, own=True)
        return following if written.whole else None

    def _may_keep(self, chain: TaskChain) -> bool:
        """True if reports may be written together.

        Whoever has a task again writes each report by itself: if a step ends its workers, the log
        has to say which.
        """
        return self._settings.reports_together and chain.delivery.delivered == 1

    async def _failed(
        self, attempt: Attempt, error: BaseException, usage: ev.LlmUsage | None, duration_ms: float
    ) -> ev.StepFailed:
        self._log_failure(attempt, error)
        once = self._calls.must_claim(attempt.task)
        return self._reports.event(
            attempt,
            ev.StepFailed,
            error=await self._reports.step_error(attempt, error, once=once),
            effect=attempt.context.returned,
            started_at=int(attempt.started * 1000),
            duration_ms=duration_ms,
            llm=usage,
        )

    def _log_failure(self, attempt: Attempt, error: BaseException) -> None:
        """Logs the kind of the error only: a message may quote a payload."""
        task = attempt.task
        step_error = error.error if isinstance(error, LlmStepError) else machine.to_step_error(error)
        ids = {"org": task.org, "run": task.run, "step": task.step, "attempt": task.attempt}
        log.warning("step failed: %s", step_error.type, extra={**ids, "trace": telemetry.trace_id(task.trace)})

    def _following(self, attempt: Attempt) -> ev.StepScheduled | None:
        """Returns the next step of the task, if this worker may begin it.

        The outcome of a claimed step may have been reported as unknown meanwhile. No fence refuses
        a report because of such a fact, so the scheduler decides what follows a claimed step.
        """
        task, chain = attempt.task, attempt.chain
        if not task.then or chain.is_long or attempt.context.cancelled.is_set() or self._is_paused(task):
            return None
        following = machine.following(task, chain.outputs)
        if following is None or self._calls.must_claim(task) or self._calls.must_claim(following):
            return None
        return following


def _measure(attempt: Attempt, duration_ms: float, *, failed: bool) -> None:
    task = attempt.task
    workflow.STEP_SECONDS.labels(task.workflow, task.kind, "failed" if failed else "ok").observe(duration_ms / 1000)
    waited_s = max(0.0, attempt.started - task.ts / 1000)
    if task is attempt.chain.task:  # the steps that follow in a task wait for no worker
        workflow.STEP_WAIT_SECONDS.labels(task.workflow, task.kind).observe(waited_s)


def _describe(span: telemetry.Span, result: TaskResult) -> None:
    """Adds to the span of a step how it ended, and what its models had used."""
    usage = result.llm
    if usage is not None and not telemetry.from_log():
        span.set(
            gen_ai__usage__input_tokens=usage.input_tokens,
            gen_ai__usage__output_tokens=usage.output_tokens,
            agentflow__cost__nano_usd=usage.cost_nano,
        )
    if isinstance(result.error, LlmStepError):
        span.fail(result.error.error.type)
    elif result.error is not None:
        span.fail(machine.to_step_error(result.error).type)
