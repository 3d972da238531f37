"""A connection to the simulated server, with the face of nats-py's client, over a network that may lose and delay.

In one direction messages of a connection keep their order, as TCP does; acknowledgements of appends (`loose`) may
overtake each other. A message that is lost is lost as by a connection that breaks: nobody is told.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from types import SimpleNamespace
from typing import Any

import msgspec
import nats.errors
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError, ObjectNotFoundError

from afsim.loop import PROCESS, Process
from afsim.server import Server, matches
from agentflow_common import subjects

CALL_TIMEOUT_S = 5.0


class Network:
    """How bad it is now: chances of a loss in each direction, of a long delay, and how long that is."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.lose = 0.0
        self.slow = 0.0
        self.slow_s = 0.0

    def delay_s(self) -> float:
        delay = 0.0002 + self.rng.random() * 0.002
        if self.slow and self.rng.random() < self.slow:
            delay += self.rng.random() * self.slow_s
        return delay

    def lost(self) -> bool:
        return self.lose > 0 and self.rng.random() < self.lose


class Sub:
    def __init__(self, client: Client, subject: str, cb: Any, future: Any) -> None:
        self.client, self.cb, self.future = client, cb, future
        self.prefix, self.wild = (subject[:-1], True) if subject.endswith(".*") else (subject, False)

    def take(self, msg: Any) -> None:
        """As nats-py does: a subscription has a callback, or a future that is told of every message."""
        if self.future is not None:
            self.future.set_result(msg)
        else:
            _drive(self.cb(msg))

    async def unsubscribe(self) -> None:
        self.client.drop(self)


