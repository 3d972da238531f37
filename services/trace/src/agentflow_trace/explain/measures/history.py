"""The history of a workflow: durations, waits and costs of its earlier runs, and how far a run is from them. Pure.

The rule: at least SAMPLES_MIN earlier runs that completed, of the newest SAMPLES_MAX. The deviation is the distance
from the median in robust standard deviations, 1.4826 times the median absolute deviation (Iglewicz and Hoaglin, 1993).
One is never less than 2% of the median, so that a workflow that always takes the same time does not alarm at once. A
value is unusual from 3.5 deviations above the median on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median, quantiles
from typing import Final, NamedTuple

from agentflow_common.rpc.traces.explain import Usual

SAMPLES_MIN: Final = 8
SAMPLES_MAX: Final = 200
DEVIATION_MAX: Final = 3.5
_SIGMA: Final = 1.4826  # of a normal distribution, from the median absolute deviation
_SPREAD_MIN: Final = 0.02  # of the median


class NodeHistory(NamedTuple):
    """Measures of one node, one value for each earlier run."""

    work_ms: Sequence[float] = ()  # of its longest attempt
    wait_ms: Sequence[float] = ()  # the longest wait of an attempt for a worker
    cost_nano: Sequence[float] = ()  # of all attempts


class History(NamedTuple):
    """Measures of earlier runs of a workflow."""

    duration_ms: Sequence[float] = ()
    cost_nano: Sequence[float] = ()
    nodes: Mapping[str, NodeHistory] = {}

    def node(self, name: str) -> NodeHistory:
        return self.nodes.get(name, NodeHistory())


def usual(value: float, samples: Sequence[float]) -> Usual:
    """Returns how a value stands against earlier ones."""
    if len(samples) < SAMPLES_MIN:
        return Usual(samples=len(samples))
    middle = median(samples)
    spread = _SIGMA * median(abs(sample - middle) for sample in samples)
    spread = max(spread, _SPREAD_MIN * abs(middle), 1e-9)
    deviation = (value - middle) / spread
    return Usual(
        samples=len(samples),
        median=float(middle),
        p95=float(quantiles(samples, n=20, method="inclusive")[-1]),
        deviation=round(deviation, 2),
        unusual=deviation >= DEVIATION_MAX,
    )
