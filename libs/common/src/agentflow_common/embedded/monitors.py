"""Prometheus and Grafana as child processes, from binaries that the machine has. Neither is in a wheel.

`start` returns at once: the stack does not wait for them. Each says on its own port when it is ready.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from agentflow_common.embedded import processes
from agentflow_common.embedded.servers import Server, StackError

PROMETHEUS_FIX: Final = (
    "install it (Debian and Ubuntu: `apt-get install prometheus`, macOS: `brew install prometheus`, else from "
    "prometheus.io/download) so that `prometheus` is on PATH"
)
SCRAPE_S: Final = 5
RETENTION: Final = "15d"
PROBE_S_MAX: Final = 2.0
STOP_S_MAX: Final = 15.0  # Prometheus writes what it has in memory


def prometheus_binary() -> str:
    """Returns the path of `prometheus`. Raises StackError that says how to install it."""
    found = shutil.which("prometheus")
    if found is None:
        raise StackError(f"--observability needs Prometheus: {PROMETHEUS_FIX}")
    return found


def has_prometheus() -> bool:
    return shutil.which("prometheus") is not None


def grafana_command() -> list[str] | None:
    """Returns the command of Grafana's server, or None if there is no Grafana."""
    if (found := shutil.which("grafana")) is not None:
        return [found, "server"]
    return [found] if (found := shutil.which("grafana-server")) is not None else None


def free_port() -> int:
    """Returns a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    """True if the address answers with success."""
    try:
        with urllib.request.urlopen(url, timeout=PROBE_S_MAX):  # noqa: S310  (our own address)
            return True
    except OSError:
        return False


class Monitor(Server):
    """A server that looks at the stack."""

    ready_path = "/"

    def __init__(self, folder: Path, port: int, log_file: Path) -> None:
        super().__init__(folder)
        self.port = port if port and processes.port_is_free(port) else free_port()
        self.log_file = log_file

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ready(self) -> bool:
        return self.running and answers(self.url + self.ready_path)

    def stop(self) -> None:
        if self.process is not None:
            processes.stop(self.process, signal.SIGTERM, STOP_S_MAX)
            self.process = None

    def _spawn(self, command: list[str], env: Mapping[str, str] | None = None) -> None:
        with self.log_file.open("ab") as output:
            self.process = processes.spawn(command, env=env, output=output, death_signal=signal.SIGTERM)


class PrometheusServer(Monitor):
    """Prometheus, which scrapes the services that `targets` names.

    rules: a file of rules, or None. scrape_s: seconds between two looks at a service.
    """

    name = "prometheus"
    ready_path = "/-/ready"

    def __init__(
        self, folder: Path, port: int, log_file: Path, *, rules: Path | None = None, scrape_s: int = SCRAPE_S
    ) -> None:
        super().__init__(folder, port, log_file)
        self._rules = rules
        self._scrape_s = scrape_s

    def start(self) -> Self:
        if self.running:
            return self
        binary = prometheus_binary()
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._targets_file.exists():
            self.targets({})
        config = self.folder / "prometheus.json"  # JSON is YAML
        config.write_text(json.dumps(self._config(), indent=1))
        self._spawn(
            [
                binary,
                f"--config.file={config}",
                f"--storage.tsdb.path={self.folder / 'data'}",
                f"--storage.tsdb.retention.time={RETENTION}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ]
        )
        return self

    def targets(self, services: Mapping[str, str]) -> None:
        """Writes the addresses (`host:port`) of the services. Prometheus sees a change within seconds."""
        found = [{"targets": [address], "labels": {"service": name}} for name, address in sorted(services.items())]
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self._targets_file.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(found))
        temporary.replace(self._targets_file)

    @property
    def _targets_file(self) -> Path:
        return self.folder / "targets.json"

    def _config(self) -> dict[str, object]:
        every = f"{self._scrape_s}s"
        return {
            "global": {"scrape_interval": every, "evaluation_interval": every},
            "rule_files": [str(self._rules)] if self._rules is not None else [],
            "scrape_configs": [
                {
                    "job_name": "agentflow",
                    "file_sd_configs": [{"files": [str(self._targets_file)], "refresh_interval": "5s"}],
                }
            ],
        }


class GrafanaServer(Monitor):
    """Grafana with the dashboards of a folder, on a Prometheus."""

    name = "grafana"
    ready_path = "/api/health"

    def __init__(self, folder: Path, port: int, log_file: Path, *, prometheus: str, dashboards: Path) -> None:
        super().__init__(folder, port, log_file)
        self._prometheus = prometheus
        self._dashboards = dashboards

    def start(self) -> Self:
        if self.running:
            return self
        command = grafana_command()
        if command is None:
            raise StackError("there is no Grafana on PATH")
        for name, text in self.provisioning().items():
            path = self.folder / "provisioning" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        config = self.folder / "grafana.ini"
        config.touch()
        home = next((path for path in (Path("/usr/share/grafana"), *_homes(command[0])) if path.is_dir()), None)
        settings = {
            "GF_SERVER_HTTP_ADDR": "127.0.0.1",
            "GF_SERVER_HTTP_PORT": str(self.port),
            "GF_PATHS_DATA": str(self.folder / "data"),
            "GF_PATHS_LOGS": str(self.folder / "logs"),
            "GF_PATHS_PROVISIONING": str(self.folder / "provisioning"),
            "GF_AUTH_ANONYMOUS_ENABLED": "true",
            "GF_ANALYTICS_REPORTING_ENABLED": "false",
            "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        }
        where = [f"--homepath={home}"] if home is not None else []
        self._spawn([*command, *where, f"--config={config}"], {**os.environ, **settings})
        return self

    def provisioning(self) -> dict[str, str]:
        """Returns the files by which Grafana finds Prometheus and the dashboards."""
        source = {"name": "Prometheus", "uid": "prometheus", "type": "prometheus", "isDefault": True}
        provider = {"name": "agentflow", "folder": "AgentFlow", "type": "file"}
        return {
            "datasources/prometheus.yaml": json.dumps(
                {"apiVersion": 1, "datasources": [{**source, "url": self._prometheus}]}
            ),
            "dashboards/agentflow.yaml": json.dumps(
                {"apiVersion": 1, "providers": [{**provider, "options": {"path": str(self._dashboards)}}]}
            ),
        }


def _homes(binary: str) -> list[Path]:
    """Returns the places of Grafana's files beside its binary."""
    beside = Path(binary).resolve().parent.parent
    return [beside, beside / "share" / "grafana"]
