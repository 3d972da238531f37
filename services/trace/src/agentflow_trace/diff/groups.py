"""Compares two groups of runs: medians of whole runs and of nodes, and which changed significantly. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from agentflow_common.rpc import GroupMeasure, GroupSide, GroupStep, TraceGroupsReply
from agentflow_trace.diff import statistics
from agentflow_trace.diff.summary import signed_money, signed_ms

LEVEL: Final = 0.05
METHOD: Final = (
    "Medians with 95% bootstrap percentile intervals of their difference, computed exactly and not by drawing, so "
    "no seed is needed. Significant: the interval does not contain 0, and the Mann-Whitney test (for failures "
    "Fisher's), corrected by Benjamini and Hochberg over all measures, gives at most 0.05."
)


class NodeSample(NamedTuple):
    """A node in one run: its attempts with those of its parts together."""

    run: str
    node: str
    cost_nano: int
    work_ms: int
    wait_ms: int
    tokens: int
    attempts: int


class RunSample(NamedTuple):
    run: str
    workflow: str
    version: int
    status: str
    cost_nano: int
    duration_ms: int
    tokens: int


class Sample(NamedTuple):
    """The runs of a group, the newest first, and what their nodes did."""

    runs: Sequence[RunSample]
    nodes: Sequence[NodeSample]


_OF_RUNS: Final[dict[str, tuple[str, Callable[[RunSample], int]]]] = {
    "cost": ("nano_usd", lambda run: run.cost_nano),
    "time": ("ms", lambda run: run.duration_ms),
    "tokens": ("tokens", lambda run: run.tokens),
}
_OF_NODES: Final[dict[str, tuple[str, Callable[[NodeSample], int]]]] = {
    "cost": ("nano_usd", lambda node: node.cost_nano),
    "time": ("ms", lambda node: node.work_ms),
    "wait": ("ms", lambda node: node.wait_ms),
    "tokens": ("tokens", lambda node: node.tokens),
    "attempts": ("attempts", lambda node: node.attempts),
}


def compare_groups(a: Sample, b: Sample, nodes: Mapping[str, str], runs_min: int) -> TraceGroupsReply:
    """Returns the differences. nodes: the node of b's definition for each node of a's that has one."""
    enough = min(len(a.runs), len(b.runs)) >= runs_min
    measures: list[GroupMeasure] = []
    steps: list[GroupStep] = []
    if a.runs and b.runs:
        measures = [
            _measure(name, unit, list(map(of, a.runs)), list(map(of, b.runs))) for name, (unit, of) in _OF_RUNS.items()
        ]
        measures.append(_failures(a.runs, b.runs))
        steps = _steps(a.nodes, b.nodes, nodes, runs_min)
    measures, steps = _judged(measures, steps, enough)
    steps.sort(key=_weight)
    reply = TraceGroupsReply(
        a=_side(a.runs), b=_side(b.runs), enough=enough, summary="", method=METHOD, measures=tuple(measures),
        steps=tuple(steps),
    )  # fmt: skip
    return msgspec.structs.replace(reply, summary=_summary(reply, runs_min))


def _side(runs: Sequence[RunSample]) -> GroupSide:
    ends = [run.status for run in runs]
    return GroupSide(
        runs=len(runs),
        completed=ends.count("completed"),
        failed=ends.count("failed"),
        cancelled=ends.count("cancelled"),
        workflow=runs[0].workflow if runs else "",
        version=runs[0].version if runs else 0,
    )


def _measure(name: str, unit: str, a: list[int], b: list[int]) -> GroupMeasure:
    before, after = statistics.median(a), statistics.median(b)
    if len({*a, *b}) == 1:  # nothing varies
        return GroupMeasure(name=name, unit=unit, a=before, b=after, change=0, low=0, high=0)
    low, high = statistics.median_difference(a, b)
    return GroupMeasure(
        name=name, unit=unit, a=before, b=after, change=after - before, low=low, high=high,
        p_value=statistics.rank_test(a, b),
    )  # fmt: skip


def _failures(a: Sequence[RunSample], b: Sequence[RunSample]) -> GroupMeasure:
    hits = [sum(1 for run in runs if run.status == "failed") for runs in (a, b)]
    shares = [round(10**6 * number / len(runs)) for number, runs in zip(hits, (a, b), strict=True)]
    (low, high), p_value = statistics.share_difference(hits[0], len(a), hits[1], len(b))
    return GroupMeasure(
        name="failures", unit="per_million", a=shares[0], b=shares[1], change=shares[1] - shares[0], low=low, high=high,
        p_value=p_value,
    )  # fmt: skip


def _steps(
    a: Sequence[NodeSample], b: Sequence[NodeSample], nodes: Mapping[str, str], runs_min: int
) -> list[GroupStep]:
    left, right = _by_node(a), _by_node(b)
    partners = {name: nodes.get(name, name if name in right and name not in nodes.values() else "") for name in left}
    taken = set(partners.values())
    pairs = [*partners.items(), *(("", name) for name in right if name not in taken)]
    found: list[GroupStep] = []
    for name, other in pairs:
        before, after = left.get(name, []), right.get(other, [])
        measures: list[GroupMeasure] = []
        if min(len(before), len(after)) >= runs_min:
            measures = [
                _measure(what, unit, list(map(of, before)), list(map(of, after)))
                for what, (unit, of) in _OF_NODES.items()
            ]
        found.append(GroupStep(a=name, b=other, a_runs=len(before), b_runs=len(after), measures=tuple(measures)))
    return found


def _by_node(samples: Sequence[NodeSample]) -> dict[str, list[NodeSample]]:
    found: dict[str, list[NodeSample]] = {}
    for sample in samples:
        found.setdefault(sample.node, []).append(sample)
    return found


def _judged(
    measures: list[GroupMeasure], steps: list[GroupStep], enough: bool
) -> tuple[list[GroupMeasure], list[GroupStep]]:
    """Corrects the p-values for their number, and marks what is significant."""
    every = [*measures, *(measure for step in steps for measure in step.measures)]
    varied = [measure for measure in every if measure.low or measure.high or measure.p_value < 1]
    p_values = dict(zip(map(id, varied), statistics.corrected([m.p_value for m in varied]), strict=True))

    def judged(measure: GroupMeasure) -> GroupMeasure:
        p_value = p_values.get(id(measure), 1.0)
        apart = measure.low > 0 or measure.high < 0
        return msgspec.structs.replace(measure, p_value=p_value, significant=enough and apart and p_value <= LEVEL)

    judged_steps = [msgspec.structs.replace(step, measures=tuple(map(judged, step.measures))) for step in steps]
    return list(map(judged, measures)), judged_steps


def _weight(step: GroupStep) -> tuple[bool, float]:
    """Orders steps: the greatest significant change, measured by the medians, comes first."""
    shares = [abs(m.change) / max(abs(m.a), abs(m.b), 1) for m in step.measures if m.significant]
    return (not shares, -max(shares, default=0.0))


def _summary(reply: TraceGroupsReply, runs_min: int) -> str:
    if not reply.enough:
        return (
            f"The groups have {reply.a.runs} and {reply.b.runs} finished runs. Each needs at least {runs_min} before a "
            "difference says something about other runs."
        )
    said = [f"{reply.a.runs} runs are compared with {reply.b.runs}."]
    said += [f"The {_NAMES[one.name]} changed by {_amount(one)}." for one in reply.measures if one.significant]
    if len(said) == 1:
        said.append("Whole runs do not differ significantly.")
    changed = [step for step in reply.steps if any(measure.significant for measure in step.measures)]
    if changed:
        names = ", ".join(step.b or step.a for step in changed[:5])
        said.append(f"Steps that changed: {names}{', ...' if len(changed) > 5 else ''}.")
    return " ".join(said)


_NAMES: Final = {
    "cost": "median cost", "time": "median time", "tokens": "median number of tokens",
    "failures": "share of failed runs",
}  # fmt: skip


def _amount(measure: GroupMeasure) -> str:
    if measure.unit == "nano_usd":
        return signed_money(measure.change)
    if measure.unit == "ms":
        return signed_ms(measure.change)
    return f"{measure.change / 10_000:+.1f} points" if measure.unit == "per_million" else f"{measure.change:+,}"
