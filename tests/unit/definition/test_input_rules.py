"""The rules of a workflow's inputs: what fits, what is refused, and what an author may not write."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema.validators import Draft202012Validator

from agentflow_common.definition.model import load_trusted
from agentflow_common.definition.parse import parse_dict, parse_text
from agentflow_common.errors import InvalidError
from agentflow_common.expressions.formats import FORMATS
from agentflow_sdk import InvalidArgumentError, Workflow

NODES = {"nodes": [{"id": "a", "type": "wait", "config": {"duration": "1s"}}]}


def definition(**spec: Any) -> dict[str, Any]:
    return {"name": "w", "inputs": {"x": spec}, "dag": NODES}


def problems(value: Any, *, private: bool = False, **spec: Any) -> list[tuple[str, str, str]]:
    """The problems of one input, as (place, message, fix)."""
    try:
        parse_dict(definition(**spec)).check_inputs({"x": value}, private=private)
    except InvalidError as error:
        return [(p.place, p.message, p.fix) for p in error.problems]
    return []


@pytest.mark.parametrize(
    ("spec", "good", "bad", "message", "fix"),
    [
        ({"type": "integer", "minimum": 1}, 1, 0, "must be at least 1", ""),
        ({"type": "number", "maximum": 2.5}, 2.5, 3, "must be at most 2.5", ""),
        ({"type": "number", "exclusiveMinimum": 0}, 0.1, 0, "must be more than 0", ""),
        ({"type": "number", "exclusiveMaximum": 5}, 4, 5, "must be less than 5", ""),
        ({"type": "integer", "multipleOf": 5}, 10, 11, "must be a multiple of 5", ""),
        ({"type": "number", "multipleOf": 0.01}, 19.99, 19.995, "must be a multiple of 0.01", ""),
        ({"type": "number", "multipleOf": 0.1}, 1e300, 0.35, "must be a multiple of 0.1", ""),
        ({"type": "string", "minLength": 2}, "ab", "a", "must have at least 2 characters, got 1", ""),
        ({"type": "string", "maxLength": 2}, "ab", "abc", "must have at most 2 characters, got 3", ""),
        ({"type": "string", "pattern": "^[A-Z]{2}[0-9]+$"}, "AB1", "ab1",
         'must match the pattern "^[A-Z]{2}[0-9]+$"', ""),
        ({"type": "string", "pattern": "b"}, "abc", "ac", 'must match the pattern "b"', ""),
        ({"type": "string", "format": "date"}, "2026-02-28", "2026-02-30", "must have the format date",
         "for example 2026-01-31"),
        ({"type": "string", "enum": ["draft", "final"]}, "final", "finl", 'must be one of "draft", "final"',
         "did you mean 'final'?"),
        ({"enum": [1, "a", None]}, 1, 2, 'must be one of 1, "a", null', ""),
        ({"type": "array", "maxItems": 1}, [1], [1, 2], "must have at most 1 item, got 2", ""),
        ({"type": "array", "minItems": 1}, [1], [], "must have at least 1 item, got 0", ""),
        ({"type": "array", "uniqueItems": True}, [1, 2], [1, 1], "must not have the same item twice", ""),
    ],
)  # fmt: skip
def test_a_rule(spec: dict[str, Any], good: Any, bad: Any, message: str, fix: str) -> None:
    assert problems(good, **spec) == []
    assert problems(bad, **spec) == [("inputs.x", message, fix)]


def test_a_part_of_a_value_is_named_and_every_problem_is_listed() -> None:
    items = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}
    assert problems([{"n": 1}, {"n": 0}, {}, {"n": "many"}], type="array", items=items) == [
        ("inputs.x[1].n", "must be at least 1", ""),
        ("inputs.x[2].n", "missing", "give it"),
        ("inputs.x[3].n", "must be of type integer, got a text", ""),
    ]
    whole = {"properties": {"a": {"$ref": "#/$defs/t"}}, "additionalProperties": False, "$defs": {"t": {"const": 1}}}
    assert problems({"a": 1}, type="object", schema=whole) == []
    assert problems({"a": 2, "b": 3}, type="object", schema=whole) == [
        ("inputs.x", "has a field that its schema does not allow", "remove it, or correct its name"),
        ("inputs.x.a", "must be one of 1", ""),
    ]
    assert problems("x", type="integer", minimum=1)[0][1] == "must be of type integer, got a text"
    assert len(problems(["a"] * 100, type="array", items={"type": "integer"})) == 20


def test_a_value_is_never_repeated() -> None:
    secret = "-".join(("a", "secret"))
    for rule in ({"maxLength": 3}, {"pattern": "^x"}, {"format": "email"}, {"enum": ["b"]}, {"schema": {"not": {}}}):
        found = problems(secret, type="string", **rule)
        assert found and secret not in str(found)


def test_null_is_the_value_of_an_input_that_may_be_left_out() -> None:
    assert problems(None, type="string", minLength=3, required=False) == []
    assert problems(None, type="string", minLength=3)[0][1] == "must be of type string, got null"


def test_rules_about_letters_are_left_out_where_a_vault_token_stands() -> None:
    token = "<EMAIL_ADDRESS:7Q2M4K>"
    for rule in ({"maxLength": 3}, {"pattern": "^x"}, {"format": "email"}, {"enum": ["b"]}):
        assert problems(token, private=True, type="string", **rule) == []
        assert problems(token, type="string", **rule), "a client's own text is no token"
        assert problems("plain words", private=True, type="string", **rule)
    assert problems([f"a {token}", "b"], private=True, type="array", items={"maxLength": 3}) == []
    assert problems([token], private=True, type="array", minItems=2)


@pytest.mark.parametrize(
    ("spec", "place", "text"),
    [
        ("{type: string, minimum: 1}", "line 2, inputs.x.minimum", "`minimum` says nothing about an input of type str"),
        ("{type: integer, pattern: a}", "inputs.x.pattern", "says nothing about an input of type integer"),
        ("{type: string, items: {type: string}}", "inputs.x.items", "says nothing about an input of type string"),
        ("{type: string, pattern: '('}", "inputs.x.pattern", "'(' is not a 'regex'"),
        (r"{type: string, pattern: '(a)\1'}", "inputs.x.pattern", "can take more than linear time"),
        ("{type: string, format: datum}", "inputs.x.format", "the format 'datum' is not known"),
        ("{type: array, items: {type: strin}}", "inputs.x.items", "type"),
        ("{type: array, items: {format: mail}}", "inputs.x.items", "the format 'mail' is not known"),
        ("{type: object, schema: {$ref: 'https://example.org/a'}}", "inputs.x.schema", "leads nowhere"),
        ("{schema: {anyOf: [{}, {$dynamicRef: '#x'}]}}", "inputs.x.schema.anyOf[1].$dynamicRef", "'#x' leads nowhere"),
        ("{schema: {$dynamicRef: '#/$defs/x'}}", "inputs.x.schema.$dynamicRef", "names a place in the schema"),
        ("{schema: {properties: {a: {$ref: '#/$defs/x'}}}}", "inputs.x.schema.properties.a.$ref", "leads nowhere"),
        ("{schema: {items: {$id: 'i', $ref: '#/$defs/x'}, $defs: {x: {}}}}", "inputs.x.schema.items.$ref", "nowhere"),
        ("{schema: {$ref: '#/type', type: object}}", "inputs.x.schema.$ref", "'#/type' is not a schema"),
        ("{schema: {$ref: '#/own', own: {allOf: 5, $anchor: []}}}", "inputs.x.schema.$ref", "'#/own' is not a schema"),
        ("{schema: {$dynamicAnchor: n, $dynamicRef: '#n'}}", "inputs.x.schema", "lead back to it without end"),
        ("{type: array, items: {$ref: '#/$defs/x'}}", "inputs.x.items.$ref", "leads nowhere"),
        ("{type: integer, minimum: 5, maximum: 1}", "inputs.x.minimum", "no value fits"),
        ("{type: integer, enum: [1, a]}", "inputs.x.enum[1]", "it is a text, and the input is of type integer"),
        ("{type: integer, enum: []}", "inputs.x.enum", ""),
        ("{type: integer, minimum: 5, default: 1}", "inputs.x.default", "the default must be at least 5"),
        ("{type: integer, default: a}", "inputs.x.default", "the default is a text"),
        ("{type: integer, minimun: 5}", "inputs.x.minimun", ""),
        ("{type: object, properties: {}}", "inputs.x.properties", ""),
    ],
)  # fmt: skip
def test_a_rule_that_means_nothing_is_refused_with_the_definition(spec: str, place: str, text: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_text(f"name: w\ninputs: {{x: {spec}}}\ndag: {{nodes: [{{id: a, type: wait, config: {{duration: 1s}}}}]}}")
    (problem,) = caught.value.problems
    assert place in problem.place and text in problem.message and (problem.fix or not text)


@pytest.mark.parametrize(
    "schema",
    [
        {"$dynamicAnchor": "n", "properties": {"kid": {"$dynamicRef": "#n"}}},
        {"properties": {"kid": {"$dynamicRef": "#s"}}, "$defs": {"s": {"$anchor": "s", "type": "object"}}},
        {"properties": {"kid": {"$id": "i", "$ref": "#/$defs/x", "$defs": {"x": {"type": "object"}}}}},
        {"properties": {"$ref": {"type": "string"}}, "enum": [{"kid": {}}, {"$ref": "#/none"}]},
        {"properties": {"kid": {"$ref": "#/own/a~1b"}}, "own": {"a/b": True}},
    ],
)
def test_a_reference_that_leads_somewhere_is_taken(schema: dict[str, Any]) -> None:
    assert problems({"kid": {}}, schema=schema) == []


def test_a_misspelt_rule_is_named() -> None:
    for wrong, right in (("max", "maximum"), ("maxlength", "maxLength"), ("regex", "pattern"), ("choices", "enum")):
        with pytest.raises(InvalidError) as caught:
            parse_dict(definition(**{wrong: 1}))
        assert caught.value.problems[0].fix == f"did you mean {right!r}?"


def test_a_pattern_takes_linear_time() -> None:
    began = time.process_time()
    assert problems("a" * 40_000 + "!", type="string", pattern="^(a+)+$")
    assert time.process_time() - began < 5


def test_the_canonical_form_keeps_the_rules_and_is_unchanged_without_any() -> None:
    full = parse_dict(definition(type="array", items={"type": "string"}, minItems=1, uniqueItems=True))
    assert full.canonical()["inputs"]["x"] == {
        "type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True,
    }  # fmt: skip
    assert load_trusted(full.canonical()) == full
    assert parse_dict(definition(type="string")).canonical()["inputs"]["x"] == {"type": "string"}


GOOD = {
    "date": ["2024-02-29"], "time": ["23:59:59Z", "09:30:00.5+02:00"], "email": ["a.b+c@d-e.org", "a@localhost"],
    "date-time": ["2026-01-31T09:30:00Z", "2026-01-31t09:30:00.123456789-05:00"], "hostname": ["a", "a-b.example.org"],
    "ipv4": ["10.0.0.255"], "ipv6": ["::1", "2001:db8::1"], "uri": ["https://example.org/a?b#c", "mailto:a@b.org"],
    "uuid": ["123e4567-e89b-12d3-a456-426614174000", "123E4567-E89B-12D3-A456-426614174000"],
}  # fmt: skip
BAD = {
    "date": ["2023-02-29", "24-01-01", "2024-1-1", "2024-01-01 "], "time": ["09:30:00", "25:00:00Z", "9:30Z"],
    "date-time": ["2026-01-31", "2026-01-31 09:30:00Z", "2026-01-31T09:30:00"],
    "email": ["a", "a@", "@b", "a b@c.org", "a@b..c"],
    "hostname": ["-a", "a_b", "a..b", "a" * 64], "ipv4": ["256.1.1.1", "1.1.1"], "ipv6": ["::g", "1.1.1.1"],
    "uri": ["example.org", "http://", "https://a b", "http://[::1"], "uuid": ["123e4567", "g" * 36],
}  # fmt: skip


def test_formats() -> None:
    assert set(FORMATS) == set(GOOD) == set(BAD)
    for name, form in FORMATS.items():
        assert form.fits(form.example)
        for text in GOOD[name]:
            assert form.fits(text), (name, text)
        for text in (*BAD[name], "", "\n", "a" * 100_000):
            assert not form.fits(text), (name, text[:40])


NUMBERS = st.integers(-5, 5) | st.floats(-5, 5)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "minimum": NUMBERS, "maximum": NUMBERS, "exclusiveMinimum": NUMBERS, "multipleOf": st.integers(1, 3),
        "minLength": st.integers(0, 3), "maxLength": st.integers(0, 3), "minItems": st.integers(0, 3),
        "enum": st.lists(st.integers(-1, 1), min_size=1),
        "items": st.sampled_from([{"type": "string"}, {"minimum": 0}]),
    },
)  # fmt: skip


@given(RULES, NUMBERS | st.text(max_size=4) | st.lists(NUMBERS | st.text(max_size=2), max_size=4))
def test_the_rules_decide_as_json_schema_does(rules: dict[str, Any], value: Any) -> None:
    loaded = load_trusted({"name": "w", "inputs": {"x": rules}, "dag": NODES})
    fits = Draft202012Validator(rules).is_valid(value)
    try:
        loaded.check_inputs({"x": value})
    except InvalidError:
        assert not fits
    else:
        assert fits


def test_the_builder_declares_rules() -> None:
    flow = Workflow("w").input("n", "integer", minimum=1, exclusive_maximum=5)
    flow.input("s", max_length=3, enum=("a", "b")).tool("a", "x.y")
    assert flow.to_dict()["inputs"] == {
        "n": {"type": "integer", "minimum": 1, "exclusiveMaximum": 5},
        "s": {"type": "any", "maxLength": 3, "enum": ["a", "b"]},
    }
    parse_dict(flow.to_dict())
    with pytest.raises(InvalidArgumentError, match=r"inputs\.n: 'minimun' is not one of"):
        Workflow("w").input("n", minimun=1)  # type: ignore[arg-type]
