"""Prometheus beside a stack: it is named, followed, started again, and ended with the stack."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from agentctl.stack import backup, control, observability
from agentctl.stack.layout import Layout, Options, Ports
from agentflow_common.embedded import monitors, processes
from agentflow_common.embedded.monitors import GrafanaServer, PrometheusServer
from agentflow_common.embedded.servers import StackError
from tests.support.stack import running_stack
from tests.support.waiting import until_now

needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed")


def health(url: str) -> dict[str, str]:
    """The services that Prometheus scrapes, and how the last scrape went."""
    with urllib.request.urlopen(f"{url}/api/v1/targets", timeout=10) as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["activeTargets"]
    return {target["labels"]["service"]: target["health"] for target in found}


def test_without_prometheus_the_start_says_what_to_install(tmp_path: Path) -> None:
    bare = {**os.environ, "PATH": str(tmp_path)}
    command = [sys.executable, "-m", "agentctl", "up", "--detach", "--data-dir", str(tmp_path / "d"), "--observability"]
    done = subprocess.run(command, env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "--observability needs Prometheus" in done.stderr and "apt-get install prometheus" in done.stderr
    assert control.find(tmp_path / "d") is None
    assert [name for name, part in ((p.name, p) for p in control.status(tmp_path / "d")) if part.pid] == []


@needs_prometheus
def test_prometheus_follows_the_services_comes_back_and_ends_with_the_stack(tmp_path: Path) -> None:
    with running_stack(tmp_path, services=("cost",), observability=True) as stack:
        url = stack.info.monitors["prometheus"]
        until_now(lambda: health(url) == {"cost": "up"}, what="the service is scraped")
        before = stack.status()["prometheus"]
        assert (before.state, before.detail) == ("ready", url)
        stack.kill("prometheus")
        again = stack.wait_ready("prometheus", not_pid=before.pid)
        assert (again.port, again.restarts) == (before.port, 1)
        gone = stack.kill("cost")
        stack.wait_ready("cost", not_pid=gone)
        until_now(lambda: health(url) == {"cost": "up"}, what="the new process is scraped")
        stack.stop()
        assert not processes.is_running(again.pid, "prometheus")
        archive = backup.create(stack.data_dir, tmp_path / "copy.tar.gz").archive
        with tarfile.open(archive) as tar:
            held = {part for name in tar.getnames() for part in name.split("/")[:2]}
        assert "nats" in held and "prometheus" not in held  # a backup holds what can't be measured again
        stack.start()  # what was chosen stays
        assert stack.info.monitors == {"prometheus": url}
        pid = stack.status()["prometheus"].pid
        os.kill(stack.info.pid, signal.SIGKILL)  # the supervisor
        until_now(lambda: not processes.is_running(pid, "prometheus"), what="Prometheus ends with its supervisor")


@needs_prometheus
def test_prometheus_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    server = PrometheusServer(tmp_path / "p", 0, tmp_path / "log", scrape_s=1)
    server.targets({"itself": f"127.0.0.1:{server.port}"})
    with server:
        until_now(server.ready, what="Prometheus is ready")
        until_now(lambda: health(server.url) == {"itself": "up"}, what="a scrape")
        first = samples(server)
    with server:
        until_now(server.ready, what="Prometheus is ready again")
        until_now(lambda: samples(server) >= first > 0, what="the samples of before")


def samples(server: PrometheusServer) -> int:
    url = f"{server.url}/api/v1/query?query=count_over_time(up%5B1h%5D)"
    with urllib.request.urlopen(url, timeout=10) as answer:
        result = json.load(answer)["data"]["result"]
    return int(result[0]["value"][1]) if result else 0


def test_grafana_is_given_the_data_source_and_the_dashboards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        monitors.shutil, "which", lambda name: f"/x/{name}" if name in {"prometheus", "grafana"} else None
    )
    servers = observability.made(Layout(tmp_path), Ports())
    prometheus, grafana = servers
    assert isinstance(grafana, GrafanaServer)
    files = {name: json.loads(text) for name, text in grafana.provisioning().items()}
    assert files["datasources/prometheus.yaml"]["datasources"][0]["url"] == prometheus.url
    folder = Path(files["dashboards/agentflow.yaml"]["providers"][0]["options"]["path"])
    assert len(list(folder.glob("*.json"))) == 9
    assert monitors.grafana_command() == ["/x/grafana", "server"]


def test_without_grafana_there_is_prometheus_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitors.shutil, "which", lambda _name: None)
    assert [server.name for server in observability.made(Layout(tmp_path), Ports())] == ["prometheus"]
    with pytest.raises(StackError, match="apt-get install prometheus"):
        observability.check()


def test_a_remembered_prometheus_that_is_gone_does_not_keep_the_stack_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitors.shutil, "which", lambda _name: None)
    kept = Options(data_dir=tmp_path, observability=True)
    assert not observability.where_possible(kept, frozenset()).observability
    assert observability.where_possible(kept, frozenset({"observability"})).observability  # asked for: refused later
    monkeypatch.setattr(monitors.shutil, "which", {"prometheus": "/x/prometheus"}.get)
    assert observability.where_possible(kept, frozenset()).observability
