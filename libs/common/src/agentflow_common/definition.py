"""The workflow definition: one schema for YAML, the SDK's builder and JSON over gRPC.

`parse_text` and `parse_dict` give a checked `Definition` or raise InvalidError with every problem, its place (with the
line for text) and its fix. A definition is data: it is pinned inside `run.submitted`, so its canonical form is stable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal

import msgspec
from pydantic import Field, ValidationError

from agentflow_common import ids
from agentflow_common.definition_lanes import LANE_FIXES
from agentflow_common.definition_nodes import (
    BODY_TYPES,
    ITERATIONS_MAX,
    NODE_ID,
    NODE_TYPES,
    NODES_MAX,
    UNDO_TYPES,
    AnyNode,
    ApprovalNode,
    ContinueNode,
    Duration,
    FunctionNode,
    LlmNode,
    LoopNode,
    MapNode,
    Model,
    Node,
    NodeId,
    Policy,
    Retry,
    SignalNode,
    SubworkflowNode,
    ToolNode,
    WaitNode,
    Work,
    works,
)
from agentflow_common.errors import InvalidError, Problem
from agentflow_common.expressions import kind_of

NAME: Final = NODE_ID
BUILT_IN: Final = ("inputs", "org", "run", "tags", "workflow", "state")  # what every template may speak of


class Edge(Model):
    """max_iterations makes it a back edge: what lies between its ends runs again, at most so many times in all."""

    source: NodeId = Field(alias="from")
    target: NodeId = Field(alias="to")
    condition: str | None = None
    max_iterations: int | None = Field(None, ge=1, le=ITERATIONS_MAX)


class Dag(Model):
    nodes: tuple[Node, ...] = Field(min_length=1, max_length=NODES_MAX)
    edges: tuple[Edge, ...] = Field((), max_length=20 * NODES_MAX)


class StateSpec(Model):
    """The shared state of a graph-style workflow. json_schema: of the whole state, an object. reducers: how a node's
    output changes a key (`replace` is the default). initial: values at the start, over which the inputs go."""

    json_schema: dict[str, Any] = Field({}, alias="schema")
    reducers: dict[str, Literal["replace", "append", "extend", "merge", "union", "sum", "max", "min", "first"]] = {}
    initial: dict[str, Any] = {}


class Graph(Model):
    """Runs the nodes in supersteps from `entry_point`: a node runs when an edge to it is taken, as often as it is
    taken; at most max_supersteps. An edge to `END` leads nowhere."""

    entry_point: NodeId
    state: StateSpec = StateSpec()
    max_supersteps: int = Field(100, ge=1, le=10_000)


class InputSpec(Model):
    type: Literal["string", "integer", "number", "boolean", "array", "object", "any"] = "any"
    required: bool = True
    default: Any = None
    description: str = ""


class Definition(Model):
    name: str = Field(pattern=NAME)
    version: int = Field(1, ge=1, le=2**31 - 1)
    description: str = ""
    inputs: dict[str, InputSpec] = {}
    outputs: dict[str, Any] = {}
    deadline_ms: Duration | None = None
    dag: Dag
    graph: Graph | None = None

    def canonical(self) -> dict[str, Any]:
        """Plain JSON data without defaults: parses back to an equal definition."""
        data = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        data["name"], data["version"] = self.name, self.version
        for node, raw in zip(self.dag.nodes, data["dag"]["nodes"], strict=True):
            raw["type"] = node.type
        return data

    def digest(self) -> str:
        """Hex SHA-256 of the canonical form."""
        return ids.digest(msgspec.json.encode(self.canonical(), order="sorted"))

    def works(self) -> Iterator[tuple[int, Work]]:
        """All that is called by name, with the number of its node: nodes, bodies and compensations."""
        for number, node in enumerate(self.dag.nodes):
            for work in works(node):
                yield number, work

    def _names(self, kind: str, field: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(getattr(work.config, field) for _, work in self.works() if work.type == kind))

    def prompt_refs(self) -> tuple[str, ...]:
        return self._names("llm", "prompt_ref")

    def tool_names(self) -> tuple[str, ...]:
        return self._names("tool", "tool_name")

    def function_names(self) -> tuple[str, ...]:
        return self._names("function", "function_name")

    def workflow_refs(self) -> tuple[str, ...]:
        return self._names("subworkflow", "workflow")

    def pools(self) -> tuple[str, ...]:
        """The worker pools that its tasks go to."""
        return tuple(dict.fromkeys(n.pool if "{{" in n.lane else n.lane for n in self.dag.nodes))

    def check_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs with defaults filled in; InvalidError names each missing, unknown or mistyped one."""
        if not self.inputs:
            return inputs
        problems = [
            Problem(f"inputs.{name}", "not an input of this workflow", f"its inputs are {', '.join(self.inputs)}")
            for name in inputs
            if name not in self.inputs
        ]
        full: dict[str, Any] = {}
        for name, spec in self.inputs.items():
            if name in inputs:
                full[name] = inputs[name]
                if inputs[name] is None and not spec.required:
                    continue
                if not is_of_type(inputs[name], spec.type):
                    found = kind_of(inputs[name])
                    fix = f'put quotes around it: {name}="..."' if spec.type == "string" else ""
                    problems.append(Problem(f"inputs.{name}", f"must be of type {spec.type}, got {found}", fix))
            elif spec.default is not None or not spec.required:
                full[name] = spec.default
            else:
                problems.append(Problem(f"inputs.{name}", "missing", f"give a value of type {spec.type}"))
        if problems:
            raise InvalidError(
                _headline(tuple(problems), "the inputs don't fit the workflow"), problems=tuple(problems)
            )
        return full


