"""How every service starts, announces its ports, and stops."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError

from agentflow_common import __version__, subjects, tasks, telemetry
from agentflow_common.clock import Clock, SystemClock
from agentflow_common.connections import nats_client
from agentflow_common.connections.nats_client import connect
from agentflow_common.errors import InvalidError, UnauthenticatedError
from agentflow_common.log.event_log import EventLog
from agentflow_common.log.streams import ensure_streams
from agentflow_common.metrics.threads import MeasuredThreads
from agentflow_common.rpc import bus
from agentflow_common.runtime import health_server
from agentflow_common.runtime.probes import ANSWER_S_MAX, Probes
from agentflow_common.runtime.saturation import Saturation
from agentflow_common.settings import Settings

if TYPE_CHECKING:
    import asyncpg

__all__ = ["Context", "connect", "main", "running"]

GONE_S_MAX: Final = 20.0  # a cluster that starts knows its streams only when it has a leader
THREADS_MAX: Final = min(32, (os.cpu_count() or 1) + 4)  # of the loop's own pool, as Python chooses
RPC_DEAD_S_MAX: Final = 60.0  # without an answer to itself, while its own connection carries questions: it starts anew
log = logging.getLogger(__name__)
SettingsT = TypeVar("SettingsT", bound=Settings)


class Context(Generic[SettingsT]):
    """The parts that an app receives: its settings, the connection, the log, a clock and its health."""

    def __init__(self, name: str, settings: SettingsT, nc: Client, health: health_server.Health) -> None:
        self.name = name
        self.settings = settings
        self.nc = nc
        self.log = EventLog(nc)
        self.clock: Clock = SystemClock()
        self.health = health
        self.ports: dict[str, int] = {}
        self.stopping = asyncio.Event()
        self.started = asyncio.Event()  # set when the service has said that it is ready
        self.probes = Probes(health, self.fail)
        self.saturation = Saturation(nc)

    def fail(self, why: str) -> None:
        """Ends the service, visibly: it is not alive any more, and its supervisor starts it again."""
        if self.health.alive:
            log.error("the service stops: %s", why)
            self.health.fail(why)
            self.stopping.set()

    def guarded(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs background work that never ends by itself. If it does, the service stops."""
        task = asyncio.ensure_future(work)

        def ended(done: asyncio.Task[None]) -> None:
            if done.cancelled():
                return
            error = done.exception()
            if error is not None:
                log.error("background work failed", exc_info=error)
            self.fail(f"background work ended ({type(error).__name__ if error else task.get_name()})")

        task.add_done_callback(ended)
        return task

    @contextlib.asynccontextmanager
    async def background(self, work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
        """Runs `guarded` until the block ends."""
        task = self.guarded(work)
        try:
            yield
        finally:
            await tasks.stop([task])

    @contextlib.asynccontextmanager
    async def serving(self, routes: Sequence[bus.Route]) -> AsyncIterator[None]:
        """Answers the verbs until the block ends, and asks itself through the server whether it does."""
        token = os.urandom(8).hex()
        closed = functools.partial(self.fail, "NATS has ended the connection that answers questions")
        async with bus.serving(self.settings.nats_url, self.name, routes, token, closed):

            async def ask() -> None:
                await self.nc.request(subjects.rpc_self(self.name, token), b"", timeout=ANSWER_S_MAX)

            self.probes.add("rpc", ask, "questions to this service are not answered", fatal_s=RPC_DEAD_S_MAX)
            yield

    def needs_log(self, stream: str = subjects.EVENTS_STREAM) -> None:
        """Makes the service ready only while the stream answers. If it is gone, the service ends: a start makes it."""
        jsm, gone_at = self.nc.jsm(), 0.0

        async def ask() -> None:
            nonlocal gone_at
            try:
                await jsm.stream_info(stream)
            except NotFoundError:
                gone_at = gone_at or time.monotonic()
                if time.monotonic() - gone_at > GONE_S_MAX:
                    self.fail(f"NATS has come back without the stream {stream}")
                raise
            gone_at = 0.0

        self.probes.add("log", ask, f"the stream {stream} does not answer")

    def needs_postgres(self, pool: asyncpg.Pool) -> None:
        """Makes the service ready only while PostgreSQL answers a query."""
        from agentflow_common.connections import postgres  # not every service needs its driver

        self.saturation.add_pool("postgres", pool)
        self.probes.add("postgres", functools.partial(postgres.ping, pool), "PostgreSQL does not answer")


App = Callable[[Context[SettingsT]], AbstractAsyncContextManager[None]]


async def _watch_connection(context: Context[Any]) -> None:
    """Asks over the service's own connection again and again. The service ends if the connection is lost for good."""
    nc = context.nc
    subject = subjects.rpc_self(context.name, os.urandom(8).hex())

    async def answer(message: Msg) -> None:
        await message.respond(b"")

    await nc.subscribe(subject, cb=answer)

    async def ask() -> None:
        if isinstance(nc, nats_client.NatsConnection) and nc.is_lost:
            context.fail("the connection to NATS is lost for good")
        if not nc.is_connected:
            raise ConnectionError
        await nc.request(subject, b"", timeout=ANSWER_S_MAX)

    def advice() -> str:
        return getattr(nc, "trouble", "") or "NATS does not answer"

    context.probes.add("nats", ask, advice)


@contextlib.asynccontextmanager
async def running(name: str, settings: SettingsT, app: App[SettingsT]) -> AsyncIterator[Context[SettingsT]]:
    """Runs the service in this process until the block ends. Tests use it too."""
    health = health_server.Health(name, __version__)
    started: list[Context[SettingsT]] = []

    def closed() -> None:
        for context in started:
            context.fail("NATS has ended the connection")

    nc = await connect(settings.nats_url, f"agentflow-{name}", closed)
    context = Context(name, settings, nc, health)
    started.append(context)
    server = health_server.start(health, settings.http_host, settings.http_port)
    context.ports["http"] = server.port
    context.probes.start()
    try:
        await ensure_streams(nc, settings.replicas)
        await context.log.start()
        await _watch_connection(context)
        async with context.background(context.saturation.run()), app(context):
            await context.probes.first()
            health.begun = True
            _announce(context)
            log.info("ready", extra={"ports": context.ports})
            context.started.set()
            try:
                yield context
            finally:
                health.ended = True
    finally:
        health.ended = True
        await context.probes.stop()
        server.stop()
        await nc.close()


def _announce(context: Context[Any]) -> None:
    """Writes `<run_dir>/<service>.json` with pid and ports, for the process that started the service with port 0."""
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
        stop, started = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.set_default_executor(MeasuredThreads("default", THREADS_MAX))
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, stop.set)
        loop.add_signal_handler(signal.SIGUSR1, _log_tasks)
        serving, asked = asyncio.ensure_future(serve(stop, started)), asyncio.ensure_future(stop.wait())
        await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not serving.done() and not started.is_set():  # it waits for a server that may never come
            log.info("stopping before the service was ready")
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving
            return
        await serving

    async def serve(stop: asyncio.Event, started: asyncio.Event) -> None:
        async with running(name, settings, app) as context:
            started.set()
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
