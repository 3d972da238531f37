"""What a worker tells the log of an attempt: that it has begun, how far it is, how it ended."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec

from agentflow_common import events as ev
from agentflow_common import rpc, screening, subjects, tasks
from agentflow_common.clock import Clock
from agentflow_common.errors import ConflictError, RetryableError
from agentflow_common.log.event_log import Ack, Entry, EventLog, Fence
from agentflow_common.log.group_commit import GroupCommit
from agentflow_common.rpc import bus
from agentflow_worker import machine
from agentflow_worker.models.llm_step import LlmStepError
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.tasks.attempt import Flight

PATIENCE_S: Final = 60.0  # how long a finished step waits for the security service or the log
PAUSE_S_MAX: Final = 5.0
EFFECT_TEXT: Final = "; the step took effect and only its result is lost, so it is not tried again"
Result = TypeVar("Result")


async def patiently(work: Callable[[], Awaitable[Result]]) -> Result:
    """Work is done and must not be done twice: what follows is tried again for a while."""
    return await tasks.patiently(work, PATIENCE_S, PAUSE_S_MAX)


class Reporter:
    """Writes facts on the run's `in`."""

    def __init__(self, event_log: EventLog, settings: WorkerSettings, clock: Clock) -> None:
        self._log = event_log
        self._clock = clock
        self._worker = settings.worker_id
        # with the default flush a publish of its own costs less than a batch
        self._group = GroupCommit(event_log) if settings.durability == "fsync" else None

    async def send(self, flight: Flight, event: ev.Event, what: str, fence: Fence | None = None) -> Ack:
        """Once a task, however often it is repeated and by whom: the message id says so to the log. Raises
        ConflictError if it has a fence and the run has gone on."""
        task = flight.task
        msg_id = f"{task.run}.{flight.delivery.seq}.{task.step}.{task.attempt}.{what}"
        entry = Entry(subjects.run_in(flight.key), ev.encode(event), msg_id=msg_id, fence=fence)
        try:
            if self._group is None:
                return await self._log.append(entry)
            with contextlib.suppress(ConflictError):  # of another in the group, perhaps
                return await self._group.append(entry)
        except RetryableError:
            pass
        return await patiently(lambda: self._log.append(entry))

    async def handed_on(self, flight: Flight, event: ev.StepCompleted, following: ev.StepScheduled) -> Ack | None:
        """Reports a step and begins the one that follows, in one word; None if the scheduler has decided something
        since the task."""
        begun = msgspec.structs.replace(event, begun=ev.BegunStep(following.step, following.kind))
        fence = Fence(flight.delivery.seq, subjects.run_out_all(flight.key))
        try:
            return await self.send(flight, begun, "end", fence)
        except ConflictError:
            return None

    async def claim(self, flight: Flight) -> bool:
        """Takes the attempt's claim, which can be taken once; a claim that is taken means that its worker vanished."""
        task = flight.task
        claim = ev.ClaimTaken(
            org=task.org, run=task.run, ts=self._clock.now_ms(), step=task.step, attempt=task.attempt,
            worker=self._worker, trace=task.trace,
        )  # fmt: skip
        subject = subjects.claim(flight.key, task.step, task.attempt)
        try:
            await self._log.append(Entry(subject, ev.encode(claim), fence=Fence(0)))
        except ConflictError:
            held = await self._log.last(subject)
            owner = ev.try_decode(held.data) if held else None
            unknown = ev.StepOutcomeUnknown(
                org=task.org, run=task.run, ts=self._clock.now_ms(), step=task.step, attempt=task.attempt,
                worker=self._worker, trace=task.trace,
                claimed_by=owner.worker if isinstance(owner, ev.ClaimTaken) else "",
            )  # fmt: skip
            await self.send(flight, unknown, "unknown")
            return False
        return True

    async def lost(self, flight: Flight, text: str) -> None:
        """The attempt ends the workers that take it."""
        task = flight.task
        event = ev.StepFailed(
            org=task.org, run=task.run, ts=self._clock.now_ms(), step=task.step, attempt=task.attempt,
            error=ev.StepError("worker_lost", text, retryable=False), worker=self._worker, trace=task.trace,
            effect=True,
        )  # fmt: skip
        await self.send(flight, event, "end")

    async def started(self, flight: Flight) -> None:
        task = flight.task
        event = ev.StepStarted(
            org=task.org, run=task.run, ts=int(flight.started * 1000), step=task.step, attempt=task.attempt,
            worker=self._worker, trace=task.trace,
        )  # fmt: skip
        await self.send(flight, event, "start")

    async def progressed(self, flight: Flight, progress: float, detail: str) -> None:
        """Without a message id: another worker may beat for the same attempt, and one beat too many does no harm."""
        task = flight.task
        event = ev.StepProgressed(
            org=task.org, run=task.run, ts=self._clock.now_ms(), step=task.step, attempt=task.attempt,
            progress=progress, detail=await self._screened(flight, machine.clip(detail), "detail"),
            worker=self._worker, trace=task.trace,
        )  # fmt: skip
        await self._log.append(Entry(subjects.run_in(flight.key), ev.encode(event)))

    async def error_of(self, flight: Flight, error: BaseException, *, once: bool = False) -> ev.StepError:
        """How an exception stands in the log. once: the step must not silently happen twice, so it is not tried again
        if only its result is lost."""
        found = error.error if isinstance(error, LlmStepError) else machine.to_step_error(error)
        message = await self._screened(flight, machine.clip(found.message), "error's text")
        if once and flight.context.returned:
            return msgspec.structs.replace(found, message=machine.clip(message + EFFECT_TEXT), retryable=False)
        return msgspec.structs.replace(found, message=message)

    async def _screened(self, flight: Flight, text: str, what: str) -> str:
        """A text may quote a payload: it is protected like one, or withheld."""
        if not screening.needs_screening(text):
            return text
        task = flight.task
        request = rpc.ProtectRequest(org=task.org, run=task.run, value=text, purpose="error", step=task.step)
        try:
            reply: Any = await bus.call(self._log.nc, rpc.PROTECT, request, trace=flight.context.trace)
            return machine.clip(str(reply.value))
        except Exception:
            return f"the {what} is withheld: the security service could not examine it"