def is_of_type(value: Any, kind: str) -> bool:
    if kind == "any" or value is None:
        return kind == "any"
    if kind in {"integer", "number"}:
        return not isinstance(value, bool) and isinstance(value, int if kind == "integer" else int | float)
    expected: dict[str, type] = {"string": str, "boolean": bool, "array": list, "object": dict}
    return isinstance(value, expected[kind])


def parse_dict(data: Any, lines: dict[tuple[str | int, ...], int] | None = None) -> Definition:
    """A checked definition from plain data. `lines` maps a path in the data to its line (1-based)."""
    from agentflow_common.graph_style import normalise

    if not isinstance(data, dict):
        raise InvalidError(
            "the definition must be a mapping",
            problems=(Problem(_place((), lines), f"got a {type(data).__name__}", "start with `name:` and `dag:`"),),
        )
    authored = normalise(data)
    if authored.problems:
        found = tuple(Problem(_place(path, lines), message, fix) for path, message, fix in authored.problems)
        raise InvalidError(_headline(found), problems=found, kind="invalid_definition")
    try:
        definition = Definition.model_validate(authored.data)
    except ValidationError as error:
        raw = error.errors(include_url=False)[:50]
        # a list whose items are wrong is also reported as too short: that is no problem of its own
        inner = [item for item in raw if item["loc"][:2] == ("dag", "nodes") and len(item["loc"]) > 2]
        first: dict[str, Problem] = {}  # one for each place
        for item in raw:
            if not (inner and item["type"] == "too_short"):
                problem = _explain(item, lines, authored.origin)
                first.setdefault(problem.place, problem)
        problems = tuple(first.values())
        raise InvalidError(_headline(problems), problems=problems, kind="invalid_definition") from None
    from agentflow_common.definition_check import check

    found = tuple(
        Problem(_place(path, lines, authored.origin), message, fix) for path, message, fix in check(definition)
    )
    if found:
        raise InvalidError(_headline(found), problems=found, kind="invalid_definition")
    return definition


def parse_text(text: str, source: str = "definition") -> Definition:
    """A checked definition from YAML or JSON text; places name the line."""
    from agentflow_common.definition_text import load

    data, lines = load(text, source)
    return parse_dict(data, lines)


def load_trusted(data: dict[str, Any]) -> Definition:
    """A definition that had been checked before it was pinned in the log."""
    return Definition.model_validate(data)


def _headline(problems: tuple[Problem, ...], what: str = "the workflow definition is not valid") -> str:
    """Names the first problem: a client that can't read the details still sees a place and a fix."""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{what}: {problems[0]}{more}"


def _place(
    path: tuple[str | int, ...],
    lines: dict[tuple[str | int, ...], int] | None,
    origin: Mapping[tuple[str | int, ...], tuple[str | int, ...]] | None = None,
) -> str:
    """origin: where parts of the data stand in the author's text, if that has another shape."""
    if origin:
        known = next((n for n in range(len(path), 0, -1) if path[:n] in origin), 0)
        path = (*origin.get(path[:known], ()), *path[known:])
    dotted = ""
    for part in path:
        dotted += f"[{part}]" if isinstance(part, int) else f".{part}" if dotted else str(part)
    if lines is None:
        return dotted or "definition"
    probe = path
    while probe not in lines and probe:
        probe = probe[:-1]
    return f"line {lines.get(probe, 1)}{', ' + dotted if dotted else ''}"


