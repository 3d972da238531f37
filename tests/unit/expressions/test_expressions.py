"""References, templates and conditions: values keep their type, hostile ones end in an error."""

from __future__ import annotations

import time
from typing import Any

import pytest

from agentflow_common.expressions import language as ex
from agentflow_common.expressions.language import condition
from agentflow_common.expressions.sandbox import ExpressionError

VALUES = {"a": {"b": [1, {"c": "x"}], "n": None}, "name": "World", "k": 3, "big": "x" * 10_000}


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("ingest.output", ("ingest", "output", ())),
        ("a.output.b[0].c", ("a", "output", ("b", 0, "c"))),
        ("a.output.b.0", ("a", "output", ("b", 0))),
        ("a.status", ("a", "status", ())),
        ("file.read", None),
        ("see a.output", None),
        ("a.output.", None),
    ],
)
def test_references(text: str, parsed: Any) -> None:
    assert ex.parse_reference(text) == parsed


def test_walking_names_what_is_missing() -> None:
    assert ex.walk(VALUES, ("a", "b", 1, "c"), "r") == "x"
    assert ex.walk(None, ("a",), "r") is None
    for path, told in (((("a", "z")), "has b, n"), (("a", "b", 7), "2 items"), (("k", "x"), "is a number")):
        with pytest.raises(ExpressionError, match=told):
            ex.walk(VALUES, path, "r")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ a.b }}", [1, {"c": "x"}]),
        ("{{a.b[1].c}}", "x"),
        ("Hello {{ name | upper }}!", "Hello WORLD!"),
        ("{{ k + 1 }}", 4),
        ("{{ k > 2 and name == 'World' }}", True),
        ("{% if k > 2 %}many{% else %}few{% endif %}", "many"),
        ("{{ a.b | length }} of {{ k }}", "2 of 3"),
    ],
)
def test_a_lone_expression_keeps_its_type(text: str, value: Any) -> None:
    assert ex.template(text).render(VALUES) == value


@pytest.mark.parametrize(
    "text",
    [
        "{{ nope }}",
        "x {{ a.nope }}",
        "{{ a.b.c.d }}",
        "{% for i in a.b %}{{ i }}{% endfor %}",
        "{% set x = 1 %}",
        "{% import 'os' as os %}",
        "{{ ''.__class__.__mro__ }}",
        "{{ 'x' * 99999999 }}",
        "{{ 2 ** 99999999 }}",
        "{{ '%0999999999d' % 1 }}",
        "{{ range(999999999) }}",
        "{{ [[0] * 9999] * 9999 }}",
        "{{ ['x' * 9999] * 9999 }}",
        "{{ 'x'.zfill(999999999) }}",
        "{{ 'x'['ljust'](999999999) }}",
        "{{ ('x' | attr('rjust'))(999999999) }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{{ 'x'.encode() }}",
        "{{ ('x' * 9999).replace('x', 'y' * 9999) }}",
        "{{ ('x' * 9999) | replace('x', 'y' * 9999) }}",
        "{{ ([1] * 9999) | join('y' * 9999) }}",
        "{{ ('y' * 9999).join(['x'] * 9999) }}",
        "{{ [1, [2]] | tojson(indent=999999999) }}",
        "{{ [1] | batch(999999999, 0) | list }}",
        "{{ " + " ~ ".join(["big"] * 1500) + " }}",
        "{{big}}" * 1500,
        "{{ [1, 2] | random }}",
        "{{ unclosed",
        "{{ 1 / 0 }}",
    ],
)
def test_hostile_templates_end_in_an_error_at_once(text: str) -> None:
    began = time.thread_time()  # others may have the processor meanwhile
    with pytest.raises(ExpressionError):
        ex.template(text).render(VALUES)
    assert time.thread_time() - began < 0.5


def test_conditions_are_cel_and_give_a_boolean() -> None:
    assert ex.condition("a.b.size() == 2 && name.startsWith('W')").holds(VALUES)
    assert not ex.condition("k < 3").holds(VALUES)
    assert ex.condition_steps("classify.output.type == 'text.output' && other.status == \"x\"") == ["classify", "other"]
    with pytest.raises(ExpressionError, match="not true or false"):
        ex.condition("k + 1").holds(VALUES)
    with pytest.raises(ExpressionError, match="no field 'zz'"):
        ex.condition("a.zz == 1").holds(VALUES)
    with pytest.raises(ExpressionError, match="not a CEL expression"):
        ex.condition("a ==")


def test_what_is_no_list_and_means_one_becomes_one() -> None:
    assert ex.template("{{ a.b | map('string') }}").render({"a": {"b": [1, 2]}}) == ["1", "2"]
    assert ex.template("{{ a.keys() }}").render({"a": {"b": 1}}) == ["b"]
    with pytest.raises(ExpressionError, match="no field 'keys'"):
        ex.template("{{ a.keys }}").render({"a": {"b": 1}})