class Client:
    """One connection of one process. cut_until: until then nothing passes; what is sent waits, or is lost."""

    def __init__(self, server: Server, network: Network, process: Process, number: int) -> None:
        self.server, self.network, self.process = server, network, process
        self.loop = server.loop
        self.cut_until = 0.0
        self.closed = False
        self._number = number
        self._inboxes = itertools.count(1)
        self._subs: dict[str, Sub] = {}
        self._out: deque[Callable[[], None]] = deque()
        self._in: deque[Callable[[], None]] = deque()
        self._out_at = self._in_at = 0.0
        self._context = copy_context()
        self._context.run(PROCESS.set, process)
        self._outside = Context()

    # --- the wire ---

    def _send(self, work: Callable[[], None]) -> None:
        """Runs `work` at the server, later, in the order of sending."""
        if self.closed:
            raise nats.errors.ConnectionClosedError
        now = self.loop.time()
        if self.network.lost():
            return
        self._out_at = max(self._out_at, self.cut_until, now + self.network.delay_s())
        self._out.append(work)
        self.loop.call_at(self._out_at, self._arrive_out, context=self._outside)

    def _arrive_out(self) -> None:
        self._out.popleft()()

    def deliver(
        self, inbox: str, reply: str, data: bytes, headers: dict[str, str] | None, *, subject: str = "",
        loose: bool = False,
    ) -> None:  # fmt: skip
        """A message from the server for one of the process's inboxes."""
        if self.closed or not self.process.alive or self.network.lost() or self.loop.time() < self.cut_until:
            return
        msg = SimpleNamespace(subject=subject or inbox, reply=reply, data=data, headers=headers)

        def arrive() -> None:
            sub = self._subs.get(inbox) or self._subs.get(inbox.rpartition(".")[0] + ".")
            if sub is not None:
                sub.take(msg)

        at = self.loop.time() + self.network.delay_s()
        if loose:
            self.loop.call_at(at, arrive, context=self._context)
            return
        self._in_at = max(self._in_at, at)
        self._in.append(arrive)
        self.loop.call_at(self._in_at, self._arrive_in, context=self._context)

    def _arrive_in(self) -> None:
        self._in.popleft()()

    async def _call(self, work: Callable[[], Any]) -> Any:
        """A request to the server and its answer, or nats-py's TimeoutError: done or not, nobody knows."""
        future: asyncio.Future[Any] = self.loop.create_future()

        def answer(result: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        def at_server() -> None:
            result, error = None, None
            try:
                result = work()
            except Exception as found:
                error = found
            if not self.network.lost() and self.loop.time() >= self.cut_until:
                self.loop.call_later(self.network.delay_s(), answer, result, error, context=self._context)

        self._send(at_server)
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await future
        except TimeoutError:
            raise nats.errors.TimeoutError from None

    def drop(self, sub: Sub) -> None:
        if self._subs.get(sub.prefix) is sub:
            del self._subs[sub.prefix]

    # --- nats-py's face ---

    def new_inbox(self) -> str:
        return f"_INBOX.c{self._number}i{next(self._inboxes)}"

    async def subscribe(self, subject: str, cb: Any = None, future: Any = None, **_: Any) -> Sub:
        if self.closed:
            raise nats.errors.ConnectionClosedError
        sub = Sub(self, subject, cb, future)
        self._subs[sub.prefix] = sub
        return sub

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        if self.network.rng.random() < 0.1:
            await asyncio.sleep(0)  # a full buffer is flushed first
        self._send(lambda: self._at_server(subject, payload, reply, headers or {}))

    def _at_server(self, subject: str, data: bytes, reply: str, headers: dict[str, str]) -> None:
        server = self.server
        if subject.startswith("$JS.ACK."):
            server.acknowledge(subject, data)
        elif subject.startswith("$JS.API.CONSUMER.MSG.NEXT."):
            body = msgspec.json.decode(data)
            server.ask(self, subject.rsplit(".", 1)[1], reply, body["batch"], body["expires"] / 1e9)
        elif subject.startswith("$JS.API.DIRECT.GET."):
            body = msgspec.json.decode(data)
            if subject.endswith("." + subjects.LEASE_STREAM):
                self._read_bucket(subjects.LEASE_BUCKET, reply)
                return
            found, left = server.read(self.process.name, body["next_by_subj"], body["seq"], body["batch"])
            last = 0
            for message in found:
                place = {"Nats-Sequence": str(message.seq), "Nats-Subject": message.subject}
                self.deliver(reply, "", message.data, {**place, "Nats-Last-Sequence": str(last)})
                last = message.seq
            end = {"Status": "204", "Nats-Num-Pending": str(left), "Nats-Last-Sequence": str(last)}
            end = end if found else {"Status": "404"}
            self.deliver(reply, "", b"", end)
        elif subject.startswith("af.ctl."):
            for client in self.server.listeners:  # type: ignore[attr-defined]
                client.deliver("af.ctl.", "", data, None)
        else:
            server.publish(self, subject, data, reply, headers)

    def _read_bucket(self, bucket: str, reply: str) -> None:
        last = 0
        held = {key: live for key in self.server.kv if (live := self.server.kv_live(key)) and key.startswith(bucket)}
        for key, (value, revision) in sorted(held.items(), key=lambda item: item[1][1]):
            place = {"Nats-Sequence": str(revision), "Nats-Subject": "$KV." + key.replace("/", ".", 1)}
            self.deliver(reply, "", value, {**place, "Nats-Last-Sequence": str(last)})
            last = revision
        end = {"Status": "204", "Nats-Num-Pending": "0", "Nats-Last-Sequence": str(last)} if held else {"Status": "404"}
        self.deliver(reply, "", b"", end)

    async def request(self, subject: str, data: bytes, timeout: float = 5.0, headers: Any = None) -> Any:
        if not subject.startswith("$JS.API.DIRECT.GET."):
            raise AssertionError(f"nobody answers {subject}")
        wanted = subject.split(".", 5)[5]
        found = await self._call(lambda: self.server.last(wanted))
        if found is None:
            return SimpleNamespace(headers={"Status": "404"}, data=b"")
        place = {"Nats-Sequence": str(found.seq), "Nats-Subject": found.subject}
        return SimpleNamespace(headers=place, data=found.data)

    def jsm(self) -> Jsm:
        return Jsm(self)

    def jetstream(self) -> Js:
        return Js(self)


def _drive(coro: Any) -> None:
    """Runs a subscription's callback, which does not wait for anything."""
    try:
        coro.send(None)
    except StopIteration:
        return
    raise AssertionError("a subscription's callback waits")


class Jsm:
    def __init__(self, client: Client) -> None:
        self._client, self._server = client, client.server

    async def stream_info(self, _stream: str, subjects_filter: str = "") -> Any:
        """Returns the newest sequence. What workers offer is not simulated: no subject is listed."""
        seq = await self._client._call(lambda: len(self._server.log))
        return SimpleNamespace(state=SimpleNamespace(last_seq=seq, subjects={} if subjects_filter else None))

    async def get_last_msg(self, _stream: str, subject: str) -> Any:
        log = self._server.log
        found = await self._client._call(
            lambda: next((seq for seq in range(len(log), 0, -1) if matches(subject, log[seq - 1].subject)), 0)
        )
        if not found:
            raise NotFoundError(code=404, err_code=10037, description="no message found")
        return SimpleNamespace(seq=found, subject=log[found - 1].subject, data=log[found - 1].data)

    async def add_consumer(self, _stream: str, config: Any) -> Any:
        filters = tuple(config.filter_subjects or [config.filter_subject])
        durable = config.durable_name

        def add() -> Any:
            name = durable or f"e{next(self._server._numbers)}"
            consumer = self._server.add_consumer(
                name, filters, config.opt_start_seq or 1, config.ack_wait if durable else 0.0
            )
            return SimpleNamespace(name=name, num_pending=len(consumer.queue))

        return await self._client._call(add)

    async def delete_consumer(self, _stream: str, name: str) -> None:
        def delete() -> None:
            if self._server.consumers.pop(name, None) is None:
                raise NotFoundError(code=404, err_code=10014, description="consumer not found")

        await self._client._call(delete)

    async def consumers_info(self, _stream: str, _offset: int = 0) -> Any:
        raise nats.errors.TimeoutError  # so nothing is trimmed: every event stays for the checker

    async def purge_stream(self, _stream: str, subject: str) -> None:
        await self._client._call(lambda: self._server.purge(subject))


class Js:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def object_store(self, bucket: str) -> Objects:
        return Objects(self._client, bucket)

    async def key_value(self, bucket: str) -> Kv:
        return Kv(self._client, bucket)


class Objects:
    def __init__(self, client: Client, bucket: str) -> None:
        self._client, self._bucket = client, bucket

    async def put(self, name: str, data: bytes) -> None:
        def put() -> None:
            self._client.server.objects[self._bucket, name] = bytes(data)

        await self._client._call(put)

    async def get(self, name: str) -> Any:
        def get() -> Any:
            data = self._client.server.objects.get((self._bucket, name))
            if data is None:
                raise ObjectNotFoundError
            self._client.server.on_get(self._client.process.name, name, data)  # type: ignore[attr-defined]
            return SimpleNamespace(data=data)

        return await self._client._call(get)

    get_info = get


class Kv:
    """ttl: entries of the leases' bucket age out after 5 s."""

    def __init__(self, client: Client, bucket: str) -> None:
        self._client, self._bucket = client, bucket
        self._server = client.server
        self._ttl_s = 5.0 if bucket == subjects.LEASE_BUCKET else 1e9

    def _key(self, key: str) -> str:
        return f"{self._bucket}/{key}"

    async def get(self, key: str) -> Any:
        def get() -> Any:
            held = self._server.kv_live(self._key(key))
            if held is None:
                raise KeyNotFoundError
            return SimpleNamespace(value=held[0], revision=held[1])

        return await self._client._call(get)

    async def put(self, key: str, value: bytes) -> int:
        return int(await self._client._call(lambda: self._server.kv_set(self._key(key), value, self._ttl_s)))

    async def create(self, key: str, value: bytes) -> int:
        return await self.update(key, value, 0)

    async def update(self, key: str, value: bytes, last: int) -> int:
        def update() -> int:
            held = self._server.kv_live(self._key(key))
            if (held[1] if held else 0) != last:
                raise KeyWrongLastSequenceError("wrong last sequence")
            return self._server.kv_set(self._key(key), value, self._ttl_s)

        return int(await self._client._call(update))

    async def delete(self, key: str, last: int | None = None) -> None:
        def delete() -> None:
            held = self._server.kv_live(self._key(key))
            if last is not None and (held[1] if held else 0) != last:
                raise KeyWrongLastSequenceError("wrong last sequence")
            self._server.kv.pop(self._key(key), None)

        await self._client._call(delete)
