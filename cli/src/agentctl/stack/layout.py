"""The places in a data dir, and the files that are written there."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

from agentflow_common import __version__

SERVICES: Final = ("gateway", "scheduler", "worker", "cost", "security", "prompt", "trace")
NATS: Final = "nats"
POSTGRES: Final = "postgres"
PROMETHEUS: Final = "prometheus"
GRAFANA: Final = "grafana"
LOG_BYTES_MAX: Final = 20 * 1024 * 1024

StructT = TypeVar("StructT", bound=msgspec.Struct)


def default_data_dir() -> Path:
    """Returns $AGENTFLOW_DATA_DIR, or else `.agentflow` in the current folder."""
    return Path(os.environ.get("AGENTFLOW_DATA_DIR") or ".agentflow").absolute()


class Options(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The settings of a stack. A port of 0 stands for the last one used if it is free, or else for any free one."""

    data_dir: Path = msgspec.field(default_factory=default_data_dir)
    detach: bool = False
    grpc_port: int = 0
    http_port: int = 0  # of the gateway
    nats_port: int = 0
    postgres_port: int = 0  # 0: a Unix socket only
    durability: Literal["default", "fsync"] = "default"
    load: Sequence[str] = ()  # modules or .py files with tools and functions for the worker
    file_roots: Sequence[str] = ()  # folders that file tools may touch; none: the current one and <data_dir>/files
    env: Mapping[str, str] = msgspec.field(default_factory=dict)  # for the services, over the environment
    services: Sequence[str] = SERVICES
    ready_timeout_s: float = 60.0
    verbose: bool = False
    observability: bool = False  # Prometheus beside the stack, and Grafana where it is installed


def plain(options: Options) -> dict[str, Any]:
    """Returns the options as JSON types, without `env`, which may contain secrets."""
    body: dict[str, Any] = msgspec.to_builtins(options, enc_hook=str)
    return {name: value for name, value in body.items() if name != "env"} | {"data_dir": str(options.data_dir)}


def options_of(body: bytes | str) -> Options:
    """Returns the options of a JSON text that `plain` made."""
    found: Options = msgspec.convert(msgspec.json.decode(body), Options, dec_hook=lambda kind, value: kind(value))
    return found


class ServiceInfo(msgspec.Struct):
    pid: int
    http: str  # base URL of /healthz, /readyz, /metrics
    ports: dict[str, int] = {}


class StackInfo(msgspec.Struct, kw_only=True):
    """The file `stack.json` (0600, because it contains the database's password and the NATS token)."""

    pid: int
    grpc: str
    http: str
    nats: str
    postgres: dict[str, str]
    services: dict[str, ServiceInfo]
    dev_key_file: str
    data_dir: str
    started_at: float
    ready_s: float
    version: str = __version__
    monitors: dict[str, str] = {}  # URLs of Prometheus and Grafana


class PartStatus(msgspec.Struct, kw_only=True):
    """One line of `agentctl status`."""

    name: str
    state: Literal["ready", "starting", "not ready", "restarting", "stopped"]
    pid: int = 0
    port: int = 0
    uptime_s: float = 0.0
    restarts: int = 0
    rss_bytes: int = 0
    detail: str = ""  # what /readyz reports, or why the part ended last


class Part(msgspec.Struct, kw_only=True):
    """The supervisor's record of a process: enough to find it, and to never signal another process with its pid."""

    pid: int
    start_time: float
    match: str  # in its command line
    restarts: int = 0
    detail: str = ""
    running: bool = True


class State(msgspec.Struct, kw_only=True):
    """The file `run/state.json`, from the first process to the last."""

    pid: int
    start_time: float
    phase: Literal["starting", "ready", "stopping", "failed"] = "starting"
    error: str = ""
    parts: dict[str, Part] = {}


class Ports(msgspec.Struct, kw_only=True):
    """The file `ports.json`: the last ports, so that clients find a restarted stack where it was."""

    nats: int = 0
    services: dict[str, dict[str, int]] = {}


class Layout:
    """The paths of one data dir."""

    def __init__(self, data_dir: Path | str) -> None:
        self.root = Path(data_dir).absolute()
        self.run = self.root / "run"
        self.logs = self.root / "logs"
        self.files = self.root / "files"
        self.nats = self.root / "nats"
        self.postgres = self.root / "postgres"
        self.clickhouse = self.root / "clickhouse"
        self.stack_json = self.root / "stack.json"
        self.ports_json = self.root / "ports.json"
        self.options_json = self.root / "options.json"
        self.environment_json = self.root / "environment.json"
        self.state_json = self.run / "state.json"
        self.lock = self.root / "stack.lock"
        self.dev_key = self.root / "dev.key"
        self.vault_key = self.root / "vault.key"
        self.nats_token = self.root / "nats.token"

    def make(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        for folder in (self.run, self.logs, self.files, self.clickhouse):
            folder.mkdir(mode=0o700, exist_ok=True)

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def announcement(self, service: str) -> Path:
        return self.run / f"{service}.json"


class Lock:
    """A lock that the supervisor keeps for its whole life. A process that can take it knows that no supervisor runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def take(self) -> bool:
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def held(self) -> bool:
        """True if a process has the lock."""
        if not self.path.exists():
            return False
        if self.take():
            self.release()
            return False
        return True


def rotate(log: Path) -> None:
    """Moves a log of more than LOG_BYTES_MAX aside. Writers append, so cutting the file under them is safe."""
    try:
        if log.stat().st_size <= LOG_BYTES_MAX:
            return
    except OSError:
        return
    old = log.with_suffix(".log.1")
    old.write_bytes(log.read_bytes())
    os.truncate(log, 0)


def tail(log: Path, lines_max: int = 20, *, after: int = 0) -> str:
    """Returns the last lines of a log. after: only what was written behind so many bytes."""
    try:
        with log.open("rb") as file:
            size = log.stat().st_size
            file.seek(max(0, size - 16384, after if after <= size else 0))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines_max:])
    except OSError:
        return "(no log)"


def write(path: Path, value: Any) -> None:
    """Writes a value as JSON, whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    temporary.replace(path)


def read(path: Path, kind: type[StructT]) -> StructT | None:
    """Returns the value in a file; None if the file is missing or not of this kind."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None
