"""The process that owns a running stack: starts the parts, restarts what ends, stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Final

from agentctl.stack import fulldisk, observability
from agentctl.stack import layout as files
from agentctl.stack.choices import environment_of
from agentctl.stack.environment import services_environment, token
from agentctl.stack.fulldisk import FullDisk
from agentctl.stack.parts import STOP_S_MAX, Server, Service, Supervised
from agentflow_common import tasks
from agentflow_common.embedded import processes
from agentflow_common.embedded.monitors import Monitor
from agentflow_common.embedded.nats import NatsServer
from agentflow_common.embedded.postgres import PostgresServer
from agentflow_common.embedded.servers import StackError

log = logging.getLogger(__name__)

START_FAILURES_MAX: Final = 3  # of one service before the first readiness: then the start has failed
SLOW_STARTERS: Final = ("trace", "gateway")  # they load the most, so they go first
LOG_CHECK_S: Final = 60.0
DISK_CHECK_S: Final = 5.0
LOCK_TRIES_MAX: Final = 20


class AlreadyRunningError(StackError):
    """Another supervisor runs in the data dir."""


class Supervisor:
    """Runs a stack: `await run(on_ready)` returns when the stack has stopped. Raises StackError if it can't start."""

    def __init__(self, options: files.Options) -> None:
        self.options = options
        self.layout = files.Layout(options.data_dir)
        self.lock = files.Lock(self.layout.lock)
        self.stop_asked = asyncio.Event()
        self.forced = False  # by a second Ctrl-C
        self.servers: list[Server] = []
        self.monitors: list[Server] = []  # Prometheus and Grafana: nothing waits for them
        self.services: list[Service] = []
        self.timings: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._began = time.monotonic()
        self._began_at = time.time()  # the kernel's time of the process (start_time) is known to a second only
        self._last = files.Ports()
        self.state = files.State(pid=os.getpid(), start_time=processes.started_at(os.getpid()) or time.time())

    async def run(self, on_ready: Callable[[files.StackInfo], None] = lambda _info: None) -> None:
        try:
            self.layout.make()
        except OSError as error:
            raise StackError(
                f"the data dir {self.layout.root} cannot be used: {error.strerror}; choose another --data-dir"
            ) from error
        if not await self._locked():
            raise AlreadyRunningError(f"a stack already runs in {self.layout.root}")
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(signum, self.stop_asked.set)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        housekeeping = [asyncio.create_task(self._housekeeping()), asyncio.create_task(self._watch_disk())]
        try:
            end_leftovers(self.layout)
            files.write(self.layout.options_json, files.plain(self.options))
            files.write(self.layout.environment_json, environment_of({**os.environ, **self.options.env}))
            await self._start_all()
            info = await self._until_ready()
            if info is not None:
                self._write_ready(info, "ready")
                on_ready(info)
                await self._watch(info)
        except BaseException as error:
            self.state.phase = "failed"
            self.state.error = str(error)
            self._save()
            raise
        finally:
            await tasks.stop(housekeeping)
            self.layout.stack_json.unlink(missing_ok=True)
            await self._stop_all()
            self.lock.release()

    def _interrupt(self) -> None:
        """Handles Ctrl-C: the first one asks for a clean stop, the second one forces it."""
        if not self.stop_asked.is_set():
            log.warning("stopping; press Ctrl-C again to force it")
            self.stop_asked.set()
            return
        self.forced = True
        for part in (*self.services, *self.monitors, *self.servers):
            process = part.process
            if process is not None and process.poll() is None:
                # PostgreSQL's immediate shutdown ends its children too; the next start recovers from its log
                process.send_signal(signal.SIGQUIT if part.name == files.POSTGRES else signal.SIGKILL)

    async def _locked(self) -> bool:
        """Takes the lock. It tries several times, because a `status` takes the lock for an instant as well."""
        for _ in range(LOCK_TRIES_MAX):
            if self.lock.take():
                return True
            found = files.read(self.layout.state_json, files.State)
            if found is not None and processes.is_running(found.pid, "", found.start_time):
                return False
            await asyncio.sleep(0.05)
        return False

    async def _start_all(self) -> None:
        layout, options = self.layout, self.options
        if options.observability:
            observability.check()
        for stale in layout.run.glob("*.json"):
            stale.unlink()
        self._last = files.read(layout.ports_json, files.Ports) or files.Ports()
        self._require_free("--port", options.grpc_port)
        self._require_free("--http-port", options.http_port)
        self._require_free("--nats-port", options.nats_port)
        self._require_free("--postgres-port", options.postgres_port)
        last_nats = self._last.nats if processes.port_is_free(self._last.nats) else 0
        nats = NatsServer(
            layout.nats,
            options.nats_port or last_nats,
            options.durability,
            token=token(layout.nats_token),
            log_file=layout.log(files.NATS),
        )
        postgres = PostgresServer(layout.postgres, options.postgres_port, log_file=layout.log(files.POSTGRES))
        nats.start()  # the first start raises: there is nothing to keep alive yet
        self._adopt(files.NATS, nats)
        postgres.prepare()
        env = services_environment(layout, options, nats.url, postgres.env())
        for name in sorted(options.services, key=lambda name: name not in SLOW_STARTERS):
            ports = dict(self._last.services.get(name, {}))
            if name == "gateway":
                asked = {"grpc": options.grpc_port, "http": options.http_port}
                ports |= {key: port for key, port in asked.items() if port}
            service = Service(name, layout, env, ports, self._note)
            self.services.append(service)
            service.start()
        self.timings["spawned"] = time.monotonic() - self._began
        await asyncio.to_thread(postgres.initialise)  # while the services load; they wait for the server
        postgres.start()
        self._adopt(files.POSTGRES, postgres)
        if options.observability:
            for monitor in observability.made(layout, self._last):
                part = Server(monitor.name, monitor, self._note)
                self.monitors.append(part)
                part.start()
        if postgres.fresh:
            threading.Thread(target=postgres.sync, name="sync", daemon=True).start()

    def _adopt(self, name: str, server: NatsServer | PostgresServer) -> None:
        part = Server(name, server, self._note)
        self.servers.append(part)
        part.start()
        self.timings[name] = time.monotonic() - self._began

    @staticmethod
    def _require_free(option: str, port: int) -> None:
        if port and not processes.port_is_free(port):
            raise StackError(f"{option} {port}: the port is in use; choose another, or 0 for any free one")

    async def _until_ready(self) -> files.StackInfo | None:
        """Waits until every part is ready. Returns None if a stop was asked for meanwhile."""
        deadline = time.monotonic() + self.options.ready_timeout_s
        while not self.stop_asked.is_set():
            waiting = [service for service in self.services if service.announced() is None]
            for service in self.services:
                if service not in waiting and service.name not in self.timings:
                    self.timings[service.name] = time.monotonic() - self._began
            if not waiting:
                return self._info()
            failed = [
                service for service in waiting if service.failures >= START_FAILURES_MAX or service.has_wrong_settings()
            ]
            late = time.monotonic() > deadline
            if failed or late:
                service = (failed or waiting)[0]
                why = service.record.detail if failed else f"was not ready after {self.options.ready_timeout_s:g} s"
                log_file = self.layout.log(service.name)
                raise StackError(f"{service.name} {why}; its log ({log_file}) ends with:\n{service.last_lines()}")
            await asyncio.sleep(0.02)
        return None

    def _info(self) -> files.StackInfo:
        nats, postgres = (part.server for part in self.servers)
        if not (isinstance(nats, NatsServer) and isinstance(postgres, PostgresServer)):
            raise TypeError("servers are NATS and PostgreSQL, in this order")
        gateway = next((service.ports for service in self.services if service.name == "gateway"), {})
        ready_s = self.timings.setdefault("ready", time.monotonic() - self._began)
        return files.StackInfo(
            pid=os.getpid(),
            grpc=f"127.0.0.1:{gateway.get('grpc', 0)}",
            http=f"http://127.0.0.1:{gateway.get('http', 0)}",
            nats=nats.url,
            postgres=postgres.env(),
            services={
                part.name: files.ServiceInfo(
                    pid=part.record.pid, http=f"http://127.0.0.1:{part.ports.get('http', 0)}", ports=part.ports
                )
                for part in self.services
            },
            dev_key_file=str(self.layout.dev_key),
            data_dir=str(self.layout.root),
            started_at=self._began_at,
            ready_s=round(ready_s, 3),
            monitors=observability.addresses(self._monitors()),
        )

    def _monitors(self) -> list[Monitor]:
        return [part.server for part in self.monitors if isinstance(part.server, Monitor)]

    def _write_ready(self, info: files.StackInfo, phase: str) -> None:
        log.info("stack %s", phase, extra={"timings": self.timings})
        ports = files.Ports(
            nats=int(info.nats.rsplit(":", 1)[1]), services={part.name: dict(part.ports) for part in self.services}
        )
        ports.services |= {monitor.name: {"http": monitor.port} for monitor in self._monitors()}
        observability.follow(self._monitors(), info)
        files.write(self.layout.ports_json, ports)
        files.write(self.layout.stack_json, info)
        self.state.phase = "ready"
        self._save()

    async def _watch(self, info: files.StackInfo) -> None:
        """Keeps stack.json true until a stop is asked for. Sleeps unless a part ended or came back."""
        stop = asyncio.create_task(self.stop_asked.wait())
        while not self.stop_asked.is_set():
            changed = asyncio.create_task(self._changed.wait())
            await asyncio.wait({stop, changed}, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
            self._changed.clear()
            while not self.stop_asked.is_set() and any(part.announced() is None for part in self.services):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            if not self.stop_asked.is_set() and (now := self._info()) != info:
                info = now
                self._write_ready(info, "changed")
        stop.cancel()

    def _note(self) -> None:
        self._save()
        self._changed.set()

    def _save(self) -> None:
        parts: list[Supervised] = [*self.servers, *self.services, *self.monitors]
        self.state.parts = {part.name: part.record for part in parts}
        files.write(self.layout.state_json, self.state)

    def _reap(self) -> None:
        for part in (*self.servers, *self.services, *self.monitors):
            part.reap()

    async def _housekeeping(self) -> None:
        while True:
            await asyncio.sleep(LOG_CHECK_S)
            for log_file in self.layout.logs.glob("*.log"):
                files.rotate(log_file)

    async def _watch_disk(self) -> None:
        disk = FullDisk(self.layout.nats, self.layout.log(files.NATS))
        while True:
            await asyncio.sleep(DISK_CHECK_S)
            with contextlib.suppress(OSError):
                again = disk.look()
                nats = next((part for part in self.servers if part.name == files.NATS), None)
                if nats is None:
                    continue
                if disk.full:
                    nats.record.detail = fulldisk.ADVICE
                    self._save()
                elif again and nats.process is not None:
                    log.warning("there is room for the event log again: NATS is started again")
                    nats.process.terminate()  # and started again, as every part that ends

    async def _stop_all(self) -> None:
        """Stops the services, all at once, then PostgreSQL, and NATS last, because everything speaks through it."""
        if self.state.phase != "failed":
            self.state.phase = "stopping"
        for part in (*self.servers, *self.services, *self.monitors):
            part.stopping = True
        self._save()
        for service in self.services:
            service.terminate()
        deadline = time.monotonic() + STOP_S_MAX
        while time.monotonic() < deadline and any(part.alive for part in self.services):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        for service in self.services:
            service.kill()
        for server in (*self.monitors, *reversed(self.servers)):
            await asyncio.to_thread(server.stop)  # so that a second Ctrl-C is heard meanwhile
        with contextlib.suppress(OSError):
            if self.state.phase == "stopping":
                self.layout.state_json.unlink(missing_ok=True)


def end_leftovers(layout: files.Layout) -> list[str]:
    """Ends what a killed supervisor left, services first. Returns the names of the parts that still ran."""
    found = files.read(layout.state_json, files.State)
    if found is None:
        return []
    left: list[str] = []
    order = [name for name in found.parts if name not in (files.NATS, files.POSTGRES)]
    for name in [*order, files.POSTGRES, files.NATS]:
        part = found.parts.get(name)
        if part is None or part.pid <= 0:
            continue
        signum = {files.POSTGRES: signal.SIGINT, files.NATS: signal.SIGTERM, files.PROMETHEUS: signal.SIGTERM}.get(
            name, signal.SIGKILL
        )
        if processes.end_leftover(part.pid, part.match, part.start_time, signum, 10.0):
            log.warning("ended %s (pid %d), left by a supervisor that was killed", name, part.pid)
            left.append(name)
    return left
