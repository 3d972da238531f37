"""Starts an engine with its servers, and asks its program for runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import socket
import subprocess
import tempfile
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import asyncpg

from agentflow_common.embedded import processes
from agentflow_common.embedded.postgres import PostgresServer
from benchmarks.peers import install

START_S_MAX = 90.0
ANSWER_S_MAX = 240.0


class MeasurementError(Exception):
    """An installed engine did not do its work. The message contains the end of its log."""


class Program:
    """A peer's program, which runs chains on demand. about: its description in the figures."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, about: dict[str, Any]) -> None:
        self._process = process
        self._log = log
        self.about = about

    async def run(self, runs: int, in_flight: int, length: int) -> tuple[float, list[float]]:
        """Returns the seconds of all runs together, and of each."""
        assert self._process.stdin is not None
        asked = {"runs": runs, "in_flight": in_flight, "length": length}
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        answer = await self.answer(ANSWER_S_MAX)
        return answer["seconds"], answer["each"]

    async def answer(self, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), timeout_s)
        except TimeoutError:
            raise MeasurementError(f"no answer in {timeout_s:g} s; {self._tail()}") from None
        if not line:
            raise MeasurementError(f"it ended; {self._tail()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-15:] if self._log.exists() else []
        return "its log ends with:\n" + "\n".join(lines)


@contextlib.asynccontextmanager
async def program(python: Path, name: str, folder: Path, *arguments: str) -> AsyncIterator[Program]:
    """Runs `benchmarks.peers.programs.<name>` in the peer's environment.

    It ends with its standard input.
    """
    log = folder / f"{name}.log"
    env = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "PYTHONPATH": str(install.ROOT)}
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            str(python), "-m", f"benchmarks.peers.programs.{name}", *arguments,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=env, cwd=folder, limit=1 << 20,
        )  # fmt: skip
    try:
        running = Program(process, log, {})
        running.about = (await running.answer(START_S_MAX))["about"]
        yield running
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


class Peer(Protocol):
    """An engine to compare with ours."""

    def install(self) -> None:
        """Installs the engine. Raises CannotInstallError."""

    def running(self) -> contextlib.AbstractAsyncContextManager[Program]:
        """Runs the engine on fresh data. Its `about` has `durability` and `versions`."""


class OnPostgres:
    """DBOS and LangGraph: a library in one process, on the PostgreSQL of the project's wheel."""

    def __init__(self, name: str, mode: str = "") -> None:
        self.name = name
        self.mode = mode

    def install(self) -> None:
        install.python(self.name)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Program]:
        with _folder(self.name) as folder, PostgresServer(folder / "data") as server:
            env = server.env()
            host, password = quote(env["DB_HOST"], safe=""), quote(env["DB_PASSWORD"], safe="")
            url = f"postgresql://postgres:{password}@/postgres?host={host}"
            version, durability = await _settings(url)
            async with program(install.python(self.name), f"{self.name}_chain", folder, url) as running:
                running.about["versions"]["postgresql"] = version
                running.about["durability"] = durability + self.mode
                yield running


