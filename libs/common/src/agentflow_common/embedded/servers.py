"""The base of the embedded servers: a folder, a process and a log file. They need no Docker, no root and no network.

    with NatsServer(folder) as nats, PostgresServer(other_folder) as postgres:
        connect(nats.url); DatabaseSettings(**postgres.env())

A server dies with this process (Linux). It starts again on the folder that a killed one left, and says what to do when
it cannot start. `start`, `stop` and `kill` may be called in any order and again.
"""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from agentflow_common.errors import AgentFlowError


class StackError(AgentFlowError):
    """A server could not start; the message holds the end of its log."""


class Server(ABC):
    """A server with a folder, a process and a log file."""

    name = "server"

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).absolute()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self.process is None:
            raise StackError(f"{self.name} is not running")
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @abstractmethod
    def start(self) -> Self:
        """Starts the server and returns when it answers."""

    @abstractmethod
    def stop(self) -> None:
        """Stops the server in an orderly way."""

    def kill(self) -> None:
        """Kills the server (-9), as a crash does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _failed(self, log: Path, why: str) -> StackError:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""
        return StackError(f"{self.name} {why}; its log ({log}) ends with:\n{tail}")
