"""Starts the runs of schedules: takes `schedule.fired` from its lane, submits the run as a client would, reports back.

The run's id is in the task, and the first event of a run is fenced: a task that is delivered twice is one run. What
can't be done now is tried again with growing waits. What can't be done at all is reported to the schedule as refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

from agentflow_common import events as ev
from agentflow_common import rpc, screening, subjects, telemetry
from agentflow_common.errors import AgentFlowError, AlreadyExistsError
from agentflow_common.log.consumers import Delivery
from agentflow_common.schedules import fire_times
from agentflow_common.schedules import spec as schedule_spec
from agentflow_common.schedules.run_lanes import asked_lane
from agentflow_common.schedules.spec import Spec
from agentflow_gateway.api import errors
from agentflow_gateway.api.call import Call
from agentflow_gateway.auth_rules import Identity
from agentflow_gateway.definitions.check import Source
from agentflow_gateway.follower import Follower
from agentflow_gateway.runs import submit
from agentflow_gateway.runs.lookup import first_event
from agentflow_gateway.runs.submission import Submission

log = logging.getLogger(__name__)

DELIVERIES_MAX: Final = 200  # with waits of up to 30 s: about an hour and a half
_WAIT_S_MAX: Final = 30.0


class Firing(Follower):
    part = "schedules"
    durable = subjects.durable("gateway", "fires")
    subject = subjects.pool_tasks(subjects.SCHEDULES_POOL)
    credit = 32  # submissions at a time of one gateway
    ack_wait_s = 60.0
    ack_pending_max = 16 * credit

    async def apply(self, batch: Sequence[Delivery]) -> None:
        await asyncio.gather(*(self._serve(delivery) for delivery in batch))

    async def _serve(self, delivery: Delivery) -> None:
        event = ev.try_decode(delivery.data)
        if not isinstance(event, ev.ScheduleFired):
            await self.bury(delivery)
            await self._deps.log.ack(delivery)
            return
        with telemetry.log_context(org=event.org, run=event.child):
            call = self._call(event, event.trace)
            fire: dict[str, Any] = {"number": event.number, "child": event.child}
            try:
                await self._start(event)
                answer: ev.Event = ev.ScheduleStarted(**call.header(event.run), **fire)
            except Exception as error:
                cause = errors.for_client(error)
                if cause.retryable and delivery.delivered < DELIVERIES_MAX:
                    await self._later(delivery, cause)
                    return
                log.warning("a schedule's run was refused", extra={"kind": cause.kind})
                text = str(await call.protect(event.run, cause.message, "error"))  # it may quote an input
                refusal = ev.StepError(cause.kind, text, retryable=False)
                answer = ev.ScheduleRefused(**call.header(event.run), **fire, error=refusal)
            await call.append(answer, f"fire:{event.run}:{event.child}")
            await self._deps.log.ack(delivery)

    async def _later(self, delivery: Delivery, cause: AgentFlowError) -> None:
        wait_s = max(min(0.25 * 2 ** min(delivery.delivered, 10), _WAIT_S_MAX), (cause.retry_after_ms or 0) / 1000)
        log.warning("a schedule's run starts later", extra={"kind": cause.kind, "wait_s": wait_s})
        await self._deps.log.retry_later(delivery, wait_s)

    def _call(self, event: ev.ScheduleFired, trace: str) -> Call:
        return Call(self._deps, Identity(f"schedule:{event.name}", event.org, ("write",)), trace)

    async def _start(self, event: ev.ScheduleFired) -> None:
        parent = ev.ParentRef(run=event.run, step="", attempt=event.number)
        first = await first_event(self._deps, subjects.key_of(event.org, event.child))
        if first is not None and first.parent == parent:
            return  # it was submitted, and the report was lost
        if first is not None:
            raise AlreadyExistsError(f"this trigger already started {event.child}", kind="duplicate_trigger")
        with telemetry.span("schedule.fire", event.trace, "consumer", agentflow__org=event.org) as span:
            call = self._call(event, span.traceparent)
            spec = schedule_spec.trusted(event.spec)
            payload = await call.deps.blobs.unpack(event.payload)
            names = variables(event, spec, payload)
            lane = asked_lane(spec.run_lane, event.org, names)
            inputs, tags = await _inputs(call, event, spec, names)
            submission = Submission(
                tags={**tags, "schedule": event.name},
                priority=spec.priority,
                budget_cents=spec.budget_cents,
                deadline_ms=spec.deadline_ms,
            )
            fired = submit.Fired(event.child, parent, ev.OriginRef(run=event.run, kind="schedule"), lane)
            await submit.submit(call, Source(ref=spec.workflow), inputs, submission, fired=fired)


async def _inputs(
    call: Call, event: ev.ScheduleFired, spec: Spec, names: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns (inputs, tags) of the run, with templates filled in.

    Tokens of the schedule's vault are turned back into values, which become the run's own tokens when it is submitted.
    """
    inputs = schedule_spec.render(spec.inputs, names)
    if not screening.contains_token([inputs, spec.tags]):
        return inputs, spec.tags
    request = rpc.RestoreRequest(
        org=event.org,
        run=event.run,
        value={"inputs": inputs, "tags": spec.tags},
        actor=call.identity.actor,
        reason=f"start of run {event.child}",
    )
    restored = (await call.ask(rpc.RESTORE, request)).value
    return restored["inputs"], restored["tags"]


def variables(event: ev.ScheduleFired, spec: Spec, payload: Any) -> dict[str, Any]:
    """Returns the variables of a schedule's templates. time (ISO 8601) and date are in the schedule's zone. Pure."""
    moment = fire_times.from_ms(event.at, fire_times.zone(spec.time_zone))
    return {
        "schedule": {
            "name": event.name,
            "id": event.run,
            "time": moment.isoformat(timespec="milliseconds" if event.at % 1000 else "seconds"),
            "date": moment.strftime("%Y-%m-%d"),
            "time_ms": event.at,
            "number": event.number,
        },
        "trigger": {"kind": event.cause, "id": event.id, "payload": payload},
    }
