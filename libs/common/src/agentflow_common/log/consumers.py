"""Consumers of JetStream that pull. All messages that have arrived since the last look are one batch.

`Tail` reads a stream in order from a sequence on, without acknowledgements. It is an ordered consumer: after a gap, a
lost consumer or a silent server it begins again behind the last sequence that it saw.
`WorkQueue` takes messages from a durable consumer, never more than the caller has room for.
Both keep pull requests open, so an idle wait costs nothing. A reader that is in no hurry gathers: it takes the first
message at once, and then looks at most every `gather_s` seconds. A message that comes alone costs server and reader
several times one that comes with others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import api
from nats.js.errors import APIError, NotFoundError

from agentflow_common.log.fast_path import Connection, Message, hand_over, parse_headers

log = logging.getLogger(__name__)

EXPIRES_S: Final = 30.0
HEARTBEAT_S: Final = 2.0
BATCH_MAX: Final = 1000  # bounds what one Tail holds undigested


class Delivery(msgspec.Struct, frozen=True, gc=False):  # it holds no container that could hold it
    """A message as a stream delivered it."""

    subject: str
    data: bytes
    seq: int
    ts: int  # ms since the epoch, by the server
    delivered: int  # 1 for the first time
    pending: int
    reply: str
    found: dict[str, str] | bytes | None  # the headers, or their bytes: few ask for them, so they are parsed then
    consumer_seq: int = 0  # 1 for the first message that the consumer delivered

    @property
    def headers(self) -> dict[str, str] | None:
        return parse_headers(self.found) if isinstance(self.found, bytes) else self.found


class PullError(Exception):
    """The consumer is gone or the server is silent; the owner decides whether to make it again."""


def parse_delivery(msg: Msg | Message) -> Delivery:
    """Reads the position from the reply subject: `$JS.ACK.<stream>.<consumer>.<delivered>.<seq>.<cseq>.<ns>.<pending>`
    (with two more tokens after ACK on servers that name the domain)."""
    reply = msg.reply
    parts = reply.split(".")
    if len(parts) > 9:
        parts = parts[2:11]
    _, _, _, _, delivered, seq, consumer_seq, at_ns, pending = parts
    headers = (msg.raw_headers or None) if type(msg) is Message else msg.headers
    at_ms = int(at_ns) // 1_000_000
    return Delivery(
        msg.subject, msg.data, int(seq), at_ms, int(delivered), int(pending), reply, headers, int(consumer_seq)
    )


class _Puller:
    """Open pull requests of one consumer, and what they brought."""

    def __init__(self, nc: Client, stream: str, gather_s: float) -> None:
        self._nc = nc
        self._stream = stream
        self._gather_s = gather_s
        self._gather_full = 1  # messages in one look from which on it makes the whole pause
        self._hurried = asyncio.Event()
        self._looked_at = -math.inf  # when the last look began
        self._found = 1  # messages since then
        self._behind = False  # the newest message was not the last one that the server had
        self._consumer = ""
        self._inbox = ""
        self._sub: Subscription | None = None
        self._open: dict[str, int] = {}
        self._next_id = 0
        self._buffer: list[Delivery] = []
        self._arrived = asyncio.Event()
        self._now: Callable[[], float] = time.monotonic
        self._last_heard = 0.0
        self._lost: str = ""

    async def _subscribe(self, consumer: str) -> None:
        await self._unsubscribe()
        self._consumer = consumer
        self._inbox = self._nc.new_inbox()
        self._open.clear()
        self._lost = ""
        self._found = 1
        self._now = asyncio.get_running_loop().time
        self._last_heard = self._now()
        self._sub = await hand_over(self._nc, self._inbox + ".*", self._on_message)
        if isinstance(self._nc, Connection):
            self._nc.followers.add(self._moved)

    def _moved(self) -> None:
        """Sends the open requests again: the connection has come to a server that does not know them."""
        self._lost = "the connection has moved"
        self._arrived.set()

    async def _unsubscribe(self) -> None:
        if isinstance(self._nc, Connection):
            self._nc.followers.discard(self._moved)
        if self._sub is not None:
            with contextlib.suppress(nats.errors.Error):
                await self._sub.unsubscribe()
            self._sub = None

    async def _ask(self, batch: int, *, at_once: bool = False) -> None:
        """Asks for the next messages. at_once: for those that are there now; the answer ends with them."""
        self._next_id += 1
        request_id = str(self._next_id)
        self._open[request_id] = batch
        body: dict[str, Any] = {"batch": batch}
        if at_once:
            body["no_wait"] = True
        else:
            body |= {"expires": int(EXPIRES_S * 1e9), "idle_heartbeat": int(HEARTBEAT_S * 1e9)}
        await self._nc.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}",
            msgspec.json.encode(body),
            reply=f"{self._inbox}.{request_id}",
        )

    def hurry(self) -> None:
        """Ends a pause of a reader that gathers: somebody waits for what it will read."""
        self._hurried.set()

    async def _gather(self, batch: int, wait_s: float) -> None:
        """Waits for messages: for the next one if the last look found nothing, else for those that are there."""
        now = asyncio.get_running_loop().time
        if self._open or self._buffer or self._lost:
            return await self._wait(wait_s)
        if not self._found:
            self._found = 1  # a look follows the message that comes now
            self._last_heard = self._looked_at = now()
            await self._ask(1)
            return await self._wait(wait_s)
        share = min(1.0, self._found / self._gather_full)
        pause_s = self._looked_at + self._gather_s * share - now()
        if pause_s > 0 and not self._behind:
            await self._within(pause_s, self._hurried)
        self._hurried.clear()
        self._last_heard = self._looked_at = now()
        self._found, self._behind = 0, False
        await self._ask(batch, at_once=True)
        while self._open and not self._lost and (left_s := self._looked_at + wait_s - now()) > 0:
            self._arrived.clear()
            await self._within(left_s, self._arrived)
        return None

    @property
    def _asked(self) -> int:
        return sum(self._open.values())

    def _on_message(self, msg: Msg | Message) -> None:
        self._last_heard = self._now()
        if not msg.reply or not msg.reply.startswith("$JS.ACK"):
            self._on_status(msg.subject.rsplit(".", 1)[1], msg)
            return
        oldest = next(iter(self._open), None)  # a delivery names no request; the server serves them in turn
        if oldest is not None:
            self._open[oldest] -= 1
            if self._open[oldest] <= 0:
                del self._open[oldest]
        delivery = parse_delivery(msg)
        self._found += 1
        self._behind = delivery.pending > 0
        self._accept(delivery)

    def _on_status(self, request_id: str, msg: Msg | Message) -> None:
        headers: dict[str, Any] = msg.headers or {}
        status = str(headers.get("Status", ""))
        if status == "100":
            self._on_heartbeat(int(headers.get("Nats-Last-Consumer", 0)))
            return
        self._open.pop(request_id, None)
        if status in {"404", "408"}:
            pass  # the request ran out: ask again
        elif status == "409" and "Exceeded" in str(headers.get("Description", "")):
            log.debug("pull request refused: %s", headers.get("Description"))
        else:
            self._lost = f"{status} {headers.get('Description', '')}".strip()
        self._arrived.set()

    def _on_heartbeat(self, last_delivered: int) -> None:
        """Does nothing: only a tail looks for gaps. last_delivered: the consumer's newest sequence, by the server."""

    def _accept(self, delivery: Delivery) -> None:
        self._buffer.append(delivery)
        self._arrived.set()

    def _check(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._lost:
            raise PullError(self._lost)
        if self._open and now - self._last_heard > 3 * HEARTBEAT_S:
            raise PullError("the server is silent")

    async def _wait(self, timeout_s: float) -> None:
        self._arrived.clear()
        if not self._buffer and not self._lost:
            await self._within(timeout_s, self._arrived)

    @staticmethod
    async def _within(timeout_s: float, event: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await event.wait()


class Tail(_Puller):
    """Reads `filters` of a stream in order, from sequence `start_seq` on, as often as it takes."""

    def __init__(
        self,
        nc: Client,
        stream: str,
        filters: Sequence[str],
        start_seq: int = 1,
        *,
        headers_only: bool = False,
        gather_s: float = 0.0,
        gather_full: int = 1,
    ) -> None:
        super().__init__(nc, stream, gather_s)
        self._gather_full = gather_full
        self._filters = list(filters)
        self._headers_only = headers_only
        self._next_seq = max(1, start_seq)
        self._consumer_seq = 0
        self.caught_up = asyncio.Event()

    async def start(self) -> None:
        config = api.ConsumerConfig(
            deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self._next_seq,
            ack_policy=api.AckPolicy.NONE,
            max_deliver=1,
            inactive_threshold=60.0,
            num_replicas=1,
            mem_storage=True,
            filter_subjects=self._filters if len(self._filters) > 1 else None,
            filter_subject=self._filters[0] if len(self._filters) == 1 else None,
            headers_only=self._headers_only or None,
        )
        info = await self._nc.jsm().add_consumer(self._stream, config)
        self._buffer.clear()
        self._consumer_seq = 0
        await self._subscribe(info.name)
        if not info.num_pending:
            self.caught_up.set()
        if not self._gather_s:
            await self._ask(BATCH_MAX)

    def _accept(self, delivery: Delivery) -> None:
        expected = self._consumer_seq + 1
        consumer_seq = delivery.consumer_seq
        if consumer_seq != expected:
            self._lost = f"gap: consumer sequence {consumer_seq}, expected {expected}"
            self._arrived.set()
            return
        self._consumer_seq = consumer_seq
        self._next_seq = delivery.seq + 1
        if delivery.pending == 0:
            self.caught_up.set()
        super()._accept(delivery)

    def _on_heartbeat(self, last_delivered: int) -> None:
        """Finds a lost delivery that has no successor to show the gap: the heartbeat names the newest sequence."""
        if last_delivered > self._consumer_seq:
            self._lost = f"gap: the server has delivered {last_delivered}, {self._consumer_seq} arrived"
            self._arrived.set()

    async def batch(self, wait_s: float = 1.0) -> list[Delivery]:
        """Returns the messages that have arrived, in order; none after `wait_s` seconds. Survives a lost consumer.

        Returns at once if the tail has just found that there is nothing to catch up with.
        """
        if self._sub is None:
            knew = self.caught_up.is_set()
            await self._restart()
            if self.caught_up.is_set() and not knew:
                return []
        if self._gather_s:
            await self._gather(BATCH_MAX, wait_s)
        elif not self._buffer:
            await self._wait(wait_s)
        taken, self._buffer = self._buffer, []
        ask = not self._gather_s and not self._lost
        if taken:
            if ask and self._asked < BATCH_MAX // 2:
                await self._ask(BATCH_MAX)
            elif self._gather_s and self._behind and not self._open and not self._lost:
                await self._ask(BATCH_MAX, at_once=True)  # the server reads on while the caller works on these
            return taken
        try:
            self._check()
            if ask and not self._open:
                await self._ask(BATCH_MAX)
        except PullError as error:
            log.warning("tail of %s made again from %d: %s", self._stream, self._next_seq, error)
            await self._unsubscribe()
        return []

    async def _restart(self) -> None:
        try:
            await self.start()
        except (nats.errors.Error, APIError) as error:
            log.warning("tail of %s can't be made yet: %s", self._stream, error)
            await asyncio.sleep(0.5)

    @property
    def away(self) -> str:
        """Why nothing arrives at the moment; empty if the server delivers."""
        return self._lost or ("" if self._sub is not None else "it is being made again")

    @property
    def buffered(self) -> int:
        """The number of messages that have arrived and were not taken yet."""
        return len(self._buffer)

    async def stop(self) -> None:
        consumer = self._consumer
        await self._unsubscribe()
        if consumer:
            with contextlib.suppress(nats.errors.Error, NotFoundError, APIError):
                await self._nc.jsm().delete_consumer(self._stream, consumer)


class WorkQueue(_Puller):
    """Takes messages of a durable consumer; `credit` bounds how many are in hand and not yet released.

    gather_s: the least time between two looks; only for a caller that releases a batch before it takes the next one.
    """

    def __init__(self, nc: Client, stream: str, durable: str, credit: int, gather_s: float = 0.0) -> None:
        super().__init__(nc, stream, gather_s)
        self._durable = durable
        self._credit = credit
        self._in_hand = 0

    async def start(self) -> None:
        await self._subscribe(self._durable)
        if not self._gather_s:
            await self._top_up()

    async def _top_up(self) -> None:
        free = self._credit - self._in_hand - len(self._buffer) - self._asked
        if free > 0 and (free >= self._credit // 4 or not self._open):
            await self._ask(free)

    async def batch(self, wait_s: float = 1.0) -> list[Delivery]:
        """Returns the messages now in hand. Raises PullError if the consumer is gone.

        The caller acknowledges each message, and then releases it.
        """
        if self._gather_s:
            await self._gather(self._credit - self._in_hand, wait_s)
        else:
            await self._top_up()
            if not self._buffer:
                await self._wait(wait_s)
        taken, self._buffer = self._buffer, []
        self._in_hand += len(taken)
        if not taken:
            self._check()
        return taken

    def release(self, count: int = 1) -> None:
        """Makes room for `count` more messages: the work on as many is over."""
        self._in_hand -= count
        self._arrived.set()

    async def stop(self) -> None:
        await self._unsubscribe()
