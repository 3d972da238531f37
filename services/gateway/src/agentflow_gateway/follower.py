"""Follows decisions: a durable consumer of the event log whose deliveries are applied a batch at a time."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import ClassVar, Final

from nats.js import api
from nats.js.errors import NotFoundError

from agentflow_common import subjects
from agentflow_common.connections import transient
from agentflow_common.log.consumers import Delivery, PullError, WorkQueue
from agentflow_common.runtime.probes import Probes
from agentflow_gateway.dependencies import Deps

log = logging.getLogger(__name__)

_WAIT_S: Final = 5.0
_ANSWER_S_MAX: Final = 2.0  # of JetStream, which may have no leader: it is asked again
_BACKOFF_S: Final = 0.1
_BACKOFF_S_MAX: Final = 1.0  # readiness comes back within that


class Follower(abc.ABC):
    """The base of the gateway's durable consumers."""

    part: ClassVar[str]  # its name in readiness
    durable: ClassVar[str]
    subject: ClassVar[str]
    credit: ClassVar[int]  # deliveries in hand
    ack_wait_s: ClassVar[float] = 30.0  # a delivery comes again after that
    ack_pending_max: ClassVar[int]  # deliveries in hand of all gateways
    gather_s: ClassVar[float] = 0.0  # the least time between two looks at the log; 0: each message is taken as it comes

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self.trouble = "starting"  # why it does not follow at the moment

    def watched(self, probes: Probes) -> None:
        """Lets readiness report when the log is not followed for longer than a moment."""
        probes.add(self.part, self._is_following, lambda: self.trouble or "the log does not deliver")

    async def _is_following(self) -> None:
        """Asks the leader of the consumer: without one nothing is delivered, and nothing reports it for a while."""
        if self.trouble:
            raise PullError(self.trouble)
        await self._deps.nc.jsm().consumer_info(subjects.EVENTS_STREAM, self.durable)

    @abc.abstractmethod
    async def apply(self, batch: Sequence[Delivery]) -> None:
        """Applies the deliveries, and acknowledges each once its effect is durable."""

    async def empty(self) -> bool:
        """True if what was made from the log is gone, and must be made again from the first event."""
        return False

    async def ensure(self) -> None:
        """Makes the consumer. If what it had filled is empty, it begins again at the first event."""
        jsm = self._deps.nc.jsm(timeout=_ANSWER_S_MAX)
        if await self.empty():
            with contextlib.suppress(NotFoundError):
                info = await jsm.consumer_info(subjects.EVENTS_STREAM, self.durable)
                if info.ack_floor is not None and info.ack_floor.consumer_seq:
                    await jsm.delete_consumer(subjects.EVENTS_STREAM, self.durable)
        config = api.ConsumerConfig(
            durable_name=self.durable,
            filter_subject=self.subject,
            deliver_policy=api.DeliverPolicy.ALL,
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=self.ack_wait_s,
            max_ack_pending=self.ack_pending_max,
        )
        await jsm.add_consumer(subjects.EVENTS_STREAM, config)

    async def run(self) -> None:
        """Follows the log until it is cancelled. Trouble shows in readiness and is retried with growing waits."""
        backoff_s = _BACKOFF_S
        while True:
            queue = WorkQueue(self._deps.nc, subjects.EVENTS_STREAM, self.durable, self.credit, self.gather_s)
            try:
                await self.ensure()
                await queue.start()
                self.trouble = ""
                while True:
                    batch = await queue.batch(wait_s=_WAIT_S)
                    if batch:
                        await self.apply(batch)
                        queue.release(len(batch))
                    backoff_s = _BACKOFF_S
            except transient.SURVIVED as error:
                self.trouble = f"retrying after {type(error).__name__}"
                log.warning(
                    "following the log is interrupted", extra={"part": self.part, "error": type(error).__name__}
                )
            finally:
                await queue.stop()
            await asyncio.sleep(backoff_s)
            backoff_s = min(_BACKOFF_S_MAX, backoff_s * 2)

    async def bury(self, delivery: Delivery) -> None:
        """Puts a message that can't be read into the dead letters, with its origin. The queue goes on."""
        log.error("an event can't be read; it is in the dead letters", extra={"seq": delivery.seq})
        await self._deps.log.bury("gateway", delivery, "unreadable")
