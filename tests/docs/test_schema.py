"""The JSON Schemas in docs/schema accept what the parser accepts, refuse what it refuses, and explain every field."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from agentctl.commands.local import init
from agentflow_common.definition import json_schema
from agentflow_common.definition.graph_style import normalise
from agentflow_common.definition.model import Definition
from agentflow_common.definition.parse import parse_text
from agentflow_common.definition.yaml_text import load
from agentflow_common.errors import InvalidError
from agentflow_common.schedules import spec as schedule_spec
from agentflow_common.schedules.json_schema import schedule_schema
from tests.e2e.documents import all_blocks, is_schedule, is_workflow
from tests.support.paths import ROOT

WORKFLOWS: Final = Draft202012Validator(json_schema.workflow_schema())
SCHEDULES: Final = Draft202012Validator(schedule_schema())
BLOCKS: Final = [block for block in all_blocks() if block.language == "yaml"]
EXAMPLES: Final = {
    **{path.name: path.read_text() for path in sorted((ROOT / "examples").glob("*.yaml"))},
    **{block.place: block.text for block in BLOCKS if is_workflow(block.text)},
    "project": (init.TEMPLATE / "workflow.yaml").read_text(),
}
TIMETABLES: Final = {
    **{path.name: path.read_text() for path in sorted((ROOT / "examples/schedules").glob("*.yaml"))},
    **{block.place: block.text for block in BLOCKS if is_schedule(block.text)},
}
GRAPH: Final = """
name: every_kind_of_node
entry_point: a
nodes:
  - {name: a, function: f, args: {x: state.y}, policy: {timeout_ms: 30s, retry: {max_attempts: 2, initial_ms: 1s}}}
  - {name: b, prompt: summarizer, output: json, max_output_tokens: 10, temperature: 0.1, condition: state.y > 1}
  - {name: pause, wait: 5s}
  - {name: pause_too, wait: {duration: 5s}}
  - {name: go, signal: go}
  - {name: ask, approval: {message: hi, approvers: [ana, bo]}}
  - {name: ask_anyone, approval: }
  - {name: each, map: {over: state.list, body: {type: tool, config: {tool_name: t}}}}
  - {name: again, loop: {until: iteration > 2, max_iterations: 3, body: {type: function, config: {function_name: f}}}}
  - {name: t, tool: t, args: {a: 1}, reveal: [a], parallel: true, for_each: a, lane: "{{org}}", lane_limit: 2}
  - {id: typed, type: tool, config: {tool_name: t}, compensate_with: {type: tool, config: {tool_name: u}}}
  - {name: sub, workflow: x@1, writes: {score: output.score}}
  - {name: next, continue_as_new: {inputs: {a: 1}}}
edges:
  - {from: a, to: b, condition: state.y > 2, max_iterations: 3}
  - {from: b, to: END}
state: {schema: {type: object}, reducers: {y: sum}, initial: {y: 1}}
max_supersteps: 5
"""
ODD: Final = (7, -1, "text", "90s", "", [], {}, None, {"a": "b"})
# The model takes these, and the engine's other checks refuse them or do without them.
LENIENT: Final = {("nodes", "*", "wait", None), ("nodes", "*", "writes", "[]")}

Path_ = tuple[str | int, ...]


def plain(text: str) -> Any:
    return load(text)[0]


def accepts(data: Any) -> bool:
    """True if the models take the data, whatever the checks of names and references say."""
    authored = normalise(data)
    if authored.problems:
        return False
    try:
        Definition.model_validate(authored.data)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("schema", [WORKFLOWS.schema, SCHEDULES.schema], ids=["workflow", "schedule"])
def test_the_schema_is_one_of_draft_2020_12(schema: Any) -> None:
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("schema", [WORKFLOWS.schema, SCHEDULES.schema], ids=["workflow", "schedule"])
def test_every_field_is_explained_by_a_sentence(schema: Any) -> None:
    fields = list(described(schema, ""))
    assert len(fields) > 20
    for place, field in fields:
        meant = schema["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else {}
        said = field.get("description") or meant.get("description", "")
        assert re.fullmatch(r"(?s).{4,}[.?!]", said), f"{place} has no description"


def described(schema: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yields every field of every object in a schema; conditions (`if`) only test fields."""
    if isinstance(schema, dict):
        for name, part in schema.items():
            if name == "properties":
                yield from ((f"{place}.{field}", value) for field, value in part.items())
            if name not in {"if", "examples", "default"}:
                yield from described(part, f"{place}.{name}")
    elif isinstance(schema, list):
        for part in schema:
            yield from described(part, place)


