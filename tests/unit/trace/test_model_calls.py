"""The provider calls of a step's report: their order, and shares that sum exactly to what the step spent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentflow_common import events as ev
from agentflow_trace import machine, model_calls, rows
from tests.support.trace_rows import rows_of

IDS: dict[str, Any] = {"org": "acme", "run": "run_1"}
NUMBERS = st.integers(0, 2**40)


def _call(provider: str, model: str, ok: bool, used: tuple[int, int, int], **others: Any) -> ev.LlmAttempt:
    return ev.LlmAttempt(provider, model, ok, *used, **others)


def _row(usage: ev.LlmUsage | None, error: str = "") -> rows.Row:
    event: ev.Event
    if error:
        event = ev.StepFailed(**IDS, ts=9, step="a", attempt=1, error=ev.StepError(error, "said"), llm=usage)
    else:
        event = ev.StepCompleted(**IDS, ts=9, step="a", attempt=1, llm=usage)
    return rows_of([(1, event)])[0]


def test_each_call_has_the_share_that_the_report_names() -> None:
    failed = _call("a", "one", False, (10, 3, 700), error="rate_limited", status=429, latency_ms=40, started_at=5)
    answered = _call("b", "two", True, (12, 8, 900), finish_reason="stop", latency_ms=60, started_at=50)
    usage = ev.LlmUsage("b", "two", "p@1", 22, 11, 1600, attempts=(failed, answered), finish_reason="stop")
    first, second = model_calls.calls_of(_row(usage), first=3)
    assert (first.number, first.provider, first.model, first.ok, first.error) == (3, "a", "one", False, "rate_limited")
    assert (first.input_tokens, first.output_tokens, first.cost_nano, first.status) == (10, 3, 700, 429)
    assert (second.number, second.ok, second.cost_nano, second.finish_reason) == (4, True, 900, "stop")
    assert (second.started_at, second.latency_ms) == (50, 60)


@pytest.mark.parametrize(("error", "ok"), [("", True), ("timeout", False)])
def test_a_report_without_calls_has_one_with_everything(error: str, ok: bool) -> None:
    usage = ev.LlmUsage("a", "one", "p@1", 22, 11, 1600, finish_reason="length")
    (call,) = model_calls.calls_of(_row(usage, error))
    assert (call.number, call.provider, call.model, call.ok, call.error) == (1, "a", "one", ok, error)
    assert (call.input_tokens, call.output_tokens, call.cost_nano, call.finish_reason) == (22, 11, 1600, "length")


def test_an_answer_from_the_cache_and_a_step_without_a_model_made_no_call() -> None:
    assert model_calls.calls_of(_row(ev.LlmUsage("a", "one", "p@1", 0, 0, 0, cache_hit=True))) == ()
    assert model_calls.calls_of(_row(None)) == ()
    assert model_calls.calls_of(_row(None, "timeout")) == ()


def test_money_that_was_spent_has_a_call_though_no_provider_is_named() -> None:
    (call,) = model_calls.calls_of(_row(ev.LlmUsage("", "", "p@1", 0, 0, 5)))
    assert call.cost_nano == 5


def test_a_list_that_another_program_wrote_wrongly_is_one_call() -> None:
    row = _row(ev.LlmUsage("a", "one", "p@1", 2, 1, 5))
    body = msgspec.json.decode(row.body)
    body["llm"]["attempts"] = [{"provider": 7}]
    (call,) = model_calls.calls_of(row._replace(body=msgspec.json.encode(body).decode()))
    assert (call.provider, call.cost_nano) == ("a", 5)


@given(NUMBERS, st.lists(st.integers(-5, 2**40), min_size=1, max_size=6))
def test_shares_sum_to_the_total(total: int, weights: list[int]) -> None:
    parts = model_calls.shares(total, weights)
    assert sum(parts) == total and min(parts) >= 0 and len(parts) == len(weights)


@given(st.lists(NUMBERS, min_size=1, max_size=6))
def test_shares_that_fit_are_not_changed(weights: list[int]) -> None:
    assert model_calls.shares(sum(weights), weights) == weights


def test_a_share_without_weights_belongs_to_the_last_call() -> None:
    assert model_calls.shares(7, [0, 0]) == [0, 7]
    assert model_calls.shares(10, [1, 2, 0]) == [3, 7, 0]  # a call that was free stays free


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=4), st.tuples(NUMBERS, NUMBERS, NUMBERS), st.booleans())
def test_the_calls_of_a_trace_sum_to_its_attempts(
    used: list[tuple[int, int, int]], total: tuple[int, int, int], fits: bool
) -> None:
    listed = tuple(_call("a", f"m{number}", True, one) for number, one in enumerate(used))
    if fits and used:
        total = (sum(one[0] for one in used), sum(one[1] for one in used), sum(one[2] for one in used))
    usage = ev.LlmUsage("a", "m", "p@1", *total, attempts=listed)
    scheduled = ev.StepScheduled(**IDS, ts=2, seen=1, step="a", attempt=1, lane="default", kind="llm", config={})
    reports = [
        ev.StepFailed(**IDS, ts=3, step="a", attempt=1, error=ev.StepError("lost", ""), llm=usage),
        ev.StepCompleted(**IDS, ts=4, step="a", attempt=1, llm=usage),  # too late, and paid for all the same
    ]
    (step,) = machine.fold(rows_of(enumerate([scheduled, *reports], 1))).steps()
    assert [call.number for call in step.calls] == list(range(1, len(step.calls) + 1))
    assert sum(call.cost_nano for call in step.calls) == step.cost_nano == 2 * total[2]
    assert sum(call.input_tokens for call in step.calls) == step.input_tokens
    assert sum(call.output_tokens for call in step.calls) == step.output_tokens
