"""One task: decode, check, run, screen, report, and only then, when the report is durable, acknowledge.

Crash points. Before the report: the queue delivers the task again after `ack_wait`; an idempotent step runs again, a
non-idempotent one finds its claim taken and is reported as `outcome_unknown`. After the report, before the
acknowledgement: the redelivery finds the report in the log and is acknowledged without running.

A task may name steps that follow (ADR 0009): the report of one begins the next, so the log says at any moment which
step the task is at, and whoever gets the task goes on there.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from agentflow_common import events as ev
from agentflow_common import rpc, screening, subjects, telemetry
from agentflow_common.clock import Clock
from agentflow_common.errors import AgentFlowError, DeadlineError, InvalidError, TerminalError
from agentflow_common.expressions.language import walk
from agentflow_common.log.blobs import Blobs, in_line
from agentflow_common.log.consumers import Delivery
from agentflow_common.log.event_log import EventLog
from agentflow_common.rpc import bus
from agentflow_common.runs.state import MARKER, holds_marker, is_marker, marked_ref
from agentflow_common.subjects import EntityKey
from agentflow_worker import machine
from agentflow_worker.context import no_heartbeat
from agentflow_worker.invoke import StepContext, from_state, invoke
from agentflow_worker.models.llm_step import LlmDeps, LlmStepError, run_llm
from agentflow_worker.registry import Registry
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.tasks.attempt import Course, Elsewhere, Flight, Pulse
from agentflow_worker.tasks.reports import Reporter, patiently

log = logging.getLogger(__name__)

STARTED_AFTER_S: Final = 0.25  # shorter steps are not announced: a step costs two durable messages
SWEEP_S: Final = 0.05  # how late a step may be announced or interrupted: one timer serves all flights
TIMEOUT_GRACE_S: Final = 2.0  # the scheduler's timer decides; the worker's own bound is the second net
DELIVERIES_MAX: Final = 20  # of one attempt: more means that it ends the workers that take it
RUN_CHECK_S: Final = 1.0  # how long the answer "this run is not over" is believed


class Outcome(msgspec.Struct):
    output: Any = None
    llm: ev.LlmUsage | None = None
    redactions: dict[str, int] = {}
    error: BaseException | None = None


class Executor:
    """Runs tasks of one worker. flights: the steps in hand, by (run, step, attempt). is_held: whether operators have
    paused the task's lane or workflow."""

    def __init__(
        self, event_log: EventLog, settings: WorkerSettings, registry: Registry, llm: LlmDeps, clock: Clock
    ) -> None:
        self._log = event_log
        self._nc = event_log.nc
        self._settings = settings
        self._registry = registry
        self._llm = llm
        self._clock = clock
        self._blobs = Blobs(event_log.nc)
        self._reports = Reporter(event_log, settings, clock)
        self._open_runs: dict[str, float] = {}
        self.flights: dict[tuple[str, str, int], Flight] = {}
        self.is_held: Callable[[ev.StepScheduled], bool] = lambda _task: False
        self._in_hand: set[int] = set()
        self._sweeper: asyncio.TimerHandle | None = None

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
        if delivery.seq in self._in_hand:
            return  # delivered again while it is still in hand here: its own end acknowledges it
        self._in_hand.add(delivery.seq)
        try:
            await self._take(Course(key, task, delivery))
            await self._log.ack(delivery)
        except Elsewhere:
            pass  # not acknowledged: if that worker is lost, the queue offers it again
        except Exception:  # and then
            log.exception("the task's report could not be written", extra={"run": task.run, "step": task.step})
        finally:
            self._in_hand.discard(delivery.seq)

    async def _take(self, course: Course) -> None:
        """The task's step, and those that follow in it."""
        task = await self._due(course)
        before: Flight | None = None
        while task is not None:
            context = StepContext(task.org, task.run, task.step, task.attempt, self._settings, trace=task.trace)
            flight = Flight(course, task, context)
            if before is not None and before.context.cancelled.is_set():  # while its report was on its way
                flight.stop(before.forced)
            before = flight
            name = (task.run, task.step, task.attempt)
            self.flights[name] = flight
            context.on_heartbeat = functools.partial(self._beat, flight)
            try:
                task = await self._run(flight, course) if await self._may_begin(flight) else None
            finally:
                if flight.pulse is not None:
                    flight.pulse.abandon()
                del self.flights[name]
                # else the two hold each other, and each step is left to the garbage collector (7 % of its time)
                context.on_heartbeat = no_heartbeat

    def _beat(self, flight: Flight, progress: float | None, detail: str) -> None:
        name = (flight.task.run, flight.task.step, flight.task.attempt)
        if self.flights.get(name) is not flight:
            return  # from a thread that was left behind
        if flight.pulse is None:
            flight.pulse = Pulse(functools.partial(self._reports.progressed, flight), flight.task.heartbeat_ms)
        flight.pulse.beat(progress, detail)

    # --- before ---

    async def _due(self, course: Course) -> ev.StepScheduled | None:
        """The step that is to run now; None if the task is over."""
        task, delivery = course.task, course.delivery
        age_ms = self._clock.now_ms() - delivery.ts
        if machine.needs_check(task, delivery.delivered, age_ms):
            return await self._look_up(course)
        return None if machine.is_stale(age_ms) and await self.is_over(course.key) else task

    async def _look_up(self, course: Course, *, mine: bool = False) -> ev.StepScheduled | None:
        """Where the task is by the log: another worker may have had it, or this one's word may have come twice.
        mine: only what this worker has begun. Raises Elsewhere."""
        later = await self._log.read(subjects.run_all(course.key), after_seq=course.delivery.seq)
        found = machine.position(course.task, filter(None, (ev.try_decode(stored.data) for stored in later)))
        if found is None:
            return None
        if mine and found.by != self._settings.worker_id:
            raise Elsewhere
        for name, payload in found.given.items():
            course.keep(name, await self._blobs.unpack(payload))
        task: ev.StepScheduled | None = course.task
        while task is not None and task.step != found.step:
            task = machine.following(task, course.outputs)
        return task

    async def _may_begin(self, flight: Flight) -> bool:
        if flight.delivery.delivered > DELIVERIES_MAX:  # a step that ends every process would go round for ever
            text = f"{DELIVERIES_MAX} workers were lost or gave no word while they had this step"
            await self._reports.lost(flight, text)
        elif not self._must_claim(flight.task) or await self._reports.claim(flight):
            return True
        if flight.course.task.then:  # the step may be done, and its worker further
            await self._look_up(flight.course, mine=True)
        return False

    async def is_over(self, key: EntityKey) -> bool:
        """Whether the run has ended, by its newest fact in the log; a `no` is believed for a second."""
        now = time.monotonic()
        if self._open_runs.get(key.name, 0.0) > now:
            return False
        last = await self._log.last(subjects.out_run(key))
        if last is not None and isinstance(ev.try_decode(last.data), ev.TERMINAL_RUN):
            return True
        if len(self._open_runs) > 10_000:
            self._open_runs.clear()
        self._open_runs[key.name] = now + RUN_CHECK_S
        return False

    def _must_claim(self, task: ev.StepScheduled) -> bool:
        """What must not silently happen twice: a tool with an effect, a model call that is paid for."""
        if task.kind != "tool":
            return task.kind == "llm"
        name = str(task.config.get("tool_name"))
        return ("tool", name) in self._registry and not self._registry.get("tool", name).idempotent

    # --- the work ---

    async def _run(self, flight: Flight, course: Course) -> ev.StepScheduled | None:
        """Runs and reports the step; the task's next one, if it has begun."""
        task = flight.task
        loop = asyncio.get_running_loop()
        flight.announce_at = loop.time() + STARTED_AFTER_S
        if self._sweeper is None:
            self._sweeper = loop.call_later(SWEEP_S, self._sweep, loop)
        began = time.perf_counter()
        with telemetry.span(f"step {task.kind}", task.trace, "consumer", run=task.run, step=task.step) as span:
            flight.context.trace = span.traceparent
            outcome = await self._attempt(flight)
            duration_ms = round((time.perf_counter() - began) * 1000, 3)
            flight.announce_at = math.inf
            if flight.pulse is not None:
                await flight.pulse.close()
            if flight.forced and outcome.llm is None:
                return None  # the scheduler has closed this attempt; only money spent or held is worth a late word
            if flight.context.cancelled.is_set() and outcome.error is not None:
                outcome.error = TerminalError("the step was stopped", kind="cancelled")
            outcome, payload = await self._pack(flight, outcome)
            if payload is not None:
                course.keep(task.step, outcome.output)
                report: ev.StepCompleted | ev.StepFailed = ev.StepCompleted(
                    org=task.org, run=task.run, ts=self._clock.now_ms(), step=task.step, attempt=task.attempt,
                    output=payload, worker=self._settings.worker_id, started_at=int(flight.started * 1000),
                    duration_ms=duration_ms, llm=outcome.llm, redactions=outcome.redactions, trace=task.trace,
                )  # fmt: skip
            else:
                assert outcome.error is not None  # noqa: S101  (else there is a payload)
                self._tell(flight, outcome.error)
                report = ev.StepFailed(
                    org=task.org, run=task.run, ts=self._clock.now_ms(), step=task.step, attempt=task.attempt,
                    error=await self._reports.error_of(flight, outcome.error, once=self._must_claim(task)),
                    worker=self._settings.worker_id, started_at=int(flight.started * 1000), duration_ms=duration_ms,
                    llm=outcome.llm, trace=task.trace, effect=flight.context.returned,
                )  # fmt: skip
            return await self._report(flight, course, report)

    async def _report(
        self, flight: Flight, course: Course, report: ev.StepCompleted | ev.StepFailed
    ) -> ev.StepScheduled | None:
        """Writes how the step ended; what follows in the task."""
        following = self._following(flight, course) if isinstance(report, ev.StepCompleted) else None
        if following is not None and isinstance(report, ev.StepCompleted):
            ack = await self._reports.handed_on(flight, report, following)
            if ack is not None:
                unsure = ack.duplicate or course.is_old
                return await self._look_up(course, mine=True) if unsure else following
        ack = await self._reports.send(flight, report, "end")
        unsure = bool(course.task.then) and (ack.duplicate or course.is_old)
        return await self._look_up(course, mine=True) if unsure else None

    def _following(self, flight: Flight, course: Course) -> ev.StepScheduled | None:
        """The next step of the task, if this worker may go on with it. What was claimed may have been reported as
        unknown meanwhile, a fact that no fence holds against: what follows it is the scheduler's to decide."""
        task = flight.task
        if not task.then or course.is_long or flight.context.cancelled.is_set() or self.is_held(task):
            return None
        following = machine.following(task, course.outputs)
        return following if following and not (self._must_claim(task) or self._must_claim(following)) else None

    def _tell(self, flight: Flight, error: BaseException) -> None:
        """The kind only: a message may quote a payload."""
        task = flight.task
        found = error.error if isinstance(error, LlmStepError) else machine.to_step_error(error)
        ids = {"org": task.org, "run": task.run, "step": task.step, "attempt": task.attempt}
        log.warning("step failed: %s", found.type, extra={**ids, "trace": telemetry.trace_id(task.trace)})

    async def _attempt(self, flight: Flight) -> Outcome:
        task = flight.task
        bound_s = self._settings.step_timeout_s_max
        if task.timeout_ms is not None:
            bound_s = min(bound_s, task.timeout_ms / 1000 + TIMEOUT_GRACE_S)
        if flight.context.cancelled.is_set():
            return Outcome(error=TerminalError("the step was stopped before it began", kind="cancelled"))
        flight.work = work = asyncio.current_task()
        assert work is not None  # noqa: S101  (a coroutine runs in a task)
        flight.late_at = asyncio.get_running_loop().time() + bound_s
        try:
            return await self._call(flight)
        except asyncio.CancelledError:
            if work.cancelling() > flight.interrupts:
                raise  # the worker stops
            if flight.late:
                late = DeadlineError(f"the step did not end within {bound_s:g} s", kind="timeout")
                return Outcome(error=late, llm=flight.context.llm_usage)
            stopped = TerminalError("the step was stopped", kind="cancelled")
            return Outcome(error=stopped, llm=flight.context.llm_usage)
        except LlmStepError as error:
            return Outcome(error=error, llm=error.usage)
        except Exception as error:
            return Outcome(error=error)
        finally:
            flight.work = None
            flight.late_at = math.inf
            for _ in range(flight.interrupts):
                work.uncancel()

    async def _call(self, flight: Flight) -> Outcome:
        task = flight.task
        inputs = await self._resolve(task.inputs) if holds_marker(task.inputs) else task.inputs
        if task.kind == "llm":
            result = await run_llm(task, inputs, self._llm, flight.context)
            return Outcome(result.output, result.usage, dict(result.redactions))
        name = str(task.config.get(f"{task.kind}_name"))
        registration = self._registry.get(task.kind, name)
        if task.config.get("state_args"):
            inputs = from_state(registration, inputs)
        revealed = {*registration.reveal, *task.config.get("reveal", ())}
        if revealed:
            inputs = await self._reveal(flight, inputs, revealed)
        flight.blocking = not registration.is_async
        status = "error"
        try:
            output = await invoke(registration, inputs, flight.context)
            status = "ok"
        finally:
            if task.kind == "tool":
                telemetry.TOOL_EXECUTIONS.labels(name, status).inc()
        return Outcome(output)

    async def _resolve(self, value: Any) -> Any:
        """Puts out-of-line values in the place of their markers."""
        if is_marker(value):
            whole = await self._blobs.fetch(marked_ref(value))
            part = await self._resolve(walk(whole, tuple(value["path"]), "input"))
            return machine.plain(part)  # a step may change what it is given, and others are given the same
        if isinstance(value, dict):
            return {name: await self._resolve(item) for name, item in value.items()} if value else value
        if isinstance(value, list) and holds_marker(value):
            return [await self._resolve(item) for item in value]
        return value

    async def _reveal(self, flight: Flight, inputs: dict[str, Any], names: set[str]) -> dict[str, Any]:
        """The originals for the arguments that the tool declares it needs; audited by the security service."""
        hidden = {name: value for name, value in inputs.items() if name in names and screening.contains_token(value)}
        if not hidden:
            return inputs
        task = flight.task
        request = rpc.RestoreRequest(
            org=task.org, run=task.run, value=hidden, actor=f"worker/{task.step}", step=task.step,
            reason=f"{task.kind} {task.config.get(f'{task.kind}_name')} needs {', '.join(sorted(hidden))}",
        )  # fmt: skip
        reply = await patiently(lambda: bus.call(self._nc, rpc.RESTORE, request, trace=flight.context.trace))
        return {**inputs, **reply.value}

    # --- after ---

    async def _pack(self, flight: Flight, outcome: Outcome) -> tuple[Outcome, ev.Payload | None]:
        """The output as the log takes it, screened; None for an error, and for an output that can't be written."""
        try:
            if outcome.error is None and holds_marker(outcome.output):
                raise InvalidError(f"an output may not hold the reserved key `{MARKER}`", kind="reserved_key")
            # run_llm has protected its own
            if outcome.error is None and flight.task.kind != "llm" and screening.needs_screening(outcome.output):
                outcome = await self._screen(flight, outcome)
            if outcome.error is not None:
                return outcome, None
            output = outcome.output
            return outcome, in_line(output) or await patiently(lambda: self._blobs.pack(output, "the step's output"))
        except AgentFlowError as error:
            outcome.error = error
        except Exception as error:  # half a character, a value too deep: of no use to run it again
            text = f"the step's output can't be written as JSON ({type(error).__name__}): return valid text and numbers"
            outcome.error = TerminalError(text, kind="result_not_json")
        return outcome, None

    async def _screen(self, flight: Flight, outcome: Outcome) -> Outcome:
        """Nothing sensitive enters the log. If the text can't be examined it does not pass (fail closed)."""
        task = flight.task
        request = rpc.ProtectRequest(org=task.org, run=task.run, value=outcome.output, purpose="output", step=task.step)
        reply = await patiently(lambda: bus.call(self._nc, rpc.PROTECT, request, trace=flight.context.trace))
        counts = dict(outcome.redactions)
        for entity, count in reply.counts.items():
            counts[entity] = counts.get(entity, 0) + count
        return Outcome(reply.value, outcome.llm, counts)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Announces the steps that take longer, and interrupts those that take too long."""
        now = loop.time()
        for flight in self.flights.values():
            if flight.announce_at <= now:
                flight.announce_at = math.inf
                self._announce(flight)
            if flight.late_at <= now:
                flight.expire()
        self._sweeper = loop.call_later(SWEEP_S, self._sweep, loop) if self.flights else None

    def _announce(self, flight: Flight) -> None:
        async def send() -> None:
            with contextlib.suppress(Exception):  # only a courtesy to watchers: the report tells the same
                await self._reports.started(flight)

        asyncio.ensure_future(send())  # noqa: RUF006  (short, and nothing waits for it)

    # --- control ---

    def cancel(self, run: str, step: str = "", attempt: int = 0, *, forced: bool = True) -> int:
        """Stops the flights of a run (of one step, of one attempt); how many. Unless it is forced the engine still
        waits for their reports."""
        stopped = 0
        for flight in list(self.flights.values()):
            if flight.task.run == run and flight.is_meant(step, attempt):
                flight.stop(forced)
                stopped += 1
        return stopped
