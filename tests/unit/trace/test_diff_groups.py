"""Groups of runs: exact bootstrap intervals, tests of significance, and which nodes changed."""

from __future__ import annotations

import random
import statistics as standard

import pytest

from agentflow_trace.diff import statistics
from agentflow_trace.diff.groups import NodeSample, RunSample, Sample, compare_groups

RUNS = 40


def test_the_interval_is_the_one_that_drawing_comes_to() -> None:
    rng = random.Random("bootstrap")
    a = [round(rng.lognormvariate(6, 0.5)) for _ in range(31)]
    b = [round(rng.lognormvariate(6.3, 0.5)) for _ in range(25)]
    low, high = statistics.median_difference(a, b)
    drawn = sorted(
        statistics.median(rng.choices(b, k=len(b))) - statistics.median(rng.choices(a, k=len(a))) for _ in range(20_000)
    )
    inside = sum(low <= change <= high for change in drawn) / len(drawn)
    assert 0.95 <= inside < 0.97
    assert statistics.median_difference(b, a) == (-high, -low)


@pytest.mark.parametrize("size", [1, 2, 5, 6, 40, 500])
def test_the_probabilities_of_a_median_sum_to_one(size: int) -> None:
    weights = statistics._weights(size)
    assert sum(weights) == pytest.approx(1)
    assert min(weights) > -1e-12
    assert statistics.median(range(size)) == standard.median_low(range(size))


def test_the_tests_of_significance_give_the_values_of_the_books() -> None:
    assert statistics.rank_test([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == pytest.approx(0.01219, abs=1e-5)
    assert statistics.rank_test([1, 1, 1], [1, 1, 1]) == 1.0
    assert statistics.rank_test([1, 2, 2, 3], [3, 4, 4, 5]) == pytest.approx(0.03961, abs=1e-5)
    interval, p_value = statistics.share_difference(1, 10, 8, 10)
    assert p_value == pytest.approx(0.005477, abs=1e-6)
    assert interval.low > 0
    assert statistics.share_difference(0, 10, 0, 10)[1] == 1.0
    assert statistics.corrected([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    assert statistics.corrected([]) == []


def test_intervals_cover_the_true_difference_as_often_as_they_say() -> None:
    rng = random.Random("coverage")
    covered = 0
    for _ in range(300):
        a = [round(rng.gauss(1_000, 100)) for _ in range(30)]
        b = [round(rng.gauss(1_050, 100)) for _ in range(30)]
        low, high = statistics.median_difference(a, b)
        covered += low <= 50 <= high
    assert 0.9 <= covered / 300 <= 0.99


def _sample(rng: random.Random, name: str, slower: str = "", dearer: str = "", fails: float = 0.0) -> Sample:
    runs, nodes = [], []
    for number in range(RUNS):
        run = f"{name}_{number}"
        for node in ("read", "think", "check", "write", "store"):
            work = round(rng.lognormvariate(5, 0.3) * (2 if node == slower else 1))
            cost = round(rng.lognormvariate(12, 0.2) * (1.5 if node == dearer else 1)) if node == "think" else 0
            nodes.append(NodeSample(run, node, cost, work, rng.randint(1, 9), 0, 1))
        status = "failed" if rng.random() < fails else "completed"
        own = nodes[-5:]
        cost, work = sum(node.cost_nano for node in own), sum(node.work_ms for node in own)
        runs.append(RunSample(run, "w", 1, status, cost, work, 0))
    return Sample(runs, nodes)


def test_only_the_steps_that_changed_are_called_significant() -> None:
    rng = random.Random("planted")
    a, b = _sample(rng, "a"), _sample(rng, "b", slower="check", dearer="think", fails=0.5)
    reply = compare_groups(a, b, {node: node for node in ("read", "think", "check", "write", "store")}, 5)
    found = {(step.b, measure.name) for step in reply.steps for measure in step.measures if measure.significant}
    assert found == {("check", "time"), ("think", "cost")}
    assert {step.b for step in reply.steps[:2]} == {"check", "think"}
    assert {measure.name for measure in reply.measures if measure.significant} == {"cost", "time", "failures"}
    check = next(m for step in reply.steps if step.b == "check" for m in step.measures if m.name == "time")
    assert check.low < check.change < check.high
    assert "check" in reply.summary


def test_equal_groups_are_seldom_called_different() -> None:
    rng = random.Random("quiet")
    alarms = 0
    for _ in range(60):
        reply = compare_groups(_sample(rng, "a"), _sample(rng, "b"), {}, 5)
        alarms += any(m.significant for m in (*reply.measures, *(m for step in reply.steps for m in step.measures)))
    assert alarms <= 6  # 5% of the comparisons, and chance


def test_too_few_runs_give_no_verdict() -> None:
    rng = random.Random("few")
    a, b = _sample(rng, "a"), _sample(rng, "b", slower="check")
    few = Sample(b.runs[:4], b.nodes[:20])
    reply = compare_groups(a, few, {}, 5)
    assert (reply.enough, reply.a.runs, reply.b.runs) == (False, 40, 4)
    assert not any(m.significant for m in reply.measures)
    assert "at least 5" in reply.summary
    nothing = compare_groups(a, Sample((), ()), {}, 5)
    assert (nothing.enough, nothing.measures, nothing.steps) == (False, (), ())


def test_renamed_nodes_and_those_of_one_group_are_named() -> None:
    rng = random.Random("names")
    a, b = _sample(rng, "a"), _sample(rng, "b")
    renamed = Sample(
        b.runs, [node._replace(node={"read": "fetch", "store": "audit"}.get(node.node, node.node)) for node in b.nodes]
    )
    reply = compare_groups(a, renamed, {"read": "fetch", "think": "think", "check": "check", "write": "write"}, 5)
    assert {(step.a, step.b) for step in reply.steps} == {
        ("read", "fetch"), ("think", "think"), ("check", "check"), ("write", "write"), ("store", ""), ("", "audit"),
    }  # fmt: skip
