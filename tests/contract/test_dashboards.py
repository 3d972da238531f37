"""The dashboards and alerts: made from their sources, sound by Grafana's linter, about metrics that exist."""

from __future__ import annotations

import copy
import json
import re
import runpy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.manifests import DEPLOY
from tests.contract.test_documents import anchors
from tests.docs.metrics import all_metrics
from tests.support.dashboard_linter import RULES, SELECTOR, Board, is_prometheus, targets
from tests.support.paths import ROOT

GRAFANA = DEPLOY / "grafana"
BUILD = runpy.run_path(str(GRAFANA / "build.py"))
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}
ALERTS = yaml.safe_load((GRAFANA / "alerts.yaml").read_text())["groups"][1]["rules"]
USUAL = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds"}


def test_dashboards_and_rules_are_those_of_their_sources() -> None:
    made = BUILD["files"]()
    assert len(made) == len(BOARDS) + 3
    for path, text in made.items():
        assert path.read_text() == text, "run `python deploy/grafana/build.py`"


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_keeps_the_rules_of_grafanas_linter(name: str, rule: str) -> None:
    assert list(RULES[rule](BOARDS[name])) == []


def _set(*path: Any, value: Any) -> Callable[[Board], None]:
    def change(board: Board) -> None:
        place = board
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


EXPR = ("panels", 2, "targets", 0, "expr")
BREAKS: dict[str, Callable[[Board], None]] = {
    "template-datasource-rule": _set("templating", "list", 0, "name", value="prom"),
    "template-job-rule": _set("templating", "list", 1, "multi", value=False),
    "template-instance-rule": _set("templating", "list", 2, "allValue", value=".*"),
    "template-label-promql-rule": _set("templating", "list", 1, "query", value="values(up, job)"),
    "template-on-time-change-reload-rule": _set("templating", "list", 1, "refresh", value=1),
    "panel-datasource-rule": _set("panels", 2, "datasource", value={"uid": "prometheus"}),
    "panel-title-description-rule": _set("panels", 2, "description", value=""),
    "panel-units-rule": _set("panels", 2, "fieldConfig", "defaults", value={}),
    "panel-no-targets-rule": _set("panels", 2, "targets", value=[]),
    "target-rate-interval-rule": _set(*EXPR, value='rate(a_total{job=~"$job", instance=~"$instance"}[5m])'),
    "target-job-rule": _set(*EXPR, value='sum(a{instance=~"$instance"})'),
    "target-instance-rule": _set(*EXPR, value="sum(a)"),
    "target-counter-agg-rule": _set(*EXPR, value='sum(a_total{job=~"$job", instance=~"$instance"})'),
    "uneditable-dashboard": _set("editable", value=True),
}


@pytest.mark.parametrize("rule", RULES)
def test_the_linter_finds_what_breaks_its_rule(rule: str) -> None:
    board = copy.deepcopy(BOARDS["workflow-performance"])
    BREAKS[rule](board)
    assert list(RULES[rule](board))


def test_the_dashboards_that_users_expect_are_there() -> None:
    """Those of CONTRACT.md, and those of each subject."""
    expected = {"workflow-performance", "cost-analysis", "resource-utilisation", "error-analysis"}
    assert expected | {"providers", "requests", "jetstream", "security", "runs-and-cost"} == set(BOARDS)
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS)
    listed = yaml.safe_load((GRAFANA / "kustomization.yaml").read_text())["configMapGenerator"][0]["files"]
    assert sorted(listed) == [f"dashboards/{name}.json" for name in sorted(BOARDS)]


def known_names() -> set[str]:
    names = set(USUAL)
    for metric in all_metrics():
        ends = ("sum", "count", "bucket") if metric.kind == "histogram" else ()
        names |= {f"{metric.name}_{end}" for end in ends} or {metric.name}
    return names


def labels_of(name: str) -> set[str]:
    bare = re.sub(r"_(sum|count|bucket)$", "", name)
    found = next((metric.labels for metric in all_metrics() if metric.name in {name, bare}), ())
    return {*found, "le", "job", "instance", "service"}


@pytest.mark.parametrize("name", [name for name, board in BOARDS.items() if is_prometheus(board)])
def test_panels_ask_for_metrics_and_labels_that_exist(name: str) -> None:
    for panel, target in targets(BOARDS[name]):
        selectors = SELECTOR.findall(target["expr"])
        assert selectors, panel["title"]
        assert {metric for metric, _, _ in selectors} <= known_names(), panel["title"]
        there: set[str] = set()
        for metric, matchers, _ in selectors:
            assert set(re.findall(r"(\w+)\s*[=!]", matchers)) <= labels_of(metric), panel["title"]
            there |= labels_of(metric)
        named = {word for group in re.findall(r"\bby \(([^)]*)\)", target["expr"]) for word in group.split(", ")}
        assert named | set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= there, panel["title"]


