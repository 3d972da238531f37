"""How every service starts, announces its ports, and stops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
from nats.aio.client import Client

from agentflow_common import __version__, httpd, telemetry
from agentflow_common.clock import Clock, SystemClock
from agentflow_common.eventlog import EventLog
from agentflow_common.settings import Settings
from agentflow_common.streams import ensure_streams
from agentflow_common.wire import Connection

log = logging.getLogger(__name__)
SettingsT = TypeVar("SettingsT", bound=Settings)


class Context(Generic[SettingsT]):
    """What an app is given: its settings, the connection, the log, a clock and its health."""

    def __init__(self, name: str, settings: SettingsT, nc: Client, health: httpd.Health) -> None:
        self.name = name
        self.settings = settings
        self.nc = nc
        self.log = EventLog(nc)
        self.clock: Clock = SystemClock()
        self.health = health
        self.ports: dict[str, int] = {}
        self.stopping = asyncio.Event()

    def guarded(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A background task whose unforeseen end stops the service: its supervisor starts it again."""
        task = asyncio.ensure_future(work)

        def ended(done: asyncio.Task[None]) -> None:
            if not done.cancelled() and (error := done.exception()) is not None:
                log.error("background work failed; the service stops", exc_info=error)
                self.health.alive = False
                self.stopping.set()

        task.add_done_callback(ended)
        return task


App = Callable[[Context[SettingsT]], AbstractAsyncContextManager[None]]


async def connect(url: str, name: str) -> Client:
    """A connection that waits for the server and then never gives up on it. url: several with commas between them.

    A server that hangs keeps its connections: pings find that out within 9 s, and another server is asked.
    """

    async def on_error(error: Exception) -> None:
        log.warning("nats: %s", type(error).__name__)

    nc = Connection()
    await nc.connect(
        url.split(","),
        name=name,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.25,  # type: ignore[arg-type]  # it goes to asyncio.sleep
        ping_interval=3,
        max_outstanding_pings=2,
        error_cb=on_error,
        pending_size=64 * 1024 * 1024,
        allow_reconnect=True,
    )
    return nc


@contextlib.asynccontextmanager
async def running(name: str, settings: SettingsT, app: App[SettingsT]) -> AsyncIterator[Context[SettingsT]]:
    """The service, in this process, until the block ends (tests use it too)."""
    nc = await connect(settings.nats_url, f"agentflow-{name}")
    health = httpd.Health(name, __version__)
    context = Context(name, settings, nc, health)
    server, port = httpd.start(health, settings.http_host, settings.http_port)
    context.ports["http"] = port
    try:
        await ensure_streams(nc, settings.replicas)
        await context.log.start()
        async with app(context):
            health.set_ready()
            _announce(context)
            log.info("ready", extra={"ports": context.ports})
            yield context
            health.alive = False
    finally:
        server.shutdown()
        server.server_close()
        await nc.close()


def _announce(context: Context[Any]) -> None:
    """Writes `<run_dir>/<service>.json`: pid and ports, for whoever started the service with port 0."""
    run_dir: Path | None = context.settings.run_dir
    if run_dir is None:
        return
    run_dir.mkdir(parents=True, exist_ok=True)
    target = run_dir / f"{context.name}.json"
    body = msgspec.json.encode({"service": context.name, "pid": os.getpid(), "ports": context.ports})
    temporary = target.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_bytes(body)
    temporary.replace(target)


def main(name: str, settings: SettingsT, app: App[SettingsT]) -> None:
    """Runs the service until SIGTERM or SIGINT. The body of every `__main__`."""
    telemetry.setup(name, settings)

    async def body() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, stop.set)
        async with running(name, settings, app) as context:
            gc.freeze()  # modules and models stay: looking through them took a tenth of a busy worker's time
            waiters = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(context.stopping.wait())]
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
            for waiter in waiters:
                waiter.cancel()
            log.info("stopping")

    try:
        import uvloop

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    except ImportError:
        runner = asyncio.Runner()
    with runner:
        runner.run(body())
    telemetry.shutdown()
