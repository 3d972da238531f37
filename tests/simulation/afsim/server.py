"""A JetStream server in memory, as far as AgentFlow uses one: streams, fences, message ids, atomic batches, message
schedules, pull consumers, buckets. What it does is what nats-server 2.12 does; what it forgets is nothing."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from agentflow_common import subjects

EPOCH_MS = 1_700_000_000_000
DEDUP_S = 120.0
HEARTBEAT_S = 2.0
Send = Callable[[str, str, bytes, "dict[str, str] | None"], None]


@dataclass(slots=True)
class Message:
    """writer: the process that published it, for the checker. known: decisions of the run that it could know of."""

    seq: int
    subject: str
    data: bytes
    at_s: float
    writer: str
    known: int = 0
    headers: dict[str, str] | None = None


@dataclass(slots=True)
class Request:
    inbox: str
    left: int
    until: float
    client: Any


@dataclass(slots=True)
class Consumer:
    name: str
    filters: tuple[str, ...]
    ack_wait: float = 0.0  # 0: no acknowledgements
    queue: deque[int] = field(default_factory=deque)
    waiting: deque[Request] = field(default_factory=deque)
    delivered: int = 0
    counts: dict[int, int] = field(default_factory=dict)
    deadlines: dict[int, float] = field(default_factory=dict)
    beating: bool = False


@lru_cache(maxsize=50_000)
def matches(pattern: str, subject: str) -> bool:
    want, have = pattern.split("."), subject.split(".")
    for index, token in enumerate(want):
        if token == ">":
            return len(have) > index
        if index >= len(have) or token not in ("*", have[index]):
            return False
    return len(want) == len(have)


class Server:
    """rng draws nothing here: all chance is in the network and in the faults."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.log: list[Message] = []
        self.dead: list[Message] = []
        self.gone: set[int] = set()
        self.newest: dict[str, int] = {}  # by subject, and by every `prefix.>`
        self.by_run: dict[str, list[int]] = {}
        self.ids: dict[str, tuple[int, float]] = {}
        self.batches: dict[str, list[tuple[str, bytes, dict[str, str]]]] = {}
        self.schedules: dict[str, asyncio.TimerHandle] = {}
        self.consumers: dict[str, Consumer] = {}
        self.kv: dict[str, tuple[bytes, int, float]] = {}
        self.objects: dict[tuple[str, str], bytes] = {}
        self.known: dict[tuple[str, str], int] = {}  # (writer, run): newest decision that was ever sent to it
        self.refused = 0
        self._numbers = itertools.count(1)
        self._revisions = itertools.count(1)

    def now_ms(self) -> int:
        return EPOCH_MS + int(self.loop.time() * 1000)

    # --- append ---

    def publish(self, client: Any, subject: str, data: bytes, reply: str, headers: dict[str, str]) -> None:
        """A message from the network; what a stream's subject takes is answered with an acknowledgement."""
        answer: dict[str, Any] | None
        if "Nats-Batch-Id" in headers:
            answer = self._batch(client, subject, data, headers)
        else:
            answer = self._one(client.process.name, subject, data, headers)
        if reply and answer is not None:
            client.deliver(reply, "", msgspec.json.encode(answer), None, loose=True)

    def _batch(self, client: Any, subject: str, data: bytes, headers: dict[str, str]) -> dict[str, Any] | None:
        key, number = headers["Nats-Batch-Id"], int(headers["Nats-Batch-Sequence"])
        staged = self.batches.setdefault(key, [])
        staged.append((subject, data, headers))
        if "Nats-Batch-Commit" not in headers:
            return None
        del self.batches[key]
        if len(staged) != number:
            return {"error": {"code": 400, "err_code": 10176, "description": "batch is incomplete"}}
        named = [found[2]["Nats-Msg-Id"] for found in staged if "Nats-Msg-Id" in found[2]]
        if len(set(named)) < len(named) or any(self._seen(msg_id) for msg_id in named):
            self.refused += 1
            return {"error": {"code": 400, "err_code": 10201, "description": "batch holds a message id again"}}
        for its_subject, _, its_headers in staged:
            refusal = self._fence(its_subject, its_headers)
            if refusal is not None:
                return refusal
        seq = 0
        for its_subject, its_data, its_headers in staged:
            seq = self.append(its_subject, its_data, client.process.name, its_headers)
            self._remember(its_headers, seq)
        return {"stream": subjects.EVENTS_STREAM, "seq": seq}

    def _one(self, writer: str, subject: str, data: bytes, headers: dict[str, str]) -> dict[str, Any]:
        msg_id = headers.get("Nats-Msg-Id", "")
        if self._seen(msg_id):
            return {"stream": subjects.EVENTS_STREAM, "seq": self.ids[msg_id][0], "duplicate": True}
        refusal = self._fence(subject, headers)
        if refusal is not None:
            return refusal
        seq = self.append(subject, data, writer, headers)
        self._remember(headers, seq)
        return {"stream": subjects.EVENTS_STREAM, "seq": seq}

    def _seen(self, msg_id: str) -> bool:
        return msg_id in self.ids and self.ids[msg_id][1] > self.loop.time()

    def _remember(self, headers: dict[str, str], seq: int) -> None:
        if "Nats-Msg-Id" in headers:
            self.ids[headers["Nats-Msg-Id"]] = (seq, self.loop.time() + DEDUP_S)

    def _fence(self, subject: str, headers: dict[str, str]) -> dict[str, Any] | None:
        expected = headers.get("Nats-Expected-Last-Subject-Sequence")
        if expected is None:
            return None
        newest = self.newest.get(headers.get("Nats-Expected-Last-Subject-Sequence-Subject", subject), 0)
        if newest == int(expected):
            return None
        self.refused += 1
        return {"error": {"code": 400, "err_code": 10071, "description": f"wrong last sequence: {newest}"}}

    def append(self, subject: str, data: bytes, writer: str, headers: dict[str, str] | None = None) -> int:
        if subject.startswith("af.dead."):
            self.dead.append(Message(0, subject, data, self.loop.time(), writer, headers=headers))
            return len(self.dead)
        seq = len(self.log) + 1
        message = Message(seq, subject, data, self.loop.time(), writer)
        self.log.append(message)
        self.newest[subject] = seq
        parts = subject.split(".")
        for end in range(2, len(parts)):
            self.newest[".".join(parts[:end]) + ".>"] = seq
        if parts[1] == "evt":
            run = ".".join(parts[:5])
            self.by_run.setdefault(run, []).append(seq)
            if parts[5] == "out":
                message.known = self.known.get((writer, run), 0)
                self.known[writer, run] = seq  # what follows in a batch knows it, later ones must be fenced by it
        elif headers and "Nats-Schedule" in headers:
            self._schedule(subject, data, headers)
        self.on_append(message)  # type: ignore[attr-defined]
        for consumer in list(self.consumers.values()):
            if any(matches(pattern, subject) for pattern in consumer.filters):
                consumer.queue.append(seq)
                self.pump(consumer)
        return seq

    def learn(self, writer: str, message: Message) -> None:
        """The server has shown this message to that process."""
        parts = message.subject.split(".")
        if len(parts) > 5 and parts[5] == "out":
            key = (writer, ".".join(parts[:5]))
            self.known[key] = max(self.known.get(key, 0), message.seq)

    # --- message schedules ---

    def _schedule(self, subject: str, data: bytes, headers: dict[str, str]) -> None:
        found = re.fullmatch(r"@at (.+)Z", headers["Nats-Schedule"])
        if found is None:
            raise AssertionError(f"not a schedule: {headers['Nats-Schedule']}")
        at_ms = datetime.fromisoformat(found[1] + "+00:00").timestamp() * 1000
        if subject in self.schedules:
            self.schedules[subject].cancel()

        def fire() -> None:
            del self.schedules[subject]
            self.append(headers["Nats-Schedule-Target"], data, "timers")

        self.schedules[subject] = self.loop.call_later(max(0.0, (at_ms - self.now_ms()) / 1000), fire)

    def purge(self, pattern: str) -> None:
        for subject in [s for s in self.schedules if matches(pattern, s)]:
            self.schedules.pop(subject).cancel()

    # --- reads ---

    def read(self, writer: str, subject: str, start: int, want: int) -> tuple[list[Message], int]:
        run = ".".join(subject.split(".")[:5])
        found = [s for s in self.by_run.get(run, ()) if s >= start and matches(subject, self.log[s - 1].subject)]
        out = [self.log[s - 1] for s in found[:want]]
        for message in out:
            self.learn(writer, message)
        return out, len(found) - len(out)

    def last(self, subject: str) -> Message | None:
        seq = self.newest.get(subject, 0)
        return self.log[seq - 1] if seq else None

    # --- consumers ---

    def add_consumer(self, name: str, filters: tuple[str, ...], start: int, ack_wait: float) -> Consumer:
        if name in self.consumers:
            return self.consumers[name]
        consumer = self.consumers[name] = Consumer(name, filters, ack_wait)
        for message in self.log[max(0, start - 1) :]:
            if any(matches(pattern, message.subject) for pattern in filters):
                consumer.queue.append(message.seq)
        return consumer

    def forget_consumer(self, name: str) -> None:
        """As when its server went down: an ephemeral consumer is lost with all that it knew; who asks is told."""
        consumer = self.consumers.pop(name, None)
        if consumer is not None:
            for request in consumer.waiting:
                request.client.deliver(request.inbox, "", b"", {"Status": "409", "Description": "Consumer Deleted"})

    def ask(self, client: Any, name: str, inbox: str, batch: int, expires_s: float) -> None:
        consumer = self.consumers.get(name)
        if consumer is None:
            client.deliver(inbox, "", b"", {"Status": "503"})
            return
        consumer.waiting.append(Request(inbox, batch, self.loop.time() + expires_s, client))
        self.pump(consumer)
        if not consumer.beating:
            consumer.beating = True
            self.loop.call_later(HEARTBEAT_S, self._beat, consumer)

    def _beat(self, consumer: Consumer) -> None:
        """Idle heartbeats, requests that ran out, acknowledgements that did not come."""
        if self.consumers.get(consumer.name) is not consumer:
            return
        now = self.loop.time()
        for seq, deadline in list(consumer.deadlines.items()):
            if deadline <= now:
                del consumer.deadlines[seq]
                consumer.queue.appendleft(seq)
        last = {"Status": "100", "Nats-Last-Consumer": str(consumer.delivered)}
        for request in list(consumer.waiting):
            if not request.client.process.alive or now >= request.until:
                consumer.waiting.remove(request)
                request.client.deliver(request.inbox, "", b"", {"Status": "408"})
            else:
                request.client.deliver(request.inbox, "", b"", last)
        self.pump(consumer)
        consumer.beating = bool(consumer.waiting or consumer.deadlines)
        if consumer.beating:
            self.loop.call_later(HEARTBEAT_S, self._beat, consumer)

    def pump(self, consumer: Consumer) -> None:
        while consumer.queue and consumer.waiting:
            request = consumer.waiting[0]
            seq = consumer.queue.popleft()
            message = self.log[seq - 1]
            consumer.delivered += 1
            count = consumer.counts[seq] = consumer.counts.get(seq, 0) + 1
            if consumer.ack_wait:
                consumer.deadlines[seq] = self.loop.time() + consumer.ack_wait
            ns = (EPOCH_MS + int(message.at_s * 1000)) * 1_000_000
            pending = len(consumer.queue)
            reply = f"$JS.ACK.S.{consumer.name}.{count}.{seq}.{consumer.delivered}.{ns}.{pending}"
            request.left -= 1
            if not request.left:
                consumer.waiting.popleft()
            self.learn(request.client.process.name, message)
            request.client.deliver(request.inbox, reply, message.data, None, subject=message.subject)

    def acknowledge(self, reply: str, word: bytes) -> None:
        parts = reply.split(".")
        consumer, seq = self.consumers.get(parts[3]), int(parts[5])
        if consumer is None or seq not in consumer.deadlines:
            if consumer is not None and word == b"+ACK" and seq in consumer.queue:
                consumer.queue.remove(seq)
            return
        if word == b"+WPI":
            consumer.deadlines[seq] = self.loop.time() + consumer.ack_wait
        else:
            del consumer.deadlines[seq]
            consumer.counts.pop(seq, None)

    # --- buckets ---

    def kv_live(self, key: str) -> tuple[bytes, int] | None:
        held = self.kv.get(key)
        return None if held is None or held[2] <= self.loop.time() else (held[0], held[1])

    def kv_set(self, key: str, value: bytes, ttl_s: float) -> int:
        revision = next(self._revisions)
        self.kv[key] = (value, revision, self.loop.time() + ttl_s)
        return revision
