"""A worker's reports about an attempt: it was claimed, it began, it progressed, it ended."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from agentflow_common import events as ev
from agentflow_common import rpc, subjects, tasks
from agentflow_common.clock import Clock
from agentflow_common.errors import ConflictError, RetryableError
from agentflow_common.log.event_log import Ack, Entry, EventLog, Fence
from agentflow_common.log.group_commit import GroupCommit
from agentflow_common.rpc import bus
from agentflow_worker import machine
from agentflow_worker.models.llm_step import LlmStepError
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.tasks.attempt import Attempt
from agentflow_worker.tasks.kept_reports import Written
from agentflow_worker.tasks.task_chain import TaskChain

PATIENCE_S: Final = 60.0  # how long a finished step waits for the security service or the log
PAUSE_S_MAX: Final = 5.0
EFFECT_TEXT: Final = "; the step took effect and only its result is lost, so it is not tried again"
Result = TypeVar("Result")
E = TypeVar("E", bound=ev.Event)


async def patiently(work: Callable[[], Awaitable[Result]]) -> Result:
    """Tries what follows a finished step again for a while: the step itself must not be done twice."""
    return await tasks.patiently(work, PATIENCE_S, PAUSE_S_MAX)


class Reporter:
    """Writes facts about attempts into the logs of their runs."""

    def __init__(self, event_log: EventLog, settings: WorkerSettings, clock: Clock) -> None:
        self._log = event_log
        self._clock = clock
        self._worker = settings.worker_id
        # with the default flush a publish of its own costs less than a batch
        self._group = GroupCommit(event_log) if settings.durability == "fsync" else None

    def event(self, attempt: Attempt, event_type: type[E], /, **fields: Any) -> E:
        """Returns an event of this worker about the attempt, as of now."""
        task = attempt.task
        base: dict[str, Any] = {
            "org": task.org,
            "run": task.run,
            "ts": self._clock.now_ms(),
            "step": task.step,
            "attempt": task.attempt,
            "worker": self._worker,
            "trace": task.trace,
        }
        return event_type(**(base | fields))

    def completed(
        self,
        attempt: Attempt,
        output: ev.Payload,
        redactions: dict[str, int],
        usage: ev.LlmUsage | None,
        duration_ms: float,
        following: ev.StepScheduled | None,
    ) -> ev.StepCompleted:
        """Returns the report of a step that succeeded. `event` would do, but takes four times as long.

        following: the step with which the worker goes on.
        """
        task = attempt.task
        return ev.StepCompleted(
            org=task.org,
            run=task.run,
            ts=self._clock.now_ms(),
            step=task.step,
            attempt=task.attempt,
            worker=self._worker,
            trace=task.trace,
            output=output,
            redactions=redactions,
            started_at=int(attempt.started * 1000),
            duration_ms=duration_ms,
            llm=usage,
            begun=None if following is None else ev.BegunStep(following.step, following.kind),
        )

    async def send(self, chain: TaskChain, event: ev.AttemptFact, what: str, fence: Fence | None = None) -> Ack:
        """Writes the event once a task, however often it is repeated, and by which worker.

        Its message id makes the log drop repetitions. It names the oldest step that the event
        reports: another worker that has the task again reports that step first, too. Raises
        ConflictError if it has a fence and the run has decided something since.
        """
        oldest = event.before[0] if isinstance(event, ev.StepCompleted) and event.before else event
        msg_id = f"{event.run}.{chain.delivery.seq}.{oldest.step}.{oldest.attempt}.{what}"
        entry = Entry(subjects.run_in(chain.key), ev.encode(event), msg_id=msg_id, fence=fence)
        try:
            if self._group is None:
                return await self._log.append(entry)
            with contextlib.suppress(ConflictError):  # of another in the group, perhaps
                return await self._group.append(entry)
        except RetryableError:
            pass
        return await patiently(lambda: self._log.append(entry))

    async def write(self, chain: TaskChain, reports: Sequence[ev.StepCompleted]) -> Written:
        """Writes the reports of steps that were done one by one in a task, in one event.

        If the scheduler has decided something since it offered the task, only the oldest report is
        written, and it begins nothing. The later steps have not begun then.
        """
        event = machine.together(reports)
        if not event.before and event.begun is None:
            return Written(await self.send(chain, event, "end"), whole=True)
        fence = Fence(chain.delivery.seq, subjects.run_out_all(chain.key))
        try:
            return Written(await self.send(chain, event, "end", fence), whole=True)
        except ConflictError:
            alone = msgspec.structs.replace(reports[0], begun=None)
            return Written(await self.send(chain, alone, "end"), whole=False)

    async def claim(self, attempt: Attempt) -> bool:
        """Takes the attempt's claim, which can be taken once.

        Returns False if it is taken: the worker that took it has vanished, and the outcome is
        reported as unknown.
        """
        subject = subjects.claim(attempt.key, attempt.task.step, attempt.task.attempt)
        try:
            await self._log.append(Entry(subject, ev.encode(self.event(attempt, ev.ClaimTaken)), fence=Fence(0)))
        except ConflictError:
            taken = await self._log.last(subject)
            claim = ev.try_decode(taken.data) if taken else None
            owner = claim.worker if isinstance(claim, ev.ClaimTaken) else ""
            await self.send(attempt.chain, self.event(attempt, ev.StepOutcomeUnknown, claimed_by=owner), "unknown")
            return False
        return True

    async def report_lost(self, attempt: Attempt, text: str) -> None:
        """Reports that the attempt ends every worker that takes it."""
        error = ev.StepError("worker_lost", text, retryable=False)
        await self.send(attempt.chain, self.event(attempt, ev.StepFailed, error=error, effect=True), "end")

    async def report_started(self, attempt: Attempt) -> None:
        await self.send(attempt.chain, self.event(attempt, ev.StepStarted, ts=int(attempt.started * 1000)), "start")

    async def report_progress(self, attempt: Attempt, progress: float, detail: str) -> None:
        """Writes a heartbeat, without a message id: one heartbeat too many does no harm."""
        detail = await self._screened(attempt, machine.clip(detail), "detail")
        event = self.event(attempt, ev.StepProgressed, progress=progress, detail=detail)
        await self._log.append(Entry(subjects.run_in(attempt.key), ev.encode(event)))

    async def step_error(self, attempt: Attempt, error: BaseException, *, once: bool = False) -> ev.StepError:
        """Returns the error as it stands in the log.

        once: the step must not silently happen twice, so it is not tried again if only its result
        is lost.
        """
        raw = error.error if isinstance(error, LlmStepError) else machine.to_step_error(error)
        message = await self._screened(attempt, machine.clip(raw.message), "error's text")
        if once and attempt.context.returned:
            return msgspec.structs.replace(raw, message=machine.clip(message + EFFECT_TEXT), retryable=False)
        return msgspec.structs.replace(raw, message=message)

    async def _screened(self, attempt: Attempt, text: str, what: str) -> str:
        """Returns the text protected like a payload, which it may quote; or a note that it is withheld."""
        task = attempt.task
        request = rpc.ProtectRequest(org=task.org, run=task.run, value=text, purpose="error", step=task.step)
        try:
            reply = await rpc.protected(
                request, lambda: bus.call(self._log.nc, rpc.PROTECT, request, trace=attempt.context.trace)
            )
            return machine.clip(str(reply.value))
        except Exception:
            return f"the {what} is withheld: the security service could not examine it"
