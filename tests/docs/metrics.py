"""The tables of docs/metrics.md: what each metric means, and which labels have a bound."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from agentflow_common import metrics
from agentflow_common.metrics import labels
from agentflow_common.metrics.bounded import Described, Label, described
from tests.docs.markdown import code, table


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
