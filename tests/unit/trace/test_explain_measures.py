"""What is usual for a workflow, and where the time and the money of a run went."""

from __future__ import annotations

import pytest

from agentflow_common import events as ev
from agentflow_common.events import LlmAttempt, LlmUsage, StepError
from agentflow_trace.explain.measures import costs, slow
from agentflow_trace.explain.measures.history import SAMPLES_MIN, History, NodeHistory, usual
from agentflow_trace.explain.run_log import Logs, RunLog
from tests.support.definitions import function, workflow
from tests.support.run_driver import RunDriver
from tests.support.trace_rows import rows_of


def log_of(run: RunDriver) -> RunLog:
    return RunLog(run.state.run, rows_of(run.log))


def usage(*calls: LlmAttempt) -> LlmUsage:
    last = calls[-1]
    cost = sum(call.cost_nano for call in calls)
    return LlmUsage(last.provider, last.model, "p@1", 1, 1, cost, attempts=calls)


@pytest.mark.parametrize(
    ("value", "samples", "unusual"),
    [
        (100, [100] * SAMPLES_MIN, False),
        (106, [100] * SAMPLES_MIN, False),  # one deviation is at least 2% of the median
        (108, [100] * SAMPLES_MIN, True),
        (108, [100] * (SAMPLES_MIN - 1), False),  # too few
        (130, [80, 90, 100, 110, 120, 100, 95, 105, 5_000], False),  # an outlier before does not hide or make one
        (300, [80, 90, 100, 110, 120, 100, 95, 105, 5_000], True),
        (10, [80, 90, 100, 110, 120, 100, 95, 105], False),  # quicker than usual
        (0, [0] * SAMPLES_MIN, False),
    ],
)
def test_a_value_is_unusual_far_above_the_median_of_enough_samples(
    value: float, samples: list[float], unusual: bool
) -> None:
    found = usual(value, samples)
    assert (found.unusual, found.samples) == (unusual, len(samples))


def test_the_costs_add_up_by_step_and_by_model() -> None:
    run = RunDriver(workflow(function("a"), function("b", depends_on=["a"]))).submit()
    refused = LlmAttempt("openai", "x", ok=False, error="overloaded", cost_nano=7)
    run.fails("a", StepError("overloaded", "later"), llm=usage(refused)).fires("retry:a:1")
    run.completes("a", 1, llm=usage(refused, LlmAttempt("local", "y", ok=True, cost_nano=90)))
    run.completes("b", 2, llm=LlmUsage("local", "y", "p@1", 1, 1, 30))  # of an older worker, without its calls
    found = costs.report(log_of(run), History(nodes={"a": NodeHistory(cost_nano=[10] * SAMPLES_MIN)}))
    assert found.cost_nano == run.state.cost_nano == 7 + 97 + 30
    first, second = found.steps
    assert (first.step, first.cost_nano, first.attempts, first.calls, first.fallbacks) == ("a", 104, 2, 3, 1)
    assert first.wasted_nano == 7 + 7
    assert first.usual.unusual
    assert (second.step, second.cost_nano, second.usual.samples) == ("b", 30, 0)
    assert {model.model: (model.cost_nano, model.failed) for model in found.models} == {
        "local/y": (120, 0),
        "openai/x": (14, 2),
    }


def test_the_parts_of_the_time_add_up_and_are_compared() -> None:
    run = RunDriver(workflow(function("a"), function("b", depends_on=["a"]))).submit()
    run.at(101).completes("a", 1, started_at=51, duration_ms=50.0)
    run.at(1_101).completes("b", 2, started_at=101, duration_ms=1_000.0)
    log = log_of(run)
    logs = Logs()
    logs.put(log)
    nodes = {"a": NodeHistory(work_ms=[50] * SAMPLES_MIN), "b": NodeHistory(work_ms=[100] * SAMPLES_MIN)}
    found = slow.report(logs, log, History([200] * SAMPLES_MIN, [0] * SAMPLES_MIN, nodes), 0)
    assert found.duration_ms == sum(part.ms for part in found.parts) == 1_100
    assert found.usual.unusual
    by_step = {(part.kind, part.step): part for part in found.parts}
    assert by_step["work", "b"].ms == 1_000
    assert by_step["work", "b"].usual.unusual
    assert not by_step["work", "a"].usual.unusual
    assert by_step["worker", "a"].ms == 50
    assert found.parts[0] == by_step["work", "b"]
    assert "unusual: b (work)" in found.text


def test_a_run_that_has_not_ended_is_measured_until_now() -> None:
    run = RunDriver(workflow(function("a"))).submit()
    run.at(11).tell(ev.StepStarted, step="a", attempt=1, worker="w")
    log = log_of(run)
    logs = Logs()
    logs.put(log)
    found = slow.report(logs, log, History([5] * SAMPLES_MIN), 1_001)
    assert found.duration_ms == sum(part.ms for part in found.parts) == 1_000
    assert found.usual.samples == 0  # earlier runs that completed say nothing about it yet
