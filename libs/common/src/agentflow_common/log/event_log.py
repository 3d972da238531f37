"""The event log: JetStream as the store of events and the queue of work (ADR 0001).

An append is durable when its future resolves, and not before. Three kinds: `publish` is pipelined (many in flight, one
round trip each), `append` awaits one, `append_batch` is all or nothing. log/group_commit.py makes batches of single
appends. A fence (`Fence`) makes the append of a writer that has not seen the newest message of its subject fail with
`ConflictError`; nothing is written then.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError

from agentflow_common import subjects
from agentflow_common.errors import ConflictError, RetryableError
from agentflow_common.log import dead_letters, fast_path
from agentflow_common.log.consumers import Delivery, Tail
from agentflow_common.log.fast_path import Message
from agentflow_common.log.readings import Readings
from agentflow_common.metrics.log import DEAD_LETTERS

ACK_TIMEOUT_S: Final = 5.0
SWEEP_S: Final = 0.25  # how late an acknowledgement's deadline may be noticed: one timer serves all that are awaited
FLUSH_EVERY: Final = 8  # messages of a batch
ATOMIC_BATCH_MAX: Final = 1000  # the server's bound for one atomic batch
_WRONG_LAST_SEQUENCE: Final = 10071
_NO_ROOM: Final = (10023, 10047, 10077)  # resources of the server, of the account, of the stream
_READ_BATCH: Final = 500


class Fence(msgspec.Struct, frozen=True):
    """The condition of an append: the newest message on a subject has a certain sequence."""

    seq: int  # 0: the subject has no message
    subject: str = ""  # may contain wildcards


class Entry(msgspec.Struct, frozen=True):
    """A message to append."""

    subject: str
    data: bytes
    msg_id: str = ""
    fence: Fence | None = None
    headers: dict[str, str] = {}


class Ack(msgspec.Struct, frozen=True):
    """The server's confirmation of an append."""

    stream: str = ""
    seq: int = 0  # the sequence of the (last) message
    duplicate: bool = False  # the message id had been seen, nothing was written


class Stored(msgspec.Struct, frozen=True):
    """A message read back; `seq` is its sequence in the stream."""

    subject: str
    data: bytes
    seq: int