@pytest.mark.parametrize("text", EXAMPLES.values(), ids=EXAMPLES)
def test_every_workflow_of_examples_and_documents_fits(text: str) -> None:
    assert [error.message for error in WORKFLOWS.iter_errors(plain(text))] == []
    assert WORKFLOWS.is_valid(parse_text(text).canonical())


@pytest.mark.parametrize("text", TIMETABLES.values(), ids=TIMETABLES)
def test_every_schedule_of_examples_and_documents_fits(text: str) -> None:
    assert [error.message for error in SCHEDULES.iter_errors(plain(text))] == []
    assert SCHEDULES.is_valid(schedule_spec.parse_text(text).canonical())


MISTAKES: Final = {  # the node of a workflow, and the place that an editor marks
    "a misspelt field": ("{id: a, type: map, config: {over: '{{x}}', concurency: 3, body: {}}}", "config"),
    "a field of another level": ("{id: a, type: tool, config: {tool_name: t}, timeout_ms: 30s}", ""),
    "a field of another engine": ("{id: a, type: tool, config: {tool_name: t}, policy: {timeout: 30s}}", "policy"),
    "a number for an object": ("{id: a, type: tool, config: {tool_name: t}, policy: {retry: 3}}", "policy.retry"),
    "the graph style's word": ("{id: a, type: llm, config: {prompt: summarizer}}", "config.prompt"),
    "an unknown type of node": ("{id: a, type: http, config: {}}", "type"),
    "a node without a type": ("{id: a, config: {tool_name: t}}", ""),
    "a node without an id": ("{type: tool, config: {tool_name: t}}", ""),
    "an id with a blank": ("{id: a b, type: tool, config: {tool_name: t}}", "id"),
    "a duration in words": (
        "{id: a, type: tool, config: {tool_name: t}, policy: {timeout_ms: 10 min}}",
        "policy.timeout_ms",
    ),
    "a rate by day": ("{id: a, type: tool, lane: '{{org}}', lane_rate: 10/day, config: {tool_name: t}}", "lane_rate"),
    "an unknown choice": (
        "{id: a, type: tool, config: {tool_name: t}, policy: {on_failure: ignore}}",
        "policy.on_failure",
    ),
    "a text for a list": ("{id: a, type: tool, config: {tool_name: t}, depends_on: b}", "depends_on"),
    "a body that can't be one": (
        "{id: a, type: loop, config: {until: 'true', max_iterations: 2, body: {type: wait, config: {}}}}",
        "config.body.type",
    ),
}


