"""Every panel, variable and alert is asked of a real Prometheus that scrapes a real stack, and each returns data.

The stack runs workflows in which steps, tools, models and callers fail as well, so that the panels of faults have
something to show.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import runpy
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentctl.stack.layout import Layout
from agentflow_sdk import AgentFlowError, Client
from tests.e2e.conftest import Platform
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE_S, until_now

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed"),
]
GRAFANA = ROOT / "deploy" / "grafana"
BUILD = runpy.run_path(str(GRAFANA / "build.py"))
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}
SQL = "runs-and-cost"  # the dashboard of ClickHouse; the others ask Prometheus
SCRAPES = 3  # of each service after each round

# What can have no data here, and why.
NO_DATA = {
    "LogNearlyFull": "JetStream of an embedded stack has no limit",
}
MODELS = {"good": {"latency_ms": 20}, "down": {"failure_rate": 1.0, "failures": ["server_error"]}}
ROUNDS = 3
WORK = """
name: planted
version: 1
inputs:
  text: {type: string}
dag:
  nodes:
    - {id: pause, type: wait, config: {duration: 20ms}}
    - {id: flaky, type: tool, config: {tool_name: planted.flaky, tool_args: {text: "{{text}}"}}}
    - {id: count, type: function, config: {function_name: text_stats, inputs: {text: "{{text}}"}}}
    - id: ask
      type: llm
      config: {prompt: "Summarize: {{text}}", model: sim/good}
      policy: {cache: true}
    - id: again
      type: llm
      config: {prompt: "Summarize: Apples are red. Pears are green.", model: sim/good}
      policy: {cache: true}
    - id: down
      type: llm
      config: {prompt: "Summarize: {{text}}", model: sim/down}
      policy: {retry: {max_attempts: 1}, on_failure: continue}
  edges: []