def test_a_condition_that_goes_through_lists_is_bounded() -> None:
    plain = condition("inputs.xs.filter(x, x > 1).size() == 2")
    assert plain.holds({"inputs": {"xs": [1, 2, 3]}})
    nested = condition("inputs.orders.all(o, o.items.all(i, i > 0))")
    assert nested.holds({"inputs": {"orders": [{"items": [1, 2]}, {"items": [3]}]}})
    with pytest.raises(ExpressionError, match="2,000 values"):
        plain.holds({"inputs": {"xs": list(range(2_100))}})
    with pytest.raises(ExpressionError, match="150 values"):
        nested.holds({"inputs": {"orders": [{"items": list(range(200))}]}})
    with pytest.raises(ExpressionError, match="3 deep"):
        condition("xs.map(x, xs.map(y, xs.map(z, x))).size() > 0")
    assert condition("size('.map(.map(.map(') == 15").holds({})
    assert condition("xs.map(x, x).map(x, x).map(x, x).size() == 1").holds({"xs": [1]})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{{a.b.c + 1}}", "null has no field 'c'"),
        ("{{a.x}}", "there is no field 'x'; write `| default(...)` after a name that may be missing"),
        ("{{a.xs[3]}}", "the list has no item 3"),
        ("text {{a.t.x}}", "a text has no field 'x'"),
        ("{{nothing}}", "'nothing' is undefined"),
    ],
)
def test_what_a_template_does_not_find_is_told_in_the_words_of_json(text: str, told: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        ex.template(text).render({"a": {"b": None, "t": "t", "xs": [1]}})
    assert told in caught.value.message
    assert ex.template("{{a.x | default(3)}}").render({"a": {}}) == 3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ n.issues or [] }}", []),
        ("{{ n.issues }}", None),
        ("{{ n.issues[0].line }}", None),
        ("{{ n[0] }}", None),
        ("{{ n.issues[1:] }}", None),
        ("{{ n.issues | default(3) }}", 3),
        ("{{ o.nope or 'x' }}", "x"),
        ("{{ o.nope.deeper | default('x') }}", "x"),
        ("{{ 'y' if o.nope.deeper else 'n' }}", "n"),
        ("{{ o.nope is defined }}", False),
        ("{{ o.nope == none and n.x is none }}", True),
        ("{{ {'to': n.customer} }}", {"to": None}),
        ("is {{ n.x }}", "is null"),
    ],
)
def test_engine_03_a_template_is_null_safe_as_a_reference_is(text: str, value: Any) -> None:
    assert ex.template(text).render({"n": None, "o": {"a": 1}}) == value


@pytest.mark.parametrize(
    "text",
    [
        "{{ nope }}",
        "{{ nope.x }}",
        "{{ nope or 1 }}",
        "{{ o.nope }}",
        "{{ o.nope.x }}",
        "{{ {'to': o.nope} }}",
        "{{ [o.nope] }}",
        "x {{ o.nope }}",
        "{{ n.x + 1 }}",
    ],
)
def test_engine_03_what_an_object_does_not_have_is_still_an_error(text: str) -> None:
    with pytest.raises(ExpressionError, match=r"nope|null has no field"):
        ex.template(text).render({"o": {"a": 1}, "n": None})


ORDER = {"items": [1], "values": 2, "keys": "k", "get": {"upper": 3}, "paid": True, "none": None, "class": "c"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ o.items }}", [1]),
        ("{{ o.values }} {{ o.keys }}", "2 k"),
        ("{{ o['get'].upper }}", 3),
        ("{{ o.get('paid') }}", True),
        ("{{ o.items() | length }}", 7),
        ("{{ [o] | map(attribute='items') }}", [[1]]),
        ("{{ o | attr('values') }}", 2),
        ("is {{ o.paid }}, {{ o.none }}", "is true, null"),
        ("{{ o.paid ~ o.none ~ o.items }}", "truenull[1]"),
        ("so: {{ {'paid': o.paid, 'x': [none]} }}", 'so: {"paid": true, "x": [null]}'),
        ("{{ [1, 2] | map('string') }} of it", '["1", "2"] of it'),
        ("{{ {'t': ['a'] | map('upper')} }}", {"t": ["A"]}),
        ("{{ '<b>' | escape }}!", "&lt;b&gt;!"),
        ("{{ {1: (1, 2), none: 3} }}", {"1": [1, 2], "null": 3}),
        ("{{ [true, none] | join('-') }}", "true-null"),
        ("{{ o.paid | upper }}", "TRUE"),
        ("{{ [{'a': 1, 'n': 2}] | groupby('a') }}", [[1, [{"a": 1, "n": 2}]]]),
        ("{{ {'q': 'a b', 'ok': true} | urlencode }}", "q=a%20b&ok=true"),
        ("{{ self }}", "me"),
        ("{{ true ~ none ~ 1.0 }} {{ true }}", "truenull1.0 true"),
        ("{{ ([1] | map('string')).index('1') }}", 0),
        ("{{ o.get.items() }} {{ o.get.items() | length }}", '[["upper", 3]] 1'),
        ("{{ result }} and {{ self }}", "r and me"),
        ("{{ o.class }}", "c"),
    ],
)
def test_engine_11_data_goes_before_python_and_reads_as_json(text: str, value: Any) -> None:
    assert ex.template(text).render({"o": ORDER, "self": "me", "result": "r"}) == value


@pytest.mark.parametrize(
    "text",
    [
        "{{ e.items }}",
        "{{ e.__class__ }}",
        "x {{ e.get }}",
        "{{ 'x'.upper }}",
        "{{ [].append }}",
        "{{ e.mro }}",
        "{{ e.pop('a') }}",
        "{{ [1].append(2) }}",
        "{{ 'x'.format() }}",
        "{{ 1.real }}",
        "{{ namespace() }}",
        "{{ 1e999 }}",
        "{{ 'inf' | float }}",
        "{{ '\\ud83d' }}",
        "x {{ '\\ud83d' }}",
        "{{ {'\\ud83d': 1} }}",
        "{{ " + "9" * 5000 + " }}",
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        "{{ x.y(" * 900,
    ],
)
def test_engine_11_no_method_and_no_value_that_json_lacks_comes_out(text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        ex.template(text).render({"e": {}, "x": {}})
    assert " at 0x" not in caught.value.message
    caught.value.message.encode()
