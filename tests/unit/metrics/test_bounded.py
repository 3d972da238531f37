"""No metric gets more series than it may have, whatever users call their orgs, workflows, models and tools."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY, Gauge

from agentflow_common import metrics
from agentflow_common.metrics.bounded import OTHER, SERIES_MAX, VALUE_CHARS_MAX, Bounded, Label, Snapshot, counter
from tests.support.paths import ROOT


def shown() -> Iterator[tuple[str, object]]:
    """All metrics of the product with their names."""
    for module in pkgutil.iter_modules(metrics.__path__):
        rooms = vars(importlib.import_module(f"{metrics.__name__}.{module.name}"))
        yield from ((f"{module.name}.{name}", value) for name, value in rooms.items() if name.isupper())


@pytest.fixture
def small() -> Iterator[Bounded]:  # type: ignore[type-arg]
    made = counter("bounded_test", "for a test", Label("org", 3, "an org"), Label("kind", 2, "a kind"))
    yield made
    REGISTRY.unregister(made.metric)


def test_a_label_keeps_its_first_values_and_counts_the_others_together(small: Bounded) -> None:  # type: ignore[type-arg]
    for number in range(10):
        small.labels(f"org{number}", "a").inc()
    for _ in range(2):
        small.labels("org1", "a").inc()
    found = {
        sample.labels["org"]: sample.value
        for sample in small.metric.collect()[0].samples
        if sample.name.endswith("_total")
    }
    assert found == {"org0": 1, "org1": 3, "org2": 1, OTHER: 7}


def test_a_metric_with_too_many_combinations_counts_the_others_together() -> None:
    made = counter("bounded_pairs", "for a test", Label("a", 100, "a"), Label("b", 100, "b"))
    try:
        for first in range(50):
            for second in range(50):
                made.labels(str(first), str(second)).inc()
        samples = [s for s in made.metric.collect()[0].samples if s.name.endswith("_total")]
        assert len(samples) == SERIES_MAX + 1
        assert sum(s.value for s in samples) == 2500
        assert {s.labels["b"]: s.value for s in samples if s.labels["a"] == OTHER} == {OTHER: 2500 - SERIES_MAX}
    finally:
        REGISTRY.unregister(made.metric)


def test_a_long_value_is_cut() -> None:
    assert Label("x", 3, "x").keep("v" * 1000) == "v" * VALUE_CHARS_MAX


def test_a_wrong_number_of_values_is_refused(small: Bounded) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match="2 labels, 1 values"):
        small.labels("org0")


def test_a_snapshot_shows_its_rows_and_no_others() -> None:
    made = Snapshot(Gauge("bounded_rows", "for a test", ["name"]), ["name"])
    try:
        made.replace({("a",): 1.0, ("b",): 2.0})
        made.replace({("b",): 3.0, ("c",): 4.0})
        assert {s.labels["name"]: s.value for s in made.metric.collect()[0].samples} == {"b": 3.0, "c": 4.0}
        made.replace({(str(number),): 0.0 for number in range(2 * SERIES_MAX)})
        assert len(made.metric.collect()[0].samples) == SERIES_MAX
        made.replace({})
        assert not made.metric.collect()[0].samples
    finally:
        REGISTRY.unregister(made.metric)


FLOOD = """
from tests.unit.metrics.test_bounded import shown
from agentflow_common.metrics.bounded import Bounded, SERIES_MAX, Snapshot
for name, metric in shown():
    if isinstance(metric, Bounded):
        labels = len(metric.metric._labelnames)
        for number in range(3 * SERIES_MAX):
            metric.labels(*(f"{place}-{number}" for place in range(labels)))
        found = len(metric.metric._metrics)
    elif isinstance(metric, Snapshot):
        metric.replace({tuple(f"{i}" for _ in metric.label_names): 1.0 for i in range(3 * SERIES_MAX)})
        found = len(metric.metric._metrics)
    else:
        continue
    print(name, found)
"""


def test_no_metric_of_the_product_grows_without_end() -> None:
    """Each metric gets 3,000 different values for each label, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", FLOOD], capture_output=True, text=True, check=True, cwd=ROOT)
    found = {name: int(series) for name, series in (line.split() for line in done.stdout.splitlines())}
    assert len(found) > 40
    assert not {name: series for name, series in found.items() if series > SERIES_MAX + 1}


def test_metrics_are_made_in_their_room_alone() -> None:
    """A metric elsewhere would have labels without a bound, and no line in docs/metrics.md."""
    room = "libs/common/src/agentflow_common/metrics/"
    sources = [p for top in ("libs", "services", "cli", "sdk") for p in (ROOT / top).rglob("src/**/*.py")]
    assert len(sources) > 300
    makers = [str(p.relative_to(ROOT)) for p in sources if "prometheus_client import" in p.read_text()]
    assert [path for path in makers if not path.startswith(room)] == [
        "libs/common/src/agentflow_common/runtime/health_server.py"  # serves them
    ]