"""
BROKEN = """
name: broken
version: 1
dag: {nodes: [{id: broken, type: tool, config: {tool_name: planted.broken}}], edges: []}
"""
SLOW = """
name: slow
version: 1
dag: {nodes: [{id: slow, type: tool, config: {tool_name: planted.slow}}], edges: []}
"""


class Observed:
    """A stack that has worked, and its Prometheus."""

    def __init__(self, platform: Platform, runs: list[str]) -> None:
        self.platform = platform
        self.runs = runs
        self._url = platform.stack.info.monitors["prometheus"]

    def get(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode({name.replace("match", "match[]"): v for name, v in parameters.items()})
        try:
            with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{query}", timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def values(self, expression: str) -> list[float]:
        """The numbers that an expression gives now."""
        result = self.get("query", query=expression)["result"]
        found = [float(series["value"][1]) for series in result]
        return [value for value in found if not math.isnan(value)]


def filled_in(expression: str) -> str:
    """The expression as Grafana sends it, with `All` in every variable."""
    for name, value in (("__rate_interval", "5m"), ("__range", "10m"), *((v, ".+") for v in BUILD["VARIABLES"])):
        expression = expression.replace(f"${name}", value)
    return expression


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    from tests.support.stack import running_stack

    folder = tmp_path_factory.mktemp("observed")
    tools = str(Path(__file__).with_name("dashboard_tools.py"))
    env = {"AGENTFLOW_SIM_MODELS": json.dumps(MODELS)}
    with running_stack(folder, load=[tools], env=env, observability=True) as stack:
        platform = Platform(stack, folder)
        runs: list[str] = []
        seen = Observed(platform, runs)
        until_now(lambda: len(seen.get("query", query="up == 1")["result"]) == 7, what="every service is scraped")
        with platform.client() as client:
            client.budgets.create("100", "monthly", name="month")
            for number in range(ROUNDS):
                runs += worked(seen, client, number)
                scraped(seen)
        yield seen


def worked(seen: Observed, client: Client, number: int) -> list[str]:
    """Does some of everything. Returns the runs that cost something."""
    platform = seen.platform
    text = {"text": f"Ann Miller (ann.miller@example.com) likes apple {number}. Pears are green."}
    paid = []
    for _ in range(2):
        run = client.workflows.submit(WORK, inputs=text)
        list(client.workflows.watch(run, timeout=PATIENCE_S))
        list(client.workflows.watch(run, timeout=60))
        paid.append(run.run_id)
    client.workflows.wait(client.workflows.submit(BROKEN), timeout=60)
    slow = client.workflows.submit(SLOW)
    until_now(lambda: seen.values("scheduler_pool_steps > 0"), what="the slow step is offered")
    client.workflows.cancel(slow, force=True)
    client.workflows.wait(slow, timeout=60)
    client.workflows.get(paid[0], reveal=True, reason="a test")
    with contextlib.suppress(AgentFlowError):
        client.prompts.get("there-is-none", 1)
    for token in ("not-a-key", platform.make_key("read")):
        with contextlib.suppress(AgentFlowError), platform.client(token) as stranger:
            stranger.workflows.submit(BROKEN)
    door = platform.stack.info.services["gateway"].ports["api_http"]
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"http://127.0.0.1:{door}/api/v1/triggers/default/none", data=b"{}", timeout=30)
    return paid


def scraped(seen: Observed) -> None:
    """Waits until every service was scraped some times after now, and the rules were evaluated."""
    before = min(seen.values("max by (service) (timestamp(event_loop_tasks))"))
    wanted = before + 5 * SCRAPES
    until_now(lambda: min(seen.values("max by (service) (timestamp(event_loop_tasks))")) > wanted, what="a scrape")


@pytest.mark.parametrize("name", [name for name in BOARDS if name != SQL])
def test_every_panel_has_data(observed: Observed, name: str) -> None:
    board = BOARDS[name]
    empty = [
        f"{panel['title']}: {target['expr']}"
        for panel in board["panels"]
        for target in panel["targets"]
        if panel["title"] not in NO_DATA and not observed.values(filled_in(target["expr"]))
    ]
    assert empty == []


@pytest.mark.parametrize("name", BUILD["VARIABLES"])
def test_every_variable_has_values(observed: Observed, name: str) -> None:
    _, series = BUILD["VARIABLES"][name]
    assert observed.get(f"label/{name}/values", match=filled_in(series))


def test_every_alert_has_data_and_the_planted_fault_is_seen(observed: Observed) -> None:
    source = yaml.safe_load((GRAFANA / "sources" / "alerts.yaml").read_text())
    alerts = {alert["alert"]: alert["values"] for alert in source["alerts"]}
    empty = [name for name, values in alerts.items() if not all(observed.values(value) for value in values)]
    assert sorted(empty) == sorted(NO_DATA)
    for recorded in BUILD["recorded"](source):
        assert observed.values(recorded["record"]), recorded["record"]
    groups = observed.get("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(alerts) + 8
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] != "ok"] == []
    assert observed.values('provider_cooling_down{model="down"}') == [1]
    states = {rule["name"]: rule["state"] for rule in rules if rule["type"] == "alerting"}
    assert states["BreakerOpen"] in {"pending", "firing"}
    assert states["ServiceDown"] == "inactive"


def test_the_cost_is_that_of_the_runs_to_the_nano_usd(observed: Observed) -> None:
    with observed.platform.client() as client:
        spent = sum(client.workflows.get(run).cost_nano_usd for run in observed.runs)
        assert client.budgets.get("month").spent_nano_usd == spent
    assert spent > 0
    assert sum(observed.values("sum(model_cost_nano_usd_total)")) == spent
    assert round(sum(observed.values("sum(workflow_cost_cents_sum)")) * 10_000_000) == spent


def test_the_stack_names_its_prometheus_and_takes_it_down(observed: Observed) -> None:
    part = observed.platform.stack.status()["prometheus"]
    assert (part.state, f"http://127.0.0.1:{part.port}") == (
        "ready",
        observed.platform.stack.info.monitors["prometheus"],
    )
    assert (observed.platform.stack.data_dir / "prometheus" / "data").is_dir()
    addresses = {target["labels"]["service"]: target["health"] for target in observed.get("targets")["activeTargets"]}
    assert addresses == dict.fromkeys(("gateway", "scheduler", "worker", "cost", "security", "prompt", "trace"), "up")


ASK = """
import json, sys
import chdb
engine = chdb.connect(sys.argv[1])
engine.query("USE agentflow")
answers = [json.loads(engine.query(sql, "JSONCompact").bytes())["data"] for sql in json.load(sys.stdin)]
print(json.dumps(answers))
"""


def filled_in_sql(statement: str, values: dict[str, list[str]]) -> str:
    """The statement as Grafana sends it, for the last six hours, with `All` in every variable."""
    statement = re.sub(r"\$__timeFilter\((\w+)\)", r"(\1 >= now() - INTERVAL 6 HOUR AND \1 <= now())", statement)
    statement = re.sub(
        r"\$__timeInterval\((\w+)\)", r"toStartOfInterval(toDateTime(\1), INTERVAL 60 second)", statement
    )
    for name, found in values.items():
        statement = statement.replace(f"${{{name}:singlequote}}", ", ".join(f"'{value}'" for value in found))
    return statement


def test_every_panel_and_variable_of_clickhouse_has_data(observed: Observed) -> None:
    """It comes last: the engine admits one process, so the stack is stopped."""
    with observed.platform.client() as client:
        spent = sum(client.workflows.get(run).cost_nano_usd for run in observed.runs)
    observed.platform.stack.stop()
    folder = Layout(observed.platform.stack.data_dir).clickhouse

    def ask(*statements: str) -> list[list[list[Any]]]:
        command, body = [sys.executable, "-c", ASK, str(folder)], json.dumps(statements)
        done = subprocess.run(command, input=body, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        answers: list[list[list[Any]]] = json.loads(done.stdout)
        return answers

    board = BOARDS[SQL]
    variables = [one for one in board["templating"]["list"] if one["type"] == "query"]
    found = ask(*(one["query"] for one in variables))
    values = {one["name"]: [row[0] for row in rows] for one, rows in zip(variables, found, strict=True)}
    assert values == {"org": ["default"], "workflow": ["broken", "planted", "slow"]}
    statements = {panel["title"]: filled_in_sql(panel["targets"][0]["rawSql"], values) for panel in board["panels"]}
    assert not any("$" in statement for statement in statements.values())
    answers = dict(zip(statements, ask(*statements.values()), strict=True))
    assert [title for title, rows in answers.items() if not rows] == []
    assert ask("SELECT sum(cost_nano) FROM costs", "SELECT sum(cost_nano) FROM runs FINAL") == [[[spent]]] * 2
