"""Sends the spans of each run that has ended to the OTLP receivers of the settings.

The event log is the queue: a durable consumer delivers the last event of each run. It is acknowledged once every
receiver has taken or refused the spans, so a kill, or a receiver that is away, loses no run. A run may be sent twice;
its spans have the same ids then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from nats.js import api
from nats.js import errors as js_errors

from agentflow_common import events, subjects, tasks
from agentflow_common.connections import transient
from agentflow_common.errors import NotFoundError, RetryableError
from agentflow_common.log.consumers import Delivery, PullError, WorkQueue
from agentflow_common.log.event_log import EventLog
from agentflow_common.metrics import trace as metrics
from agentflow_trace.otel.sending import Receiver, RefusedError

DURABLE: Final = "trace-spans"
ACK_WAIT_S: Final = 120.0
ACK_PENDING_MAX: Final = 256
CREDIT: Final = 32
IDLE_S: Final = 1.0
RETRY_S: Final = 1.0
RETRY_S_MAX: Final = 30.0
_TERMINAL: Final = tuple(f'"{events.event_type(kind)}"'.encode() for kind in events.TERMINAL_RUN)
log = logging.getLogger(__name__)

Make = Callable[[str, str, int], Awaitable[list[bytes]]]  # (org, run, sequence) -> messages, none: not sampled


class LiveExport:
    """One in each process; all share the durable consumer."""

    def __init__(self, event_log: EventLog, receivers: Sequence[Receiver], make: Make) -> None:
        self._log = event_log
        self._receivers = receivers
        self._make = make

    async def run(self) -> None:
        """Exports until it is cancelled. Without receivers it removes the consumer, which would hold up retention."""
        if not self._receivers:
            with contextlib.suppress(js_errors.NotFoundError, *transient.SURVIVED):
                await self._log.nc.jsm().delete_consumer(subjects.EVENTS_STREAM, DURABLE)
            await asyncio.Event().wait()
        while True:
            try:
                queue = await self._open()
            except transient.SURVIVED as error:
                log.warning("the consumer of ended runs can't be opened yet: %s", type(error).__name__)
                await asyncio.sleep(RETRY_S)
                continue
            try:
                await self._consume(queue)
            except PullError as error:
                log.warning("the consumer of ended runs was lost and is opened again: %s", error)
            finally:
                await queue.stop()

    async def _open(self) -> WorkQueue:
        config = api.ConsumerConfig(
            durable_name=DURABLE,
            deliver_policy=api.DeliverPolicy.NEW,
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT_S,
            max_ack_pending=ACK_PENDING_MAX,
            filter_subjects=[subjects.ALL_RUN_DECISIONS],
        )
        await self._log.nc.jsm().add_consumer(subjects.EVENTS_STREAM, config)
        queue = WorkQueue(self._log.nc, subjects.EVENTS_STREAM, DURABLE, CREDIT)
        await queue.start()
        return queue

    async def _consume(self, queue: WorkQueue) -> None:
        while True:
            for delivery in await queue.batch(IDLE_S):
                if any(word in delivery.data for word in _TERMINAL):
                    await self._export(delivery)
                await self._log.ack(delivery)
                queue.release()

    async def _export(self, delivery: Delivery) -> None:
        """Sends one run to every receiver that has not taken it, again and again until all have."""
        key = subjects.parse(delivery.subject)
        if key is None:
            return
        left = list(self._receivers)
        for pause_s in tasks.pauses(RETRY_S, RETRY_S_MAX):
            try:
                messages = await self._make(key.org, key.name, delivery.seq)
            except NotFoundError:  # its rows are gone, as ClickHouse holds the sequence
                log.warning("a run that has ended has no rows", extra={"run": key.name})
                return
            except transient.SURVIVED as error:
                log.warning("the spans of a run wait: %s", type(error).__name__, extra={"run": key.name})
            else:
                left = [receiver for receiver in left if not await _sent(receiver, messages, key.name)]
                if not left:
                    return
            await asyncio.sleep(pause_s)


async def _sent(receiver: Receiver, messages: Sequence[bytes], run: str) -> bool:
    """Returns False if the messages must be sent again."""
    status = "ok"
    try:
        for message in messages:
            await receiver.send(message)
    except RefusedError as error:
        status = "refused"
        log.warning("a receiver refused the spans of a run: %s", error, extra={"run": run})
    except RetryableError as error:
        status = "waiting"
        log.warning("a receiver of spans is away: %s", error, extra={"run": run})
    if messages:
        metrics.EXPORTS.labels(status).inc()
    return status != "waiting"
