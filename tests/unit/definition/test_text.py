"""JSON and YAML texts as data with lines: what JSON can write is read as JSON, wherever a definition may stand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl.values import text_inputs
from agentflow_common.definition import parse
from agentflow_common.definition.yaml_text import load
from agentflow_common.errors import InvalidError
from agentflow_common.schedules import spec as schedule_spec
from agentflow_sdk.convert.json_values import to_struct
from agentflow_sdk.errors import InvalidArgumentError

DATA = {
    "name": "w",
    "description": "\U0001f600 and \\ud83d\\ude00",
    "inputs": {"n": {"type": "string", "default": "\U0001f680"}},
    "dag": {"nodes": [{"id": "a", "type": "function", "config": {"function_name": "f", "inputs": {"x": 1e5}}}]},
}


@pytest.mark.parametrize("indent", [None, 1, "\t"])
def test_engine_07_what_json_dumps_writes_is_read_everywhere(indent: Any) -> None:
    text = json.dumps(DATA, indent=indent)
    assert "\\ud83d\\ude00" in text
    found = parse.parse_text(text)
    assert found.description == DATA["description"]
    assert found.dag.nodes[0].config.inputs == {"x": 100_000.0}
    assert text_inputs(text) == {"n"}
    schedule = {"name": "s", "workflow": "w", "cron": "0 9 * * *", "inputs": {"x": "\U0001f600"}}
    assert schedule_spec.parse_text(json.dumps(schedule, indent=indent)).inputs == {"x": "\U0001f600"}


def test_engine_07_json_within_yaml_is_read_too() -> None:
    text = 'name: w\nx: {"a": "\\ud83d\\ude00 \\\\ud83d"}\n'
    assert load(text)[0] == {"name": "w", "x": {"a": "\U0001f600 \\ud83d"}}


def test_engine_07_problems_in_json_name_their_line() -> None:
    text = json.dumps({**DATA, "name": "not a name"}, indent=2).replace('"function"', '"nope"')
    with pytest.raises(InvalidError) as caught:
        parse.parse_text(text)
    places = {problem.place for problem in caught.value.problems}
    assert {"line 2, name", "line 14, dag.nodes[0].type"} <= places


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": "\\ud83d"}', "line 1: a text holds half of a surrogate pair"),
        ('{"a": 1,\n"\\u0061": 2}', "line 2: the key 'a' appears twice"),
        ('{"a": ' + "[" * 70 + "]" * 70 + "}", "nested deeper than 60"),
        ("a: .nan", "line 1: .nan is not a JSON number"),
        ("a: -.INF", "is not a JSON number"),
        ("a: 1.0e+999", "is not a JSON number"),
        ('a: "\\ud83d"', "invalid Unicode"),
        ("b: 1\na: !!set {x}", "line 2: !!set is not a type of JSON"),
        ("a: !!binary aGk=", "!!binary is not a type of JSON"),
        ("a: !!timestamp 2020-01-01", "!!timestamp is not a type of JSON"),
    ],
)
def test_engine_08_what_json_does_not_have_is_refused_with_its_line(text: str, told: str) -> None:
    with pytest.raises(InvalidError, match=told.replace("!", ".")) as caught:
        load(text)
    caught.value.message.encode()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(), json_values, max_size=4), st.sampled_from([None, 0, 1, "\t"]), st.booleans())
def test_engine_07_every_json_text_is_read_as_json_with_a_line_for_each_value(
    data: Any, indent: Any, escaped: bool
) -> None:
    found, lines = load(json.dumps(data, indent=indent, ensure_ascii=escaped))
    assert found == data

    def paths(value: Any, path: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return [path, *(known for name, item in inner for known in paths(item, (*path, name)))]

    assert set(paths(data, ())) == set(lines)
    assert lines[()] == 1


@pytest.mark.parametrize("value", [{"a": {"b": ["x\ud83d"]}}, {"a": {"\ud83d": 1}}, {"\ud83d": 1}])
def test_engine_13_the_sdk_names_where_a_lone_surrogate_stands(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="lone surrogate"):
        to_struct(value, "inputs")


@pytest.mark.parametrize("form", ["k: {}", '{{"k": {}}}'])
@pytest.mark.parametrize(
    ("value", "told"), [("9" * 5_000, "more than 4,300 digits"), ("[" * 50_000 + "]" * 50_000, "nested deeper than")]
)
def test_engine_08_what_python_can_t_read_is_refused_in_the_words_of_json(form: str, value: str, told: str) -> None:
    with pytest.raises(InvalidError) as caught:
        load(form.format(value))
    assert told in str(caught.value.problems)
    assert "sys." not in str(caught.value.problems)


def test_engine_08_the_sdk_refuses_a_long_integer_in_a_few_words() -> None:
    for digits in (400, 5_000):
        with pytest.raises(InvalidArgumentError) as caught:
            to_struct({"n": 10**digits}, "inputs")
        (problem,) = caught.value.problems
        assert problem.place == "inputs.n"
        assert len(str(problem)) < 200


@pytest.mark.parametrize("text", ["- " * 50_000 + "1", "? " * 50_000 + "1", "a: " + "[" * 50_000, "{a: " * 50_000])
def test_engine_08_no_depth_of_a_text_ends_the_process(text: str) -> None:
    with pytest.raises(InvalidError, match="nested deeper than 60 levels"):
        load(text)


def test_engine_08_what_is_as_deep_as_may_be_is_read() -> None:
    assert load("[" * 60 + "1" + "]" * 60)[0]
    assert load("a: " + "[" * 59 + "1" + "]" * 59)[0]
    for text in ("[" * 61 + "1" + "]" * 61, "a: " + "[" * 60 + "1" + "]" * 60):
        with pytest.raises(InvalidError, match="nested deeper than 60 levels"):
            load(text)