@pytest.mark.parametrize(("node", "place"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_a_node_is_refused_where_it_stands(node: str, place: str) -> None:
    text = f"name: w\ndag:\n  nodes:\n    - {node}\n"
    with pytest.raises(InvalidError):
        parse_text(text)
    places = {".".join(map(str, list(error.absolute_path)[3:])) for error in WORKFLOWS.iter_errors(plain(text))}
    assert place in places


@pytest.mark.parametrize(
    "text",
    [
        "dag: {nodes: [{id: a, type: tool, config: {tool_name: t}}]}",
        "name: w",
        "{name: w, dag: {nodes: []}}",
        "{name: w, version: one, dag: {nodes: [{id: a, type: tool, config: {tool_name: t}}]}}",
        "{name: w, inputs: {x: string}, dag: {nodes: [{id: a, type: tool, config: {tool_name: t}}]}}",
        "{name: w, nodes: [{name: a, tool: t}]}",
        "{name: w, entry_point: a, nodes: [{name: a, tool: t, function: f}]}",
        "{name: w, entry_point: a, nodes: [{name: a}]}",
        "{name: w, entry_point: a, nodes: [{name: a, wait: 5s, args: {}}]}",
        "{name: w, entry_point: a, nodes: [{name: a, tool: t, output: json}]}",
        "{name: w, entry_point: a, nodes: [{name: a, tool: t, model: a/b}]}",
        "{name: w, dag: {nodes: [{id: a, type: llm, config: {prompt: Say it, prompt_ref: p}}]}}",
        "{name: w, dag: {nodes: [{id: a, type: llm, config: {model: a/b}}]}}",
        "{name: w, entry_point: a, nodes: [{name: a, tool: t}], max_supersteps: 2, max_iterations: 2}",
    ],
)
def test_a_mistake_outside_of_nodes_or_in_a_graph_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_text(text)
    assert not WORKFLOWS.is_valid(plain(text))


@pytest.mark.parametrize(
    "text",
    [
        "{name: s, workflow: w}",
        "{name: s, cron: '@daily'}",
        "{name: s, workflow: w, cron: '@daily', jiter: 5m}",
        "{name: s, workflow: w, cron: 5}",
        "{name: s, workflow: w, cron: '@daily', overlap: forbid}",
        "{name: s, workflow: w, cron: '@daily', jitter: 5 minutes}",
        "{name: s, workflow: w, cron: '@daily', windows: 9-17}",
        "{name: s, workflow: w, cron: '@daily', holidays: [christmas]}",
        "{name: s, workflow: w, trigger: webhook}",
        "{name: s, workflow: w, trigger: {web_hook: true}}",
    ],
)
def test_a_mistake_in_a_schedule_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        schedule_spec.parse_text(text)
    assert not SCHEDULES.is_valid(plain(text))


def test_the_schema_judges_every_change_of_the_examples_as_the_models_do() -> None:
    judged: set[tuple[Any, ...]] = set()
    for whole in map(plain, (GRAPH, *EXAMPLES.values())):
        for data in slices(whole):
            for place, what, changed in changes(data, judged):
                if (*place, what) not in LENIENT:
                    assert WORKFLOWS.is_valid(changed) == accepts(changed), (place, what)
    assert len(judged) > 200


def slices(data: Any) -> Iterator[Any]:
    """Yields the workflow with one node and one edge at a time: judging is quick then."""
    inside = ("dag",) if "dag" in data else ()
    body = at(data, inside)
    edges = body.get("edges") or [None]
    for number in range(max(len(body["nodes"]), len(edges))):
        node, edge = body["nodes"][min(number, len(body["nodes"]) - 1)], edges[min(number, len(edges) - 1)]
        part = {**body, "nodes": [node]} | ({} if edge is None else {"edges": [edge]})
        yield {**data, "dag": part} if inside else part


def changes(data: Any, judged: set[tuple[Any, ...]]) -> Iterator[tuple[tuple[str, ...], str | None, Any]]:
    """Yields (place, what stands there now, the data with it) for each kind of place that was not judged before."""
    for path in places(data, ()):
        node = next((here for here in parents(data, path) if isinstance(here, dict) and "type" in here), {})
        shape = tuple("*" if isinstance(part, int) else part for part in path)
        if (shape, str(node.get("type"))) in judged:
            continue
        judged.add((shape, str(node.get("type"))))
        if path:
            yield shape, "nothing", without(data, path)
            yield from ((shape, None if odd is None else str(odd), replaced(data, path, odd)) for odd in ODD)
        if isinstance(at(data, path), dict):
            yield shape, "another field", replaced(data, (*path, "unknown"), 1)


def places(data: Any, path: Path_) -> Iterator[Path_]:
    yield path
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from places(value, (*path, key))


def parents(data: Any, path: Path_) -> Iterator[Any]:
    """Yields what holds a place, the innermost first."""
    return (at(data, path[:end]) for end in range(len(path) - 1, -1, -1))


def at(data: Any, path: Path_) -> Any:
    for part in path:
        data = data[part]
    return data


def replaced(data: Any, path: Path_, value: Any) -> Any:
    changed = copy.deepcopy(data)
    at(changed, path[:-1])[path[-1]] = value
    return changed


def without(data: Any, path: Path_) -> Any:
    changed = copy.deepcopy(data)
    del at(changed, path[:-1])[path[-1]]
    return changed


def test_a_new_project_names_its_schema_and_fits_it(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    init.init(folder)
    text = (folder / "workflow.yaml").read_text()
    match = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert match is not None
    schema = json.loads((folder / match[1]).read_text())
    assert schema == WORKFLOWS.schema
    assert WORKFLOWS.is_valid(plain(text))


def test_the_settings_for_editors_name_schemas_and_files_that_are_there() -> None:
    page = (ROOT / "docs/editors.md").read_text()
    (settings,) = re.findall(r"```json\n(.*?)```", page, re.S)
    for schema, patterns in json.loads(settings)["yaml.schemas"].items():
        assert (ROOT / schema).is_file()
        assert all(list(ROOT.glob(pattern)) for pattern in patterns)
