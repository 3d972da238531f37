"""Expressions of other engines: read from their text, and written as values, in templates and in CEL."""

from __future__ import annotations

from typing import Any

import pytest

from agentctl.importers.expression import (
    Fields,
    Items,
    Joined,
    Literal,
    Op,
    Ref,
    UntranslatableError,
    condition,
    part_of,
    template,
    value,
)
from agentctl.importers.infix import Dialect, Parts, parse
from agentflow_common.expressions import language

A = Ref("a", ("output", "n"))


def named(root: str, parts: Parts) -> Ref:
    return Ref("top" if root in {"$", "."} else root, parts)


JS = Dialect(named, {"includes": lambda a, b: Op("contains", (a, b))}, {"length": "size"})
JQ = Dialect(named, {"length": lambda a: Op("size", (a,)), "not": lambda a: Op("not", (a,))}, jq=True)


@pytest.mark.parametrize(
    ("expr", "shown"),
    [
        (Literal("plain"), "plain"),
        (Literal("read.output.text"), '{{"read.output.text"}}'),
        (Literal("a {{b}} c"), '{{"a \\x7b\\x7bb}} c"}}'),
        (Literal({"x": ["read.output", 1, None]}), {"x": ['{{"read.output"}}', 1, None]}),
        (A, "a.output.n"),
        (Ref("topic"), "{{topic}}"),
        (Ref("inputs", ("first name", 0)), '{{inputs["first name"][0]}}'),
        (Joined((Literal("On "), Ref("topic"), Literal("!"))), "On {{topic}}!"),
        (Fields((("n", A), ("x", Literal(1)))), {"n": "a.output.n", "x": 1}),
        (Items((A, Ref("b"))), ["a.output.n", "{{b}}"]),
        (Op("+", (A, Literal(1))), "{{a.output.n + 1}}"),
        (Op("and", (Op("<", (A, Literal(1))), Op("not", (Ref("b"),)))), "{{(a.output.n < 1) and (not b)}}"),
        (Op("first", (A, Literal("none"))), '{{a.output.n if a.output.n is not none else "none"}}'),
        (Op("each", (Ref("m", ("output",)), Literal("n"))), '{{m.output | map(attribute="n") | list}}'),
        (Op("if", (A, Fields((("x", A),)), Literal(None))), '{{{"x": a.output.n} if a.output.n else none}}'),
    ],
)
def test_a_value(expr: Any, shown: Any) -> None:
    assert value(expr) == shown or value(expr) == _spaced(shown)


def _spaced(shown: Any) -> Any:
    """A template that begins with an object keeps its brace apart."""
    return "{{ " + shown[2:-2] + " }}" if isinstance(shown, str) and shown.startswith("{{{") else shown


def test_values_that_look_like_more_than_they_are_stay_plain_texts() -> None:
    for text in ("a {{b}} c", "read.output.text", "{% x %}", "{# x #}", "100% {x}"):
        written = value(Literal(text))
        assert (language.template(written).render({}) if language.is_template(written) else written) == text


@pytest.mark.parametrize(
    ("expr", "shown"),
    [
        (Op("==", (A, Literal("x"))), 'a.output.n == "x"'),
        (Op("not", (Op("==", (A, Literal(None))),)), "!(a.output.n == null)"),
        (Op("or", (Literal(True), Op("in", (A, Literal(["x"]))))), 'true || (a.output.n in ["x"])'),
        (Op("first", (A, Literal(0))), "a.output.n != null ? a.output.n : 0"),
        (Op("known", (A,)), "has(a.output.n)"),
        (Op("known", (Ref("inputs", ("a-b",)),)), '"a-b" in inputs'),
        (Op("contains", (A, Literal("x"))), 'a.output.n.contains("x")'),
        (Op("==", (Joined((Literal("n"), A)), Literal("n1"))), '("n" + string(a.output.n)) == "n1"'),
    ],
)
def test_a_condition(expr: Any, shown: str) -> None:
    assert condition(expr) == shown
    language.condition(shown)


def test_what_conditions_or_templates_lack_is_an_error_that_names_it() -> None:
    with pytest.raises(UntranslatableError, match="conditions have no operation 'lower'"):
        condition(Op("lower", (A,)))
    with pytest.raises(UntranslatableError, match="templates have no operation 'matches'"):
        template(Op("matches", (A, Literal("x"))))


@pytest.mark.parametrize(
    ("text", "dialect", "shown"),
    [
        ("$.a.b[0] + 2 * 3", JS, "(top.a.b[0] + (2 * 3))"),
        ("x === 'y' && !(z.length > 1)", JS, '((x == "y") and (not ((z | length) > 1)))'),
        ("a ? b : c ? d : e", JS, "(b if a else (d if c else e))"),
        ("tags.includes('x') || u['v w'] == null", JS, '(("x" in tags) or (u["v w"] == none))'),
        ("'On ' + t + '!'", JS, '("On " ~ t ~ "!")'),
        ("-1 - -x", JS, "(-1 - (-x))"),
        ("a?.b ?? 'none'", JS, '(a.b if a.b is not none else "none")'),
        (".a.b | length", JQ, "(top.a.b | length)"),
        (".", JQ, "top"),
        (".[0].name", JQ, "top[0].name"),
        ('"hello \\(.name)!"', JQ, '("hello " ~ top.name ~ "!")'),
        ("{a: .b, c, d: [1, .e]}", JQ, '{"a": top.b, "c": top.c, "d": [1, top.e]}'),
        (".a // 0", JQ, "(top.a if top.a is not none else 0)"),
        ("(.x > 1) | not", JQ, "(not (top.x > 1))"),
    ],
)
def test_reading(text: str, dialect: Dialect, shown: str) -> None:
    assert template(parse(text, dialect)) == shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("var x = 1", "'x' is not understood"),
        ("a +", "'the end' is not understood"),
        ("(a", "'\\)' is missing"),
        ("f(a)", "the function 'f' is not known here"),
        ("a[b]", "an index that is computed"),
        ("a; b", "'; b' is not understood"),
        ("includes(a)", "'includes' has other arguments here"),
        ("(" * 60, "nested too deeply"),
        ("a" * 5_000, "longer than 4,096 characters"),
        ("{a: 1} + b", "can't merge objects"),
    ],
)
def test_more_than_the_reader_knows_is_an_error(text: str, message: str) -> None:
    with pytest.raises(UntranslatableError, match=message):
        parse(text, JS)


def test_a_part_of_a_known_object_is_that_part() -> None:
    found = Fields((("a", Literal({"b": [1, 2]})), ("c", Ref("s", ("output",)))))
    assert part_of(found, ("a", "b", 1)) == Literal(2)
    assert part_of(found, ("c", "d")) == Ref("s", ("output", "d"))
    assert part_of(Op("first", (Ref("x"), Ref("y"))), ("z",)) == Op("first", (Ref("x", ("z",)), Ref("y", ("z",))))
    with pytest.raises(UntranslatableError, match="there is no 'x' in the value"):
        part_of(found, ("a", "x"))
