"""The rules of Grafana's dashboard linter that concern Prometheus, as in github.com/grafana/dashboard-linter.

The linter is a program in Go. Its rules about Loki do not apply here. `promtool` parses the expressions of the rule
`target-promql-rule`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

Board = dict[str, Any]
QUERIED: Final = ("stat", "singlestat", "graph", "table-old", "timeseries", "gauge", "state-timeline")
RATE_INTERVAL: Final = "[$__rate_interval]"
# Those of the linter's list that are used here.
UNITS: Final = frozenset(
    {
        "none", "short", "percentunit", "percent", "bool_on_off", "currencyUSD", "bytes", "Bps", "s", "ms",
        "reqps", "ops", "rps", "wps", "mps",
    }
)  # fmt: skip
SELECTOR: Final = re.compile(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}(\[[^\]]*\])?")


def is_prometheus(board: Board) -> bool:
    return any(one["type"] == "datasource" and one["query"] == "prometheus" for one in board["templating"]["list"])


def panels(board: Board) -> Iterator[Board]:
    yield from (panel for panel in board["panels"] if panel["type"] in QUERIED)


def targets(board: Board) -> Iterator[tuple[Board, Board]]:
    """Yields each query of PromQL with its panel. The linter has no rules for the queries of other data sources."""
    if is_prometheus(board):
        yield from ((panel, target) for panel in panels(board) for target in panel["targets"])


def template(board: Board, name: str) -> Board:
    return next((one for one in board["templating"]["list"] if one["name"] == name), {})


def queries(board: Board) -> list[Board]:
    return [one for one in board["templating"]["list"] if one["type"] == "query"]


def template_datasource(board: Board) -> Iterator[str]:
    found = [one for one in board["templating"]["list"] if one["type"] == "datasource"]
    if len(found) != 1:
        yield f"{len(found)} templated data sources"
    for one in found:
        if (one["name"], one.get("label")) not in {
            ("datasource", "Data source"), ("prometheus_datasource", "Prometheus data source")
        }:  # fmt: skip
            yield f"the data source is named {one['name']!r}, {one.get('label')!r}"


def _required(name: str) -> Callable[[Board], Iterator[str]]:
    def rule(board: Board) -> Iterator[str]:
        if not is_prometheus(board):
            return
        one = template(board, name)
        wanted = {"type": "query", "label": name.title(), "multi": True, "allValue": ".+"}
        yield from (f"template {name}: {key} is {one.get(key)!r}" for key in wanted if one.get(key) != wanted[key])
        if one.get("datasource", {}).get("uid") not in {"$datasource", "${datasource}"}:
            yield f"template {name} does not use the templated data source"

    return rule


def template_label_promql(board: Board) -> Iterator[str]:
    for one in queries(board) if is_prometheus(board) else ():
        if not re.fullmatch(r"(label_names|label_values|metrics|query_result)\(.+\)", one["query"]):
            yield f"template {one['name']}: {one['query']}"


def template_on_time_change_reload(board: Board) -> Iterator[str]:
    yield from (f"template {one['name']}: refresh is not 2" for one in queries(board) if one.get("refresh") != 2)


def panel_datasource(board: Board) -> Iterator[str]:
    for panel in panels(board):
        if panel["datasource"]["uid"] not in {"$datasource", "${datasource}"}:
            yield f"{panel['title']}: {panel['datasource']}"


def panel_title_description(board: Board) -> Iterator[str]:
    yield from (f"panel {panel['id']}" for panel in panels(board) if not panel["title"] or not panel.get("description"))


def panel_units(board: Board) -> Iterator[str]:
    for panel in panels(board):
        if panel["fieldConfig"]["defaults"].get("unit") not in UNITS:
            yield f"{panel['title']}: {panel['fieldConfig']['defaults'].get('unit')!r}"


def panel_no_targets(board: Board) -> Iterator[str]:
    yield from (panel["title"] for panel in panels(board) if not panel["targets"])


def target_rate_interval(board: Board) -> Iterator[str]:
    for panel, target in targets(board):
        for function, inner in re.findall(r"\b(\w+)\(([^()]*\[[^\]]*\])\)", target["expr"]):
            interval = inner[inner.rindex("[") :]
            if (function in {"rate", "irate"}) != (interval == RATE_INTERVAL):
                yield f"{panel['title']}: {function} over {interval}"


def _matcher(name: str) -> Callable[[Board], Iterator[str]]:
    def rule(board: Board) -> Iterator[str]:
        for panel, target in targets(board):
            for metric, matchers, _ in SELECTOR.findall(target["expr"]):
                if f'{name}=~"${name}"' not in matchers:
                    yield f"{panel['title']}: {metric} has no matcher of {name}"
            for metric in bare_metrics(target["expr"]):
                yield f"{panel['title']}: {metric} has no matchers"

    return rule


def bare_metrics(expression: str) -> list[str]:
    """Returns the names of metrics that stand without braces."""
    rest = SELECTOR.sub("", re.sub(r'"[^"]*"', '""', expression))
    rest = re.sub(r"\b(by|on|ignoring|without|group_left|group_right)\s*(\([^)]*\))?", "", rest)
    words = re.findall(r"(?<![\w$])([a-zA-Z_:][\w:]*)\b(?!\s*\()", rest)
    return [word for word in words if word not in {"or", "and", "unless", "bool", "e9"}]


def target_counter_agg(board: Board) -> Iterator[str]:
    for panel, target in targets(board):
        for found in SELECTOR.finditer(target["expr"]):
            before = target["expr"][: found.start()]
            if found[1].endswith("_total") and not (found[3] and re.search(r"\b(rate|irate|increase)\($", before)):
                yield f"{panel['title']}: {found[0]} is not in rate or increase"


def uneditable(board: Board) -> Iterator[str]:
    if board.get("editable", True):
        yield "it is editable"


RULES: Final[dict[str, Callable[[Board], Iterator[str]]]] = {
    "template-datasource-rule": template_datasource,
    "template-job-rule": _required("job"),
    "template-instance-rule": _required("instance"),
    "template-label-promql-rule": template_label_promql,
    "template-on-time-change-reload-rule": template_on_time_change_reload,
    "panel-datasource-rule": panel_datasource,
    "panel-title-description-rule": panel_title_description,
    "panel-units-rule": panel_units,
    "panel-no-targets-rule": panel_no_targets,
    "target-rate-interval-rule": target_rate_interval,
    "target-job-rule": _matcher("job"),
    "target-instance-rule": _matcher("instance"),
    "target-counter-agg-rule": target_counter_agg,
    "uneditable-dashboard": uneditable,
}
