"""Writes the dashboards, the alert rules and their tests from sources/; a test holds them together.

In a dashboard's source, `{` of a selector gets the matchers of the variables `job` and `instance`, and `@name` is the
matcher of the variable `name`. A panel's `lines` are `legend: expression` in PromQL.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
SOURCES = HERE / "sources"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
CLICKHOUSE = "grafana-clickhouse-datasource"
WIDTH, HEIGHT, COLUMNS = 12, 8, 2
MADE = "# Written by build.py from sources/alerts.yaml.\n"
VARIABLES = {
    "job": ("Job", "event_loop_tasks"),
    "instance": ("Instance", 'event_loop_tasks{job=~"$job"}'),
    "workflow": ("Workflow", 'workflow_runs_started_total{job=~"$job"}'),
    "provider": ("Provider", 'provider_requests_total{job=~"$job"}'),
    "model": ("Model", 'provider_requests_total{job=~"$job", provider=~"$provider"}'),
    "org": ("Org", 'model_cost_nano_usd_total{job=~"$job"}'),
}


TABLES = {
    "org": ("Org", "SELECT DISTINCT org FROM runs WHERE gone = 0 ORDER BY org LIMIT 200"),
    "workflow": ("Workflow", "SELECT DISTINCT workflow FROM runs WHERE gone = 0 ORDER BY workflow LIMIT 200"),
}


def expanded(expression: str) -> str:
    """Returns the expression with the matchers of the variables."""
    named = re.sub(r"@(\w+)", r'\1=~"$\1"', expression)
    return re.sub(r"\{(?=(.))", lambda m: '{job=~"$job", instance=~"$instance"' + ("" if m[1] == "}" else ", "), named)


def variable(name: str) -> dict[str, Any]:
    label, series = VARIABLES[name]
    query = f"label_values({series}, {name})"
    return {
        "name": name, "label": label, "type": "query", "datasource": DATASOURCE, "query": query, "definition": query,
        "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "allValue": ".+",
        "current": {"text": ["All"], "value": ["$__all"]},
    }  # fmt: skip


def table_variable(name: str) -> dict[str, Any]:
    label, query = TABLES[name]
    return {
        "name": name, "label": label, "type": "query", "datasource": _source("clickhouse"), "query": query,
        "definition": query, "refresh": 2, "sort": 1, "multi": True, "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }  # fmt: skip


def _source(kind: str) -> dict[str, str]:
    return {"type": CLICKHOUSE, "uid": "${datasource}"} if kind == "clickhouse" else DATASOURCE


def _targets(source: dict[str, Any]) -> list[dict[str, Any]]:
    if "sql" in source:
        shape = "table" if source.get("type") == "table" else "timeseries"
        asked = {"editorType": "sql", "queryType": shape, "format": int(shape == "table")}
        return [{"refId": "A", "datasource": _source("clickhouse"), **asked, "rawSql": source["sql"]}]
    return [
        {"refId": ref, "datasource": DATASOURCE, "expr": expanded(expression), "legendFormat": legend}
        for ref, (legend, expression) in zip("ABCDE", source["lines"].items(), strict=False)
    ]


def panel(number: int, source: dict[str, Any]) -> dict[str, Any]:
    kind = source.get("type", "timeseries")
    targets = _targets(source)
    if kind == "stat":
        options: dict[str, Any] = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    elif kind == "table":
        options = {"showHeader": True}
    else:
        legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
        options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    return {
        "id": number + 1,
        "type": kind,
        "title": source["title"],
        "description": source["description"],
        "datasource": targets[0]["datasource"],
        "gridPos": {"x": number % COLUMNS * WIDTH, "y": number // COLUMNS * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": source["unit"], "min": 0}, "overrides": []},
        "options": options,
        "targets": targets,
    }


def dashboard(name: str, source: dict[str, Any]) -> dict[str, Any]:
    clickhouse = source.get("datasource") == "clickhouse"
    query = CLICKHOUSE if clickhouse else "prometheus"
    datasource = {"name": "datasource", "label": "Data source", "type": "datasource", "query": query}
    names = source["variables"] if clickhouse else ("job", "instance", *source["variables"])
    variables = [table_variable(name) if clickhouse else variable(name) for name in names]
    return {
        "uid": f"agentflow-{name}",
        "title": f"AgentFlow: {source['title'][0].lower() if name != 'jetstream' else 'J'}{source['title'][1:]}",
        "description": source["description"],
        "tags": ["agentflow"],
        "editable": False,
        "timezone": "utc",
        "schemaVersion": 41,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "links": [
            {"title": "AgentFlow", "type": "dashboards", "tags": ["agentflow"], "asDropdown": True, "includeVars": True,
             "keepTime": True}
        ],
        "templating": {"list": [datasource, *variables]},
        "panels": [panel(number, item) for number, item in enumerate(source["panels"])],
    }  # fmt: skip


# --- alerts ---


def recorded(source: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the recording rules of the ratios. A ratio is 0 while nothing fails."""
    return [
        {
            "record": f"agentflow:{name}:ratio_rate{window}",
            "expr": f"(sum(rate({ratio['errors']}[{window}])) or vector(0)) / sum(rate({ratio['all']}[{window}]))",
        }
        for name, ratio in source["ratios"].items()
        for window in source["windows"]
    ]