class Restate:
    """The server from npm, a service on granian, a client at the server's ingress.

    fsync: its default. Without it the system has an acknowledged write, as in our default, and a
    power cut can take it.
    """

    partitions = 4  # the default of 24 is for clusters, and slower on two cores

    def __init__(self, *, fsync: bool = True) -> None:
        self.fsync = fsync

    def install(self) -> None:
        install.python("restate")
        install.restate_server()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Program]:
        server, python = install.restate_server(), install.python("restate")
        with _folder("restate") as folder, contextlib.ExitStack() as stack:
            env = {
                "PATH": os.environ.get("PATH", ""),
                "HOME": str(folder),
                "RESTATE_DISABLE_TELEMETRY": "true",
                "RESTATE_LOG_FILTER": "warn",
                "RESTATE_DEFAULT_NUM_PARTITIONS": str(self.partitions),
            }
            if not self.fsync:
                env["RESTATE_LOG_SERVER__ROCKSDB_DISABLE_WAL_FSYNC"] = "true"
            config = tomllib.loads(_output([str(server), "--dump-config"], env))
            synced = not config["log-server"]["rocksdb-disable-wal-fsync"]
            if synced != self.fsync:
                raise MeasurementError(f"the server's configuration says fsync={synced}, requested was {self.fsync}")
            arguments = ["--no-logo", "--use-random-ports", "true", "--node-name", "bench", "--base-dir", str(folder)]
            stack.enter_context(_child([str(server), *arguments], folder / "server.log", env))
            port = str(_free_port())
            command = [str(python), "-m", "benchmarks.peers.programs.restate_service", port]
            log = folder / "service.log"
            service = stack.enter_context(_child(command, log, env | {"PYTHONPATH": str(install.ROOT)}))
            if not await asyncio.to_thread(processes.wait_until, lambda: _listens(port), service, START_S_MAX):
                raise MeasurementError(f"its service did not start: {log.read_text(errors='replace')[-2000:]}")
            async with program(python, "restate_chain", folder, str(folder / "bench"), port) as running:
                running.about["versions"]["restate-server"] = _output([str(server), "--version"], env).split()[-1]
                running.about["durability"] = f"log server's WAL, fsync={'on' if synced else 'off'}"
                running.about["partitions"] = self.partitions
                yield running


class Temporal:
    """The dev server on a SQLite file, one process with worker and client."""

    pragmas = ("journal_mode=wal", "synchronous=full")
    # The dev server has one history shard, and a shard reads its queue of tasks 20 times a second: 100 ms a step.
    settings = ("history.transferProcessorMaxPollRPS=5000",)

    def install(self) -> None:
        install.python("temporal")
        install.temporal_server()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Program]:
        server = install.temporal_server()
        with _folder("temporal") as folder:
            port = _free_port()
            arguments = ["server", "start-dev", "--headless", "--port", str(port), "--log-level", "error"]
            arguments += ["--http-port", str(_free_port()), "--metrics-port", str(_free_port())]
            arguments += ["--db-filename", str(folder / "temporal.db")]
            arguments += [part for pragma in self.pragmas for part in ("--sqlite-pragma", pragma)]
            arguments += [part for setting in self.settings for part in ("--dynamic-config-value", setting)]
            env = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder)}
            with _child([str(server), *arguments], folder / "server.log", env):
                python = install.python("temporal")
                async with program(python, "temporal_chain", folder, f"127.0.0.1:{port}") as running:
                    said = _output([str(server), "--version"], env).split("Server ")[-1]
                    running.about["versions"]["temporal-server"] = said.split(",")[0]
                    running.about["durability"] = f"SQLite {' '.join(self.pragmas)}"
                    yield running


def peers() -> dict[str, Peer]:
    """Returns the peers in the order of a run. The one that takes longest to install is last."""
    return {
        "restate": Restate(),
        "dbos": OnPostgres("dbos"),
        "langgraph": OnPostgres("langgraph", ", checkpoints sync"),
        "temporal": Temporal(),
    }


def without_fsync() -> dict[str, Peer]:
    """Returns the peers that have a mode with the same promise as our default."""
    return {"restate": Restate(fsync=False)}


def machine() -> dict[str, Any]:
    """Describes the machine of the figures."""
    return {"cpus": os.cpu_count(), "python": platform.python_version()}


async def _settings(url: str) -> tuple[str, str]:
    """Returns PostgreSQL's version and durability, as the server reports them."""
    connection = await asyncpg.connect(url)
    try:
        version, fsync, commit = [
            await connection.fetchval(f"SHOW {name}") for name in ("server_version", "fsync", "synchronous_commit")
        ]
    finally:
        await connection.close()
    return version, f"PostgreSQL fsync={fsync} synchronous_commit={commit}"


@contextlib.contextmanager
def _folder(name: str) -> Any:
    with tempfile.TemporaryDirectory(prefix=f"peers-{name}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextlib.contextmanager
def _child(command: list[str], log: Path, env: dict[str, str]) -> Any:
    """Starts a server that ends with this process."""
    with log.open("wb") as output:
        process = processes.spawn(command, env=env, output=output, cwd=log.parent)
    try:
        yield process
    finally:
        processes.stop(process)


def _output(command: list[str], env: dict[str, str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout


def _listens(port: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
