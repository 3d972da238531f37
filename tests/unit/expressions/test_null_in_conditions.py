"""Conditions over null: a field of null is null, and a condition and its negation are never both false."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common.expressions.language import condition
from agentflow_common.expressions.sandbox import ExpressionError

SKIPPED = {"output": None, "error": None, "status": "skipped"}
GIVEN: dict[str, Any] = {
    "c": SKIPPED,
    "d": {"output": {"x": None, "s": "a", "n": {"k": [None, {"z": 1}]}}, "error": None, "status": "completed"},
    "i": None,
    "xs": [1, 2],
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("has(c.output.x)", False),
        ("has(c.output.x.y)", False),
        ("c.output == null", True),
        ("c.output.x == null", True),
        ("c.output.x == 'a'", False),
        ("c.output.x > 3", False),
        ("3.5 <= c.output.x", False),
        ("c.output.x", False),
        ("c.output.x && true", False),
        ("has(c.output.x) && c.output.x > 3", False),
        ("c.output.x == 'c.output.x' || c.status == 'skipped'", True),
        ("c.output['x y'] == null", True),
        ("c.output.xs[0].y == null", True),
        ("c.error.type == 'timeout'", False),
        ("d.output.x > 3", False),
        ("d.output.x.y == null", True),
        ("d.output.n.k[0].z == null", True),
        ("d.output.n.k[1].z == 1 && c.output.z != 1", True),
        ("has(d.output.x)", True),
        ("has(d.output.x.y)", False),
        ("has(d.output.nope)", False),
        ("i > 3", False),
        ("(c.output.x > 3) || d.output.s == 'a'", True),
        ("c.output.x ? true : false", False),
        ("xs.all(c, c > 0) && c.output.x == null", True),
        ("c.output.x in ['a']", False),
    ],
)
def test_engine_06_a_condition_over_nothing_and_its_negation_differ(text: str, value: bool) -> None:
    if "xs.all" not in text:  # a name that a macro binds is not the step's
        assert condition(text).holds(GIVEN) is value
        assert condition(f"!({text})").holds(GIVEN) is not value


@pytest.mark.parametrize(
    "text",
    [
        "c.output.x + 1 > 3",
        "c.output.x.size() == 0",
        "size(c.output) == 0",
        "'a' in c.output.x",
        "d.output.nope == 1",
        "!(d.output.nope == 1)",
        "d.output.s > 3",
        "xs.all(c, c.output.x > 0)",
        "3 - c.output.x > 1",
        "c.output.x > 3 - 1",
    ],
)
def test_engine_06_what_has_no_value_over_nothing_is_undecidable_and_so_is_its_negation(text: str) -> None:
    for asked in (text, f"!({text})"):
        with pytest.raises(ExpressionError):
            condition(asked).holds(GIVEN)


def test_engine_08_conditions_compare_integers_exactly() -> None:
    assert condition("x == 9007199254740993").holds({"x": 2**53 + 1})
    assert not condition("x == 9007199254740992").holds({"x": 2**53 + 1})
    assert condition("x + 1 == 9007199254740994").holds({"x": 2**53 + 1})
    assert condition("x == '1180591620717411303425'").holds({"x": 2**70 + 1})
    with pytest.raises(ExpressionError):
        condition("x > 1").holds({"x": 2**70})
    with pytest.raises(ExpressionError):
        condition("x + 1 > 1").holds({"x": 2**63 - 1})
