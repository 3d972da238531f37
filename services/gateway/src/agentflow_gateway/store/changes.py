"""Hears of every change of definitions and labels, and of every fork of a run, by any gateway.

So rows can be remembered (memory.py), and runs without forks are known (derived_memory.py). Triggers of the tables
notify the channels. The listener also notifies itself, again and again: when its own message
comes back, every change that was committed before has come too. While none comes back, nothing is remembered.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from agentflow_common.connections import transient
from agentflow_gateway.store.derived_memory import DerivedMemory
from agentflow_gateway.store.memory import Memory

log = logging.getLogger(__name__)

CHANNEL: Final = "agentflow_definitions"
FORKS_CHANNEL: Final = "agentflow_forks"
BEAT_EVERY_S: Final = 1.0
BEAT_S_MAX: Final = 1.0  # until the own message must have come back
LIVE_S: Final = 3.0  # after a message that came back was sent
_RETRY_S: Final = 1.0
_BEAT: Final = "beat "


class Listener:
    """Keeps memories live while changes are heard.

    connect: opens a connection of the listener's own.
    last_seq: asks for the newest sequence of the event log.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Any]],
        memory: Memory,
        derived: DerivedMemory,
        last_seq: Callable[[], Awaitable[int]],
    ) -> None:
        self._connect = connect
        self._memory = memory
        self._derived = derived
        self._last_seq = last_seq
        self._beat = ""
        self._heard = asyncio.Event()
        self._deaf = False  # and the log says so

    async def run(self) -> None:
        """Listens until it is cancelled. Without the database nothing is remembered."""
        while True:
            try:
                await self._listen()
            except transient.SURVIVED as error:
                if not self._deaf:
                    log.warning(
                        "changes of definitions are not heard: they are read for each call until they are",
                        extra={"error": type(error).__name__},
                    )
                self._deaf = True
            await asyncio.sleep(_RETRY_S)

    async def _listen(self) -> None:
        connection = await self._connect()
        try:
            connection.add_termination_listener(self._ended)
            await connection.add_listener(CHANNEL, self._hear)
            await connection.add_listener(FORKS_CHANNEL, self._hear_of_fork)
            self._derived.begin(await self._last_seq())
            while True:
                began = time.monotonic()
                await self._hear_itself(connection)
                self._memory.live(began + LIVE_S)
                self._derived.live(began + LIVE_S)
                self._deaf = False
                await asyncio.sleep(BEAT_EVERY_S)
        finally:
            self._stop()
            connection.terminate()

    async def _hear_itself(self, connection: Any) -> None:
        self._beat = _BEAT + secrets.token_hex(8)
        self._heard.clear()
        async with asyncio.timeout(BEAT_S_MAX):
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, self._beat)
            await self._heard.wait()

    def _hear(self, _connection: Any, _pid: int, _channel: str, message: str) -> None:
        if message.startswith(_BEAT):
            if message == self._beat:
                self._heard.set()
            return
        org, _, workflow = message.partition("/")
        self._memory.forget(org, workflow)

    def _hear_of_fork(self, _connection: Any, _pid: int, _channel: str, message: str) -> None:
        org, _, run = message.partition("/")
        self._derived.add(org, run)

    def _ended(self, _connection: Any) -> None:
        self._stop()

    def _stop(self) -> None:
        self._memory.stop()
        self._derived.stop()