def expression(alert: dict[str, Any]) -> str:
    sign, bound = (">", alert["above"]) if "above" in alert else ("<", alert["below"])
    return " and ".join(f"{value} {sign} {bound}" for value in alert["values"])


def rule(alert: dict[str, Any]) -> dict[str, Any]:
    return {
        "alert": alert["alert"],
        "expr": expression(alert),
        "for": alert["for"],
        "labels": {"severity": alert["severity"]},
        "annotations": {
            "summary": alert["summary"],
            "description": alert["description"],
            "next": alert["next"],
            "runbook": f"docs/alerts.md#{alert['alert'].lower()}",
        },
    }


def rules(source: dict[str, Any]) -> dict[str, Any]:
    return {
        "groups": [
            {"name": "agentflow-ratios", "rules": recorded(source)},
            {"name": "agentflow", "rules": [rule(alert) for alert in source["alerts"]]},
        ]
    }


def rule_tests(source: dict[str, Any]) -> dict[str, Any]:
    """Returns the unit tests for promtool: two for each alert."""

    def test(alert: dict[str, Any], case: dict[str, Any], expected: list[dict[str, Any]]) -> dict[str, Any]:
        series = [{"series": name, "values": str(values)} for name, values in case["series"].items()]
        checks = [{"eval_time": case["at"], "alertname": alert["alert"], "exp_alerts": expected}]
        name = f"{alert['alert']} {'fires' if expected else 'is quiet'}"
        return {"name": name, "interval": "1m", "input_series": series, "alert_rule_test": checks}

    tests = []
    for alert in source["alerts"]:
        fires = alert["fires"]
        labels = fires.get("labels", {})
        annotations = dict(rule(alert)["annotations"], description=fires["text"])
        annotations["summary"] = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda m, of=labels: of[m[1]], alert["summary"])
        told = {"exp_labels": {"severity": alert["severity"], **labels}, "exp_annotations": annotations}
        tests += [test(alert, fires, [told]), test(alert, alert["quiet"], [])]
    return {"rule_files": ["alerts.yaml"], "evaluation_interval": "1m", "tests": tests}


def written(value: dict[str, Any]) -> str:
    return MADE + yaml.safe_dump(value, sort_keys=False, width=1000)


def files() -> dict[Path, str]:
    """Returns the files that the sources give, by path."""
    out = {}
    for path in sorted((SOURCES / "dashboards").glob("*.yaml")):
        made = dashboard(path.stem, yaml.safe_load(path.read_text()))
        out[HERE / "dashboards" / f"{path.stem}.json"] = json.dumps(made, indent=1) + "\n"
    source = yaml.safe_load((SOURCES / "alerts.yaml").read_text())
    operator = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "agentflow"},
        "spec": rules(source),
    }
    out[HERE / "alerts.yaml"] = written(rules(source))
    out[HERE / "alerts_test.yaml"] = written(rule_tests(source))
    out[HERE / "prometheus-rule.yaml"] = written(operator)
    return out


if __name__ == "__main__":
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