class _ApiError(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _AckWire(msgspec.Struct):
    error: _ApiError | None = None
    stream: str = ""
    seq: int = 0
    duplicate: bool = False


_ack_decoder: Final = msgspec.json.Decoder(_AckWire)


class EventLog:
    """One connection's view of the log. Start it once; it owns one inbox for acknowledgements."""

    def __init__(self, nc: Client) -> None:
        self.nc = nc
        self._inbox = nc.new_inbox()
        self._readings = Readings(nc)
        self._pending: dict[str, tuple[asyncio.Future[Ack], float]] = {}  # with the deadline, by the loop's clock
        self._sweeper: asyncio.TimerHandle | None = None
        self._ids = itertools.count(1)
        self._batch_prefix = self._inbox.rsplit(".", 1)[-1]
        self._started = False

    async def start(self) -> None:
        if not self._started:
            await fast_path.hand_over(self.nc, self._inbox + ".*", self._on_ack)
            self._started = True

    def _on_ack(self, msg: Msg | Message) -> None:
        future, _ = self._pending.pop(msg.subject.rsplit(".", 1)[1], (None, 0.0))
        if future is None or future.done():
            return
        if not msg.data:  # 503: no stream listens
            future.set_exception(RetryableError("the event log is not reachable", kind="log_unavailable"))
            return
        ack = _ack_decoder.decode(msg.data)
        if ack.error is None:
            future.set_result(Ack(ack.stream, ack.seq, ack.duplicate))
        else:
            future.set_exception(_append_error(ack.error))

    def _expect(self, timeout_s: float) -> tuple[str, asyncio.Future[Ack]]:
        """Returns the next acknowledgement's token and future. The future fails if no acknowledgement comes in time."""
        loop = asyncio.get_running_loop()
        token = str(next(self._ids))
        future: asyncio.Future[Ack] = loop.create_future()
        self._pending[token] = (future, loop.time() + timeout_s)
        if self._sweeper is None:
            self._sweeper = loop.call_later(SWEEP_S, self._sweep, loop)
        return token, future

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for token in [t for t, (future, deadline) in self._pending.items() if deadline <= now or future.done()]:
            future, _ = self._pending.pop(token)
            if not future.done():
                error = RetryableError("no acknowledgement from the event log in time", kind="append_unknown")
                future.set_exception(error)
                future.exception()  # marks the exception as retrieved: the waiter may be gone, and asyncio would log it
        self._sweeper = loop.call_later(SWEEP_S, self._sweep, loop) if self._pending else None

    async def publish(self, entry: Entry, timeout_s: float = ACK_TIMEOUT_S) -> asyncio.Future[Ack]:
        """Sends now, resolves when durable; the caller bounds how many it leaves in flight. The future fails like
        `append` does, with RetryableError `append_unknown` when no acknowledgement came in time."""
        token, future = self._expect(timeout_s)
        await fast_path.send(self.nc, entry.subject, entry.data, f"{self._inbox}.{token}", _headers(entry))
        return future

    async def append(self, entry: Entry, timeout_s: float = ACK_TIMEOUT_S) -> Ack:
        """Appends one message durably.

        Raises ConflictError (fence), or RetryableError (the log is unreachable, or the outcome is unknown).
        """
        return await (await self.publish(entry, timeout_s))

    async def append_batch(self, entries: Sequence[Entry], timeout_s: float = ACK_TIMEOUT_S) -> Ack:
        """Appends all messages or none, at most ATOMIC_BATCH_MAX. Returns the last message's sequence.

        A message id that was seen before refuses the batch. A fence may stand on the first message
        of each subject group.
        """
        if not 0 < len(entries) <= ATOMIC_BATCH_MAX:
            raise ValueError(f"a batch holds 1 to {ATOMIC_BATCH_MAX} messages, got {len(entries)}")
        token, future = self._expect(timeout_s)
        batch_id = f"{self._batch_prefix}-{token}"
        for number, entry in enumerate(entries, 1):
            headers = _headers(entry)
            headers["Nats-Batch-Id"] = batch_id
            headers["Nats-Batch-Sequence"] = str(number)
            last = number == len(entries)
            if last:
                headers["Nats-Batch-Commit"] = "1"
            reply = f"{self._inbox}.{token}" if last else ""
            await fast_path.send(self.nc, entry.subject, entry.data, reply, headers)
            if number % FLUSH_EVERY == 0:
                await asyncio.sleep(0)  # these leave: the server stages them while the others are put together
        return await future

    async def last(self, subject: str, stream: str = subjects.EVENTS_STREAM) -> Stored | None:
        """Returns the newest message on a subject (wildcards allowed), or None. A replica may answer, which may lag.

        The time that this takes does not grow with what was written to other subjects since, as that of `read` does.
        """
        body = msgspec.json.encode({"last_by_subj": subject})
        try:
            msg = await self.nc.request(f"$JS.API.DIRECT.GET.{stream}", body, timeout=ACK_TIMEOUT_S)
        except (nats.errors.TimeoutError, nats.errors.NoRespondersError) as error:
            raise RetryableError("the event log is not reachable", kind="log_unavailable") from error
        return _stored(msg)

    async def last_seq(self, stream: str = subjects.EVENTS_STREAM) -> int:
        info = await self.nc.jsm().stream_info(stream)
        return int(info.state.last_seq)

    async def newest(self, subject: str) -> int:
        """Returns the newest sequence on a subject (wildcards allowed), 0 for none. See `newest_message`."""
        found = await self.newest_message(subject)
        return found.seq if found is not None else 0

    async def newest_message(self, subject: str) -> Stored | None:
        """Returns the newest message on a subject (wildcards allowed), as the stream's leader has it.

        Reads and tails are served by replicas as well, which may lag.
        """
        try:
            found = await self.nc.jsm().get_last_msg(subjects.EVENTS_STREAM, subject)
        except NotFoundError:
            return None
        return Stored(str(found.subject), found.data or b"", int(found.seq or 0))

    async def read(
        self, subject: str, after_seq: int = 0, limit: int | None = None, stream: str = subjects.EVENTS_STREAM
    ) -> list[Stored]:
        """Returns the messages on `subject` (wildcards allowed) with a sequence above `after_seq`, in order."""
        out: list[Stored] = []
        position = after_seq + 1
        while True:
            want = _READ_BATCH if limit is None else min(_READ_BATCH, limit - len(out))
            if want <= 0:
                return out
            chunk, more = await self._read_chunk(subject, position, want, stream)
            out.extend(chunk)
            if not more or not chunk:
                return out
            position = chunk[-1].seq + 1

    async def messages(
        self, subject: str, after_seq: int = 0, stream: str = subjects.EVENTS_STREAM
    ) -> AsyncIterator[Stored]:
        """Yields what `read` returns, a chunk at a time: a long log is never in memory as a whole."""
        more = True
        while more:
            chunk, more = await self._read_chunk(subject, after_seq + 1, _READ_BATCH, stream)
            for stored in chunk:
                yield stored
                after_seq = stored.seq
            more = more and bool(chunk)

    async def _read_chunk(self, subject: str, start: int, want: int, stream: str) -> tuple[list[Stored], bool]:
        """Returns the messages of one batched direct get, and True if more are left."""
        reply, reading = await self._readings.begin()
        try:
            body = {"seq": start, "batch": want, "next_by_subj": subject}
            await fast_path.send(self.nc, f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(body), reply)
            async with asyncio.timeout(ACK_TIMEOUT_S):
                more = await reading.done
        except TimeoutError as error:
            raise RetryableError("the event log did not answer a read", kind="log_unavailable") from error
        finally:
            self._readings.end(reply)
        return [Stored(*item) for item in reading.chunk], more

    def tail(
        self,
        filters: Sequence[str],
        start_seq: int = 1,
        stream: str = subjects.EVENTS_STREAM,
        *,
        headers_only: bool = False,
        gather_s: float = 0.0,
        gather_full: int = 1,
    ) -> Tail:
        """Returns a reader of what comes.

        gather_s: the least time between two looks of one that is in no hurry.
        gather_full: messages in one look from which on it makes the whole pause; after fewer the pause is shorter.
        """
        return Tail(
            self.nc,
            stream,
            filters,
            start_seq,
            headers_only=headers_only,
            gather_s=gather_s,
            gather_full=gather_full,
        )

    async def bury(self, origin: str, delivery: Delivery, why: str) -> None:
        """Keeps what the service `origin` can't use with the dead letters, once, with its place and the reason."""
        entry = Entry(
            dead_letters.place(origin, delivery),
            delivery.data,
            msg_id=f"dead-{origin}-{delivery.seq}",
            fence=Fence(0),
            headers=dead_letters.headers(delivery, why),
        )
        with contextlib.suppress(ConflictError):  # its letter is there already
            if not (await self.append(entry)).duplicate:
                DEAD_LETTERS.labels(origin, why).inc()

    async def ack(self, delivery: Delivery) -> None:
        """Tells the queue that the message's effect is durable."""
        await fast_path.send(self.nc, delivery.reply, b"+ACK")

    async def retry_later(self, delivery: Delivery, wait_s: float) -> None:
        """Asks the queue to deliver the message again after some seconds."""
        delay = msgspec.json.encode({"delay": int(wait_s * 1e9)})
        await self.nc.publish(delivery.reply, b"-NAK " + delay)

    async def in_progress(self, delivery: Delivery) -> None:
        """Asks the queue for another `ack_wait`."""
        await self.nc.publish(delivery.reply, b"+WPI")


def _headers(entry: Entry) -> dict[str, str]:
    headers = dict(entry.headers)
    if entry.msg_id:
        headers["Nats-Msg-Id"] = entry.msg_id
    if entry.fence is not None:
        headers["Nats-Expected-Last-Subject-Sequence"] = str(entry.fence.seq)
        if entry.fence.subject:
            headers["Nats-Expected-Last-Subject-Sequence-Subject"] = entry.fence.subject
    return headers


def _append_error(error: _ApiError) -> Exception:
    if error.err_code == _WRONG_LAST_SEQUENCE:
        return ConflictError(error.description, kind="wrong_last_sequence")
    if error.err_code in _NO_ROOM:
        return RetryableError(
            f"the event log has no room ({error.description}): free some on the disk of NATS, or raise its "
            "max_file_store, and try again; what was accepted is safe",
            kind="log_full",
        )
    return RetryableError(
        f"the event log refused the append: {error.description} ({error.err_code})", kind="append_refused"
    )


def _stored(msg: Msg | Message) -> Stored | None:
    headers: dict[str, Any] = msg.headers or {}
    if "Nats-Sequence" not in headers:
        return None
    return Stored(str(headers["Nats-Subject"]), msg.data, int(headers["Nats-Sequence"]))