def test_every_way_of_scraping_names_the_job_and_the_service() -> None:
    """ServiceDown asks for `job="agentflow"`, and the dashboards for `service`."""
    monitor, _ = yaml.safe_load_all((GRAFANA / "scrape.yaml").read_text())
    relabelings = monitor["spec"]["podMetricsEndpoints"][0]["relabelings"]
    assert {"targetLabel": "job", "replacement": "agentflow"} in relabelings
    compose = yaml.safe_load((GRAFANA / "prometheus.yaml").read_text())["scrape_configs"][0]
    assert compose["job_name"] == "agentflow"
    for rules in (relabelings, compose["relabel_configs"]):
        assert "service" in {rule.get("targetLabel", rule.get("target_label")) for rule in rules}


def test_alerts_ask_for_metrics_that_exist() -> None:
    known = known_names()
    assert {"HighErrorRate", "HighCost"} <= {rule["alert"] for rule in ALERTS}
    for rule in ALERTS:
        bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|by \([^)]*\)|agentflow:\w+:\w+", "", rule["expr"])
        names = set(re.findall(r"\b[a-z]+_[a-z_]+\b(?!\()", bare))
        assert names or "agentflow:" in rule["expr"] or "up" in rule["expr"], rule["alert"]
        assert names <= known, f"{names - known} in {rule['alert']}"


def test_each_alert_has_a_section_that_says_what_to_do() -> None:
    for rule in ALERTS:
        path, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert anchor in anchors(ROOT / path), rule["alert"]
        assert all(rule["annotations"][name] for name in ("summary", "description", "next")), rule["alert"]


def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed")
    return found


def test_each_alert_fires_when_it_should_and_only_then() -> None:
    tests = yaml.safe_load((GRAFANA / "alerts_test.yaml").read_text())["tests"]
    assert len(tests) == 2 * len(ALERTS)
    done = subprocess.run(
        [promtool(), "test", "rules", str(GRAFANA / "alerts_test.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_reads_the_rules_and_every_expression(tmp_path: Path) -> None:
    filled = {"$__rate_interval": "5m", "$__range": "1h"}
    records = []
    for name, board in BOARDS.items():
        for panel, target in targets(board):
            text = target["expr"]
            for variable, value in filled.items():
                text = text.replace(variable, value)
            records.append({"record": f"{name.replace('-', '_')}:{panel['id']}:{target['refId']}", "expr": text})
    rules = tmp_path / "panels.yaml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}))
    for path in (rules, GRAFANA / "alerts.yaml"):
        done = subprocess.run([promtool(), "check", "rules", str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run(
        [promtool(), "check", "config", "--syntax-only", str(GRAFANA / "prometheus.yaml")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_of_alertmanager_reaches_each_severity_and_holds_no_secret(tmp_path: Path) -> None:
    text = (GRAFANA / "alertmanager.yaml").read_text()
    config = yaml.safe_load(text)
    receivers = {receiver["name"]: receiver for receiver in config["receivers"]}
    routes = [config["route"], *config["route"]["routes"]]
    assert {route["receiver"] for route in routes} == set(receivers)
    assert all(len(receiver) > 1 for receiver in receivers.values()), "a receiver that tells nobody"
    names = {rule["alert"] for rule in ALERTS}
    inhibited = [rule[key] for rule in config["inhibit_rules"] for key in ("source_matchers", "target_matchers")]
    matchers = [m for group in (*inhibited, *(r.get("matchers", []) for r in routes)) for m in group]
    for matcher in matchers:
        label, pattern = re.fullmatch(r'(\w+)=~?"([^"]+)"', matcher).groups()  # type: ignore[union-attr]
        values = names if label == "alertname" else {rule["labels"][label] for rule in ALERTS}
        assert any(re.fullmatch(pattern, value) for value in values), matcher
    for key in re.findall(r"(\w*(?:password|url|key|token)\w*):", text):
        assert key.endswith("_file"), f"{key} holds a secret"
    amtool = shutil.which("amtool")
    if amtool is not None:
        done = subprocess.run([amtool, "check-config", GRAFANA / "alertmanager.yaml"], capture_output=True, check=False)
        assert done.returncode == 0, done.stdout
