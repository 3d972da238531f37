"""Estimates, routes, admission, periods and prices."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agentflow_common.errors import BudgetExceededError, InvalidError, TerminalError, UnknownPriceError
from agentflow_common.rpc import Budget, CreateBudgetRequest, RouteRequest
from agentflow_cost import budgets, machine, prices
from agentflow_cost.machine import Account, Health, Limit, Price, Rate

CATALOGUE = prices.load(None)
MODELS = CATALOGUE.choices()


def request(**changes: Any) -> RouteRequest:
    base: dict[str, Any] = {
        "org": "acme", "run": "run_1", "step": "analyze", "attempt": 1, "quality": "Gold", "prompt_bytes": 1000,
        "max_output_tokens": 500, "providers": ("local",),
    }  # fmt: skip
    return RouteRequest(**{**base, **changes})


def ms(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp() * 1000)  # type: ignore[arg-type, misc]


def test_an_estimate_is_an_upper_bound_rounded_up_and_crosses_tiers() -> None:
    price = Price((Rate(0, 100, 300), Rate(2000, 200, 600)))
    rate, cost = machine.estimate(price, 1000, 500)
    assert (rate.input_nano, cost) == (100, 1)  # a fraction of a nano-dollar is one
    assert machine.estimate(price, 2000, 0)[0].input_nano == 200
    assert machine.cost_of(Rate(0, 10**9, 10**9), 3, 0) == 3000


@pytest.mark.parametrize("quality", machine.TIERS)
def test_llm_12_the_offline_provider_serves_every_tier_and_only_where_no_other_can_be_called(quality: str) -> None:
    alone = machine.wanted(request(quality=quality), MODELS)
    assert alone == [("local", "extractive-pro" if quality == "Gold" else "extractive-1")]
    all_of_them = ("local", "openai", "anthropic", "google", "cohere", "sim")
    ranked = [provider for provider, _ in machine.wanted(request(quality=quality, providers=all_of_them), MODELS)]
    assert set(ranked) == {*all_of_them} - {"local"}
    assert ranked[-1] == "sim"
    for provider in all_of_them[1:]:
        one = machine.wanted(request(quality=quality, providers=("local", provider)), MODELS)
        assert {name for name, _ in one} == {provider}
    pinned = request(quality=quality, providers=all_of_them, model="local/extractive-1")
    assert machine.wanted(pinned, MODELS) == [("local", "extractive-1")]


def test_llm_13_an_answer_in_several_calls_is_reserved_with_all_that_they_read() -> None:
    price = Price((Rate(0, 100_000_000, 300_000_000), Rate(2000, 200_000_000, 600_000_000)))
    one = machine.estimate(price, 1000, 500)[1]
    rate, three = machine.estimate(price, 1000, 500, 3)
    assert (rate.input_nano, one) == (100_000_000, 103_200 + 150_000)
    second, third = 1032 + 756, 1032 + 2 * 756  # the third call reads more than 2,000 tokens, which cost double
    assert three == one + 100 * second + 150_000 + 200 * third + 300_000
    with pytest.raises(InvalidError, match="calls"):
        machine.check_request(request(calls=11))


def test_a_pinned_model_is_the_only_candidate_or_refused_with_the_fix() -> None:
    assert machine.wanted(request(model="local/extractive-1"), MODELS) == [("local", "extractive-1")]
    with pytest.raises(TerminalError) as caught:
        machine.wanted(request(model="openai/gpt-6-luna"), MODELS)
    assert caught.value.kind == "no_candidate"
    assert "API key" in caught.value.problems[0].fix
    with pytest.raises(TerminalError) as caught:
        machine.wanted(request(model="sim/fast"), MODELS)
    assert "AGENTFLOW_SIM_MODELS" in caught.value.problems[0].fix
    with pytest.raises(TerminalError):
        machine.wanted(request(providers=()), MODELS)


@pytest.mark.parametrize(
    "changes",
    [
        {"quality": "Platinum"},
        {"prompt_bytes": -1},
        {"max_output_tokens": 0},
        {"run_budget_nano": -1},
        {"model": "gpt"},
    ],
)
def test_requests_that_cannot_be_priced_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidError) as caught:
        machine.check_request(request(**changes))
    assert caught.value.problems[0].place in changes


def test_candidates_that_do_not_fit_are_dropped_and_a_refusal_tells_every_amount() -> None:
    dear = machine.candidate("a", "dear", Price((Rate(0, 10**9, 10**9),)), request())
    cheap = machine.candidate("a", "cheap", Price((Rate(0, 10**6, 10**6),)), request())
    accounts = {"b": Account("b", spent=100, reserved=50)}
    room = Limit("b", cheap.est_cost_nano + 150, "the daily budget 'team' (org)", "raise it")
    assert machine.admit((dear, cheap), [room], accounts) == ((cheap,), cheap.est_cost_nano)
    assert machine.admit((cheap, dear), [], {}) == ((cheap, dear), dear.est_cost_nano)
    with pytest.raises(BudgetExceededError) as caught:
        machine.admit((dear, cheap), [room._replace(limit=151), room], accounts)
    message = caught.value.message
    for part in ("'team'", "limit $0.000000151", "spent $0.0000001", "reserved $0.00000005", "needed $0.000001532"):
        assert part in message, part
    assert caught.value.problems[0].fix == "raise it"


def test_three_failures_in_a_row_move_a_model_last_until_it_cools_down() -> None:
    models = [("a", "x"), ("b", "y")]
    health = Health()
    for _ in range(3):
        assert machine.reorder(models, {("a", "x"): health}, 1000) == models
        health = machine.after_attempt(health, False, 1000)
    assert machine.reorder(models, {("a", "x"): health}, 1000) == models[::-1]
    assert machine.reorder(models, {("a", "x"): health}, 1000 + machine.COOLDOWN_MS) == models
    assert machine.after_attempt(health, True, 1000) == Health()


def test_periods_are_those_of_the_calendar_in_utc() -> None:
    now = ms(2028, 2, 29, 23, 59)  # a leap day, a Tuesday
    assert budgets.bounds("daily", now) == (ms(2028, 2, 29), ms(2028, 3, 1))
    assert budgets.bounds("weekly", now) == (ms(2028, 2, 28), ms(2028, 3, 6))
    assert budgets.bounds("monthly", now) == (ms(2028, 2, 1), ms(2028, 3, 1))
    assert budgets.bounds("monthly", ms(2027, 12, 31)) == (ms(2027, 12, 1), ms(2028, 1, 1))
    assert budgets.bounds("total", now) == (0, 0)


def test_a_call_is_charged_to_its_run_and_every_budget_that_covers_it() -> None:
    def budget(name: str, scope: str) -> Budget:
        return Budget(id=name, org="acme", name=name, period="total", limit_nano=1, scope=scope)

    known = [budget("all", "org"), budget("mine", "workflow:w"), budget("other", "workflow:v")]
    assert budgets.accounts_for("acme", "r", known, "w", 0) == ("budget:all:0", "budget:mine:0", "run:acme:r")
    labels = [limit.label for limit in budgets.limits_for("acme", "r", 5, known, "w", 0)]
    assert labels == ["the budget of this run", "the total budget 'all' (org)", "the total budget 'mine' (workflow:w)"]


def test_a_bad_budget_is_refused_with_every_place_and_a_nameless_one_is_named() -> None:
    with pytest.raises(InvalidError) as caught:
        budgets.check_new(CreateBudgetRequest(org="acme", limit_nano=0, period="hourly", scope="team", name="a b"))
    assert [problem.place for problem in caught.value.problems] == ["limit", "period", "scope", "name"]
    assert all(problem.fix for problem in caught.value.problems)
    assert budgets.check_new(CreateBudgetRequest(org="acme", limit_nano=1, period="monthly")).name == "org-monthly"


async def test_every_listed_model_has_a_price_above_zero_today() -> None:
    book = prices.PriceBook(CATALOGUE)
    await book.ready()
    now = int(datetime.now(UTC).timestamp() * 1000)
    for model in MODELS:
        rate, cost = machine.estimate(book.quote(model.provider, model.model, now), 1000, 1000)
        assert rate.input_nano > 0 and rate.output_nano > 0 and cost > 0, model
    assert book.quote("sim", "anything", now).rates[0].input_nano == 10**9


async def test_an_unknown_price_refuses_and_never_counts_as_zero() -> None:
    book = prices.PriceBook(CATALOGUE)
    await book.ready()
    for provider, model in (("local", "x"), ("openai", "no-such-model"), ("nobody", "x"), ("openai", "gpt-live-1")):
        with pytest.raises(UnknownPriceError) as caught:
            book.quote(provider, model, 0)
        assert "AGENTFLOW_MODELS_FILE" in caught.value.problems[0].fix
    assert prices.from_parts(Decimal(0), Decimal(0)) is None
    assert prices.from_parts(Decimal(1), None) is None


def test_a_bad_catalogue_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    bad_tier = "models: [{provider: a, model: b, tiers: [Best]}]"
    for text in ("models: 3", bad_tier, "nope", "models: []\nprices: {a/b: {input: x, output: '1'}}"):
        file.write_text(text)
        with pytest.raises(ValueError, match=r"models\.yaml"):
            prices.load(file)
