"""How every service starts, announces its ports, and stops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import nats.errors
from nats.aio.client import Client

from agentflow_common import __version__, httpd, tasks, telemetry
from agentflow_common.clock import Clock, SystemClock
from agentflow_common.errors import InvalidError, UnauthenticatedError
from agentflow_common.eventlog import EventLog
from agentflow_common.settings import Settings
from agentflow_common.streams import ensure_streams
from agentflow_common.wire import Connection

log = logging.getLogger(__name__)
SettingsT = TypeVar("SettingsT", bound=Settings)


class Context(Generic[SettingsT]):
    """What an app is given: its settings, the connection, the log, a clock and its health."""

    def __init__(
        self, name: str, settings: SettingsT, nc: Client, health: httpd.Health, stopping: asyncio.Event
    ) -> None:
        self.name = name
        self.settings = settings
        self.nc = nc
        self.log = EventLog(nc)
        self.clock: Clock = SystemClock()
        self.health = health
        self.ports: dict[str, int] = {}
        self.stopping = stopping

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


class _Watch:
    """What is told of a connection: refused credentials are an error at the start, and later a matter of readiness."""

    def __init__(self, nc: Connection, servers: Sequence[str], health: httpd.Health | None) -> None:
        self._nc = nc
        self._servers = servers
        self._health = health
        self._refusals = 0
        self.connected = False
        self.refused = asyncio.Event()

    async def on_error(self, error: Exception) -> None:
        if self.connected and not self._nc.is_connected:
            self._nc.drop()
        if not _is_refusal(error):
            log.warning("nats: %s", type(error).__name__)
            return
        self._refusals += 1
        refused = self._refusals == len(self._servers)  # one of many may be wrong
        if refused and not self.connected:
            self.refused.set()
        elif refused:
            log.error(_refusal(self._servers))
            self._tell("credentials refused; see NATS_URL")

    async def on_reconnect(self) -> None:
        self._refusals = 0
        self._tell("ok")

    def _tell(self, state: str) -> None:
        if self._health is not None:
            self._health.set_part("nats", state)


async def connect(
    url: str, name: str, health: httpd.Health | None = None, closed: Callable[[], None] | None = None
) -> Client:
    """A connection that waits for the server and then never gives up on it. url: several with commas between them.

    A server that hangs keeps its connections: pings find that out within 9 s, and another server is asked.
    UnauthenticatedError if the credentials are refused at the start; later, `health` says so. closed: called when the
    connection has ended for good, by `close` or because a server took the credentials back.
    """
    servers = url.split(",")
    nc = Connection()
    watch = _Watch(nc, servers, health)

    async def on_close() -> None:
        if closed is not None and watch.connected:
            closed()

    attempt = nc.connect(
        servers,
        name=name,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.25,  # type: ignore[arg-type]  # it goes to asyncio.sleep
        ping_interval=3,
        max_outstanding_pings=2,
        error_cb=watch.on_error,
        reconnected_cb=watch.on_reconnect,
        closed_cb=on_close,
        pending_size=64 * 1024 * 1024,
        allow_reconnect=True,
    )
    waiters = [asyncio.ensure_future(attempt), asyncio.ensure_future(watch.refused.wait())]
    try:
        await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        if not waiters[0].done():
            raise UnauthenticatedError(_refusal(servers), kind="nats_credentials_refused")
        await waiters[0]
        watch.connected = True
    finally:
        await tasks.stop(waiters)
        if not watch.connected:
            await nc.close()
    await watch.on_reconnect()
    return nc


def _is_refusal(error: Exception) -> bool:
    """The server says it in words: Authorization Violation, User Authentication Revoked or Expired."""
    told = str(error).lower()
    return isinstance(error, nats.errors.Error) and ("authorization" in told or "authentication" in told)


def _refusal(servers: Sequence[str]) -> str:
    """Without the credentials themselves."""
    places = ", ".join(server.rpartition("@")[2].removeprefix("nats://") for server in servers)
    return (
        f"NATS at {places} refuses the credentials: set NATS_URL to nats://TOKEN@HOST:PORT or "
        "nats://USER:PASSWORD@HOST:PORT with those of the server's `authorization`"
    )


@contextlib.asynccontextmanager
async def running(name: str, settings: SettingsT, app: App[SettingsT]) -> AsyncIterator[Context[SettingsT]]:
    """The service, in this process, until the block ends (tests use it too)."""
    health = httpd.Health(name, __version__)
    stopping = asyncio.Event()

    def closed() -> None:
        if health.alive:
            log.error("NATS has ended the connection; the service stops")
            health.alive = False
            stopping.set()

    nc = await connect(settings.nats_url, f"agentflow-{name}", health, closed)
    context = Context(name, settings, nc, health, stopping)
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
        health.alive = False
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


def _log_tasks() -> None:
    for task in asyncio.all_tasks():
        places: list[str] = []
        awaited: Any = task.get_coro()
        while awaited is not None:
            frame = getattr(awaited, "cr_frame", None)
            if frame is not None:
                places.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
            awaited = getattr(awaited, "cr_await", None)
        log.warning("task %s waits: %s", task.get_name(), " < ".join(places))


def main(name: str, settings: SettingsT, app: App[SettingsT]) -> None:
    """Runs the service until SIGTERM or SIGINT; SIGUSR1 logs what each of its tasks waits for. The body of every
    `__main__`."""
    telemetry.setup(name, settings)

    async def body() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, stop.set)
        loop.add_signal_handler(signal.SIGUSR1, _log_tasks)
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
    try:
        with runner:
            runner.run(body())
    except (UnauthenticatedError, InvalidError) as error:
        log.error("can't start: %s", error.message)  # noqa: TRY400  (the message says it all)
        raise SystemExit(1) from None
    finally:
        telemetry.shutdown()
