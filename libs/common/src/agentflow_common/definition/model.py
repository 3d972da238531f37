"""The workflow definition: one schema for YAML, the SDK's builder and JSON over gRPC.

`parse_text` and `parse_dict` give a checked `Definition` or raise InvalidError with every problem, its place (with the
line for text) and its fix. A definition is data: it is pinned inside `run.submitted`, so its canonical form is stable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec
from pydantic import Field, ValidationError

from agentflow_common import ids
from agentflow_common.definition import field_hints
from agentflow_common.definition import problems as definition_problems
from agentflow_common.definition import repair as definition_repair
from agentflow_common.definition.graph_style import Authored, normalise
from agentflow_common.definition.nodes import (
    ITERATIONS_MAX,
    NODE_ID,
    NODE_TYPES,
    NODES_MAX,
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
from agentflow_common.expressions.language import kind_of

NAME: Final = NODE_ID
PROBLEMS_MAX: Final = 50
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


class InvalidDefinitionError(InvalidError):
    """A definition with mistakes; `problems` has each.

    readable: the definition with stand-ins for what is wrong, None if it can't be read at all.
    repair: what was replaced, None if nothing was.
    """

    def __init__(
        self, problems: tuple[Problem, ...], readable: Definition | None, repair: definition_repair.Repair | None
    ) -> None:
        super().__init__(_headline(problems), problems=problems, kind="invalid_definition")
        self.readable = readable
        self.repair = repair


def parse_dict(data: Any, lines: dict[tuple[str | int, ...], int] | None = None) -> Definition:
    """A checked definition from plain data. `lines` maps a path in the data to its line (1-based)."""
    if not isinstance(data, dict):
        raise InvalidError(
            "the definition must be a mapping",
            problems=(Problem(_place((), lines), f"got {kind_of(data)}", "start with `name:` and `dag:`"),),
        )
    authored = normalise(data)
    found = [Problem(_place(path, lines), message, fix) for path, message, fix in authored.problems]
    definition: Definition | None = None
    repair: definition_repair.Repair | None = None
    try:
        definition = Definition.model_validate(authored.data)
    except ValidationError as error:
        places = [(definition_problems.located(item), item) for item in _of_their_own(error)]
        told = [(loc, item, *definition_problems.explained(item, loc, authored, _LEVELS)) for loc, item in places]
        known = {problem.place for problem in found}
        for loc, item, message, fix in told:
            misspelt = item["type"] == "missing" and any(
                other[:-1] == loc[:-1] and text.startswith(f"did you mean {loc[-1]!r}?") for other, _, _, text in told
            )
            place = _place(loc, lines, authored.origin)
            if place not in known and not misspelt and not _follows(_written(loc, authored.origin), authored):
                found.append(Problem(place, message, fix))
                known.add(place)
        repair = definition_repair.repaired(authored.data, [(loc, item["type"]) for loc, item in places])
        definition = _readable(repair.data)
    if definition is not None and not authored.problems:
        from agentflow_common.definition.checks.definition import check

        for path, message, fix in check(definition):
            if repair is None or repair.trusts(path):
                found.append(Problem(_place(path, lines, authored.origin), message, fix))
    if found:
        readable = definition if not authored.problems else None
        raise InvalidDefinitionError(tuple(found[:PROBLEMS_MAX]), readable, repair)
    if definition is None:
        raise AssertionError("a definition was refused without a problem")
    return definition


def _follows(path: tuple[str | int, ...], authored: Authored) -> bool:
    """True if a problem there follows from one that was found before the schema was asked."""
    told = [place for place, _, _ in authored.problems]
    return any(place and path[: len(place)] == place for place in told) or (path == ("entry_point",) and () in told)


def _of_their_own(error: ValidationError) -> list[Any]:
    """Pydantic's errors without those that only follow from others."""
    raw: list[Any] = list(error.errors(include_url=False))[:PROBLEMS_MAX]
    # a list whose items are wrong is also reported as too short
    inner = any(item["loc"][:2] == ("dag", "nodes") and len(item["loc"]) > 2 for item in raw)
    return [item for item in raw if not (inner and item["type"] == "too_short")]


def _readable(data: dict[str, Any] | None) -> Definition | None:
    try:
        return None if data is None else Definition.model_validate(data)
    except ValidationError:
        return None


def parse_text(text: str, source: str = "definition") -> Definition:
    """A checked definition from YAML or JSON text; places name the line."""
    from agentflow_common.definition.yaml_text import load

    data, lines = load(text, source)
    return parse_dict(data, lines)


def load_trusted(data: dict[str, Any]) -> Definition:
    """A definition that had been checked before it was pinned in the log."""
    return Definition.model_validate(data)


def _headline(problems: tuple[Problem, ...], what: str = "the workflow definition is not valid") -> str:
    """Names the first problem: a client that can't read the details still sees a place and a fix."""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{what}: {problems[0]}{more}"


def _written(
    path: tuple[str | int, ...], origin: Mapping[tuple[str | int, ...], tuple[str | int, ...]]
) -> tuple[str | int, ...]:
    """The path in the author's text."""
    known = next((n for n in range(len(path), 0, -1) if path[:n] in origin), 0)
    return (*origin.get(path[:known], ()), *path[known:])


def _place(
    path: tuple[str | int, ...],
    lines: dict[tuple[str | int, ...], int] | None,
    origin: Mapping[tuple[str | int, ...], tuple[str | int, ...]] | None = None,
) -> str:
    """origin: where parts of the data stand in the author's text, if that has another shape."""
    path = _written(path, origin or {})
    dotted = ""
    for part in path:
        dotted += f"[{part}]" if isinstance(part, int) else f".{part}" if dotted else str(part)
    if lines is None:
        return dotted or "definition"
    probe = path
    while probe not in lines and probe:
        probe = probe[:-1]
    return f"line {lines.get(probe, 1)}{', ' + dotted if dotted else ''}"


_LEVELS: Final[dict[tuple[str | int, ...], frozenset[str]]] = {  # outside of nodes: which fields may stand where
    (): field_hints.names_of(Definition),
    ("dag",): field_hints.names_of(Dag),
    ("dag", "edges", "*"): field_hints.names_of(Edge),
    ("inputs", "*"): field_hints.names_of(InputSpec),
    ("graph",): field_hints.names_of(Graph),
    ("graph", "state"): field_hints.names_of(StateSpec),
}

__all__ = [
    "BUILT_IN", "NAME", "NODES_MAX", "NODE_ID", "NODE_TYPES", "AnyNode", "ApprovalNode", "ContinueNode", "Dag",
    "Definition", "Edge", "FunctionNode", "Graph", "InputSpec", "InvalidDefinitionError",
    "LlmNode", "LoopNode", "MapNode", "Node", "NodeId",
    "Policy", "Retry", "SignalNode", "StateSpec", "SubworkflowNode", "ToolNode", "WaitNode", "load_trusted",
    "parse_dict", "parse_text",
]  # fmt: skip
