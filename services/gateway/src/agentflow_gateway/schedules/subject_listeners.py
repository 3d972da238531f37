"""Runs that start from messages: each schedule with `trigger: {subject: ...}` listens to that subject.

A subject that a JetStream stream stores is read by a durable consumer of the schedule's own, from its first sight on.
No message is lost while gateways are away, and one is acknowledged once it is a fact in the schedule's log. Any other
subject is core NATS: at most once, and only while a gateway is there. Gateways share the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import Any, Final

import msgspec
import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import api
from nats.js.errors import APIError, NotFoundError

from agentflow_common import ids, telemetry
from agentflow_common import tasks as background
from agentflow_common.connections import transient
from agentflow_common.errors import UNREADABLE, AgentFlowError, PermissionDeniedError
from agentflow_common.log.consumers import Delivery, WorkQueue
from agentflow_common.metrics.calls import TRIGGERS
from agentflow_gateway import auth_rules, limits
from agentflow_gateway.api import errors
from agentflow_gateway.api.call import Call
from agentflow_gateway.auth_rules import Identity
from agentflow_gateway.dependencies import Deps
from agentflow_gateway.schedules import subject_rules, triggers
from agentflow_gateway.schedules.triggers import Trigger
from agentflow_gateway.store.schedules import ScheduleRow

log = logging.getLogger(__name__)

LISTENERS_MAX: Final = 2_000  # of one gateway
CREDIT: Final = 32
QUEUE: Final = "agentflow-triggers"
_LOOK_EVERY_S: Final = 2.0
_PENDING_MAX: Final = 1_000  # core messages that wait for one listener; beyond that the client drops them


def durable_of(row: ScheduleRow) -> str:
    """Returns a name for each life and subject of the schedule, so that a changed one begins again."""
    return f"AF_TRIGGER_{row.id}_{ids.digest(f'{row.uid}.{row.subject}'.encode())[:8]}"


class Listeners:
    """Keeps one listener for each schedule that messages start."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._tasks: dict[tuple[str, str, str], tuple[ScheduleRow, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Follows the list of schedules until it is cancelled."""
        try:
            while True:
                with contextlib.suppress(*transient.SURVIVED):
                    await self._look()
                self._deps.schedules_changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._deps.schedules_changed.wait(), _LOOK_EVERY_S)
        finally:
            await background.stop([task for _, task in self._tasks.values()])

    async def _look(self) -> None:
        rows = await self._deps.store.schedules.with_subjects(LISTENERS_MAX + 1)
        if len(rows) > LISTENERS_MAX:
            log.error("more schedules have subjects than one gateway listens to", extra={"limit": LISTENERS_MAX})
        active = {(row.id, row.uid, row.subject): row for row in rows[:LISTENERS_MAX] if row.status != "paused"}
        present = {(row.id, row.uid, row.subject) for row in rows}
        for key, (row, task) in list(self._tasks.items()):
            if key not in active or task.done():
                await background.stop([task])
                del self._tasks[key]
            if key not in present:  # deleted, or it listens to another subject: the consumer is not needed any more
                await self._remove(row)
        for key, row in active.items():
            if key not in self._tasks:
                self._tasks[key] = (row, asyncio.create_task(self._listen(row)))

    async def _remove(self, row: ScheduleRow) -> None:
        with contextlib.suppress(*transient.SURVIVED):
            stream = await self._stream_of(row.subject)
            if stream:
                await self._deps.nc.jsm().delete_consumer(stream, durable_of(row))

    async def _stream_of(self, subject: str) -> str:
        """Returns the stream that stores the subject, or an empty name."""
        try:
            return str(await self._deps.nc.jsm().find_stream_name_by_subject(subject))
        except NotFoundError:
            return ""

    async def _listen(self, row: ScheduleRow) -> None:
        """Listens to the schedule's subject until it is cancelled. Trouble is retried."""
        try:
            subject_rules.check_allowed(row.subject, row.org, self._deps.settings)
        except PermissionDeniedError as error:
            log.warning("a schedule's subject is not open to its org any more", extra={"schedule": row.name})
            TRIGGERS.labels("subject", error.code).inc()
            await asyncio.Event().wait()
        for pause_s in background.pauses(0.2, 10.0):
            try:
                stream = await self._stream_of(row.subject)
                if stream:
                    await self._read_stream(row, stream)
                else:
                    await self._subscribe(row)
            except transient.SURVIVED as error:
                why = (error.description if isinstance(error, APIError) else "") or ""
                extra = {"schedule": row.name, "error": type(error).__name__, "why": why}
                log.warning("a listener begins again", extra=extra)
            await asyncio.sleep(pause_s)

    async def _read_stream(self, row: ScheduleRow, stream: str) -> None:
        jsm = self._deps.nc.jsm()
        try:
            await jsm.consumer_info(stream, durable_of(row))
        except NotFoundError:
            queued = (await jsm.stream_info(stream)).config.retention == api.RetentionPolicy.WORK_QUEUE
            config = api.ConsumerConfig(
                durable_name=durable_of(row),
                filter_subject=row.subject,
                deliver_policy=api.DeliverPolicy.ALL if queued else api.DeliverPolicy.NEW,  # a queue allows no other
                ack_policy=api.AckPolicy.EXPLICIT,
                ack_wait=60.0,
                max_ack_pending=4 * CREDIT,
            )
            await jsm.add_consumer(stream, config)
        queue = WorkQueue(self._deps.nc, stream, durable_of(row), CREDIT)
        try:
            await queue.start()
            while True:
                batch = await queue.batch(wait_s=5.0)
                await asyncio.gather(*(self._take(row, stream, delivery) for delivery in batch))
                queue.release(len(batch))
        finally:
            await queue.stop()

    async def _take(self, row: ScheduleRow, stream: str, delivery: Delivery) -> None:
        message_id = (delivery.headers or {}).get("Nats-Msg-Id", "") or f"{stream}:{delivery.seq}"
        error = await self._trigger(row, delivery.data, delivery.headers, message_id)
        if error is None:
            await self._deps.log.ack(delivery)
        elif error.retryable or error.kind in {"internal", "schedule_paused"}:
            await self._deps.log.retry_later(delivery, min(0.5 * 2 ** min(delivery.delivered, 8), 30.0))
        else:
            log.warning("a message starts nothing", extra={"schedule": row.name, "kind": error.kind})
            await self._deps.nc.publish(delivery.reply, b"+TERM " + error.kind.encode())

    async def _subscribe(self, row: ScheduleRow) -> None:
        """Listens on core NATS until a stream stores the subject."""

        async def on_message(msg: Msg) -> None:
            message_id = (msg.headers or {}).get("Nats-Msg-Id", "") or os.urandom(12).hex()
            error = await self._trigger(row, msg.data, msg.headers, message_id)
            if error is not None:
                log.warning("a message starts nothing", extra={"schedule": row.name, "kind": error.kind})

        subscription: Subscription = await self._deps.nc.subscribe(
            row.subject, queue=f"{QUEUE}.{row.id}", cb=on_message, pending_msgs_limit=_PENDING_MAX
        )
        try:
            while not await self._stream_of(row.subject):  # noqa: ASYNC110  (the server does not report it)
                await asyncio.sleep(15 * _LOOK_EVERY_S)
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def _trigger(self, row: ScheduleRow, data: bytes, headers: Any, trigger_id: str) -> AgentFlowError | None:
        """Asks for a run. Returns the error if that failed."""
        try:
            limits.check_size(len(data), triggers.PAYLOAD_BYTES_MAX, "payload")
            parent = auth_rules.caller_trace({key.lower(): value for key, value in (headers or {}).items()})
            with telemetry.span("schedule.message", parent, "consumer", agentflow__org=row.org) as span:
                call = Call(self._deps, Identity(f"subject:{row.name}", row.org, ("write",)), span.traceparent)
                await triggers.trigger(call, row.name, Trigger("subject", payload_of(data), id=trigger_id))
        except Exception as raised:
            error = errors.for_client(raised)
            TRIGGERS.labels("subject", error.code).inc()
            return error
        TRIGGERS.labels("subject", "ok").inc()
        return None


def payload_of(data: bytes) -> Any:
    """Returns the JSON value, or the text if it is not JSON (bytes that are not UTF-8 are replaced)."""
    if not data:
        return None
    try:
        return msgspec.json.decode(data)
    except UNREADABLE:
        return data.decode("utf-8", "replace")
