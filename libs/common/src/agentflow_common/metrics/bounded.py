"""Metrics whose number of series has a bound, whatever values the labels get.

A label keeps the first values that a process sees, up to its bound. A later value counts as `other`.
A metric has at most SERIES_MAX combinations of values. In a later combination every value is `other`.
A snapshot has at most SERIES_MAX rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from prometheus_client import Counter, Gauge, Histogram

OTHER: Final = "other"
SERIES_MAX: Final = 1_000  # combinations of label values in one metric of one process
VALUE_CHARS_MAX: Final = 120  # of a label's value

Metric = Counter | Gauge | Histogram
MetricT = TypeVar("MetricT", Counter, Gauge, Histogram)


class Label:
    """A label and the most values that it may have. All metrics of a process that use it keep the same values."""

    def __init__(self, name: str, values_max: int, meaning: str) -> None:
        self.name = name
        self.values_max = values_max
        self.meaning = meaning
        self._kept: set[str] = set()

    def keep(self, value: str) -> str:
        """Returns the value, or `other` if the label has as many values as it may have."""
        value = value[:VALUE_CHARS_MAX]
        if value not in self._kept:
            if len(self._kept) >= self.values_max:
                return OTHER
            self._kept.add(value)
        return value


class Described(NamedTuple):
    """The line of docs/metrics.md about a metric."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


class Bounded(Generic[MetricT]):
    """A metric with labels."""

    def __init__(self, metric: MetricT, labels: Sequence[Label]) -> None:
        self.metric: MetricT = metric
        self._labels = tuple(labels)
        self._known: dict[tuple[str, ...], MetricT] = {}  # by the values as they were given
        self._series: dict[tuple[str, ...], MetricT] = {}

    @property
    def series_count(self) -> int:
        return len(self._series)

    def labels(self, *values: str) -> MetricT:
        """Returns the series of these values, which are in the order of the metric's labels."""
        found = self._known.get(values)
        if found is not None:
            return found
        if len(values) != len(self._labels):
            raise ValueError(f"{len(self._labels)} labels, {len(values)} values")
        kept = tuple(label.keep(str(value)) for label, value in zip(self._labels, values, strict=True))
        if kept not in self._series and len(self._series) >= SERIES_MAX:
            kept = (OTHER,) * len(kept)
        if kept not in self._series:
            self._series[kept] = self.metric.labels(*kept)
        if kept == values:
            self._known[values] = self._series[kept]
        return self._series[kept]


class Snapshot:
    """A gauge whose series are replaced as a whole, because what it counts comes and goes."""

    def __init__(self, metric: Gauge, labels: Sequence[str]) -> None:
        self.metric = metric
        self.label_names = tuple(labels)
        self._rows: set[tuple[str, ...]] = set()

    def replace(self, rows: Mapping[tuple[str, ...], float]) -> None:
        """Shows these rows and no others. If there are more than SERIES_MAX, it shows the first ones."""
        shown = dict(list(rows.items())[:SERIES_MAX])
        for values, value in shown.items():
            self.metric.labels(*values).set(value)
        for values in self._rows - shown.keys():
            self.metric.remove(*values)
        self._rows = set(shown)


def counter(name: str, meaning: str, *labels: Label) -> Bounded[Counter]:
    """Returns a counter. Prometheus sees it as `<name>_total`."""
    return Bounded(Counter(name, meaning, [label.name for label in labels]), labels)


def gauge(name: str, meaning: str, *labels: Label) -> Bounded[Gauge]:
    return Bounded(Gauge(name, meaning, [label.name for label in labels]), labels)


def histogram(name: str, meaning: str, buckets: Sequence[float], *labels: Label) -> Bounded[Histogram]:
    return Bounded(Histogram(name, meaning, [label.name for label in labels], buckets=tuple(buckets)), labels)


def snapshot(name: str, meaning: str, *labels: str) -> Snapshot:
    return Snapshot(Gauge(name, meaning, list(labels)), labels)


def described(value: object) -> Described | None:
    """Returns the description of a module's attribute, or None if it is not a metric."""
    metric: object = value.metric if isinstance(value, Bounded | Snapshot) else value
    if not isinstance(metric, Counter | Gauge | Histogram):
        return None
    family = next(iter(metric.describe()))
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return Described(name, family.type, tuple(metric._labelnames), family.documentation)
