"""Numbers and amounts of money at the SDK's door: exact, bounded, and refused with a fix."""

from __future__ import annotations

import importlib
import inspect
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentflow_sdk import InvalidArgumentError, calls
from agentflow_sdk.calls import budgets
from agentflow_sdk.models.money import to_nano, usd
from agentflow_sdk.transport.call import built


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("12.50", 12_500_000_000), ("1000", 10**12), ("$3", 3 * 10**9), (" 0.5 ", 5 * 10**8), ("USD 7", 7 * 10**9),
        ("0.000000001", 1), ("9000000000", 9 * 10**18), ("1.100000000", 1_100_000_000), ("007", 7 * 10**9),
    ],
)  # fmt: skip
def test_llm_11_an_amount_is_digits_with_one_decimal_point(text: str, nano: int) -> None:
    assert to_nano(text) == nano


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("12,50", "12.50 or 1250"), ("1,250", "1.250 or 1250"), ("1,250,000", "write 1250000"),
        ("1.250,50", "comma"), ("1,250.50", "write 1250.50"), ("12.5.0", "one decimal point"),
        ("1 000", "one decimal point"), ("1_000", "one decimal point"), ("1e3", "US dollars"), ("12 EUR", "US dollars"),
        ("€12", "US dollars"), ("NaN", "US dollars"), ("Infinity", "US dollars"), ("", "one decimal point"),
        ("$", "one decimal point"), (".5", "one decimal point"), ("5.", "one decimal point"), ("--5", "decimal point"),
        ("0.0000000001", "nine decimals"), ("99999999999", "at most 9,000,000,000"), ("1" * 40, "decimal point"),
        ("\u0661\u0662", "decimal point"),
    ],
)  # fmt: skip
def test_llm_11_what_could_mean_another_amount_is_refused_with_the_fix(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        to_nano(text)
    assert advice in str(caught.value), str(caught.value)
    with pytest.raises(InvalidArgumentError) as refused:
        built(budgets.create_budget, text)
    assert refused.value.problems[0].place == "limit" and "Value out of range" not in str(refused.value)


@pytest.mark.parametrize("amount", [12.5, True, None, Decimal("NaN"), Decimal("Infinity"), Decimal("1e20"), -3, 0, "0"])
def test_llm_11_what_is_no_exact_amount_above_zero_is_refused(amount: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^limit: "):
        built(budgets.create_budget, amount)


@given(st.decimals(min_value=0, max_value=9 * 10**9, places=9))
def test_llm_11_every_amount_comes_through_exactly(amount: Decimal) -> None:
    assert usd(to_nano(f"{amount:f}")) == usd(to_nano(amount)) == amount


def _numeric() -> list[tuple[Any, str]]:
    """Every call of the API with each of its numeric arguments."""
    found = []
    for module in (importlib.import_module(f"agentflow_sdk.calls.{name}") for name in calls.__all__):
        for name, build in vars(module).items():
            if not inspect.isfunction(build) or name.startswith("_") or build.__module__ != module.__name__:
                continue
            signature = inspect.signature(build)
            if not str(signature.return_annotation).startswith(("Call[", "Stream[")):
                continue
            for parameter in signature.parameters.values():
                kind = str(parameter.annotation)
                if ("int" in kind or "float" in kind) and parameter.name not in ("timeout", "patience"):
                    found.append((build, parameter.name))
    return found


_VALUES = {"overlap": "", "status": None, "action": "cancel", "outcome": "retry"}


def _arguments(build: Any, name: str, value: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for parameter in inspect.signature(build).parameters.values():
        if parameter.name == name:
            out[parameter.name] = (value,) if "Iterable" in str(parameter.annotation) else value
        elif parameter.default is inspect.Parameter.empty:
            kind = str(parameter.annotation)
            filled = 1 if kind == "int" else {} if "Mapping" in kind and "str" not in kind.partition("[")[0] else "x"
            out[parameter.name] = _VALUES.get(parameter.name, filled)
    return out


NUMERIC = _numeric()


def test_llm_11_the_calls_with_numbers_are_found() -> None:
    assert {(build.__name__, name) for build, name in NUMERIC} >= {
        ("submit", "budget_cents"), ("submit", "priority"), ("submit", "deadline_s"), ("cancel", "grace_s"),
        ("set_lane", "limit"), ("backfill", "start"), ("set_retention", "keep_ms"), ("create_budget", "limit_usd"),
        ("list_runs", "limit"), ("get_dead_letter", "sequence"),
    }  # fmt: skip


@pytest.mark.parametrize(("build", "name"), NUMERIC, ids=[f"{build.__name__}-{name}" for build, name in NUMERIC])
@pytest.mark.parametrize("value", [10**30, -(10**30), float("inf"), float("nan")], ids=str)
def test_llm_11_no_number_ends_in_a_raw_protobuf_error(build: Any, name: str, value: Any) -> None:
    kind = str(inspect.signature(build).parameters[name].annotation)
    if isinstance(value, float) and "float" not in kind:
        return
    if name in {"rate_per_s", "temperature"}:
        return  # a double holds any of these; the server says what it takes
    if "str" in kind and "RunStatus" not in kind and name != "limit_usd":
        return  # a version may be a label: it travels as text
    with pytest.raises(InvalidArgumentError) as caught:
        built(build, **_arguments(build, name, value))
    text = f"{caught.value} {caught.value.problems}"
    assert "Value out of range" not in text and "cannot convert" not in text, text
    assert caught.value.problems, text
