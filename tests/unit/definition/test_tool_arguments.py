"""Arguments of tools in a definition against what the workers say of them."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, BeforeValidator, Field
from typing_extensions import TypedDict

from agentflow_common.definition.checks import tool_arguments
from agentflow_common.definition.checks.tool_arguments import Signature
from agentflow_common.definition.parse import parse_dict
from agentflow_common.errors import InvalidError
from agentflow_worker.context import StepContext
from agentflow_worker.invoke import validate
from agentflow_worker.registry import Registration, Registry, default_registry, tool


class Address(BaseModel):
    street: str
    zip: Annotated[str, Field(max_length=5)]
    lines: list[str] = []


class Options(TypedDict, total=False):
    depth: int


def seconds(value: Any) -> Any:
    return int(value[:-1]) if isinstance(value, str) and value.endswith("s") else value


@tool("note")
async def note(
    context: StepContext,
    text: str,
    kind: Literal["call", "mail"] = "call",
    count: Annotated[int, Field(ge=1, le=9)] = 1,
    share: float = 0.5,
    urgent: bool = False,
    tags: list[str] | None = None,
    address: Address | None = None,
    options: Options | None = None,
    at: datetime.datetime | None = None,
    price: Decimal = Decimal(0),
    delay: Annotated[int, BeforeValidator(seconds)] = 0,
    anything: Any = None,
) -> None:
    """Takes one of each."""


@tool("open")
async def open_ended(first: int, **others: Any) -> None:
    """Takes what it is given."""


def registered(*calls: Any) -> dict[tuple[str, str], Registration]:
    registry = Registry()
    return {(found.kind, found.name): found for found in map(registry.add, calls)}


KNOWN = registered(note, open_ended)
SIGNATURES = {place: Signature(found.schema(), tuple(found.unchecked())) for place, found in KNOWN.items()}


def found(arguments: dict[str, Any], name: str = "note", **node: Any) -> list[tool_arguments.Finding]:
    config = {"tool_name": name, "tool_args": arguments, **node.pop("config", {})}
    whole = {"id": "a", "type": "tool", "config": config, **node}
    before = {"id": "before", "type": "tool", "config": {"tool_name": "open", "tool_args": {"first": 1}}}
    definition = parse_dict({
        "name": "w", "inputs": {"x": {"type": "any"}},
        "dag": {"nodes": [before, whole], "edges": [{"from": "before", "to": "a"}]},
    })  # fmt: skip
    return list(tool_arguments.findings(definition, SIGNATURES))


RIGHT: list[dict[str, Any]] = [
    {}, {"kind": "mail"}, {"count": "5"}, {"count": 5.0}, {"share": "0.1"}, {"share": 1}, {"urgent": "yes"},
    {"urgent": 1}, {"tags": []}, {"tags": ["a"]}, {"tags": None}, {"address": {"street": "s", "zip": "123"}},
    {"options": {}}, {"options": {"depth": "3"}}, {"at": "2026-01-01T00:00:00Z"}, {"at": 1_700_000_000},
    {"price": "1.50"}, {"price": 2}, {"delay": "90s"}, {"delay": 5}, {"anything": {"deep": [1]}},
]  # fmt: skip
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"text": 5}, "5 is not a text"),
    ({"text": None}, "null is not a text"),
    ({"kind": "letter"}, '"letter" is not one of "call", "mail"'),
    ({"count": 0}, "0 is less than 1"),
    ({"count": 10}, "10 is more than 9"),
    ({"count": 1.5}, "1.5 is not a whole number"),
    ({"count": "many"}, '"many" is not a whole number'),
    ({"share": [1]}, "[1] is not a number"),
    ({"urgent": "perhaps"}, '"perhaps" is not true or false'),
    ({"tags": "a"}, '"a" is not a list and "a" is not null'),
    ({"tags": ["a", 5]}, "[1] 5 is not a text"),
    ({"address": {"street": "s"}}, "the field 'zip' is missing"),
    ({"address": {"street": "s", "zip": "123456"}}, "zip: it has 6 characters; at most 5 are allowed"),
    ({"address": {"street": "s", "zip": "1", "lines": [5]}}, "lines: [0] 5 is not a text"),
]  # fmt: skip


@pytest.mark.parametrize("arguments", RIGHT, ids=str)
def test_engine_16_what_a_worker_would_take_is_no_problem(arguments: dict[str, Any]) -> None:
    full = {"text": "t", **arguments}
    validate(KNOWN["tool", "note"], full)
    assert found(full) == []


@pytest.mark.parametrize(("arguments", "text"), WRONG, ids=str)
def test_engine_16_what_a_worker_would_refuse_is_found_in_the_definition(arguments: dict[str, Any], text: str) -> None:
    full = {"text": "t", **arguments}
    with pytest.raises(InvalidError):
        validate(KNOWN["tool", "note"], full)
    ((place, message, fix),) = found(full)
    (name,) = arguments
    assert place == ("dag", "nodes", 1, "config", "tool_args", name)
    assert text in message
    assert fix


def test_engine_16_names_are_checked_and_near_ones_suggested() -> None:
    assert found({"text": "t", "urgnt": True}) == [
        (("dag", "nodes", 1, "config", "tool_args", "urgnt"), "tool 'note' has no argument 'urgnt'",
         "did you mean 'urgent'?"),
    ]  # fmt: skip
    ((place, message, fix),) = found({})
    assert (place, message) == (("dag", "nodes", 1, "config"), "tool 'note' needs the argument 'text'")
    assert fix.startswith("add it to `tool_args`; the arguments are: text, kind?, count?")
    assert found({"first": 1, "whatever": 2}, name="open") == []


@pytest.mark.parametrize(
    "value", ["{{x}}", "before.output", "before.output.count", "{{before.output.n + 1}}"]
)  # fmt: skip
def test_engine_16_templates_and_references_are_checked_by_name_only(value: str) -> None:
    assert found({"text": "t", "count": value}) == []
    assert found({"text": "t", "tags": ["a", value], "address": {"street": value, "zip": value}}) == []
    assert len(found({"text": "t", "cuont": value})) == 1


def test_engine_16_the_items_of_a_parallel_step_are_what_a_call_is_given() -> None:
    parallel = {"parallel": True, "for_each": "text"}
    assert found({"text": ["a", "b"]}, config=parallel) == []
    ((place, _, _),) = found({"text": ["a", 5]}, config=parallel)
    assert place[-2:] == ("text", 1)


def test_engine_16_bodies_and_compensations_are_checked() -> None:
    body = {"type": "tool", "config": {"tool_name": "note", "tool_args": {"txet": "t"}}}
    undo = {"type": "tool", "config": {"tool_name": "note", "tool_args": {"text": 5}}}
    mapped = {"id": "a", "type": "map", "config": {"over": [1], "body": body}, "compensate_with": undo}
    definition = parse_dict({"name": "w", "dag": {"nodes": [mapped], "edges": []}})
    places = [place for place, _, _ in tool_arguments.findings(definition, SIGNATURES)]
    assert places == [
        ("dag", "nodes", 0, "config", "body", "config", "tool_args", "txet"),
        ("dag", "nodes", 0, "config", "body", "config"),
        ("dag", "nodes", 0, "compensate_with", "config", "tool_args", "text"),
    ]


def test_engine_16_the_shared_state_may_give_what_is_missing() -> None:
    nodes = [{"name": "a", "tool": "note"}]
    definition = parse_dict({"name": "w", "entry_point": "a", "nodes": nodes, "edges": []})
    assert list(tool_arguments.findings(definition, SIGNATURES)) == []


def test_engine_16_of_a_worker_that_does_not_say_what_it_converts_names_alone_are_checked() -> None:
    old = {place: Signature(signature.schema) for place, signature in SIGNATURES.items()}
    nodes = [{"id": "a", "type": "tool", "config": {"tool_name": "note", "tool_args": {"text": 5, "cuont": 1}}}]
    definition = parse_dict({"name": "w", "dag": {"nodes": nodes, "edges": []}})
    assert [message for _, message, _ in tool_arguments.findings(definition, old)] == [
        "tool 'note' has no argument 'cuont'"
    ]


def test_engine_16_built_in_tools_say_what_they_take() -> None:
    registry = default_registry()
    for item in registry.describe():
        assert item["unchecked"] == [], item["name"]
        assert item["schema"]["type"] == "object"
    assert KNOWN["tool", "note"].unchecked() == ["delay"]


def test_an_argument_may_have_a_second_name_but_is_given_once() -> None:
    schema = {"type": "object", "properties": {"content": {}}, "required": ["content"], "additionalProperties": False}
    put = {("tool", "put"): Signature(schema, (), {"body": "content"})}

    def found(args: dict[str, Any]) -> list[str]:
        node = {"id": "a", "type": "tool", "config": {"tool_name": "put", "tool_args": args}}
        return [
            text for _, text, _ in tool_arguments.findings(parse_dict({"name": "w", "dag": {"nodes": [node]}}), put)
        ]

    assert found({"body": "x"}) == found({"content": "x"}) == []
    assert found({}) == ["tool 'put' needs the argument 'content'"]
    assert found({"content": "x", "body": "y"}) == ["'content' and 'body' are the same argument of tool 'put'"]
