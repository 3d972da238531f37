"""The cost that Prometheus shows is that of the ledger, to the nano-USD."""

from __future__ import annotations

from prometheus_client import REGISTRY

from agentflow_common.events import LlmAttempt, LlmUsage
from agentflow_common.rpc import Budget
from agentflow_cost import metrics
from agentflow_cost.machine import Health


def total(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def attempt(model: str, cost: int, *, ok: bool = True) -> LlmAttempt:
    return LlmAttempt(provider="p", model=model, ok=ok, input_tokens=7, output_tokens=3, cost_nano=cost, latency_ms=1)


def test_each_call_counts_under_its_own_model_and_the_sum_is_exact() -> None:
    calls = (attempt("cheap", 1, ok=False), attempt("dear", 123_456_789_012_345))
    usage = LlmUsage("p", "dear", "x@1", 14, 6, 123_456_789_012_346, attempts=calls)
    metrics.count("acme", usage)
    assert total("model_cost_nano_usd_total", provider="p", model="cheap", org="acme") == 1
    assert total("model_cost_nano_usd_total", provider="p", model="dear", org="acme") == 123_456_789_012_345
    assert total("model_calls_total", provider="p", model="cheap", org="acme", status="failed") == 1
    assert total("model_tokens_total", provider="p", model="dear", org="acme", type="input") == 7


def test_a_cost_that_no_call_explains_counts_under_the_steps_model() -> None:
    metrics.count("acme", LlmUsage("p", "old", "x@1", 14, 6, 500))
    assert total("model_cost_nano_usd_total", provider="p", model="old", org="acme") == 500


def test_a_budget_and_a_model_are_shown_while_they_are_there() -> None:
    budget = Budget(
        id="b", org="acme", name="day", period="daily", limit_nano=2_000_000_000, scope="org", created_at=0,
        period_start=0, period_end=86_400_000, spent_nano=500_000_000,
    )  # fmt: skip
    metrics.show_budgets([budget])
    place = {"org": "acme", "budget": "day"}
    assert [total(f"budget_{name}", **place) for name in ("spent_usd", "limit_usd", "period_seconds")] == [
        0.5,
        2,
        86400,
    ]
    metrics.show_budgets([])
    assert REGISTRY.get_sample_value("budget_limit_usd", place) is None
    metrics.show_health({("p", "m"): Health(3, 1_000)}, 500)
    model = {"provider": "p", "model": "m"}
    assert (total("provider_failures_in_a_row", **model), total("provider_cooling_down", **model)) == (3, 1)
    metrics.show_health({("p", "m"): Health(3, 1_000)}, 1_500)
    assert total("provider_cooling_down", **model) == 0
    metrics.show_health({}, 1_500)
    assert REGISTRY.get_sample_value("provider_cooling_down", model) is None
