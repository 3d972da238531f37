"""Prometheus, and Grafana where it is installed, beside a stack: `agentctl up --observability`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from agentctl.stack import show
from agentctl.stack.layout import GRAFANA, PROMETHEUS, Layout, Options, Ports, StackInfo
from agentflow_common.embedded import monitors
from agentflow_common.embedded.monitors import GrafanaServer, Monitor, PrometheusServer

DEPLOYED: Final = Path(__file__).resolve().parents[4] / "deploy" / "grafana"  # of the checkout


def check() -> None:
    """Raises StackError if Prometheus is not installed."""
    monitors.prometheus_binary()


def where_possible(options: Options, given: frozenset[str]) -> Options:
    """Returns the options, without Prometheus if it was only remembered and is not installed any more."""
    if not options.observability or "observability" in given or monitors.has_prometheus():
        return options
    show.note("Prometheus is not on PATH any more: the stack starts without it")
    return msgspec.structs.replace(options, observability=False)


def made(layout: Layout, last: Ports) -> list[Monitor]:
    """Returns the servers, which are not started yet. They take the ports of the last start if these are free."""
    rules = DEPLOYED / "alerts.yaml"
    prometheus = PrometheusServer(
        layout.root / PROMETHEUS,
        _port(last, PROMETHEUS),
        layout.log(PROMETHEUS),
        rules=rules if rules.is_file() else None,
    )
    found: list[Monitor] = [prometheus]
    if monitors.grafana_command() is not None:
        grafana = GrafanaServer(
            layout.root / GRAFANA,
            _port(last, GRAFANA),
            layout.log(GRAFANA),
            prometheus=prometheus.url,
            dashboards=DEPLOYED / "dashboards",
        )
        found.append(grafana)
    return found


def _port(last: Ports, name: str) -> int:
    return last.services.get(name, {}).get("http", 0)


def addresses(servers: list[Monitor]) -> dict[str, str]:
    """Returns the URLs of the servers, by the names of StackInfo's fields."""
    return {server.name: server.url for server in servers}


def follow(servers: list[Monitor], info: StackInfo) -> None:
    """Tells Prometheus where the services serve their metrics."""
    where: Mapping[str, str] = {name: one.http.removeprefix("http://") for name, one in info.services.items()}
    for server in servers:
        if isinstance(server, PrometheusServer):
            server.targets(where)
