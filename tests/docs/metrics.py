"""The tables of docs/metrics.md: what each metric means, and which labels have a bound, and the alerts."""

from __future__ import annotations

import importlib
import pkgutil
import re
from typing import Any

import yaml

from agentflow_common import metrics
from agentflow_common.metrics import labels
from agentflow_common.metrics.bounded import Described, Label, described
from tests.docs.markdown import code, table
from tests.support.paths import ROOT


def all_metrics() -> list[Described]:
    """Returns every metric of the product, by name."""
    found = {}
    for module in pkgutil.iter_modules(metrics.__path__):
        values: dict[str, Any] = vars(importlib.import_module(f"{metrics.__name__}.{module.name}"))
        made = [described(value) for name, value in values.items() if name.isupper()]
        found |= {one.name: one for one in made if one is not None}
    return [found[name] for name in sorted(found)]


def metrics_table() -> str:
    rows = [(code(one.name), one.kind, ", ".join(one.labels), one.meaning) for one in all_metrics()]
    return table(["Metric", "Type", "Labels", "Meaning"], rows)


def labels_table() -> str:
    found = {one.name: one for one in vars(labels).values() if isinstance(one, Label)}
    rows = [(code(name), f"{found[name].values_max}", found[name].meaning) for name in sorted(found)]
    return table(["Label", "At most", "Values"], rows)


def alerts_table() -> str:
    alerts = yaml.safe_load((ROOT / "deploy/grafana/sources/alerts.yaml").read_text())["alerts"]
    rows = []
    for alert in sorted(alerts, key=lambda one: str(one["alert"])):
        name = str(alert["alert"])
        summary = re.sub(r"\{\{ \$labels\.(\w+) \}\}", r"`\1`", alert["summary"])
        rows.append((f"[`{name}`](alerts.md#{name.lower()})", alert["severity"], alert["for"], summary))
    return table(["Alert", "Severity", "For", "Fires when"], rows)
