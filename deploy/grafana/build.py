"""Writes dashboards/*.json from dashboards.yaml, prometheus-rule.yaml from alerts.yaml; a test holds them together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT, COLUMNS = 12, 8, 2


def panel(number: int, source: dict[str, Any]) -> dict[str, Any]:
    targets = [
        {"refId": ref, "datasource": DATASOURCE, "expr": expression, "legendFormat": legend}
        for ref, (legend, expression) in zip("ABCDE", source["lines"].items(), strict=False)
    ]
    return {
        "id": number + 1,
        "type": source.get("type", "timeseries"),
        "title": source["title"],
        "datasource": DATASOURCE,
        "gridPos": {"x": number % COLUMNS * WIDTH, "y": number // COLUMNS * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": source["unit"], "min": 0}, "overrides": []},
        "targets": targets,
    }


def dashboard(name: str, source: dict[str, Any]) -> dict[str, Any]:
    return {
        "uid": f"agentflow-{name}",
        "title": f"AgentFlow: {source['title'].lower()}",
        "tags": ["agentflow"],
        "timezone": "utc",
        "schemaVersion": 41,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": [panel(number, item) for number, item in enumerate(source["panels"])],
    }


def prometheus_rule() -> str:
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "agentflow"},
        "spec": yaml.safe_load((HERE / "alerts.yaml").read_text()),
    }
    return "# Written by build.py from alerts.yaml.\n" + yaml.safe_dump(rule, sort_keys=False, width=1000)


def files() -> dict[Path, str]:
    """What the sources say, by path."""
    sources = yaml.safe_load((HERE / "dashboards.yaml").read_text())
    out = {
        HERE / "dashboards" / f"{name}.json": json.dumps(dashboard(name, source), indent=1) + "\n"
        for name, source in sources.items()
    }
    return {**out, HERE / "prometheus-rule.yaml": prometheus_rule()}


if __name__ == "__main__":
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
