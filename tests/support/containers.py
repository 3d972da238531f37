"""The same servers as container images, for machines that have Docker. Imported only when asked for."""

from __future__ import annotations

import os
import secrets
import socket
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Final, Literal, Self

from agentflow_common.embedded.nats import PAYLOAD_MAX
from agentflow_common.embedded.servers import StackError

NATS_IMAGE: Final = "nats:2.12-alpine"
POSTGRES_IMAGE: Final = "postgres:18-alpine"


class NoDockerError(StackError):
    """Docker cannot be reached: fixtures skip with this message."""


def require_docker() -> None:
    """Raises NoDockerError that says what to do."""
    kind, _, address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").partition("://")
    try:
        if kind == "unix":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(address)
        else:
            host, _, port = address.rstrip("/").rpartition(":")
            socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise NoDockerError(
            "AGENTFLOW_TEST_BACKEND=testcontainers needs a reachable Docker daemon "
            f"({type(error).__name__}); start it, set DOCKER_HOST, or unset the variable to use the embedded servers"
        ) from error


class _Container(ABC):
    """A container whose host port stays the same over kill and start."""

    def __init__(self) -> None:
        self._container: Any = None
        self.host = ""
        self.port = 0

    @abstractmethod
    def _make(self) -> Any:
        """Returns a started container."""

    def _address(self, inner_port: int) -> None:
        self.host = self._container.get_container_host_ip()
        self.port = int(self._container.get_exposed_port(inner_port))

    def start(self) -> Self:
        if self._container is None:
            require_docker()
            self._container = self._make()
        else:
            self._container.get_wrapped_container().start()
        return self

    def kill(self) -> None:
        if self._container is not None:
            self._container.get_wrapped_container().kill()

    def stop(self) -> None:
        if self._container is not None:
            self._container.stop()
            self._container = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class NatsContainer(_Container):
    def __init__(self, folder: Path, durability: Literal["default", "fsync"] = "default") -> None:
        super().__init__()
        self.folder = folder
        self.durability = durability

    @property
    def url(self) -> str:
        return f"nats://{self.host}:{self.port}"

    def _make(self) -> Any:
        from testcontainers.core.container import DockerContainer
        from testcontainers.core.waiting_utils import wait_for_logs

        self.folder.mkdir(parents=True, exist_ok=True)
        sync = "sync_interval: always" if self.durability == "fsync" else ""
        config = self.folder / "nats.conf"
        config.write_text(f"port: 4222\nmax_payload: {PAYLOAD_MAX}\njetstream {{ store_dir: /data\n{sync} }}\n")
        container = DockerContainer(NATS_IMAGE).with_bind_ports(4222, _free_port())
        container.with_volume_mapping(str(config), "/etc/af/nats.conf", "ro").with_command("-c /etc/af/nats.conf")
        container.start()
        wait_for_logs(container, "Server is ready", timeout=60)
        self._container = container
        self._address(4222)
        return container


class PostgresContainer(_Container):
    def __init__(self) -> None:
        super().__init__()
        self._password = secrets.token_urlsafe(16)

    def env(self, database: str = "postgres") -> dict[str, str]:
        return {
            "DB_HOST": self.host,
            "DB_PORT": str(self.port),
            "DB_USER": "postgres",
            "DB_PASSWORD": self._password,
            "DB_NAME": database,
        }

    def _make(self) -> Any:
        from testcontainers.core.container import DockerContainer
        from testcontainers.core.waiting_utils import wait_for_logs

        container = DockerContainer(POSTGRES_IMAGE).with_bind_ports(5432, _free_port())
        container.with_env("POSTGRES_PASSWORD", self._password)
        container.with_command("postgres -c fsync=off -c max_connections=200")
        container.start()
        wait_for_logs(container, r"(?s)ready to accept connections.*ready to accept connections", timeout=90)
        self._container = container
        self._address(5432)
        return container
