"""Reads of a stream that are under way: batched direct gets, whose answers come to one subscription.

A subscription for each read would make the server forget, with each one that comes or goes, who gets which subject.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from agentflow_common.errors import RetryableError
from agentflow_common.log.fast_path import Message, hand_over


class Reading:
    """The answer to one batched direct get.

    Each message names the one before it. What follows a hole (a connection that broke) is read again.
    """

    def __init__(self) -> None:
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()  # True if more are left
        self.chunk: list[tuple[str, bytes, int]] = []  # subject, data, sequence
        self._last = 0
        self._hole = False

    def take(self, msg: Msg | Message) -> None:
        if self.done.done():
            return
        headers: dict[str, Any] = msg.headers or {}
        status = str(headers.get("Status", ""))
        if status in {"", "204"}:
            self._hole = self._hole or int(headers.get("Nats-Last-Sequence", self._last)) != self._last
        if status == "204":
            if self._hole and not self.chunk:
                self.done.set_exception(RetryableError("a log read had a hole", kind="log_unavailable"))
            else:
                self.done.set_result(self._hole or int(headers.get("Nats-Num-Pending", "0")) > 0)
        elif status == "404":
            self.done.set_result(False)
        elif status:
            self.done.set_exception(RetryableError(f"log read refused: {status} {headers.get('Description', '')}"))
        elif "Nats-Sequence" in headers and not self._hole:
            self._last = int(headers["Nats-Sequence"])
            self.chunk.append((str(headers["Nats-Subject"]), msg.data, self._last))


class Readings:
    """The reads of one connection that are under way."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self._inbox = nc.new_inbox()
        self._ids = itertools.count(1)
        self._open: dict[str, Reading] = {}
        self._subscribed = False

    async def begin(self) -> tuple[str, Reading]:
        """Returns the subject for the answer, and the reading that takes it."""
        if not self._subscribed:
            self._subscribed = True
            try:
                await hand_over(self._nc, self._inbox + ".*", self._take)
            except BaseException:
                self._subscribed = False
                raise
        reply = f"{self._inbox}.{next(self._ids)}"
        reading = self._open[reply] = Reading()
        return reply, reading

    def end(self, reply: str) -> None:
        del self._open[reply]

    def _take(self, msg: Msg | Message) -> None:
        reading = self._open.get(msg.subject)
        if reading is not None:  # else it was given up, and its answer is late
            reading.take(msg)
