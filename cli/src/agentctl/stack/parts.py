"""One supervised process: started, watched, restarted with backoff."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from agentctl.stack import layout as files
from agentflow_common.embedded import processes
from agentflow_common.embedded.monitors import Monitor
from agentflow_common.embedded.nats import NatsServer
from agentflow_common.embedded.postgres import PostgresServer
from agentflow_common.embedded.servers import StackError

log = logging.getLogger(__name__)

BACKOFF_S_MIN: Final = 0.2
BACKOFF_S_MAX: Final = 10.0
HEALTHY_S: Final = 30.0  # after so long a life the next failure is a new one
WRONG_SETTINGS: Final = "can't start, these settings are wrong:"  # as agentflow_common.settings writes it
STOP_S_MAX: Final = 8.0  # for a service to finish what it does


class Announcement(msgspec.Struct):
    """The file that a service writes when it is ready."""

    pid: int
    ports: dict[str, int]


def ended(code: int) -> str:
    """Returns an exit code in words."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


class Supervised(ABC):
    """A process that is started again when it ends: after 0.2 s, then twice as long each time, at most 10 s."""

    def __init__(self, name: str, match: str, changed: Callable[[], None]) -> None:
        self.name = name
        self.changed = changed
        self.record = files.Part(pid=0, start_time=0.0, match=match, running=False)
        self.process: subprocess.Popen[bytes] | None = None  # that was started last
        self.failures = 0  # in a row
        self.stopping = False
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @abstractmethod
    def launch(self) -> subprocess.Popen[bytes]:
        """Starts the process. Raises StackError or OSError."""

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        self._timer = None
        self._began = asyncio.get_running_loop().time()
        try:
            self.process = self.launch()
        except (StackError, OSError) as error:
            self._again(str(error))
            return
        self.record.pid = self.process.pid
        self.record.start_time = processes.started_at(self.record.pid) or time.time()
        self.record.running = True
        self.changed()

    def reap(self) -> None:
        """Handles SIGCHLD: starts the process again if it was this one that ended."""
        if self.record.running and self.process is not None and self.process.poll() is not None:
            self.record.running = False
            if not self.stopping:
                self._again(ended(self.process.returncode))

    def _again(self, why: str) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() - self._began > HEALTHY_S:
            self.failures = 0
        delay = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2**self.failures)
        self.failures += 1
        self.record.restarts += 1
        self.record.running = False
        self.record.detail = why
        log.warning("%s %s; starting it again in %.1f s", self.name, why.splitlines()[0], delay)
        self._timer = loop.call_later(delay, self.start)
        self.changed()

    def cancel(self) -> None:
        self.stopping = True
        if self._timer is not None:
            self._timer.cancel()


class Server(Supervised):
    """NATS or PostgreSQL, whose `start` returns once they answer, or a monitor."""

    def __init__(self, name: str, server: NatsServer | PostgresServer | Monitor, changed: Callable[[], None]) -> None:
        super().__init__(name, str(server.folder), changed)
        self.server = server

    def launch(self) -> subprocess.Popen[bytes]:
        files.rotate(self.server.log_file)
        self.server.start()
        if self.server.process is None:
            raise StackError(f"{self.name} did not start")
        return self.server.process

    def stop(self) -> None:
        self.cancel()
        self.server.stop()
        self.record.running = False


class Service(Supervised):
    """The process `python -m agentflow_<name>`. It is ready when it has announced its ports under its own pid."""

    def __init__(
        self,
        name: str,
        layout: files.Layout,
        env: Mapping[str, str],
        ports: dict[str, int],
        changed: Callable[[], None],
    ) -> None:
        super().__init__(name, f"agentflow_{name}", changed)
        self.layout = layout
        self.env = env
        self.ports = ports  # wanted; a key that is missing or taken by now: any
        self._log_from = 0  # bytes of the log that are older than the last start

    def last_lines(self) -> str:
        """Returns the end of what the last start wrote into the log."""
        return files.tail(self.layout.log(self.name), after=self._log_from)

    def has_wrong_settings(self) -> bool:
        """True if it ended because of its settings: another start ends in the same way."""
        return not self.record.running and WRONG_SETTINGS in self.last_lines()

    def launch(self) -> subprocess.Popen[bytes]:
        self.layout.announcement(self.name).unlink(missing_ok=True)
        log_file = self.layout.log(self.name)
        files.rotate(log_file)
        free = {key: str(port if port and processes.port_is_free(port) else 0) for key, port in self.ports.items()}
        env = {**self.env, "HTTP_PORT": free.get("http", "0")}
        if self.name == "gateway":
            env |= {"API_PORT": free.get("grpc", "0"), "API_HTTP_PORT": free.get("api_http", "0")}
        with log_file.open("ab") as output:
            self._log_from = output.tell()
            command = [sys.executable, "-m", f"agentflow_{self.name}"]
            return processes.spawn(command, env=env, output=output, cwd=Path.cwd())

    def announced(self) -> dict[str, int] | None:
        """Returns its ports once it is ready, or None."""
        found = files.read(self.layout.announcement(self.name), Announcement)
        if found is None or found.pid != self.record.pid or not self.record.running:
            return None
        self.ports = dict(found.ports)
        return self.ports

    def terminate(self) -> None:
        self.cancel()
        if self.process is not None and self.alive:
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        if self.process is not None and self.alive:
            log.warning("%s did not stop in %g s: killed", self.name, STOP_S_MAX)
            self.process.kill()
            self.process.wait()
        self.record.running = False