def _explain(
    item: Any,
    lines: dict[tuple[str | int, ...], int] | None,
    origin: Mapping[tuple[str | int, ...], tuple[str | int, ...]],
) -> Problem:
    """A pydantic error in the words of a definition's author."""
    loc: tuple[str | int, ...] = tuple(item["loc"])
    # pydantic puts the union's tag into the path of a node: dag.nodes[0].tool.config
    if len(loc) > 3 and loc[:2] == ("dag", "nodes") and loc[3] in NODE_TYPES:
        loc = (*loc[:3], *loc[4:])
    for holder in ("body", "compensate_with"):
        at = loc.index(holder) + 1 if holder in loc else len(loc)
        if at < len(loc) and loc[at] in NODE_TYPES:
            loc = (*loc[:at], *loc[at + 1 :])
    if loc[-1] in {"int", "constrained-str"}:  # one of several types that a field may have
        loc = loc[:-1]
    if item["type"] == "union_tag_invalid":
        loc = (*loc, "type")
    message, fix = _told(item, loc)
    if item["type"] in {"string_pattern_mismatch", "string_type"} and loc:
        fix = LANE_FIXES.get(str(loc[-1]), fix)
    return Problem(_place(loc, lines, origin), message, fix)


def _told(item: Any, loc: tuple[str | int, ...]) -> tuple[str, str]:
    """What a pydantic error says at this place, and how to mend it."""
    kind, given = item["type"], item.get("input")
    if kind in _TELL:
        return _TELL[kind](item, loc)
    message = str(item["msg"]).removeprefix("Value error, ")
    if kind == "too_short" and loc == ("dag", "nodes"):
        return "there are no nodes", "add at least one"
    if kind != "value_error" and "input" in item and isinstance(given, str | int | float | bool):
        message = f"{message[:1].lower()}{message[1:]}, got {given!r}"
    if kind == "string_type" and isinstance(given, bool):
        return message, "YAML reads yes, no, on and off as booleans: put quotes around it"
    return message, ""


def _no_type(_item: Any, loc: tuple[str | int, ...]) -> tuple[str, str]:
    what, kinds = {"body": ("body", BODY_TYPES), "compensate_with": ("compensation", UNDO_TYPES)}.get(
        str(loc[-1]), ("node", NODE_TYPES)
    )
    return f"the {what} has no `type`", f"add `type:` with one of {', '.join(kinds)}"


def _no_mapping(item: Any, loc: tuple[str | int, ...]) -> tuple[str, str]:
    return f"must be a mapping, got {kind_of(item['input'])}", _shape(loc)


def _no_list(item: Any, _loc: tuple[str | int, ...]) -> tuple[str, str]:
    given = item["input"]
    return f"must be a list, got {kind_of(given)}", f"write [{given}]" if isinstance(given, str) else ""


def _other_text(item: Any, _loc: tuple[str | int, ...]) -> tuple[str, str]:
    pattern = item["ctx"]["pattern"]
    words = f": {_PATTERNS[pattern]}" if pattern in _PATTERNS else ""
    return f"{item['input']!r} is not valid here", f"must match {pattern}{words}"


def _other_type(item: Any, _loc: tuple[str | int, ...]) -> tuple[str, str]:
    kinds = item["ctx"]["expected_tags"].replace("'", "")
    return f"unknown node type {item['ctx']['tag']!r}", f"use one of {kinds}"


_TELL: Final[dict[str, Callable[[Any, tuple[str | int, ...]], tuple[str, str]]]] = {
    "union_tag_invalid": _other_type,
    "union_tag_not_found": _no_type,
    "extra_forbidden": lambda _, loc: (
        f"unknown field {loc[-1]!r}",
        "remove it, or check its spelling and indentation",
    ),
    "missing": lambda _, loc: (f"the field {loc[-1]!r} is missing", f"add `{loc[-1]}:`"),
    "string_pattern_mismatch": _other_text,
    "dict_type": _no_mapping,
    "model_type": _no_mapping,
    "model_attributes_type": _no_mapping,
    "tuple_type": _no_list,
}
_PATTERNS: Final = {NODE_ID: "1 to 64 letters (a to z), digits, '_' or '-', and no digit first"}


def _shape(loc: tuple[str | int, ...]) -> str:
    """What a mapping at this place looks like."""
    if "edges" in loc:
        return "write {from: a, to: b}"
    if loc[0] == "inputs":
        return "write {type: string}" if len(loc) > 1 else "write each as `name: {type: string}`"
    if loc[0] == "outputs":
        return "write each as `name: node.output`"
    return "write {type: function, config: ...}" if loc[-1] == "body" else ""


__all__ = [
    "BUILT_IN", "NAME", "NODES_MAX", "NODE_ID", "NODE_TYPES", "AnyNode", "ApprovalNode", "ContinueNode", "Dag",
    "Definition", "Edge", "FunctionNode", "Graph", "InputSpec", "LlmNode", "LoopNode", "MapNode", "Node", "NodeId",
    "Policy", "Retry", "SignalNode", "StateSpec", "SubworkflowNode", "ToolNode", "WaitNode", "load_trusted",
    "parse_dict", "parse_text",
]  # fmt: skip
