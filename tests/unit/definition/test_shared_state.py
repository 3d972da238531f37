"""What may stand in a graph's shared state: reducers, and a schema that is checked in bounded time."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema.validators import Draft202012Validator
from referencing import Registry

from agentflow_common.expressions.language import condition_keys
from agentflow_common.expressions.state_schema import Schema, StateError, reduce

# --- reducers ---


@pytest.mark.parametrize(
    ("reducer", "held", "given", "made"),
    [
        ("replace", 1, None, None),
        ("append", [1], [2], [1, [2]]),
        ("append", None, 1, [1]),
        ("extend", [1], [2, 3], [1, 2, 3]),
        ("extend", [1], None, [1]),
        ("merge", {"a": 1, "b": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ("union", [3, {"a": 1}], [{"a": 1}, 3, 1], [3, {"a": 1}, 1]),
        ("union", ["a"], "b", ["a", "b"]),
        ("union", [1, True, 1e300], [1.0, {"n": 2.0}, {"n": 2}, 1e300], [1.0, True, 1e300, {"n": 2}]),
        ("sum", 1, 2.5, 3.5),
        ("sum", None, 2, 2),
        ("max", 3, 2, 3),
        ("max", "b", "c", "c"),
        ("min", 3, 2, 2),
        ("min", 3, None, 3),
        ("first", "a", "b", "a"),
        ("first", None, "b", "b"),
    ],
)
def test_a_reducer(reducer: str, held: Any, given: Any, made: Any) -> None:
    before = repr(held)
    assert reduce(reducer, "k", held, given, held is not None) == made
    assert repr(held) == before, "what was there is not changed in place"


@pytest.mark.parametrize(
    ("reducer", "held", "given"),
    [
        ("append", 1, 2), ("extend", [1], 2), ("merge", {}, [1]), ("sum", 1, "a"), ("sum", 1, True), ("sum", 1, None),
        ("max", 1, "a"), ("min", [1], [2]), ("sum", 2**62, 2**62), ("sum", 1e308, 1e308),
    ],
)  # fmt: skip
def test_a_reducer_refuses_what_it_cannot_take(reducer: str, held: Any, given: Any) -> None:
    with pytest.raises(StateError, match="'k'") as caught:
        reduce(reducer, "k", held, given, True)
    assert caught.value.keys == ("k",)


# --- the schema ---


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"type": "strnig"}}},
        {"type": "array"},
        {"properties": {"a": {"pattern": "(?=x)y"}}},
        {"patternProperties": {"(": {}}},
        {"properties": {"a": {"$ref": "https://example.com/schema.json"}}},
        {"properties": {"a": {"$ref": "#/$defs/none"}}},
    ],
)
def test_a_schema_that_the_engine_does_not_take(schema: dict[str, Any]) -> None:
    with pytest.raises(StateError):
        Schema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$dynamicRef": "#"},
        {"properties": {"a": {"$ref": "#/properties/a"}}},
        {"allOf": [{"$ref": "#/$defs/x"}], "$defs": {"x": {"anyOf": [{"not": {"$ref": "#"}}]}}},
        {"$defs": {"x/y~": {"if": {"$ref": "#/$defs/x~1y~0"}}}, "properties": {"a": {"$ref": "#/$defs/x~1y~0"}}},
        {"properties": {"a": {"dependentSchemas": {"b": {"$ref": "#/properties/a"}}}}},
        {"properties": {"a": {"$ref": "#/x-own/b"}}, "x-own": {"b": {"then": {"$ref": "#/x-own/b"}}}},
    ],
)
def test_a_reference_without_an_end_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(StateError, match="lead back to it without end"):
        Schema(schema)


def test_a_reference_to_a_part_may_come_back() -> None:
    tree = {"type": "object", "properties": {"v": {"type": "integer"}, "kids": {"items": {"$ref": "#"}}}}
    compiled = Schema(tree)
    compiled.check({"kids": [{"kids": [{"v": 1}]}]}, {"kids": None})
    state = {"kids": [{"kids": [{"v": "x"}]}]}
    with pytest.raises(StateError, match=r"state\.kids\[0\]\.kids\[0\]\.v"):
        compiled.check(state, state)
    for keyword in ("additionalProperties", "propertyNames", "contains", "unevaluatedProperties", "unevaluatedItems"):
        Schema({keyword: {"$ref": "#"}}).check({"a": {"b": [{}]}}, {})
    long = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(3_000)}
    Schema({"$defs": {**long, "d3000": {}}})


PLACES = ["#", "#/$defs/a", "#/$defs/b", "#/$defs/c", "#/$defs/a/allOf/0"]
BITS = st.one_of(
    st.builds(lambda ref: {"$ref": ref}, st.sampled_from(PLACES)),
    st.builds(lambda ref: {"allOf": [{"$ref": ref}]}, st.sampled_from(PLACES)),
    st.builds(lambda ref: {"anyOf": [{"type": "string"}, {"$ref": ref}]}, st.sampled_from(PLACES)),
    st.builds(lambda ref: {"properties": {"k": {"$ref": ref}}}, st.sampled_from(PLACES)),
    st.builds(lambda ref: {"items": {"$ref": ref}}, st.sampled_from(PLACES)),
    st.just({"allOf": [{}]}),
    st.just({"maximum": 3}),
)
VALUES = st.recursive(
    st.integers(0, 5) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.just("k"), inner),
    max_leaves=4,
)


@given(BITS, BITS, BITS, BITS, VALUES)
def test_what_is_accepted_ends(root: Any, a: Any, b: Any, c: Any, value: Any) -> None:
    """Whatever a small schema of references says of a value, it says so."""
    told = ""
    try:
        compiled = Schema({**root, "$defs": {"a": a, "b": b, "c": c}})
    except StateError as error:
        told, compiled = error.message, Schema({})
    assert not told or "nowhere" in told or "without end" in told
    try:
        compiled.check({"k": value}, {"k": value})
    except StateError as error:
        told = error.message
    assert "too deeply" not in told and "evaluat" not in told


@pytest.mark.parametrize(
    ("schema", "state", "said"),
    [
        ({"properties": {"a": {"type": "integer"}}}, {"a": "x"}, "state.a does not fit"),
        ({"properties": {"a": {"items": {"properties": {"b": {"minimum": 1}}}}}}, {"a": [{"b": 0}]}, "state.a[0].b"),
        ({"required": ["z"]}, {"a": 1}, "no 'z'"),
        ({"properties": {"a": {}}, "additionalProperties": False}, {"b": 1}, "'b' is not a key"),
        ({"minProperties": 2}, {"a": 1}, "minProperties"),
        ({"properties": {"a": {"pattern": "^[a-c]+$"}}}, {"a": "abd"}, "pattern"),
        ({"patternProperties": {"^n_": {"type": "number"}}}, {"n_x": "1"}, "state.n_x"),
        ({"properties": {"a": {"uniqueItems": True}}}, {"a": [{"x": 1}, {"x": 1}]}, "uniqueItems"),
        ({"properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"maximum": 3}}}, {"a": 4}, "maximum"),
        (
            {
                "properties": {"a": {"$ref": "#/$defs/t"}},
                "$defs": {"t": {"properties": {"c": {"$ref": "#/$defs/t"}}, "type": "object"}},
            },
            {"a": {"c": {"c": 4}}},
            "state.a.c.c",
        ),
    ],
)
def test_a_violation_names_the_key_and_the_rule_and_not_the_value(schema: Any, state: Any, said: str) -> None:
    with pytest.raises(StateError) as caught:
        Schema(schema).check(state, state)
    assert said in caught.value.message
    assert "abd" not in caught.value.message


@pytest.mark.parametrize(
    ("schema", "state"),
    [
        ({"properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "a" * 40 + "b"}),
        (
            {"$defs": {**{f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)}, "d40": {}},
             "$ref": "#/$defs/d0"},
            {},
        ),
        ({"properties": {"a": {"uniqueItems": True}}}, {"a": [*([{"x": [n]} for n in range(30_000)]), {"x": [0]}]}),
    ],
)  # fmt: skip
def test_no_schema_holds_up_the_scheduler(schema: Any, state: Any) -> None:
    compiled = Schema(schema)
    began = time.process_time()
    with pytest.raises(StateError):
        compiled.check(state, state)
    assert time.process_time() - began < 5


def test_a_schema_that_speaks_of_each_key_looks_at_what_changed_alone() -> None:
    schema = Schema({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
    assert schema.by_key
    schema.check({"a": None, "b": None}, {"b": 1})
    assert not Schema({"anyOf": [{"required": ["a"]}]}).by_key


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("state.n < 3 && size(state.log) > inputs.n", {"n", "log"}),
        ("inputs.state.n == 'state'", set()),
        ("a.output.n > 1", set()),
        ("state['n'] > 1", None),
        ("'n' in state", None),
        ("has(state.n)", {"n"}),
        ("state.exists(k, k == 'n')", None),
    ],
)
def test_a_condition_looks_at_the_keys_that_it_names(text: str, keys: set[str] | None) -> None:
    assert condition_keys(text) == keys


SUBSCHEMAS = st.sampled_from(
    [{"type": "integer"}, {"type": "string", "minLength": 2}, {"enum": [1, "a"]}, {"type": "array", "items": {}},
     {"minimum": 2}, {}, {"not": {"type": "null"}}, {"$ref": "#/$defs/n"}]
)  # fmt: skip
VALUES = st.sampled_from([None, 0, 1, 3, 2.5, "", "a", "ab", [], [1], {"x": 1}, True])


@given(
    st.dictionaries(st.sampled_from("abc"), SUBSCHEMAS, max_size=3),
    st.lists(st.sampled_from("abc"), max_size=2, unique=True),
    st.sampled_from([None, True, False]),
    st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4),
    st.booleans(),
)
def test_looking_at_each_key_tells_what_looking_at_the_whole_tells(
    properties: dict[str, Any], required: list[str], additional: bool | None, state: dict[str, Any], title: bool
) -> None:
    schema: dict[str, Any] = {"properties": properties, "required": required, "$defs": {"n": {"type": "number"}}}
    if additional is not None:
        schema["additionalProperties"] = additional
    if title:
        schema["minProperties"] = 0  # speaks of the whole, so that all is looked at
    compiled = Schema(schema)
    assert compiled.by_key is not title
    fits = Draft202012Validator(schema, registry=Registry()).is_valid(state)
    if fits:
        compiled.check(state, state)
    else:
        with pytest.raises(StateError):
            compiled.check(state, state)
