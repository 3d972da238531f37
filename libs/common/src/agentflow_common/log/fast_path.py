"""The hot path between nats-py and the event log. The client took a third of a scheduler's processor time (ADR 0008).

nats-py reads a message with two regular expressions, parses its headers, makes a `Msg`, puts it into a queue, and a
task takes it out; to publish, it checks and copies every header. A message of a subscription made by `hand_over` goes
from the buffer to its callback in one step, and headers are parsed when somebody asks for them. `send` writes the line
that `Client.publish` would. nats-py does every unusual case: another kind of message, a connection that is down, a
value that would have to be cleaned. It does everything for any other `Client`. Only the time differs.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Any, Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

log = logging.getLogger(__name__)
PENDING_BYTES_MAX: Final = 4 * 1024 * 1024  # unsent; from here on nats-py makes the sender wait
_UNSAFE: Final = re.compile(r"[ \t\r\n]")  # in a subject
_VERSION: Final = "NATS/1.0"


class Message:
    """The argument of a callback, in place of a `Msg`."""

    __slots__ = ("data", "raw_headers", "reply", "subject")

    def __init__(self, subject: str, reply: str, data: bytes, raw_headers: bytes) -> None:
        self.subject = subject
        self.reply = reply
        self.data = data
        self.raw_headers = raw_headers

    @property
    def headers(self) -> dict[str, str] | None:
        return parse_headers(self.raw_headers) if self.raw_headers else None


def parse_headers(raw: bytes) -> dict[str, str] | None:
    """Returns the headers of a message as nats-py does: `NATS/1.0 404 No Messages` and lines of `name: value`."""
    first, *lines = raw.decode(errors="replace").split("\r\n")
    found: dict[str, str] = {}
    status, _, description = first[len(_VERSION) :].strip().partition(" ")
    if status:
        found["Status"] = status
    if description:
        found["Description"] = description.strip()
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            found[name.strip()] = value.strip()
    return found or None


class _HandOver(asyncio.Future[Any]):
    """Stands where nats-py takes the future of a single reply: it calls `set_result` for every message."""

    def __init__(self, take: Callable[[Any], None]) -> None:
        super().__init__()
        self._take = take

    def set_result(self, result: Any) -> None:
        try:
            self._take(result)
        except Exception:  # nats-py would stop reading
            log.exception("a message could not be taken")


async def hand_over(nc: Client, subject: str, take: Callable[[Msg | Message], None]) -> Subscription:
    """Subscribes. `take` is called in the turn of the loop in which a message was read, so it must not take long."""
    return await nc.subscribe(subject, future=_HandOver(take))


class _Reader(Parser):
    """Hands messages over as long as they lead the buffer; what else leads it nats-py parses."""

    async def parse(self, data: bytes = b"") -> None:
        self.buf += data
        if self.state != AWAITING_CONTROL_LINE or self._hand_over():
            await super().parse()

    def _hand_over(self) -> bool:
        """Returns True if something is left for nats-py."""
        buffer, subs, at = self.buf, self.nc._subs, 0
        try:
            while (end := buffer.find(b"\r\n", at)) >= 0:
                words = buffer[at:end].decode().split()
                kind, count = words[0], len(words)
                if kind == "MSG":
                    fixed, header_size = 4, 0
                elif kind == "HMSG":
                    fixed, header_size = 5, int(words[-2])
                else:
                    return True
                sub = subs.get(int(words[2]))
                if sub is None or type(sub._future) is not _HandOver:
                    return True
                begin = end + 2
                body, last = begin + header_size, begin + int(words[-1])
                if len(buffer) < last + 2:
                    return False  # the rest is on its way
                reply = words[3] if count > fixed else ""
                at = last + 2
                sub._future.set_result(Message(words[1], reply, bytes(buffer[body:last]), bytes(buffer[begin:body])))
        except (ValueError, IndexError):
            return True  # malformed: nats-py says so
        finally:
            del buffer[:at]
        return False


class Connection(Client):
    """nats-py's client with the fast reader, and a way to send that does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = _Reader(self)
        self.followers: set[Callable[[], None]] = set()  # called when it has come to a server again

    def moved(self) -> None:
        for follower in list(self.followers):
            follower()

    def drop(self) -> None:
        """Closes the socket of an attempt to come back that failed: nats-py leaves it open."""
        if self._transport is not None:
            self._transport.close()  # type: ignore[no-untyped-call]

    def send_now(self, subject: str, data: bytes, reply: str, headers: dict[str, str] | None) -> bool:
        """Puts the message into the buffer of what is to be sent; False: leave it to `publish`."""
        queue, flusher = self._flush_queue, self._flusher_task
        if self._status != Client.CONNECTED or queue is None or flusher is None or flusher.done():
            return False
        if not subject or _UNSAFE.search(subject):
            return False
        if len(data) > self._max_payload or self._pending_data_size > PENDING_BYTES_MAX:
            return False
        if headers:
            lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
            if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
                return False
            block = f"{_VERSION}\r\n{lines}\r\n".encode()
            size = len(block)
            command = b"HPUB %b %b %d %d\r\n%b%b\r\n" % (
                subject.encode(), reply.encode(), size, size + len(data), block, data,
            )  # fmt: skip
        else:
            command = b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(data), data)
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += len(data)
        self._pending.append(command)
        self._pending_data_size += len(command)
        if queue.empty():  # the flusher sends all that is there when it wakes
            queue.put_nowait(asyncio.get_running_loop().create_future())
        return True


async def send(nc: Client, subject: str, data: bytes, reply: str = "", headers: dict[str, str] | None = None) -> None:
    """Does what `Client.publish` does."""
    if not (isinstance(nc, Connection) and nc.send_now(subject, data, reply, headers)):
        await nc.publish(subject, data, reply=reply, headers=headers)
